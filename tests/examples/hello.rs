//! Tests of the example `hello`, a single call of `fcgi::run`: it serves the listening socket on
//! descriptor 0, responds to a CGI call, and otherwise prints how to start it.
#![cfg(unix)]

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use crate::example::{self, KillOnDrop};
use fcgi::net::Address;
use fcgi::{Client, Params};

fn serve(listener: OwnedFd) -> KillOnDrop {
    KillOnDrop(
        Command::new(example::path("hello"))
            .env_clear()
            .stdin(listener)
            .spawn()
            .expect("hello starts"),
    )
}

#[track_caller]
fn assert_greets(address: Address) {
    let params = Params::from_pairs([("REMOTE_ADDR", "192.0.2.1")]).expect("params");
    let reply = Client::from(address).fetch(&params, b"").expect("a response");
    assert_eq!(reply.split_head().expect("a head").1, b"Hello, 192.0.2.1.\n");
}

/// Rules A1 and A3.
#[test]
fn hello_serves_the_listening_socket_on_descriptor_0() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listening socket");
    let address = listener.local_addr().expect("its address");
    let _hello = serve(listener.into());
    assert_greets(address.into());

    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("hello.sock");
    let _hello = serve(UnixListener::bind(&path).expect("a listening socket").into());
    assert_greets(Address::unix(path).expect("an address"));
}

/// Rule A3.
#[test]
fn hello_responds_to_a_cgi_call() {
    let call = [("GATEWAY_INTERFACE", "CGI/1.1"), ("REMOTE_ADDR", "192.0.2.1")];
    let output = example::run("hello", &[], &call, b"");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "Content-Type: text/plain\r\n\r\nHello, 192.0.2.1.\n"
    );
    assert!(output.status.success() && output.stderr.is_empty());
}

/// Rule A3.
#[test]
fn hello_prints_how_to_start_it() {
    let mut nothing = Command::new(example::path("hello"));
    let output = nothing.env_clear().stdin(Stdio::null()).output().expect("hello ends");
    let reason = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(reason.contains("descriptor 0 is") && reason.contains("spawn-fcgi"), "{reason}");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
}

#[test]
fn hello_names_the_remedy_if_systemd_has_passed_another_descriptor() {
    let mut command = Command::new(example::path("hello"));
    command.env_clear().env("LISTEN_FDS", "1").stdin(Stdio::null());
    let output = command.output().expect("hello ends");
    let reason = String::from_utf8_lossy(&output.stderr).into_owned();
    for part in ["descriptor 0 is", "LISTEN_FDS", "StandardInput=socket", "<&3"] {
        assert!(reason.contains(part), "{reason}");
    }
}

/// Rule A4.
#[test]
fn environment_is_not_among_the_params() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listening socket");
    let address = listener.local_addr().expect("its address");
    let mut command = Command::new(example::path("hello"));
    command.env_clear().env("REMOTE_ADDR", "192.0.2.99").stdin(OwnedFd::from(listener));
    let _hello = KillOnDrop(command.spawn().expect("hello starts"));
    let reply =
        Client::from(Address::from(address)).fetch(&Params::new(), b"").expect("a response");
    assert!(
        reply.stdout.ends_with(b"Hello, stranger.\n"),
        "{:?}",
        String::from_utf8_lossy(&reply.stdout)
    );
}
