//! Proves that an exchange that `Client::begin` returns gives its connection back to the pool if
//! the request has ended in both directions, and closes it otherwise; that it waits for a
//! connection, and is sent again, like the requests of `Client::send`.
#![cfg(unix)]

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{mpsc, Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use fcgi::client::Exchange;
use fcgi::net::Stream;
use fcgi::record::Role;
use fcgi::{Client, Error, Params};

use crate::support::application::*;
use crate::support::*;

/// A timeout that the test reaches.
const SHORT: Duration = Duration::from_millis(50);

/// Echoes the body of every request, until the client closes the connection.
fn echo(_: usize, mut stream: Stream) {
    while read_begin_and_params(&mut stream).is_some() {
        while let Some(received) = read_record(&mut stream) {
            let is_end = received.content.is_empty();
            let mut answer = record(STDOUT, received.id, &received.content);
            if is_end {
                answer.extend(end(received.id, 0, 0));
            }
            if stream.write_all(&answer).is_err() {
                return;
            }
            if is_end {
                break;
            }
        }
    }
}

#[track_caller]
fn begin(client: &Client, params: &Params) -> Exchange<'static> {
    client.begin(Role::Responder, params).expect("an exchange")
}

/// Sends a body and reads the response in one thread.
pub(crate) fn ask(client: &Client, params: &Params, body: &[u8]) -> fcgi::Result<Vec<u8>> {
    let mut exchange = client.begin(Role::Responder, params)?;
    exchange.stdin.write_all(body)?;
    exchange.stdin.finish()?;
    let mut response = Vec::new();
    exchange.stdout.read_to_end(&mut response)?;
    exchange.finish()?;
    Ok(response)
}

/// Sends a body in another thread, and reads the response meanwhile.
fn ask_in_two_threads(client: &Client, len: u64) -> fcgi::Result<()> {
    let exchange = client.begin(Role::Responder, &upload_params(len))?;
    let (mut stdin, mut stdout) = exchange.into_parts();
    thread::scope(|scope| {
        scope.spawn(move || {
            io::copy(&mut Pattern::new(len), &mut stdin).and_then(|_| stdin.finish())
        });
        let mut expected = Pattern::new(len);
        io::copy(&mut stdout, &mut expected)?;
        assert_eq!(expected.remaining(), 0);
        stdout.finish().map(drop)
    })
}

/// Every way of ending a request: in one or two threads, with `finish` or at the end of STDOUT.
/// Rules C2 and C23.
#[test]
fn exchange_that_has_ended_gives_its_connection_back() {
    for application in Application::tcp_and_unix(echo) {
        let client = application.keep_alive_client();
        for _ in 0..5 {
            assert_eq!(ask(&client, &get_params(), b"").unwrap(), b"");
            assert_eq!(ask(&client, &post_params(), b"body").unwrap(), b"body");
            assert_eq!(client.fetch(&post_params(), b"fetch").unwrap().stdout, b"fetch");
            thread::sleep(Duration::from_millis(3));
            begin(&client, &get_params()).finish().unwrap();

            let mut exchange = begin(&client, &get_params());
            exchange.stdin.finish().unwrap();
            exchange.stdout.read_to_end(&mut Vec::new()).unwrap();
            drop(exchange);

            let (mut stdin, mut stdout) = begin(&client, &post_params()).into_parts();
            stdin.write_all(b"parts").unwrap();
            stdin.finish().unwrap();
            let mut response = String::new();
            stdout.read_to_string(&mut response).unwrap();
            drop(stdout);
            assert_eq!(response, "parts");
            assert_eq!(ask(&client, &post_params(), b"after").unwrap(), b"after");
            drop(stdin);
        }
        assert_eq!(application.accepted(), 1);
        drop(client);
    }
}

