//! Proves that the file of a socket on which no process listens is replaced, and that no other file is.

use std::fs;
use std::os::unix::fs::{symlink, FileTypeExt};
use std::os::unix::net::UnixDatagram;

use super::support::*;
use super::*;

#[test]
fn stale_socket_file_is_replaced() {
    let dir = dir();
    let path = dir.path().join("app.sock");
    leave_stale(&path);
    let listener = bind(&path);
    exchange(&listener, &Address::unix(&path).unwrap());
}

/// The socket is in use by a listener or is a datagram socket.
#[test]
fn socket_in_use_is_not_replaced() {
    let dir = dir();
    let path = dir.path().join("app.sock");
    let listener = bind(&path);
    assert_eq!(io_kind(Listener::bind(&Address::unix(&path).unwrap())), io::ErrorKind::AddrInUse);
    // The failed bind made no connection: the first one to arrive is this one.
    exchange(&listener, &Address::unix(&path).unwrap());
    drop(listener);

    let _datagram = UnixDatagram::bind(&path).unwrap();
    assert_eq!(io_kind(Listener::bind(&Address::unix(&path).unwrap())), io::ErrorKind::AddrInUse);
    assert!(path.exists());
}

#[test]
fn path_that_is_not_a_socket_is_left_alone() {
    let dir = dir();
    let (file, link, dangling, folder) = (
        dir.path().join("file"),
        dir.path().join("link"),
        dir.path().join("dangling"),
        dir.path().join("folder"),
    );
    let stale = dir.path().join("stale.sock");
    fs::write(&file, "precious").unwrap();
    leave_stale(&stale);
    symlink(&stale, &link).unwrap();
    symlink(dir.path().join("nowhere"), &dangling).unwrap();
    fs::create_dir(&folder).unwrap();
    for path in [&file, &link, &dangling, &folder] {
        let error = Listener::bind(&Address::unix(path).unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().ends_with("exists and is not a socket"), "{error}");
    }
    assert_eq!(fs::read(&file).unwrap(), b"precious");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(fs::symlink_metadata(&stale).unwrap().file_type().is_socket());
    assert!(!dir.path().join("nowhere").exists());
}
