//! Proves when a kept connection is reused and when it is not, and when a request is sent again on
//! another connection.
#![cfg(unix)]

use std::io::{self, Read, Write};
use std::sync::{mpsc, Arc, Mutex};
use std::thread;
use std::time::Duration;

use fcgi::client::{Body, Connection};
use fcgi::net::Stream;
use fcgi::record::Role;
use fcgi::{Client, Error, Params};

use crate::support::application::*;
use crate::support::*;

/// Waits until the client checks an idle connection before it reuses it.
fn idle_for_a_while() {
    thread::sleep(Duration::from_millis(3));
}

/// Responds to every request with the number of its connection.
fn serve(number: usize, mut stream: Stream) {
    while let Some(request) = read_request(&mut stream) {
        stream
            .write_all(&request.response(number.to_string().as_bytes()))
            .expect("the response is sent");
    }
}

#[track_caller]
fn fetch(client: &Client) -> String {
    let reply = client.fetch(&get_params(), b"").expect("a reply");
    String::from_utf8(reply.stdout).expect("text")
}

/// Each kind of request follows at once or after a pause. Rules C2 and C23.
#[test]
fn kept_connection_serves_all_requests() {
    for application in Application::tcp_and_unix(serve) {
        let client = application.keep_alive_client();
        for _ in 0..5 {
            assert_eq!(fetch(&client), "0");
            client.fetch(&post_params(), b"body").unwrap();
            client.send(&get_params(), io::empty(), |_| fcgi::Result::Ok(())).unwrap();
            client
                .send_as(Role::Authorizer, &get_params(), io::empty(), |_| fcgi::Result::Ok(()))
                .unwrap();
            idle_for_a_while();
        }
        assert_eq!(application.accepted(), 1);
        drop(client);
    }
}

/// The client learns that all of the body was sent a moment after the application does, and waits a
/// little for it. On a busy machine this may take too long now and then. Rule C23.
#[test]
fn connection_is_kept_after_a_large_body() {
    struct Watched(Pattern, mpsc::Sender<()>);
    impl Read for Watched {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }
    impl Drop for Watched {
        fn drop(&mut self) {
            let _closed = self.1.send(());
        }
    }
    let (report, reports) = mpsc::channel();
    let reports = Mutex::new(reports);
    let application = Application::unix(move |_, mut stream| {
        while let Some(request) = read_request(&mut stream) {
            // The client has dropped the body.
            assert_eq!(reports.lock().unwrap().recv_timeout(TEST_TIMEOUT), Ok(()));
            stream.write_all(&request.response(b"")).expect("the response is sent");
        }
    });
    let client = application.keep_alive_client();
    for _ in 0..10 {
        let body = Body::from_reader(Watched(Pattern::new(1 << 20), report.clone()));
        client.send(&upload_params(1 << 20), body, |_| fcgi::Result::Ok(())).unwrap();
    }
    assert!(application.accepted() < 10, "no connection was used again");
    drop(client);
}

/// The application leaves the connection open. Rules C3 and C19.
#[test]
fn client_without_keep_alive_closes_the_connection() {
    let application = Application::unix(|number, mut stream| {
        read_request(&mut stream).expect("a request");
        stream.write_all(&response(number.to_string().as_bytes())).expect("the response is sent");
        assert_closed(&mut stream);
    });
    let client = application.client();
    assert_eq!([fetch(&client), fetch(&client)], ["0", "1"]);
}

/// Rule C19.
#[test]
fn connection_without_keep_alive_is_not_reusable() {
    let application = Application::unix(serve);
    let mut connection = application.client().connect().unwrap();
    assert!(connection.is_reusable());
    connection.begin(Role::Responder, &get_params()).unwrap().finish().unwrap();
    assert!(!connection.is_reusable());
    connection.begin(Role::Responder, &get_params()).unwrap_err();
    drop(connection);
}