/// The thread that sends the end of the body may take a moment too long now and then.
#[test]
fn connection_is_kept_after_a_large_body_from_another_thread() {
    let application = Application::unix(echo);
    let client = application.keep_alive_client();
    for _ in 0..5 {
        ask_in_two_threads(&client, 4 << 20).unwrap();
    }
    assert!(application.accepted() < 5, "no connection was used again");
    drop(client);
}

/// It also outlives the client. The connection is then closed.
#[test]
fn exchange_can_be_moved_to_another_thread() {
    let application = Application::unix(echo);
    let client = application.keep_alive_client();
    let mut exchange = begin(&client, &post_params());
    drop(client);
    let moved = thread::spawn(move || {
        exchange.stdin.write_all(b"moved").unwrap();
        exchange.stdin.finish().unwrap();
        let mut response = String::new();
        exchange.stdout.read_to_string(&mut response).unwrap();
        exchange.finish().unwrap();
        response
    });
    assert_eq!(moved.join().unwrap(), "moved");
}

/// The request is dropped at several points, on a new and on a kept connection. The application
/// sees the close, and the next request has a connection of its own. Rule C20.
#[test]
fn exchange_that_is_dropped_early_closes_its_connection() {
    for (point, is_kept) in (0..5).flat_map(|point| [(point, false), (point, true)]) {
        let (report, reports) = mpsc::channel();
        let application = Application::unix(move |number, mut stream| {
            if number > 0 || is_kept {
                let request = read_request(&mut stream).expect("a request");
                stream.write_all(&request.response(b"whole")).expect("the response is sent");
            }
            if number == 0 && stream.read_exact(&mut [0]).is_ok() {
                let id = if is_kept { 2 } else { 1 };
                let _closed = stream.write_all(&record(STDOUT, id, b"part"));
            }
            wait_for_close(&mut stream);
            report.send(number).expect("the test waits");
        });
        let client = application.keep_alive_client();
        if is_kept {
            client.fetch(&get_params(), b"").unwrap();
        }
        let mut exchange = begin(&client, &post_params());
        if point > 0 {
            exchange.stdin.write_all(b"a part").unwrap();
        }
        if point > 1 {
            exchange.stdin.flush().unwrap();
        }
        if point > 2 {
            exchange.stdout.read_exact(&mut [0]).unwrap();
        }
        if point > 3 {
            let (stdin, stdout) = exchange.into_parts();
            drop(stdout);
            drop(stdin);
        } else {
            drop(exchange);
        }
        assert_eq!(reports.recv_timeout(TEST_TIMEOUT), Ok(0), "{point}");
        assert_eq!(client.fetch(&get_params(), b"").unwrap().stdout, b"whole", "{point}");
        assert_eq!(application.accepted(), 2, "{point}");
        drop(client);
    }
}

/// The body is dropped on one thread while another one reads the response.
#[test]
fn body_that_is_dropped_before_its_end_cancels_the_request() {
    let application = Application::unix(|_, mut stream| wait_for_close(&mut stream));
    let client = application.keep_alive_client();
    let (mut stdin, mut stdout) = begin(&client, &post_params()).into_parts();
    let reading = thread::spawn(move || stdout.read(&mut [0]).unwrap_err().kind());
    stdin.write_all(b"a part").unwrap();
    stdin.flush().unwrap();
    drop(stdin);
    assert_eq!(reading.join().unwrap(), io::ErrorKind::UnexpectedEof);
}

/// The application reads none of the body and keeps the connection open. Rule C8.
#[test]
fn response_that_ends_early_wakes_the_thread_that_writes_the_body() {
    let (gate, open) = gate();
    let application = Application::unix(move |_, mut stream| {
        let request = read_begin_and_params(&mut stream).expect("the start of a request");
        stream.write_all(&request.response(b"early")).expect("the response is sent");
        gate.wait();
    });
    let client = application.keep_alive_client();
    let response = run_with_timeout(move || {
        let (mut stdin, mut stdout) = begin(&client, &upload_params(64 << 20)).into_parts();
        thread::scope(|scope| {
            scope.spawn(move || io::copy(&mut Pattern::new(64 << 20), &mut stdin));
            let mut response = String::new();
            stdout.read_to_string(&mut response).unwrap();
            stdout.finish().unwrap();
            response
        })
    });
    assert_eq!(response.expect("no panic"), "early");
    drop(open);
}

