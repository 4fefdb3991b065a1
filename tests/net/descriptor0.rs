//! Proves that the listening socket on descriptor 0 is found and everything else is refused, and
//! that the allow list is read from the environment.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::Stdio;
use std::{env, thread};

use super::process::{answer, command};
use super::{exchange_after_close_of_another, with_waiters};
use fcgi::net::{AllowList, Listener, Stream};

/// The part of a test that runs in the other process: echoes one byte, and then closes the listener
/// while threads wait.
pub(super) fn accept() {
    match Listener::from_stdin() {
        Ok(listener) => {
            let mut stream = listener.accept().unwrap().unwrap();
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            stream.write_all(&byte).unwrap();
            with_waiters(&listener, || listener.close());
            println!("<served {}>", listener.local_address().unwrap());
        }
        Err(error) => println!("<{error}>"),
    }
}

/// The part of a test that runs in the other process.
pub(super) fn read_allow_list() {
    println!("<{:?}>", AllowList::from_env());
}

#[track_caller]
fn run(task: &str, stdin: Stdio, allowed: Option<&OsStr>) -> String {
    let mut command = command(task);
    if let Some(allowed) = allowed {
        command.env("FCGI_WEB_SERVER_ADDRS", allowed);
    }
    answer(command.stdin(stdin))
}

/// The socket is blocking or not. It can still be used after the process has ended. Rule A1.
#[test]
fn listening_socket_on_descriptor_0_is_served() {
    let dir = tempfile::tempdir().unwrap();
    for nonblocking in [false, true] {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let unix = UnixListener::bind(dir.path().join(format!("{nonblocking}.sock"))).unwrap();
        tcp.set_nonblocking(nonblocking).unwrap();
        unix.set_nonblocking(nonblocking).unwrap();
        let handles: [OwnedFd; 2] =
            [tcp.try_clone().unwrap().into(), unix.try_clone().unwrap().into()];
        for (ours, handle) in [Listener::from(tcp), unix.into()].into_iter().zip(handles) {
            // `Listener::from` made it blocking.
            let socket = TcpListener::from(handle);
            socket.set_nonblocking(nonblocking).unwrap();
            assert_served(&ours, Stdio::from(OwnedFd::from(socket)));
        }
    }
}

#[track_caller]
fn assert_served(ours: &Listener, stdin: Stdio) {
    let address = ours.local_address().unwrap();
    let answer = thread::scope(|scope| {
        // The connection waits in the backlog until the other process accepts it.
        let mut client = Stream::connect(&address, None).unwrap();
        client.write_all(b"x").unwrap();
        let child = scope.spawn(|| run("accept", stdin, None));
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
        child.join().unwrap()
    });
    assert_eq!(answer, format!("served {address}"));
    assert!(address.path().is_none_or(|path| path.exists()));
    exchange_after_close_of_another(ours, &address);
}

/// Rules A1 and A3.
#[test]
fn other_descriptor_0_is_an_error_that_names_its_kind() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let tcp = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    let (pair, _other) = UnixStream::pair().unwrap();
    let unix = UnixListener::bind(dir.path().join("app.sock")).unwrap();
    let connected = UnixStream::connect(dir.path().join("app.sock")).unwrap();
    let (named, _) = unix.accept().unwrap();
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let unbound = UnixDatagram::unbound().unwrap();
    let other_kind = "a socket that is not bound, or is neither TCP nor Unix";
    for (stdin, what) in [
        (Stdio::null(), "a device such as /dev/null"),
        (Stdio::piped(), "a pipe"),
        (File::open(env::current_exe().unwrap()).unwrap().into(), "a file"),
        (File::open(dir.path()).unwrap().into(), "a directory"),
        (OwnedFd::from(tcp).into(), "a connected socket"),
        (OwnedFd::from(accepted).into(), "a connected socket"),
        (OwnedFd::from(pair).into(), "a connected socket"),
        (OwnedFd::from(connected).into(), "a connected socket"),
        (OwnedFd::from(named).into(), "a connected socket"),
        (OwnedFd::from(udp).into(), other_kind),
        (OwnedFd::from(unbound).into(), other_kind),
    ] {
        let answer = run("accept", stdin, None);
        let expected =
            format!("descriptor 0 is {what}, not a listening socket: start the program from");
        assert!(answer.starts_with(&expected), "{answer}");
    }
}

/// Rules A5 and A6.
#[test]
fn allow_list_is_read_from_the_environment() {
    use std::os::unix::ffi::OsStrExt;

    let list: AllowList = "127.0.0.1,::1".parse().unwrap();
    for (value, answer) in [
        (None, "Ok(None)".to_owned()),
        (Some("127.0.0.1, ::1".as_ref()), format!("Ok(Some({list:?}))")),
        (
            Some("".as_ref()),
            "Err(invalid item \"\" in the list of allowed IP addresses)".to_owned(),
        ),
        (
            Some("nobody".as_ref()),
            "Err(invalid item \"nobody\" in the list of allowed IP addresses)".to_owned(),
        ),
        (
            Some(OsStr::from_bytes(b"127.0.0.1,\xff")),
            "Err(invalid item \"\u{fffd}\" in the list of allowed IP addresses)".to_owned(),
        ),
    ] {
        assert_eq!(run("allow", Stdio::null(), value), answer);
    }
}