/// The padding arrives before the next request, in part, or with its response. Rules C23 and K4.
#[test]
fn late_padding_of_end_request_does_not_prevent_reuse() {
    let whole = [
        padded_record(STDOUT, 1, b"x", 255),
        padded_record(STDOUT, 1, b"", 8),
        padded_record(END, 1, &[0; 8], 255),
    ]
    .concat();
    for early in [0, 1, 8, 100, 254, 255] {
        let (padding, whole) = (whole[whole.len() - 255..].to_vec(), whole.clone());
        let (report, reports) = mpsc::channel();
        let (resume, resumed) = mpsc::channel();
        let resumed = Mutex::new(resumed);
        let application = Application::unix(move |_, mut stream| {
            for _ in 0..2 {
                read_request(&mut stream).expect("a request");
                stream.write_all(&whole[..whole.len() - 255]).expect("the response is sent");
                resumed.lock().unwrap().recv_timeout(TEST_TIMEOUT).expect("the test waits");
                stream.write_all(&padding[..early]).expect("the padding is sent");
                report.send(()).expect("the test waits");
                read_request(&mut stream).expect("a request on the same connection");
                stream.write_all(&padding[early..]).expect("the padding is sent");
                stream.write_all(&response_to(2, b"second")).expect("the response is sent");
            }
        });
        let client = application.keep_alive_client();
        for pause in [true, false] {
            assert_eq!(fetch(&client), "x");
            resume.send(()).unwrap();
            reports.recv_timeout(TEST_TIMEOUT).unwrap();
            if pause {
                idle_for_a_while();
            }
            assert_eq!(fetch(&client), "second", "{early} bytes of padding arrived early");
        }
        assert_eq!(application.accepted(), 1);
        drop(client);
    }
}

/// The bytes arrive with the response or while the connection is idle. The next request gets its
/// own response. Rule C20.
#[test]
fn connection_with_bytes_after_end_request_is_not_reused() {
    let extras = [
        record(STDOUT, 1, b"ghost"),
        response(b"ghost"),
        end(1, 9, 0),
        padded_record(GET_VALUES_RESULT, 0, b"", 8),
        b"\x01".to_vec(),
    ];
    for extra in extras {
        for is_late in [false, true] {
            let extra = extra.clone();
            let (report, reports) = mpsc::channel();
            let (resume, resumed) = mpsc::channel();
            let resumed = Mutex::new(resumed);
            let application = Application::unix(move |number, mut stream| {
                let request = read_request(&mut stream).expect("a request");
                let mut answer = request.response(number.to_string().as_bytes());
                if !is_late {
                    answer.extend_from_slice(&extra);
                }
                stream.write_all(&answer).expect("the response is sent");
                if is_late && resumed.lock().unwrap().recv().is_ok() {
                    stream.write_all(&extra).expect("the bytes are sent");
                    report.send(()).expect("the test waits");
                }
                wait_for_close(&mut stream);
            });
            let client = application.keep_alive_client();
            assert_eq!(fetch(&client), "0");
            if is_late {
                resume.send(()).unwrap();
                reports.recv_timeout(TEST_TIMEOUT).unwrap();
            }
            idle_for_a_while();
            assert_eq!(fetch(&client), "1");
            drop((client, resume));
        }
    }
}

/// Rule C20.
#[test]
fn bytes_after_end_request_make_a_connection_unusable() {
    let (near, mut far) = socket_pair();
    let mut connection = Connection::new(near, Arc::new(test_config().keep_alive(true))).unwrap();
    far.write_all(&[response(b"x"), record(STDOUT, 1, b"ghost")].concat()).unwrap();
    connection.begin(Role::Responder, &get_params()).unwrap().finish().unwrap();
    assert!(!connection.is_reusable());
    connection.begin(Role::Responder, &get_params()).unwrap_err();
}

/// The request ended before its body. Finishing it sends nothing more. Rule C23.
#[test]
fn connection_is_not_reusable_before_its_body_has_ended() {
    let (near, mut far) = socket_pair();
    let mut connection = Connection::new(near, Arc::new(test_config().keep_alive(true))).unwrap();
    let mut exchange = connection.begin(Role::Responder, &post_params()).unwrap();
    exchange.stdin.write_all(b"part").unwrap();
    exchange.stdin.flush().unwrap();
    far.write_all(&end(1, 0, 0)).unwrap();
    exchange.stdout.read_to_end(&mut Vec::new()).unwrap();
    exchange.finish().unwrap();
    assert!(!connection.is_reusable());
    drop(connection);
    read_begin_and_params(&mut far).unwrap();
    assert_eq!(read_record(&mut far).unwrap().content, b"part");
    assert_closed(&mut far);
}