/// A request waits for the end of an exchange, and no longer than the connect timeout.
#[test]
fn exchange_counts_as_a_connection_until_it_ends() {
    let application = Application::unix(echo);
    let config = test_config().max_connections(Some(1)).keep_alive(true);
    let client = application.client().config(config.clone().connect_timeout(Some(SHORT)));
    let exchange = begin(&client, &get_params());
    for outcome in [
        client.begin(Role::Responder, &get_params()).map(drop),
        client.fetch(&get_params(), b"").map(drop),
    ] {
        let error = outcome.expect_err("no free connection");
        assert!(matches!(error, Error::Connect { .. }), "{error}");
        let reason = ": waiting for a free connection timed out after 50 ms";
        assert!(error.to_string().ends_with(reason), "{error}");
    }
    drop(exchange);

    let client = client.config(config);
    for is_finished in [true, false] {
        let exchange = begin(&client, &get_params());
        thread::scope(|scope| {
            let waiting = scope.spawn(|| ask(&client, &post_params(), b"waited"));
            thread::sleep(SHORT);
            assert!(!waiting.is_finished());
            if is_finished {
                exchange.finish().unwrap();
            } else {
                drop(exchange);
            }
            assert_eq!(waiting.join().unwrap().unwrap(), b"waited");
        });
    }
}

/// Each thread ends its requests in a random way. A response to another request would differ.
#[test]
fn no_response_reaches_another_request() {
    let server = TestServer::unix(fcgi::server::Config::new(), |request| {
        request.stdout.write_all(ECHO_HEAD.as_bytes())?;
        io::copy(&mut request.stdin, &mut request.stdout)?;
        Ok(())
    });
    let config = test_config().max_connections(Some(3)).keep_alive(true);
    let client = Client::from(server.address.clone()).config(config);
    thread::scope(|scope| {
        for thread in 0..6 {
            let client = &client;
            scope.spawn(move || {
                for request in 0..200 {
                    let body = format!("{thread} {request} {}", "x".repeat(request * 7));
                    let mut exchange = begin(client, &upload_params(body.len() as u64));
                    exchange.stdin.write_all(body.as_bytes()).unwrap();
                    if request % 5 == 1 {
                        continue;
                    }
                    exchange.stdin.finish().unwrap();
                    if request % 5 == 2 {
                        continue;
                    }
                    let mut response = vec![0; body.len()];
                    exchange.stdout.read_head().unwrap();
                    exchange.stdout.read_exact(&mut response).unwrap();
                    assert_eq!(String::from_utf8_lossy(&response), body);
                    if request % 5 > 3 {
                        exchange.finish().unwrap();
                    }
                }
            });
        }
    });
}

/// Exchanging the parts of two requests does not make an incomplete one reusable.
#[test]
fn exchanged_parts_do_not_make_a_connection_reusable() {
    let application = Application::unix(|_, mut stream| {
        let request = read_begin_and_params(&mut stream).expect("the start of a request");
        stream.write_all(&request.response(b"early")).expect("the response is sent");
        wait_for_close(&mut stream);
    });
    let client = application.keep_alive_client();
    let (mut one, mut other) = (begin(&client, &post_params()), begin(&client, &post_params()));
    one.stdin.finish().unwrap();
    other.stdin.flush().unwrap();
    std::mem::swap(&mut one.stdin, &mut other.stdin);
    other.finish().unwrap();
    drop(one);
    // Neither connection is reusable: the body of one was not sent, the other one was dropped.
    assert_eq!(client.fetch(&get_params(), b"").unwrap().stdout, b"early");
    assert_eq!(application.accepted(), 3);
    drop(client);
}

