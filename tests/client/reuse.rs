//! Kept connections: when one is used again, when it is not, and when a request is repeated on
//! another.
#![cfg(unix)]

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{mpsc, Arc, Mutex};
use std::thread;
use std::time::Duration;

use fcgi::client::Connection;
use fcgi::net::Stream;
use fcgi::record::Role;
use fcgi::{Client, Error, Params};

use crate::support::application::*;
use crate::support::*;

/// Lets connections be idle for so long that they are looked at before they are used again.
fn idle_for_a_while() {
    thread::sleep(Duration::from_millis(3));
}

/// Answers every request with the number of its connection.
fn serve(number: usize, mut stream: Stream) {
    while read_request(&mut stream).is_some() {
        stream.write_all(&response(number.to_string().as_bytes())).expect("the answer is taken");
    }
}

#[track_caller]
fn fetch(client: &Client) -> String {
    let reply = client.fetch(&get_params(), b"").expect("a reply");
    String::from_utf8(reply.stdout).expect("text")
}

/// C23, C2: one connection serves request after request, of each kind, at once and after a pause.
#[test]
fn a_kept_connection_is_used_again() {
    for application in Application::tcp_and_unix(serve) {
        let client = application.keep_alive_client();
        for _ in 0..5 {
            assert_eq!(fetch(&client), "0");
            client.fetch(&post_params(), b"body").unwrap();
            client.send(&get_params(), io::empty(), |_| Ok(())).unwrap();
            client.send_as(Role::Authorizer, &get_params(), io::empty(), |_| Ok(())).unwrap();
            idle_for_a_while();
        }
        assert_eq!(application.accepted(), 1);
        drop(client);
    }
}

/// C23: a connection is kept behind a large body too, once all of it was sent. That is known a
/// moment after the application knows it, and the client waits a little for it; a busy machine may
/// take longer now and then.
#[test]
fn a_connection_is_kept_behind_a_large_body() {
    struct Watched(Pattern, mpsc::Sender<()>);
    impl Read for Watched {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }
    impl Drop for Watched {
        fn drop(&mut self) {
            let _gone = self.1.send(());
        }
    }
    let (tell, told) = mpsc::channel();
    let told = Mutex::new(told);
    let application = Application::unix(move |_, mut stream| {
        while read_request(&mut stream).is_some() {
            // The client has done with the body.
            assert_eq!(told.lock().unwrap().recv_timeout(TEST_TIMEOUT), Ok(()));
            stream.write_all(&response(b"")).expect("the answer is taken");
        }
    });
    let client = application.keep_alive_client();
    for _ in 0..10 {
        client
            .send(&upload_params(1 << 20), Watched(Pattern::new(1 << 20), tell.clone()), |_| Ok(()))
            .unwrap();
    }
    assert!(application.accepted() < 10, "no connection was used again");
    drop(client);
}

/// C3, C19: without keep-alive each request has a connection of its own, which the client closes by
/// itself when the request has ended, though the application keeps it open.
#[test]
fn without_keep_alive_the_client_closes() {
    let application = Application::unix(|number, mut stream| {
        read_request(&mut stream).expect("a request");
        stream.write_all(&response(number.to_string().as_bytes())).expect("the answer is taken");
        assert_closed(&mut stream);
    });
    let client = application.client();
    assert_eq!([fetch(&client), fetch(&client)], ["0", "1"]);
}

/// C19: a low-level connection without keep-alive carries one request.
#[test]
fn without_keep_alive_a_connection_carries_one_request() {
    let application = Application::unix(serve);
    let mut connection = application.client().connect().unwrap();
    assert!(connection.is_reusable());
    connection.begin(Role::Responder, &get_params()).unwrap().finish().unwrap();
    assert!(!connection.is_reusable());
    connection.begin(Role::Responder, &get_params()).unwrap_err();
    drop(connection);
}