/// Otherwise the next request would receive the rest of the response. Rule C23.
#[test]
fn unread_response_is_drained_or_its_connection_is_not_reused() {
    let application = Application::unix(|number, mut stream| {
        while let Some(request) = read_request(&mut stream) {
            let name = String::from_utf8_lossy(request.param("NAME").unwrap()).into_owned();
            let records: Vec<u8> =
                (0..20_000).flat_map(|_| record(STDOUT, request.id, name.as_bytes())).collect();
            let sent = stream
                .write_all(&[records, request.response(number.to_string().as_bytes())].concat());
            if name == "c" {
                return wait_for_close(&mut stream);
            }
            sent.expect("the response is sent");
        }
    });
    let client = application.keep_alive_client();
    let send = |name: &str, fails: bool| {
        let params = Params::from_pairs([("NAME", name)]).unwrap();
        client.send(&params, io::empty(), |response| {
            let mut half = [0; 5000];
            response.stdout.read_exact(&mut half)?;
            assert!(
                half.iter().all(|byte| *byte == name.as_bytes()[0]),
                "the response to another request"
            );
            if fails {
                return Err(io::Error::other("enough"));
            }
            Ok(())
        })
    };
    send("a", false).unwrap();
    send("b", false).unwrap();
    assert_eq!(application.accepted(), 1, "the unread rest was drained");
    send("c", true).unwrap_err();
    send("d", false).unwrap();
    assert_eq!(application.accepted(), 2, "the connection of the failed request is not reused");
    drop(client);
}

/// This holds for requests that must not be sent twice, too.
#[test]
fn idle_connection_that_was_closed_is_replaced() {
    let (report, reports) = mpsc::channel();
    for application in Application::tcp_and_unix(move |number, mut stream| {
        let request = read_request(&mut stream).expect("a request");
        let answer = [number.to_string().as_bytes(), b":", &request.stdin].concat();
        stream.write_all(&request.response(&answer)).expect("the response is sent");
        drop(stream);
        report.send(()).expect("the test waits");
    }) {
        let client = application.keep_alive_client();
        for number in 0..4 {
            let params = if number % 2 == 0 { post_params() } else { get_params() };
            let reply = client.fetch(&params, b"body").unwrap();
            assert_eq!(reply.stdout, format!("{number}:body").as_bytes());
            reports.recv_timeout(TEST_TIMEOUT).unwrap();
            idle_for_a_while();
        }
        drop(client);
    }
}

/// While no process listens, a request fails at once. Rule C31.
#[test]
fn client_goes_on_after_the_application_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let serve_one = |_, mut stream: Stream| {
        read_request(&mut stream).expect("a request");
        stream.write_all(&response(b"served")).expect("the response is sent");
    };
    let application = Application::unix_at(&path, serve_one);
    let client = application.keep_alive_client();
    assert_eq!(fetch(&client), "served");
    drop(application);
    let error = client.fetch(&get_params(), b"").unwrap_err();
    assert!(
        matches!(&error, Error::Connect { source, .. }
            if source.kind() == io::ErrorKind::ConnectionRefused),
        "{error:?}"
    );

    std::fs::remove_file(&path).unwrap();
    let application = Application::unix_at(&path, serve_one);
    assert_eq!(fetch(&client), "served");
    drop((client, application));
}

/// Returns applications that fail on the second request of their first connection, and all requests
/// that they receive.
fn failing_second(
    fail: impl Fn(Stream) + Send + Sync + Clone + 'static,
    is_read: bool,
) -> ([Application; 2], Arc<Mutex<Vec<ReceivedRequest>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let all = Arc::clone(&seen);
    let applications = Application::tcp_and_unix(move |number, mut stream| {
        let first = read_request(&mut stream).expect("a request");
        let answer = first.response(first.param("REQUEST_METHOD").unwrap_or_default());
        all.lock().unwrap().push(first);
        stream.write_all(&answer).expect("the response is sent");
        if number > 0 {
            return;
        }
        if is_read {
            let Some(request) = read_request(&mut stream) else { return };
            all.lock().unwrap().push(request);
        } else {
            stream.read_exact(&mut [0]).expect("a byte of the second request");
        }
        fail(stream);
    });
    (applications, seen)
}

fn with_method(method: &str) -> Params {
    Params::from_pairs([("REQUEST_METHOD", method)]).expect("params")
}

