//! Proves when idle connections are closed.
#![cfg(unix)]

use std::io::Write;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use fcgi::client::Config;
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
