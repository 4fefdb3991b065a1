//! Proves that a new listener can take over the path of a running one, and that no connection is
//! refused or lost.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::support::*;
use super::*;

#[track_caller]
fn take_over(path: &Path) -> Listener {
    Listener::take_over(unix_address(path)).unwrap()
}

#[track_caller]
fn assert_only_file(path: &Path) {
    let names: Vec<_> =
        fs::read_dir(path.parent().unwrap()).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(names, [path]);
}

#[test]
fn new_listener_gets_the_connections_after_the_takeover() {
    let dir = dir();
    let path = dir.path().join("app.sock");
    let address = unix_address(&path);
    let old = bind(&path);
    let _before = connect(&address);
    let new = take_over(&path);
    assert_eq!(new.local_address().unwrap(), address);
    assert_only_file(&path);
    exchange(&new, &address);
    old.close();
    assert!(old.accept().unwrap().is_some(), "the connection made before the takeover");
    assert!(old.accept().unwrap().is_none());
    drop(old);
    exchange(&new, &address);
    with_waiters(&new, || new.close());
    assert!(!path.exists());
}

#[test]
fn missing_and_stale_files_are_taken_over() {
    let dir = dir();
    let path = dir.path().join("app.sock");
    exchange(&take_over(&path), &unix_address(&path));
    leave_stale(&path);
    exchange(&take_over(&path), &unix_address(&path));
}

#[test]
fn takeover_keeps_mode_and_owner() {
    let dir = dir();
    let path = dir.path().join("app.sock");
    let old = bind(&path);
    old.set_mode(0o640).unwrap();
    if let Err(error) = old.set_owner(Some(12345), Some(54321)) {
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }
    let before = fs::metadata(&path).unwrap();
    let new = take_over(&path);
    let after = fs::metadata(&path).unwrap();
    assert_ne!(after.ino(), before.ino());
    assert_eq!(after.mode(), before.mode());
    assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
    new.set_mode(0o600).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(io_kind(old.set_mode(0o666)), io::ErrorKind::NotFound);
}

#[test]
fn path_that_is_not_a_socket_is_not_taken_over() {
    let dir = dir();
    let path = dir.path().join("file");
    fs::write(&path, "precious").unwrap();
    let error = Listener::take_over(unix_address(&path)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(error.to_string().ends_with("exists and is not a socket"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    assert_only_file(&path);
}

#[test]
fn tcp_port_is_not_taken_over() {
    let listener = Listener::bind(address("127.0.0.1:0")).unwrap();
    let outcome = Listener::take_over(listener.local_address().unwrap());
    assert_eq!(io_kind(outcome), io::ErrorKind::InvalidInput);
}

/// On other systems the threads that are blocked on the old socket do not return.
#[cfg(all(target_os = "linux", not(fcgi_portable)))]
#[test]
fn no_client_is_refused_during_twenty_takeovers() {
    use super::clients::{Clients, StopOnDrop};

    let dir = dir();
    let path = dir.path().join("app.sock");
    let (address, clients) = (unix_address(&path), Clients::default());
    let mut old = bind(&path);
    let mut accepted = 0;
    thread::scope(|scope| {
        let senders: Vec<_> = (0..4).map(|_| scope.spawn(|| clients.run(&address))).collect();
        let _stop = StopOnDrop(&clients);
        for _ in 0..20 {
            let new = thread::scope(|scope| {
                let _close = CloseOnDrop(&old);
                let server = scope.spawn(|| echo_until_closed(&old));
                clients.wait_for_answers();
                let new = take_over(&path);
                old.close();
                accepted += server.join().unwrap();
                new
            });
            old = new;
        }
        let _close = CloseOnDrop(&old);
        let server = scope.spawn(|| echo_until_closed(&old));
        clients.wait_for_answers();
        clients.stop();
        for sender in senders {
            sender.join().unwrap();
        }
        old.close();
        accepted += server.join().unwrap();
    });
    assert_eq!(accepted, clients.answered());
}

/// The old process may be stopped at the moment of the takeover.
#[test]
fn close_never_removes_the_file_of_a_takeover() {
    let dir = dir();
    let path = dir.path().join("app.sock");
    for _ in 0..500 {
        let old = bind(&path);
        let new = thread::scope(|scope| {
            scope.spawn(|| old.close());
            take_over(&path)
        });
        exchange(&new, &unix_address(&path));
    }
}