/// The bytes are the same. No byte of the response had arrived.
#[test]
fn idempotent_request_is_sent_again_if_the_connection_closes() {
    for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
        for is_read in [true, false] {
            let (applications, seen) = failing_second(drop, is_read);
            for application in applications {
                seen.lock().unwrap().clear();
                let client = application.keep_alive_client();
                client.fetch(&get_params(), b"").unwrap();
                let reply = client.fetch(&with_method(method), b"the body").unwrap();
                assert_eq!(reply.stdout, method.as_bytes());
                assert_eq!(application.accepted(), 2);
                let seen = seen.lock().unwrap();
                assert_eq!(seen.len(), if is_read { 3 } else { 2 });
                for request in &seen[1..] {
                    assert_eq!(
                        (request.param("REQUEST_METHOD"), &request.stdin[..]),
                        (Some(method.as_bytes()), &b"the body"[..])
                    );
                    assert_eq!(request.records, seen[1].records);
                }
                drop(client);
            }
        }
    }
}

#[test]
fn request_that_is_not_idempotent_is_not_sent_again() {
    for method in ["POST", "PATCH", "CONNECT", "get", "", "GETX"] {
        let (applications, seen) = failing_second(drop, true);
        for application in applications {
            seen.lock().unwrap().clear();
            let client = application.keep_alive_client();
            client.fetch(&get_params(), b"").unwrap();
            let outcome = client.fetch(&with_method(method), b"");
            assert!(matches!(outcome, Err(Error::UnexpectedEof(_))), "{method}: {outcome:?}");
            assert_eq!((application.accepted(), seen.lock().unwrap().len()), (1, 2), "{method}");
            drop(client);
        }
    }
    let (applications, _) = failing_second(drop, true);
    for application in applications {
        let client = application.keep_alive_client();
        client.fetch(&get_params(), b"").unwrap();
        client.fetch(&Params::new(), b"").unwrap_err();
        assert_eq!(application.accepted(), 1, "a request without a method");
        drop(client);
    }
}

/// A single byte of a header is enough.
#[test]
fn request_is_not_sent_again_once_its_response_has_begun() {
    let answers = [
        b"\x01".to_vec(),
        record(STDOUT, 2, b"a")[..7].to_vec(),
        record(STDOUT, 2, b"a"),
        record(UNKNOWN_TYPE, 0, b""),
    ];
    for answer in answers {
        let respond =
            move |mut stream: Stream| stream.write_all(&answer).expect("the bytes are sent");
        let (applications, seen) = failing_second(respond, true);
        for application in applications {
            seen.lock().unwrap().clear();
            let client = application.keep_alive_client();
            client.fetch(&get_params(), b"").unwrap();
            let outcome = client.fetch(&get_params(), b"");
            assert!(matches!(outcome, Err(Error::UnexpectedEof(_))), "{outcome:?}");
            assert_eq!((application.accepted(), seen.lock().unwrap().len()), (1, 2));
            drop(client);
        }
    }
}

/// The request is sent again.
#[test]
fn late_padding_is_not_the_start_of_a_response() {
    let application = Application::unix(|number, mut stream| {
        let id = read_request(&mut stream).expect("a request").id;
        let number_record = record(STDOUT, id, number.to_string().as_bytes());
        let answer = [number_record, padded_record(END, id, &[0; 8], 9)].concat();
        stream.write_all(&answer[..answer.len() - 9]).expect("the response is sent");
        if number == 0 {
            read_request(&mut stream).expect("a second request");
            stream.write_all(&answer[answer.len() - 9..]).expect("the padding is sent");
        }
    });
    let client = application.keep_alive_client();
    assert_eq!(fetch(&client), "0");
    assert_eq!(fetch(&client), "1", "sent again on a new connection");
    drop(client);
}

/// Its body cannot be read a second time.
#[test]
fn large_request_is_not_sent_again() {
    let (applications, seen) = failing_second(drop, true);
    for application in applications {
        seen.lock().unwrap().clear();
        let client = application.keep_alive_client();
        client.fetch(&get_params(), b"").unwrap();
        let mut params = upload_params(1 << 20);
        params.set("REQUEST_METHOD", "PUT").unwrap();
        client.send(&params, Pattern::new(1 << 20), |_| fcgi::Result::Ok(())).unwrap_err();
        assert_eq!((application.accepted(), seen.lock().unwrap().len()), (1, 2));
        drop(client);
    }
}

/// If the second connection is closed too, the request fails.
#[test]
fn request_is_sent_again_only_once() {
    let application = Application::unix(|number, mut stream| {
        if number == 0 {
            read_request(&mut stream).expect("a request");
            stream.write_all(&response(b"first")).expect("the response is sent");
        }
        read_request(&mut stream).expect("a request");
    });
    let client = application.keep_alive_client();
    assert_eq!(fetch(&client), "first");
    let outcome = client.fetch(&get_params(), b"");
    assert!(matches!(outcome, Err(Error::UnexpectedEof(_))), "{outcome:?}");
    assert_eq!(application.accepted(), 2);
    drop(client);
}

