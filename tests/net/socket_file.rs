//! Proves that a listener removes only the file that it has created, and that it changes the
//! permissions of no other file.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use super::support::*;
use super::*;

#[test]
fn drop_removes_the_socket_file() {
    let dir = dir();
    let path = dir.path().join("app.sock");
    drop(bind(&path));
    assert!(!path.exists());
}

#[test]
fn drop_keeps_a_file_that_replaced_the_socket_file() {
    let dir = dir();
    let path = dir.path().join("app.sock");
    let listener = bind(&path);
    fs::remove_file(&path).unwrap();
    let second = bind(&path);
    drop(listener);
    exchange(&second, &Address::unix(&path).unwrap());

    fs::remove_file(&path).unwrap();
    fs::write(&path, "precious").unwrap();
    second.close();
    drop(second);
    assert_eq!(fs::read(&path).unwrap(), b"precious");
}

#[test]
fn drop_keeps_a_socket_file_that_the_listener_did_not_create() {
    let dir = dir();
    let (given, shared) = (dir.path().join("given.sock"), dir.path().join("shared.sock"));
    let listener = Listener::from(UnixListener::bind(&given).unwrap());
    listener.close();
    drop(listener);
    drop(bind(&shared).shared());
    assert!(given.exists() && shared.exists());
}

#[test]
fn set_mode_changes_only_the_socket_file() {
    let dir = dir();
    let path = dir.path().join("app.sock");
    let listener = bind(&path);
    for mode in [0o600, 0o660, 0o666] {
        listener.set_mode(mode).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
    }

    fs::remove_file(&path).unwrap();
    fs::write(&path, "precious").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(io_kind(listener.set_mode(0o666)), io::ErrorKind::NotFound);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let tcp = Listener::bind(&address("127.0.0.1:0")).unwrap();
    assert_eq!(io_kind(tcp.set_mode(0o666)), io::ErrorKind::NotFound);
}
