//! Proves when idle connections are closed.
#![cfg(unix)]

use std::io::{Read, Write};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use fcgi::client::{Config, Exchange, Stdin};
use fcgi::record::Role;
use fcgi::Client;

use crate::support::application::*;
use crate::support::*;

/// Returns an application that responds with the number of the connection, and reports each
/// connection that the client closes.
fn reporting_closed() -> (Application, Receiver<usize>) {
    let (report, reports) = mpsc::channel();
    let application = Application::unix(move |number, mut stream| {
        while let Some(request) = read_request(&mut stream) {
            let answer = request.response(number.to_string().as_bytes());
            stream.write_all(&answer).expect("the response is sent");
        }
        let _ended = report.send(number);
    });
    (application, reports)
}

#[track_caller]
fn fetch(client: &Client) -> String {
    let reply = client.fetch(&get_params(), b"").expect("a reply");
    String::from_utf8(reply.stdout).expect("text")
}

/// The default is 10 seconds.
#[test]
fn connection_is_not_reused_after_the_idle_timeout() {
    assert_eq!(Config::new().idle_timeout, Some(Duration::from_secs(10)));
    let (application, closed) = reporting_closed();
    let timeout = Duration::from_millis(200);
    let config = test_config().keep_alive(true).idle_timeout(Some(timeout));
    let client = application.client().config(config);
    assert_eq!([fetch(&client), fetch(&client)], ["0", "0"]);
    thread::sleep(timeout);
    assert_eq!(fetch(&client), "1");
    assert_eq!(closed.recv_timeout(TEST_TIMEOUT), Ok(0));
    drop(client);
}

#[test]
fn without_an_idle_timeout_a_connection_is_kept() {
    let (application, _closed) = reporting_closed();
    let client = application.client().config(test_config().keep_alive(true).idle_timeout(None));
    assert_eq!(fetch(&client), "0");
    thread::sleep(Duration::from_millis(50));
    assert_eq!(fetch(&client), "0");
    drop(client);
}

/// The connections in use stay open, and become idle after their requests.
#[test]
fn close_idle_closes_all_idle_connections() {
    let (application, closed) = reporting_closed();
    let client = application.keep_alive_client();
    client.close_idle();
    assert_eq!(fetch(&client), "0");
    client.close_idle();
    assert_eq!(closed.recv_timeout(TEST_TIMEOUT), Ok(0));
    client
        .send(&get_params(), std::io::empty(), |_| {
            client.close_idle();
            assert_eq!(fetch(&client), "2");
            fcgi::Result::Ok(())
        })
        .expect("a response");
    assert_eq!(fetch(&client), "1");
    client.close_idle();
    let mut numbers = [0; 2].map(|_| closed.recv_timeout(TEST_TIMEOUT).expect("a number"));
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2]);
    drop(client);
}

/// Sends a request to its end, receives its response, and returns the body, which still exists.
fn complete(exchange: Exchange<'_>) -> Stdin {
    let (mut stdin, mut stdout) = exchange.into_parts();
    stdin.finish().expect("the request is sent");
    stdout.read_to_end(&mut Vec::new()).expect("a response");
    stdin
}

/// A body that has been finished may remain with its thread, and does not keep the socket open.
#[test]
fn idle_connection_is_closed_although_its_body_exists() {
    for close in [
        (|client| Client::close_idle(&client)) as fn(Client),
        drop,
        |client| drop(client.keep_alive(true)),
        |client| {
            thread::sleep(Duration::from_millis(50));
            let other = client.begin(Role::Responder, &get_params()).expect("an exchange");
            other.finish().expect("a response");
        },
    ] {
        let (application, closed) = reporting_closed();
        let config = test_config().keep_alive(true).idle_timeout(Some(Duration::from_millis(50)));
        let client = application.client().config(config);
        let stdin = complete(client.begin(Role::Responder, &get_params()).expect("an exchange"));
        close(client);
        assert_eq!(closed.recv_timeout(TEST_TIMEOUT), Ok(0));
        drop(stdin);
    }
}

#[test]
fn connection_of_a_request_that_outlives_its_client_is_closed() {
    let (application, closed) = reporting_closed();
    let client = application.keep_alive_client();
    let exchange = client.begin(Role::Responder, &get_params()).expect("an exchange");
    drop(client);
    let stdin = complete(exchange);
    assert_eq!(closed.recv_timeout(TEST_TIMEOUT), Ok(0));
    drop(stdin);
}

/// It is the surplus of two idle connections.
#[test]
fn surplus_connection_is_closed_although_its_body_exists() {
    let (application, closed) = reporting_closed();
    let client = application.client().config(test_config().keep_alive(true).max_idle(1));
    let begin = |_| client.begin(Role::Responder, &get_params()).expect("an exchange");
    let exchanges = [0; 2].map(begin);
    let _stdins = exchanges.map(complete);
    assert_eq!(closed.recv_timeout(TEST_TIMEOUT), Ok(0));
    drop(client);
}

/// Connections of the old configuration have other timeouts, and other flags in their requests.
#[test]
fn connection_is_not_reused_after_the_configuration_has_changed() {
    let (application, closed) = reporting_closed();
    let client = application.keep_alive_client();
    assert_eq!(fetch(&client), "0");
    let client = client.config(test_config().deadline(Some(TEST_TIMEOUT)));
    assert_eq!(closed.recv_timeout(TEST_TIMEOUT), Ok(0));
    assert_eq!(fetch(&client), "1");

    let exchange = client.begin(Role::Responder, &get_params()).expect("an exchange");
    let client = client.keep_alive(false);
    exchange.finish().expect("a response");
    assert_eq!(closed.recv_timeout(TEST_TIMEOUT), Ok(1));
    assert_eq!([fetch(&client), fetch(&client)], ["2", "3"]);
}

#[test]
fn idle_connections_that_exceed_the_negotiated_limit_are_closed() {
    let (report, reports) = mpsc::channel();
    let application = Application::unix(move |number, mut stream| {
        if number == 3 {
            read_record(&mut stream).expect("a query");
            let values = record(GET_VALUES_RESULT, 0, &pair(b"FCGI_MAX_CONNS", b"1"));
            return stream.write_all(&values).expect("the answer is sent");
        }
        let request = read_request(&mut stream).expect("a request");
        stream.write_all(&request.response(b"")).expect("the response is sent");
        wait_for_close(&mut stream);
        let _the_test_has_ended = report.send(());
    });
    let client = application.keep_alive_client();
    let exchanges = [(); 3].map(|()| client.begin(Role::Responder, &get_params()).unwrap());
    for exchange in exchanges {
        exchange.finish().expect("a response");
    }
    client.negotiate().expect("the limits");
    for _ in 0..2 {
        reports.recv_timeout(TEST_TIMEOUT).expect("a connection is closed");
    }
    assert_eq!(reports.try_recv(), Err(mpsc::TryRecvError::Empty), "the last one stays open");
    drop(client);
}