/// K4, C23; "Padding of empty records and of END_REQUEST not skipped (nginx); keep-alive lost after
/// it": the padding of END_REQUEST arrives late: before the next request, in part, with its answer;
/// the connection is used again.
#[test]
fn padding_that_arrives_late_costs_nothing() {
    let whole = [
        padded_record(STDOUT, 1, b"x", 255),
        padded_record(STDOUT, 1, b"", 8),
        padded_record(END, 1, &[0; 8], 255),
    ]
    .concat();
    for early in [0, 1, 8, 100, 254, 255] {
        let (padding, whole) = (whole[whole.len() - 255..].to_vec(), whole.clone());
        let (tell, told) = mpsc::channel();
        let (ask, asked) = mpsc::channel();
        let asked = Mutex::new(asked);
        let application = Application::unix(move |_, mut stream| {
            for _ in 0..2 {
                read_request(&mut stream).expect("a request");
                stream.write_all(&whole[..whole.len() - 255]).expect("the answer is taken");
                asked.lock().unwrap().recv_timeout(TEST_TIMEOUT).expect("the test");
                stream.write_all(&padding[..early]).expect("padding is taken");
                tell.send(()).expect("the test");
                read_request(&mut stream).expect("a request on the same connection");
                stream.write_all(&padding[early..]).expect("padding is taken");
                stream.write_all(&response(b"second")).expect("the answer is taken");
            }
        });
        let client = application.keep_alive_client();
        for pause in [true, false] {
            assert_eq!(fetch(&client), "x");
            ask.send(()).unwrap();
            told.recv_timeout(TEST_TIMEOUT).unwrap();
            if pause {
                idle_for_a_while();
            }
            assert_eq!(fetch(&client), "second", "{early} bytes of padding came early");
        }
        assert_eq!(application.accepted(), 1);
        drop(client);
    }
}

/// C20: what comes behind END_REQUEST belongs to no request: with the answer or while the
/// connection is idle, it retires the connection; the next request gets its own answer.
#[test]
fn bytes_behind_the_end_retire_the_connection() {
    let ghosts = [
        record(STDOUT, 1, b"ghost"),
        response(b"ghost"),
        end(1, 9, 0),
        padded_record(GET_VALUES_RESULT, 0, b"", 8),
        b"\x01".to_vec(),
    ];
    for ghost in ghosts {
        for is_late in [false, true] {
            let ghost = ghost.clone();
            let (tell, told) = mpsc::channel();
            let (ask, asked) = mpsc::channel();
            let asked = Mutex::new(asked);
            let application = Application::unix(move |number, mut stream| {
                read_request(&mut stream).expect("a request");
                let mut answer = response(number.to_string().as_bytes());
                if !is_late {
                    answer.extend_from_slice(&ghost);
                }
                stream.write_all(&answer).expect("the answer is taken");
                if is_late && asked.lock().unwrap().recv().is_ok() {
                    stream.write_all(&ghost).expect("the ghost is taken");
                    tell.send(()).expect("the test");
                }
                wait_for_close(&mut stream);
            });
            let client = application.keep_alive_client();
            assert_eq!(fetch(&client), "0");
            if is_late {
                ask.send(()).unwrap();
                told.recv_timeout(TEST_TIMEOUT).unwrap();
            }
            idle_for_a_while();
            assert_eq!(fetch(&client), "1");
            drop((client, ask));
        }
    }
}

/// C20: the same for a low-level connection, which tells.
#[test]
fn bytes_behind_the_end_make_a_connection_unusable() {
    let (near, mut far) = socket_pair();
    let mut connection = Connection::new(near, Arc::new(test_config().keep_alive(true))).unwrap();
    far.write_all(&[response(b"x"), record(STDOUT, 1, b"ghost")].concat()).unwrap();
    connection.begin(Role::Responder, &get_params()).unwrap().finish().unwrap();
    assert!(!connection.is_reusable());
    connection.begin(Role::Responder, &get_params()).unwrap_err();
}