/// Answers the first request of the first connection. Then `fail` ends that connection after the
/// next request has been read. Later connections serve all requests.
fn failing(fail: impl Fn(Stream) + Send + Sync + Clone + 'static) -> [Application; 2] {
    Application::tcp_and_unix(move |number, mut stream| {
        let mut count = 0;
        while let Some(request) = read_request(&mut stream) {
            if (number, count) == (0, 1) {
                return fail(stream);
            }
            count += 1;
            let answer = request.response(&[&request.stdin[..], b" answered"].concat());
            stream.write_all(&answer).expect("the response is sent");
        }
    })
}

/// Its method is idempotent, and all of it was sent at once.
#[test]
fn lost_request_is_sent_again_if_it_may_be_repeated() {
    let mut put = post_params();
    put.set("REQUEST_METHOD", "PUT").unwrap();
    for (params, body) in [(get_params(), &b""[..]), (put, b"body")] {
        for application in failing(drop) {
            let client = application.keep_alive_client();
            client.fetch(&get_params(), b"").unwrap();
            let response = ask(&client, &params, body).unwrap();
            assert_eq!(response, [body, b" answered"].concat());
            assert_eq!(application.accepted(), 2);
            // The new connection is kept.
            assert_eq!(ask(&client, &post_params(), b"next").unwrap(), b"next answered");
            assert_eq!(application.accepted(), 2);
            drop(client);
        }
    }
}

#[test]
fn lost_request_is_not_sent_again_if_it_may_not_be_repeated() {
    for application in failing(drop) {
        let client = application.keep_alive_client();
        client.fetch(&get_params(), b"").unwrap();
        ask(&client, &post_params(), b"body").unwrap_err();

        client.fetch(&get_params(), b"").unwrap();
        assert_eq!(application.accepted(), 2);
        drop(client);
    }
}

/// A part of the body was sent before the rest.
#[test]
fn lost_request_that_was_sent_in_parts_is_not_sent_again() {
    for application in failing(drop) {
        let client = application.keep_alive_client();
        client.fetch(&get_params(), b"").unwrap();
        let mut exchange = begin(&client, &get_params());
        exchange.stdin.write_all(b"a part").unwrap();
        exchange.stdin.flush().unwrap();
        exchange.stdin.finish().unwrap();
        exchange.stdout.read(&mut [0]).unwrap_err();
        drop(exchange);
        assert_eq!(application.accepted(), 1);
        drop(client);
    }
}

#[test]
fn answered_request_is_not_sent_again() {
    for application in failing(|mut stream| {
        stream.write_all(&record(STDOUT, 2, b"half")).expect("the response is sent");
    }) {
        let client = application.keep_alive_client();
        client.fetch(&get_params(), b"").unwrap();
        let outcome = ask(&client, &get_params(), b"");
        assert!(matches!(outcome, Err(Error::UnexpectedEof(_))), "{outcome:?}");
        assert_eq!(application.accepted(), 1);
        drop(client);
    }
}

/// Nothing of it could be sent, so its method does not matter. The response is read by another
/// thread, which waits for the new connection.
#[test]
fn request_is_sent_on_a_new_connection_if_the_kept_one_is_closed_before_its_first_byte() {
    let (report, reports) = mpsc::channel();
    let (resume, resumed) = mpsc::channel();
    let resumed = Mutex::new(resumed);
    let application = Application::unix(move |number, mut stream| {
        while let Some(request) = read_request(&mut stream) {
            stream.write_all(&request.response(&request.stdin)).expect("the response is sent");
            if number == 0 {
                resumed.lock().unwrap().recv_timeout(TEST_TIMEOUT).expect("the test waits");
                drop(stream);
                return report.send(()).expect("the test waits");
            }
        }
    });
    let client = application.keep_alive_client();
    client.fetch(&get_params(), b"").unwrap();
    let (mut stdin, mut stdout) = begin(&client, &post_params()).into_parts();
    let reading = thread::spawn(move || {
        let mut response = String::new();
        stdout.read_to_string(&mut response).map(|_| response)
    });
    resume.send(()).unwrap();
    reports.recv_timeout(TEST_TIMEOUT).unwrap();
    stdin.write_all(b"body").unwrap();
    stdin.finish().unwrap();
    assert_eq!(reading.join().unwrap().unwrap(), "body");
    assert_eq!(ask(&client, &post_params(), b"next").unwrap(), b"next");
    assert_eq!(application.accepted(), 2);
    drop(client);
}

