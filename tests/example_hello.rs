//! The example `hello`, which is one `fcgi::run`: it serves the listening socket on descriptor 0,
//! answers a CGI call, and says how to start it otherwise (rules A1, A3, A4).
#![cfg(unix)]

#[path = "support/example.rs"]
mod example;

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use example::Ended;
use fcgi::net::Address;
use fcgi::{Client, Params};

fn serve(listener: OwnedFd) -> Ended {
    Ended(
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
    let reply = Client::from(address).fetch(&params, b"").expect("an answer");
    assert_eq!(reply.split_head().expect("a head").1, b"Hello, 192.0.2.1.\n");
}

#[test]
fn a1_it_serves_the_socket_on_descriptor_0() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listening socket");
    let address = listener.local_addr().expect("its address");
    let _hello = serve(listener.into());
    assert_greets(address.into());

    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("hello.sock");
    let _hello = serve(UnixListener::bind(&path).expect("a listening socket").into());
    assert_greets(Address::unix(path).expect("an address"));
}

#[test]
fn a3_it_answers_a_cgi_call() {
    let call = [("GATEWAY_INTERFACE", "CGI/1.1"), ("REMOTE_ADDR", "192.0.2.1")];
    let output = example::run("hello", &[], &call, b"");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "Content-Type: text/plain\r\n\r\nHello, 192.0.2.1.\n"
    );
    assert!(output.status.success() && output.stderr.is_empty());
}

#[test]
fn a3_started_otherwise_it_says_how_to_start_it() {
    let mut nothing = Command::new(example::path("hello"));
    let output = nothing.env_clear().stdin(Stdio::null()).output().expect("hello ends");
    let reason = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(reason.contains("descriptor 0 is") && reason.contains("spawn-fcgi"), "{reason}");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
}

/// A param that is only in the process's environment is none.
#[test]
fn a4_the_environment_is_not_among_the_params() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listening socket");
    let address = listener.local_addr().expect("its address");
    let mut command = Command::new(example::path("hello"));
    command.env_clear().env("REMOTE_ADDR", "192.0.2.99").stdin(OwnedFd::from(listener));
    let _hello = Ended(command.spawn().expect("hello starts"));
    let reply = Client::from(Address::from(address)).fetch(&Params::new(), b"").expect("an answer");
    assert!(
        reply.stdout.ends_with(b"Hello, stranger.\n"),
        "{:?}",
        String::from_utf8_lossy(&reply.stdout)
    );
}