/// The application may still be processing it. Rule C29.
#[test]
fn request_that_timed_out_is_not_sent_again() {
    let application = Application::unix(|_, mut stream| {
        read_request(&mut stream).expect("a request");
        stream.write_all(&response(b"first")).expect("the response is sent");
        read_request(&mut stream).expect("a request");
        assert_closed(&mut stream);
    });
    let config = test_config().read_timeout(Some(Duration::from_secs(1))).keep_alive(true);
    let client = application.client().config(config);
    assert_eq!(fetch(&client), "first");
    let outcome = client.fetch(&get_params(), b"");
    assert!(matches!(outcome, Err(Error::TimedOut(_))), "{outcome:?}");
    assert_eq!(application.accepted(), 1);
    drop(client);
}

/// Opens this many connections, which become idle in the order of their numbers. `sent` receives a
/// value after each response.
///
/// No response is read before it has been sent: a client that waits 100 ms for the first response
/// on a connection closes another one.
fn open_idle(client: &Client, count: usize, sent: &mpsc::Receiver<()>) {
    let begin = |_| {
        let mut exchange = client.begin(Role::Responder, &get_params()).expect("a connection");
        exchange.stdin.finish().expect("the request is sent");
        sent.recv_timeout(TEST_TIMEOUT).expect("a response");
        exchange
    };
    let exchanges: Vec<_> = (0..count).map(begin).collect();
    for exchange in exchanges {
        exchange.finish().expect("a response");
    }
}

/// The default limit is 8. The connections that are idle longest are closed.
#[test]
fn only_the_most_recent_idle_connections_are_kept() {
    for (max_idle, count) in [(8, 10), (8, 8), (2, 5), (1, 2), (0, 1)] {
        let (report_close, closed) = mpsc::channel();
        let (report_sent, sent) = mpsc::channel();
        let application = Application::unix(move |number, mut stream| {
            while let Some(request) = read_request(&mut stream) {
                stream.write_all(&request.response(b"")).expect("the response is sent");
                report_sent.send(()).expect("the test waits");
            }
            report_close.send(number).expect("the test waits");
        });
        let mut config = test_config().keep_alive(true);
        if max_idle == 8 {
            assert_eq!(config.max_idle, 8, "the default");
        } else {
            config = config.max_idle(max_idle);
        }
        let client = application.client().config(config);
        open_idle(&client, count, &sent);
        let mut oldest: Vec<_> =
            (max_idle..count).map(|_| closed.recv_timeout(TEST_TIMEOUT).unwrap()).collect();
        oldest.sort_unstable();
        assert_eq!(oldest, (0..count.saturating_sub(max_idle)).collect::<Vec<_>>());
        // The kept connections serve as many requests at once.
        idle_for_a_while();
        open_idle(&client, count.min(max_idle), &sent);
        assert_eq!(application.accepted(), count);
        drop(client);
    }
}

/// Each request has a connection to itself and gets its own response. As many threads open no more
/// connections.
#[test]
fn client_can_be_shared_by_threads() {
    let (report_sent, sent) = mpsc::channel();
    for application in Application::tcp_and_unix(move |_, mut stream| {
        while let Some(request) = read_request(&mut stream) {
            stream.write_all(&request.response(&request.stdin)).expect("the response is sent");
            report_sent.send(()).expect("the test waits");
        }
    }) {
        let client = application.keep_alive_client();
        open_idle(&client, 8, &sent);
        thread::scope(|scope| {
            for number in 0..8 {
                let client = &client;
                scope.spawn(move || {
                    for turn in 0..50 {
                        let body = format!("{number}.{turn}").repeat(1 + turn * 10);
                        assert_eq!(
                            client.fetch(&post_params(), body.as_bytes()).unwrap().stdout,
                            body.as_bytes()
                        );
                    }
                });
            }
        });
        assert_eq!(application.accepted(), 8);
        drop((client, application));
        assert_eq!(sent.try_iter().count(), 8 * 50, "no request was sent twice");
    }
}

#[test]
fn dropped_client_closes_its_connections() {
    let application = Application::unix(|_, mut stream| {
        read_request(&mut stream).expect("a request");
        stream.write_all(&response(b"")).expect("the response is sent");
        assert_closed(&mut stream);
    });
    fetch(&application.keep_alive_client());
}