/// The request may be repeated, and the application closes the connection on ABORT_REQUEST.
#[test]
fn aborted_request_is_not_sent_again() {
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&requests);
    let application = Application::unix(move |_, mut stream| {
        while let Some(request) = read_request(&mut stream) {
            if counter.fetch_add(1, SeqCst) > 0 {
                let next = read_record(&mut stream).expect("the next record");
                assert_eq!(next.record_type, ABORT);
                return;
            }
            stream.write_all(&request.response(b"")).expect("the response is sent");
        }
    });
    let client = application.keep_alive_client();
    client.fetch(&get_params(), b"").unwrap();
    let mut exchange = begin(&client, &get_params());
    exchange.stdin.finish().unwrap();
    let outcome = exchange.abort();
    assert!(matches!(outcome, Err(Error::UnexpectedEof(_))), "{outcome:?}");
    assert_eq!((requests.load(SeqCst), application.accepted()), (2, 1));
}

/// The kept connection is closed without a response, so the request is sent again on another one.
#[test]
fn abort_is_sent_on_the_connection_on_which_the_request_was_repeated() {
    let (report, reports) = mpsc::channel();
    let application = Application::unix(move |number, mut stream| {
        let request = read_request(&mut stream).expect("a request");
        if number == 0 {
            stream.write_all(&request.response(b"")).expect("the response is sent");
            return drop(read_request(&mut stream));
        }
        stream.write_all(&record(STDOUT, request.id, b"part")).expect("a part is sent");
        let next = read_record(&mut stream).expect("the next record");
        report.send(next.record_type).expect("the test waits");
        stream.write_all(&end(request.id, 0, 0)).expect("the end is sent");
    });
    let client = application.keep_alive_client();
    client.fetch(&get_params(), b"").unwrap();
    let mut exchange = begin(&client, &get_params());
    exchange.stdin.finish().unwrap();
    exchange.stdout.read_exact(&mut [0]).unwrap();
    exchange.abort().unwrap();
    assert_eq!(reports.recv_timeout(TEST_TIMEOUT), Ok(ABORT));
}

/// The application closes the kept connection, and ends, before the first byte is sent.
#[test]
fn response_reports_why_its_request_could_not_be_sent() {
    let (report, reports) = mpsc::channel();
    let (resume, resumed) = mpsc::channel();
    let resumed = Mutex::new(resumed);
    let application = Application::unix(move |_, mut stream| {
        let request = read_request(&mut stream).expect("a request");
        stream.write_all(&request.response(b"")).expect("the response is sent");
        resumed.lock().unwrap().recv_timeout(TEST_TIMEOUT).expect("the test waits");
        drop(stream);
        report.send(()).expect("the test waits");
    });
    let client = application.keep_alive_client();
    client.fetch(&get_params(), b"").unwrap();
    let mut exchange = begin(&client, &post_params());
    resume.send(()).unwrap();
    reports.recv_timeout(TEST_TIMEOUT).unwrap();
    drop(application);
    let written: Error = exchange.stdin.finish().unwrap_err().into();
    assert!(matches!(written, Error::Connect { .. }), "{written:?}");
    for _ in 0..2 {
        let read: Error = exchange.stdout.read(&mut [0]).unwrap_err().into();
        assert!(matches!(read, Error::Connect { .. }), "{read:?}");
    }
}

