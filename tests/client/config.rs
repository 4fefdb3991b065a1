//! Proves that the order of the builder calls of a client makes no difference, and that a timeout
//! may be as long as a `Duration` can be.
#![cfg(unix)]

use std::io::Write;
use std::thread;
use std::time::Duration;

use fcgi::client::Config;
use fcgi::Client;

use crate::support::application::*;

/// Returns an application that responds with the KEEP_CONN flag of the request.
fn responding_with_flags() -> Application {
    Application::unix(|_, mut stream| {
        while let Some(request) = read_request(&mut stream) {
            let flags = request.flags.to_string();
            stream.write_all(&request.response(flags.as_bytes())).expect("the response is sent");
        }
    })
}

#[test]
fn keep_alive_of_the_client_overrides_the_config_in_any_order() {
    let application = responding_with_flags();
    let client = || Client::from(application.address.clone());
    let config = |keep_alive| test_config().keep_alive(keep_alive);
    let cases = [
        (client().config(config(false)), "0"),
        (client().config(config(true)), "1"),
        (client().keep_alive(true).config(config(false)), "1"),
        (client().config(config(false)).keep_alive(true), "1"),
        (client().keep_alive(false).config(config(true)), "0"),
        (client().config(config(true)).keep_alive(false), "0"),
        (client().keep_alive(false).keep_alive(true).config(config(false)), "1"),
        (client().config(config(true)).config(config(false)), "0"),
    ];
    for (number, (client, flags)) in cases.iter().enumerate() {
        let reply = client.fetch(&get_params(), b"").unwrap();
        assert_eq!(String::from_utf8_lossy(&reply.stdout), *flags, "case {number}");
    }
    drop(cases);
}

/// The second request waits for the connection of the first one, for as long as that takes.
#[test]
fn timeouts_may_be_of_any_length() {
    let longest = Some(Duration::MAX);
    let config =
        Config::new().connect_timeout(longest).read_timeout(longest).write_timeout(longest);
    for application in Application::tcp_and_unix(|_, mut stream| {
        read_request(&mut stream).expect("a request");
        // Give the other request time to wait.
        thread::sleep(Duration::from_millis(50));
        stream.write_all(&response(b"")).expect("the response is sent");
    }) {
        let client = application.client().config(config.clone().max_connections(Some(1)));
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| client.fetch(&get_params(), b"").expect("a response"));
            }
        });
    }
}
