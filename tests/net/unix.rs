//! Proves that listeners on Unix sockets accept and close, and that they remove only the socket
//! files that they created.

use std::ffi::OsStr;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{symlink, FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::{fs, io, thread};

use tempfile::TempDir;

use super::{address, exchange, io_kind, with_waiters, REFUSES_AFTER_CLOSE};
use fcgi::net::{Address, Listener, Stream};

#[track_caller]
fn dir() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[track_caller]
fn bind(path: &Path) -> Listener {
    Listener::bind(&Address::unix(path).unwrap()).unwrap()
}

/// Leaves a socket file without a listener, as a killed process does.
#[track_caller]
fn leave_stale(path: &Path) {
    drop(UnixListener::bind(path).unwrap());
    assert!(path.exists());
}

#[test]
fn unix_listener_accepts_connections() {
    let dir = dir();
    let not_utf8 = OsStr::from_bytes(b"\xff\xfe.sock");
    for name in [OsStr::new("app.sock"), OsStr::new("a b:9000"), not_utf8] {
        let address = Address::unix(dir.path().join(name)).unwrap();
        let listener = Listener::bind(&address).unwrap();
        assert_eq!(listener.local_address().unwrap(), address);
        exchange(&listener, &address);
    }
}

#[test]
fn too_long_socket_path_is_an_error_that_says_so() {
    let address = address(&format!("/tmp/{}", "x".repeat(200)));
    for error in
        [Listener::bind(&address).unwrap_err(), Stream::connect(&address, None).unwrap_err()]
    {
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains("path must be shorter"), "{error}");
    }
}

/// Rule C31.
#[test]
fn connecting_to_a_missing_or_stale_socket_fails_at_once() {
    let dir = dir();
    let path = dir.path().join("app.sock");
    let address = Address::unix(&path).unwrap();
    assert_eq!(io_kind(Stream::connect(&address, None)), io::ErrorKind::NotFound);
    leave_stale(&path);
    assert_eq!(io_kind(Stream::connect(&address, None)), io::ErrorKind::ConnectionRefused);
}

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

#[test]
fn close_wakes_all_waiters_and_removes_the_socket_file() {
    let dir = dir();
    let path = dir.path().join("app.sock");
    let address = Address::unix(&path).unwrap();
    let listener = Listener::bind(&address).unwrap();
    with_waiters(&listener, || {
        listener.close();
        assert!(!path.exists());
        assert_eq!(io_kind(Stream::connect(&address, None)), io::ErrorKind::NotFound);
    });
    // A second listener binds the path while the first still exists. Its file must stay.
    let second = bind(&path);
    listener.close();
    drop(listener);
    exchange(&second, &address);
}

#[test]
fn close_of_an_existing_socket_refuses_connections() {
    let dir = dir();
    let path = dir.path().join("app.sock");
    let listener = Listener::from(UnixListener::bind(&path).unwrap());
    with_waiters(&listener, || listener.close());
    if REFUSES_AFTER_CLOSE {
        let outcome = Stream::connect(&Address::unix(&path).unwrap(), None);
        assert_eq!(io_kind(outcome), io::ErrorKind::ConnectionRefused);
    }
}

/// Returns a listener of each kind with a second handle of its socket, such as another process
/// may have.
fn pairs(dir: &Path) -> [(Listener, Listener); 2] {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let unix = UnixListener::bind(dir.join("app.sock")).unwrap();
    let (tcp_again, unix_again) = (tcp.try_clone().unwrap(), unix.try_clone().unwrap());
    [(tcp.into(), tcp_again.into()), (unix.into(), unix_again.into())]
}

/// Returns the socket as a stream, because `std` shows some settings of streams only.
#[track_caller]
fn settings(socket: &impl AsFd) -> TcpStream {
    socket.as_fd().try_clone_to_owned().unwrap().into()
}

#[test]
fn shared_socket_stays_open_for_other_handles() {
    let dir = dir();
    for (listener, sibling) in pairs(dir.path()) {
        let listener = listener.shared();
        let address = listener.local_address().unwrap();
        // On Linux a connection inherits the receive timeout of the listening socket. It must
        // be cleared. The listening socket has its timeout when it accepts the second
        // connection.
        exchange(&listener, &address);
        let (_client, server) = exchange(&listener, &address);
        assert_eq!(settings(&server).read_timeout().unwrap(), None);
        if cfg!(target_os = "linux") {
            with_waiters(&listener, || listener.close());
        }
        drop(listener);
        assert_eq!(settings(&sibling).read_timeout().unwrap(), None);
        exchange(&sibling, &address);
    }
}

/// Non-blocking mode belongs to the socket, so another process that has the socket can set it
/// at any time.
#[cfg(target_os = "linux")]
#[test]
fn accept_resets_non_blocking_mode() {
    use std::os::fd::AsRawFd;

    let dir = dir();
    for (listener, sibling) in pairs(dir.path()) {
        let info = format!("/proc/self/fdinfo/{}", listener.as_fd().as_raw_fd());
        let is_nonblocking = || {
            let info = fs::read_to_string(&info).unwrap();
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
            u32::from_str_radix(flags, 8).unwrap() & 0o4000 != 0
        };
        let address = listener.local_address().unwrap();
        settings(&sibling).set_nonblocking(true).unwrap();
        assert!(is_nonblocking());
        thread::scope(|scope| {
            let waiter = scope.spawn(|| listener.accept());
            while is_nonblocking() {
                thread::yield_now();
            }
            let _client = Stream::connect(&address, None).unwrap();
            assert!(waiter.join().unwrap().unwrap().is_some());
        });
    }
}

/// The path belongs to a socket that accepts input from one other socket only.
#[test]
fn bind_returns_the_error_of_a_file_that_it_may_not_use() {
    let dir = dir();
    let (path, other) = (dir.path().join("app.sock"), dir.path().join("other.sock"));
    let socket = UnixDatagram::bind(&path).unwrap();
    let _other = UnixDatagram::bind(&other).unwrap();
    socket.connect(&other).unwrap();
    assert_eq!(
        io_kind(Listener::bind(&Address::unix(&path).unwrap())),
        io::ErrorKind::PermissionDenied
    );
    assert!(path.exists());
}