/// The application restarts between two requests.
#[test]
fn kept_connection_that_is_closed_is_replaced() {
    let application = Application::unix(|number, mut stream| {
        let request = read_request(&mut stream).expect("a request");
        let answer = request.response(number.to_string().as_bytes());
        stream.write_all(&answer).expect("the response is sent");
    });
    let client = application.keep_alive_client();
    for (number, params) in [get_params(), post_params(), get_params()].iter().enumerate() {
        let response = ask(&client, params, b"").unwrap();
        assert_eq!(response, number.to_string().as_bytes());
        thread::sleep(Duration::from_millis(3));
    }
    drop(client);
}

/// Nothing has been written. The request is not idempotent, or follows after more than a
/// millisecond.
#[test]
fn begin_replaces_a_kept_connection_that_is_closed() {
    for params in [get_params(), post_params(), upload_params(4)] {
        let application = Application::unix(|_, mut stream| {
            let request = read_request(&mut stream).expect("a request");
            stream.write_all(&request.response(&request.stdin)).expect("the response is sent");
        });
        let client = application.keep_alive_client();
        client.fetch(&get_params(), b"").unwrap();
        thread::sleep(Duration::from_millis(3));
        let mut exchange = begin(&client, &params);
        wait_until("another connection is accepted", || application.accepted() == 2);
        exchange.stdin.write_all(b"body").unwrap();
        exchange.stdin.finish().unwrap();
        let mut response = String::new();
        exchange.stdout.read_to_string(&mut response).unwrap();
        assert_eq!(response, "body");
        drop((exchange, client));
    }
}

/// The handle was created before anything was sent. Without a response, the request would be sent
/// again.
#[test]
fn canceled_request_is_not_sent_again() {
    let (report, reports) = mpsc::channel();
    let application = Application::unix(move |_, mut stream| {
        let request = read_request(&mut stream).expect("a request");
        stream.write_all(&request.response(b"first")).expect("the response is sent");
        read_request(&mut stream).expect("a request");
        report.send(()).expect("the test waits");
        wait_for_close(&mut stream);
    });
    let client = application.keep_alive_client();
    client.fetch(&get_params(), b"").unwrap();
    let mut exchange = begin(&client, &get_params());
    let handle = exchange.stdout.cancel_handle();
    exchange.stdin.finish().unwrap();
    let reading = thread::spawn(move || exchange.finish().unwrap_err().kind());
    reports.recv_timeout(TEST_TIMEOUT).unwrap();
    handle.cancel();
    assert_eq!(reading.join().unwrap(), io::ErrorKind::UnexpectedEof);
    assert_eq!(application.accepted(), 1);
    drop(client);
}

/// A caller that reads before it has sent anything waits for the read timeout, on a kept connection
/// as on a new one.
#[test]
fn response_that_is_read_before_the_request_is_sent_times_out() {
    let application = Application::unix(echo);
    let client = application.client().config(test_config().read_timeout(Some(SHORT)));
    let client = client.keep_alive(true);
    for _ in 0..2 {
        let mut exchange = begin(&client, &get_params());
        let start = Instant::now();
        let error = exchange.stdout.read(&mut [0]).unwrap_err();
        assert_eq!(error.to_string(), "read timed out after 50 ms");
        assert!(start.elapsed() >= SHORT);
        drop(exchange);
        client.fetch(&get_params(), b"").unwrap();
    }
    drop(client);
}

/// The application answers after it has read a part of the request, and keeps the connection open.
#[test]
fn connection_that_has_not_taken_the_whole_request_is_closed() {
    let (report, reports) = mpsc::channel();
    let (gate, open) = gate();
    let application = Application::unix(move |_, mut stream| {
        let request = read_request(&mut stream).expect("the first request");
        stream.write_all(&request.response(b"")).expect("the response is sent");
        stream.read_exact(&mut [0; 1000]).expect("a part of the second request");
        stream.shutdown(Shutdown::Read).expect("nothing more is received");
        stream.write_all(&response_to(2, b"")).expect("the response is sent");
        gate.wait();
        while stream.write_all(b"stray").is_ok() {}
        report.send(()).expect("the test waits");
    });
    let client = application.keep_alive_client();
    client.fetch(&get_params(), b"").unwrap();
    let mut params = get_params();
    params.push("LONG", vec![b'v'; 4 << 20]).unwrap();
    let mut exchange = begin(&client, &params);
    exchange.stdin.finish().expect("an incomplete write may be repeated");
    exchange.finish().expect("a response");
    drop(open);
    reports.recv_timeout(TEST_TIMEOUT).expect("the connection is closed");
    drop(client);
}