/// "A connection is pooled at END_REQUEST though stdin was not sent": an `Exchange` whose request
/// ended before its body did leaves a connection that carries no other, and finishing sends nothing
/// more.
#[test]
fn a_connection_is_not_kept_before_its_body_has_ended() {
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

/// "A connection whose caller gave up half-way was used again: request 2 got the answer to request
/// 1": the rest of a response is either read to its end, or the connection is not used again.
#[test]
fn a_response_half_read() {
    let application = Application::unix(|number, mut stream| {
        while let Some(request) = read_request(&mut stream) {
            let name = String::from_utf8_lossy(request.param("NAME").unwrap()).into_owned();
            let records: Vec<u8> =
                (0..20_000).flat_map(|_| record(STDOUT, 1, name.as_bytes())).collect();
            let taken =
                stream.write_all(&[records, response(number.to_string().as_bytes())].concat());
            if name == "c" {
                return wait_for_close(&mut stream);
            }
            taken.expect("the answer is taken");
        }
    });
    let client = application.keep_alive_client();
    let ask = |name: &str, gives_up: bool| {
        let params = Params::from_pairs([("NAME", name)]).unwrap();
        client.send(&params, io::empty(), |response| {
            let mut half = [0; 5000];
            response.stdout.read_exact(&mut half)?;
            assert!(
                half.iter().all(|byte| *byte == name.as_bytes()[0]),
                "the answer to another request"
            );
            if gives_up {
                return Err(io::Error::other("enough"));
            }
            Ok(())
        })
    };
    ask("a", false).unwrap();
    ask("b", false).unwrap();
    assert_eq!(application.accepted(), 1, "what was left unread was drained");
    ask("c", true).unwrap_err();
    ask("d", false).unwrap();
    assert_eq!(application.accepted(), 2, "the connection that was given up is not used again");
    drop(client);
}

/// "A dead pooled connection fails the request": one that the application has closed while it was
/// idle is replaced before it is used, for a request of any kind.
#[test]
fn an_idle_connection_that_was_closed_is_replaced() {
    let (tell, told) = mpsc::channel();
    for application in Application::tcp_and_unix(move |number, mut stream| {
        let request = read_request(&mut stream).expect("a request");
        let answer = [number.to_string().as_bytes(), b":", &request.stdin].concat();
        stream.write_all(&response(&answer)).expect("the answer is taken");
        drop(stream);
        tell.send(()).expect("the test");
    }) {
        let client = application.keep_alive_client();
        for number in 0..4 {
            let params = if number % 2 == 0 { post_params() } else { get_params() };
            let reply = client.fetch(&params, b"body").unwrap();
            assert_eq!(reply.stdout, format!("{number}:body").as_bytes());
            told.recv_timeout(TEST_TIMEOUT).unwrap();
            idle_for_a_while();
        }
        drop(client);
    }
}

/// "the application restarts between two requests": while nobody listens a request fails at once,
/// and afterwards the same client goes on.
#[test]
fn the_application_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let serve_one = |_, mut stream: Stream| {
        read_request(&mut stream).expect("a request");
        stream.write_all(&response(b"served")).expect("the answer is taken");
    };
    let application = Application::unix_at(&path, serve_one);
    let client = application.keep_alive_client();
    assert_eq!(fetch(&client), "served");
    drop(application);
    let error = client.fetch(&get_params(), b"").unwrap_err();
    assert!(
        matches!(&error, Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused),
        "{error:?}"
    );

    std::fs::remove_file(&path).unwrap();
    let application = Application::unix_at(&path, serve_one);
    assert_eq!(fetch(&client), "served");
    drop((client, application));
}

