//! Proves that a listener removes only the file that it has created, and that it changes the
//! permissions and the owner of no other file.

use std::fs;
#[cfg(all(target_os = "linux", not(fcgi_portable)))]
use std::os::unix::fs::symlink;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
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
    let tcp = Listener::bind(address("127.0.0.1:0")).unwrap();
    assert_eq!(io_kind(tcp.set_mode(0o666)), io::ErrorKind::NotFound);
}

#[test]
fn set_owner_changes_only_the_socket_file() {
    let dir = dir();
    let path = dir.path().join("app.sock");
    let listener = bind(&path);
    let ours = fs::metadata(&path).unwrap();
    listener.set_owner(None, None).unwrap();
    listener.set_owner(Some(ours.uid()), Some(ours.gid())).unwrap();
    match listener.set_owner(Some(12345), Some(54321)) {
        Ok(()) => {
            let metadata = fs::metadata(&path).unwrap();
            assert_eq!((metadata.uid(), metadata.gid()), (12345, 54321));
            listener.set_owner(None, Some(ours.gid())).unwrap();
            let metadata = fs::metadata(&path).unwrap();
            assert_eq!((metadata.uid(), metadata.gid()), (12345, ours.gid()));
        }
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied),
    }

    fs::remove_file(&path).unwrap();
    fs::write(&path, "precious").unwrap();
    assert_eq!(io_kind(listener.set_owner(None, Some(ours.gid()))), io::ErrorKind::NotFound);
    let tcp = Listener::bind(address("127.0.0.1:0")).unwrap();
    assert_eq!(io_kind(tcp.set_owner(None, None)), io::ErrorKind::NotFound);
}

/// Puts a link to another file and the socket file at the path by turns, until the flag is set.
#[cfg(all(target_os = "linux", not(fcgi_portable)))]
fn swap_repeatedly(path: &Path, target: &Path, is_over: &std::sync::atomic::AtomicBool) {
    let (kept, next) = (path.with_extension("kept"), path.with_extension("next"));
    fs::hard_link(path, &kept).unwrap();
    while !is_over.load(std::sync::atomic::Ordering::SeqCst) {
        symlink(target, &next).unwrap();
        fs::rename(&next, path).unwrap();
        fs::hard_link(&kept, &next).unwrap();
        fs::rename(&next, path).unwrap();
    }
}

/// A user who may write to the directory replaces the file by a link at any moment.
#[cfg(all(target_os = "linux", not(fcgi_portable)))]
#[test]
fn change_of_permissions_does_not_follow_a_link() {
    let dir = dir();
    let (path, precious) = (dir.path().join("app.sock"), dir.path().join("precious"));
    fs::write(&precious, "precious").unwrap();
    fs::set_permissions(&precious, fs::Permissions::from_mode(0o600)).unwrap();
    let before = fs::metadata(&precious).unwrap();
    let listener = bind(&path);
    let is_over = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| swap_repeatedly(&path, &precious, &is_over));
        let mut changes = 0;
        while changes < 2000 {
            changes += usize::from(listener.set_mode(0o666).is_ok());
            // Fails if this process may not change the owner, and then follows no link either.
            let _ = listener.set_owner(Some(12345), None);
        }
        is_over.store(true, std::sync::atomic::Ordering::SeqCst);
    });
    let after = fs::metadata(&precious).unwrap();
    assert_eq!((after.mode(), after.uid()), (before.mode(), before.uid()));
}