/// The deadline is counted from `begin`.
#[test]
fn exchange_ends_at_its_deadline() {
    // Long enough to connect on a busy machine.
    let deadline = Duration::from_millis(500);
    let application = Application::unix(echo);
    let client = application.client().config(test_config().deadline(Some(deadline)));
    let mut exchange = begin(&client, &get_params());
    thread::sleep(deadline);
    let error = exchange.stdin.finish().unwrap_err();
    assert_eq!(error.to_string(), "request timed out after 500 ms");
    assert!(exchange.finish().is_err());
}

/// A refusal for lack of resources lowers the limit on connections. Rule C9.
#[test]
fn refused_exchange_lowers_the_limit() {
    let application = Application::unix(|number, mut stream| {
        while let Some(request) = read_request(&mut stream) {
            let status = if number == 1 { 2 } else { 0 };
            let answer = [record(STDOUT, request.id, b""), end(request.id, 0, status)];
            stream.write_all(&answer.concat()).expect("the response is sent");
        }
    });
    let config = test_config().connect_timeout(Some(SHORT)).keep_alive(true);
    let client = application.client().config(config);
    let mut held = begin(&client, &get_params());
    held.stdin.flush().unwrap();
    while application.accepted() == 0 {
        thread::yield_now();
    }
    let refused = begin(&client, &get_params()).finish();
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    let waiting = client.begin(Role::Responder, &get_params()).map(drop).unwrap_err();
    assert!(waiting.to_string().contains("waiting for a free connection"), "{waiting}");
    held.finish().unwrap();
    begin(&client, &get_params()).finish().unwrap();
    drop(client);
}

#[test]
fn nothing_is_sent_if_nothing_listens() {
    let client = Client::new("127.0.0.1:1").unwrap();
    let error = client.begin(Role::Responder, &get_params()).map(drop).unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error}");
    assert_eq!(error.to_string(), "cannot connect to 127.0.0.1:1: connection refused");
}

/// The application answers and stops reading before it has read the body.
#[test]
fn body_that_cannot_be_sent_leaves_the_response_valid() {
    let application = Application::unix(|_, mut stream| {
        read_begin_and_params(&mut stream);
        stream.write_all(&response(b"Status: 403\n\nrefused")).expect("the response is sent");
        stream.shutdown(Shutdown::Read).expect("the connection is open");
    });
    let mut exchange = begin(&application.client(), &upload_params(1 << 30));
    exchange.send_body(io::repeat(b'x').take(1 << 30)).expect("no error of the body");
    assert_eq!(exchange.stdout.read_head().expect("a head").status(), 403);
}

/// The application begins its answer, but neither reads the body nor closes the connection. The
/// response may be that to a part of the body.
#[test]
fn body_that_is_not_read_in_time_is_an_error() {
    // Long enough to connect on a busy machine.
    let deadline = Duration::from_millis(500);
    for (config, message) in [
        (test_config().write_timeout(Some(SHORT)), "write timed out after 50 ms"),
        (test_config().deadline(Some(deadline)), "request timed out after 500 ms"),
    ] {
        let (resume, resumed) = mpsc::channel::<()>();
        let resumed = Mutex::new(resumed);
        let application = Application::unix(move |_, mut stream| {
            read_begin_and_params(&mut stream);
            stream.write_all(&response(b"Status: 200\n\npart")).expect("the response is sent");
            let _ended = resumed.lock().expect("a lock").recv_timeout(TEST_TIMEOUT);
        });
        let client = application.client().config(config);
        let mut exchange = begin(&client, &upload_params(1 << 30));
        for _ in 0..2 {
            let error = exchange.send_body(io::repeat(b'x').take(1 << 30)).expect_err("a timeout");
            assert_eq!((error.kind(), &*error.to_string()), (io::ErrorKind::TimedOut, message));
        }
        assert_eq!(exchange.stdin.finish().expect_err("a timeout").to_string(), message);
        assert_eq!(exchange.finish().expect_err("a timeout").to_string(), message);
        drop(resume);
    }
}