/// What an application does with the second request on its first connection; all else is answered.
fn failing_second(
    fail: impl Fn(Stream) + Send + Sync + Clone + 'static,
    is_read: bool,
) -> ([Application; 2], Arc<Mutex<Vec<ReceivedRequest>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let all = Arc::clone(&seen);
    let applications = Application::tcp_and_unix(move |number, mut stream| {
        let first = read_request(&mut stream).expect("a request");
        let answer = response(first.param("REQUEST_METHOD").unwrap_or_default());
        all.lock().unwrap().push(first);
        stream.write_all(&answer).expect("the answer is taken");
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

/// "retry once, on a new connection, only if no response byte came and the request may be
/// repeated": an application that takes the request and closes gets it again if its method is
/// idempotent, the same to the byte.
#[test]
fn an_idempotent_request_is_repeated() {
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

/// A request that may not be sent twice is not, once a byte of it was taken.
#[test]
fn another_request_is_not_repeated() {
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

/// A request is not repeated once a byte of an answer has come, be it the first of a header.
#[test]
fn nothing_is_repeated_after_an_answer_has_begun() {
    let answers = [
        b"\x01".to_vec(),
        record(STDOUT, 1, b"a")[..7].to_vec(),
        record(STDOUT, 1, b"a"),
        record(UNKNOWN_TYPE, 0, b""),
    ];
    for answer in answers {
        let begun =
            move |mut stream: Stream| stream.write_all(&answer).expect("the beginning is taken");
        let (applications, seen) = failing_second(begun, true);
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

/// The padding of the last answer is no byte of the next.
#[test]
fn late_padding_is_no_answer() {
    let application = Application::unix(|number, mut stream| {
        read_request(&mut stream).expect("a request");
        let answer =
            [record(STDOUT, 1, number.to_string().as_bytes()), padded_record(END, 1, &[0; 8], 9)]
                .concat();
        stream.write_all(&answer[..answer.len() - 9]).expect("the answer is taken");
        if number == 0 {
            read_request(&mut stream).expect("a second request");
            stream.write_all(&answer[answer.len() - 9..]).expect("the padding is taken");
        }
    });
    let client = application.keep_alive_client();
    assert_eq!(fetch(&client), "0");
    assert_eq!(fetch(&client), "1", "repeated on a new connection");
    drop(client);
}

/// A request that is larger than what leaves at once is not repeated: its body cannot be read
/// again.
#[test]
fn a_large_request_is_not_repeated() {
    let (applications, seen) = failing_second(drop, true);
    for application in applications {
        seen.lock().unwrap().clear();
        let client = application.keep_alive_client();
        client.fetch(&get_params(), b"").unwrap();
        let mut params = upload_params(1 << 20);
        params.set("REQUEST_METHOD", "PUT").unwrap();
        client.send(&params, Pattern::new(1 << 20), |_| Ok(())).unwrap_err();
        assert_eq!((application.accepted(), seen.lock().unwrap().len()), (1, 2));
        drop(client);
    }
}

/// A request is repeated once: if the new connection is closed too, that is an error.
#[test]
fn a_request_is_repeated_once() {
    let application = Application::unix(|number, mut stream| {
        if number == 0 {
            read_request(&mut stream).expect("a request");
            stream.write_all(&response(b"first")).expect("the answer is taken");
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

/// C29: a request that was not answered in time is not repeated: the application may be at work on
/// it.
#[test]
fn a_request_that_timed_out_is_not_repeated() {
    let application = Application::unix(|_, mut stream| {
        read_request(&mut stream).expect("a request");
        stream.write_all(&response(b"first")).expect("the answer is taken");
        read_request(&mut stream).expect("a request");
        assert_closed(&mut stream);
    });
    let config = test_config().read_timeout(Some(Duration::from_secs(1))).keep_alive(true);
    let client = application.client().config(config);
    assert_eq!(fetch(&client), "first");
    let outcome = client.fetch(&get_params(), b"");
    assert!(matches!(outcome, Err(Error::TimedOut("read"))), "{outcome:?}");
    assert_eq!(application.accepted(), 1);
    drop(client);
}

/// design.md's bound of 8 idle connections, and other bounds: the longest idle beyond it are
/// closed, the others are used again.
#[test]
fn idle_connections_are_bounded() {
    for (max_idle, count) in [(8, 10), (8, 8), (2, 5), (1, 2), (0, 1)] {
        let (answer, answers): (Vec<_>, Vec<_>) = (0..count).map(|_| mpsc::channel::<()>()).unzip();
        let answers: Vec<_> = answers.into_iter().map(Mutex::new).collect();
        let (tell_closed, closed) = mpsc::channel();
        let (tell_asked, asked) = mpsc::channel();
        let application = Application::unix(move |number, mut stream| {
            while read_request(&mut stream).is_some() {
                tell_asked.send(()).expect("the test");
                answers[number].lock().unwrap().recv_timeout(TEST_TIMEOUT).expect("the test");
                stream
                    .write_all(&response(number.to_string().as_bytes()))
                    .expect("the answer is taken");
            }
            tell_closed.send(number).expect("the test");
        });
        let mut config = test_config().keep_alive(true);
        if max_idle == 8 {
            assert_eq!(config.max_idle, 8, "the default");
        } else {
            config = config.max_idle(max_idle);
        }
        let client = application.client().config(config);
        // All connections are at work; then one after the other gets idle.
        thread::scope(|scope| {
            let (tell_done, done) = mpsc::channel();
            for _ in 0..count {
                let (client, tell_done) = (&client, tell_done.clone());
                scope.spawn(move || tell_done.send(fetch(client)).expect("the test"));
            }
            (0..count).for_each(|_| asked.recv_timeout(TEST_TIMEOUT).expect("a request"));
            for (number, answer) in answer.iter().enumerate() {
                answer.send(()).expect("the application");
                assert_eq!(done.recv_timeout(TEST_TIMEOUT).unwrap(), number.to_string());
            }
        });
        let mut oldest: Vec<_> =
            (max_idle..count).map(|_| closed.recv_timeout(TEST_TIMEOUT).unwrap()).collect();
        oldest.sort_unstable();
        assert_eq!(oldest, (0..count.saturating_sub(max_idle)).collect::<Vec<_>>());
        // Those that were kept serve as many requests at once again.
        idle_for_a_while();
        thread::scope(|scope| {
            let kept = count.min(max_idle);
            (0..kept).for_each(|_| drop(scope.spawn(|| fetch(&client))));
            (0..kept).for_each(|_| {
                asked.recv_timeout(TEST_TIMEOUT).expect("a request at once with the others");
            });
            for answer in &answer {
                let _closed = answer.send(());
            }
        });
        assert_eq!(application.accepted(), count);
        drop(client);
    }
}

/// A client shared by threads: each request has a connection to itself and gets its own answer, and
/// there are no more connections than threads.
#[test]
fn a_client_is_shared_by_threads() {
    let requests = Arc::new(AtomicUsize::new(0));
    let served = Arc::clone(&requests);
    for application in Application::tcp_and_unix(move |_, mut stream| {
        while let Some(request) = read_request(&mut stream) {
            served.fetch_add(1, Ordering::SeqCst);
            stream.write_all(&response(&request.stdin)).expect("the answer is taken");
        }
    }) {
        let client = application.keep_alive_client();
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
        assert!(application.accepted() <= 8, "{} connections", application.accepted());
        drop(client);
    }
    assert_eq!(requests.load(Ordering::SeqCst), 2 * 8 * 50, "no request was sent twice");
}

/// The connections of a client that is dropped are closed.
#[test]
fn a_client_closes_what_it_kept() {
    let application = Application::unix(|_, mut stream| {
        read_request(&mut stream).expect("a request");
        stream.write_all(&response(b"")).expect("the answer is taken");
        assert_closed(&mut stream);
    });
    fetch(&application.keep_alive_client());
}