#[test]
fn body_is_sent_to_its_end() {
    let application = Application::unix(echo);
    // The buffers of the system hold the whole echo.
    let (body, mut echoed) = (Pattern::bytes(50_000), Vec::new());
    let mut exchange = begin(&application.client(), &upload_params(50_000));
    exchange.send_body(&body[..]).expect("the body is sent");
    exchange.stdout.read_to_end(&mut echoed).expect("the echo");
    assert_eq!(echoed, body);
}

#[test]
fn body_that_cannot_be_read_is_an_error() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("broken"))
        }
    }
    let (report, ends) = mpsc::channel();
    let report = Mutex::new(report);
    let application = Application::unix(move |_, mut stream| {
        read_begin_and_params(&mut stream);
        let mut is_finished = false;
        while let Some(received) = read_record(&mut stream) {
            is_finished |= received.content.is_empty();
        }
        report.lock().expect("a lock").send(is_finished).expect("the test waits");
    });
    let mut exchange = begin(&application.client(), &upload_params(200_000));
    let body = io::repeat(b'x').take(100_000).chain(Broken);
    assert_eq!(exchange.send_body(body).expect_err("an error").to_string(), "broken");
    drop(exchange);
    let is_finished = ends.recv_timeout(TEST_TIMEOUT).expect("the connection ends");
    assert!(!is_finished, "the application received the end of the body");
}

/// Nothing of it had been sent, and another connection would not be counted.
#[test]
fn request_whose_response_was_dropped_is_not_sent() {
    for is_kept in [false, true] {
        let application = Application::unix(echo);
        let client = application.keep_alive_client();
        if is_kept {
            client.fetch(&get_params(), b"").unwrap();
        }
        let (mut stdin, stdout) = begin(&client, &post_params()).into_parts();
        drop(stdout);
        stdin.write_all(b"body").unwrap();
        let error = stdin.finish().expect_err("the request is canceled");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        // The application may accept the connection after the client has closed it.
        wait_until("one connection is accepted", || application.accepted() == 1);
        drop(client);
    }
}

/// The body has been moved to another connection, which the response has not used yet.
#[test]
fn dropped_response_cancels_the_request_on_its_new_connection() {
    let (report, reports) = mpsc::channel();
    let (resume, resumed) = mpsc::channel();
    let resumed = Mutex::new(resumed);
    let application = Application::unix(move |number, mut stream| {
        if number == 0 {
            let request = read_request(&mut stream).expect("a request");
            stream.write_all(&request.response(b"")).expect("the response is sent");
            resumed.lock().unwrap().recv_timeout(TEST_TIMEOUT).expect("the test waits");
        } else {
            wait_for_close(&mut stream);
        }
        drop(stream);
        report.send(number).expect("the test waits");
    });
    let client = application.keep_alive_client();
    client.fetch(&get_params(), b"").unwrap();
    let (mut stdin, stdout) = begin(&client, &post_params()).into_parts();
    resume.send(()).unwrap();
    assert_eq!(reports.recv_timeout(TEST_TIMEOUT), Ok(0));
    stdin.write_all(b"a part").unwrap();
    stdin.flush().unwrap();
    drop(stdout);
    assert_eq!(reports.recv_timeout(TEST_TIMEOUT), Ok(1));
    stdin.write_all(b"the rest").unwrap();
    stdin.finish().expect_err("the request is canceled");
    drop(client);
}
