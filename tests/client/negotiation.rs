//! Proves how many connections a client opens: the bound is configured, negotiated with GET_VALUES,
//! or lowered by a refusal.

use std::io::{self, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{mpsc, Arc, Barrier};
use std::thread;
use std::time::Duration;

use crate::support::*;
use fcgi::client::{Config, Values};
use fcgi::error::Timeout;
use fcgi::record::ProtocolStatus;
use fcgi::{server, Client, Error, Params};

/// Returns whether a request has failed because all connections were in use.
fn is_waiting_for_a_connection<T>(outcome: &fcgi::Result<T>) -> bool {
    outcome.as_ref().is_err_and(|error| {
        matches!(error, Error::Connect { .. }) && error.to_string().contains("free connection")
    })
}

/// Returns a listening socket and a client of it.
fn listening() -> (TcpListener, Client) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listening socket");
    let client =
        Client::from(fcgi::net::Address::from(listener.local_addr().expect("its address")));
    (listener, client)
}

/// Sends these bytes in response to one GET_VALUES, and closes the connection.
fn get_values_answered_with(bytes: &[u8]) -> fcgi::Result<Values> {
    let (listener, client) = listening();
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().expect("a connection");
            let query = read_record(&mut stream).expect("a query");
            assert_eq!((query.record_type, query.id), (GET_VALUES, 0));
            let names = [&b"FCGI_MAX_CONNS"[..], b"FCGI_MAX_REQS", b"FCGI_MPXS_CONNS"]
                .map(|name| pair(name, b""));
            assert_eq!(query.content, names.concat());
            stream.write_all(bytes).expect("the response is sent");
        });
        client.get_values()
    })
}

/// Rule C22.
#[test]
fn get_values_returns_the_values_of_the_application() {
    let all = [
        pair(b"FCGI_MAX_CONNS", b"7"),
        pair(b"FCGI_MPXS_CONNS", b"1"),
        pair(b"FCGI_MAX_REQS", b"50"),
    ]
    .concat();
    let cases = [
        (all, Values::default(), (Some(7), Some(50), Some(true))),
        (pair(b"FCGI_MPXS_CONNS", b"0"), Values::default(), (None, None, Some(false))),
        (pair(b"FCGI_MAX_CONNS", b"many"), Values::default(), (None, None, None)),
        (vec![], Values::default(), (None, None, None)),
    ];
    for (result, mut expected, (max_conns, max_reqs, mpxs_conns)) in cases {
        (expected.max_conns, expected.max_reqs, expected.mpxs_conns) =
            (max_conns, max_reqs, mpxs_conns);
        assert_eq!(
            get_values_answered_with(&padded_record(GET_VALUES_RESULT, 0, &result, 5))
                .expect("a response"),
            expected
        );
    }
}

/// Such applications answer UNKNOWN_TYPE, close the connection or do not answer. Rule C22.
#[test]
fn get_values_fails_with_applications_that_do_not_support_it() {
    let unknown = get_values_answered_with(&record(UNKNOWN_TYPE, 0, &[9, 0, 0, 0, 0, 0, 0, 0]));
    assert!(matches!(unknown, Err(Error::UnexpectedRecord { .. })), "{unknown:?}");
    let closed = get_values_answered_with(b"");
    assert!(matches!(closed, Err(Error::UnexpectedEof(_))), "{closed:?}");
    let cut = get_values_answered_with(&record(GET_VALUES_RESULT, 0, b"\x05\x01NA"));
    assert!(matches!(cut, Err(Error::InvalidParams(0))), "{cut:?}");
    // The operating system accepts the connection, but no process reads from it.
    let (_listener, client) = listening();
    let silent = client.get_values();
    assert!(matches!(silent, Err(Error::TimedOut(_))), "{silent:?}");
}

/// Sends `requests` at once, and returns how many of them the server had at the same time at most.
fn most_at_once(
    client: impl Fn(Client) -> Client,
    config: server::Config,
    requests: usize,
) -> usize {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (count, highest) = (Arc::clone(&now), Arc::clone(&most));
    let server = TestServer::tcp(config, move |request| {
        highest.fetch_max(count.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        // Give another request time to begin, which would fail the test.
        thread::sleep(Duration::from_millis(20));
        count.fetch_sub(1, Ordering::SeqCst);
        write!(request.stdout, "Content-Type: text/plain\n\n")?;
        Ok(())
    });
    let client = client(Client::from(server.address.clone()));
    thread::scope(|scope| {
        for _ in 0..requests {
            scope.spawn(|| client.fetch(&Params::new(), b"").expect("a response"));
        }
    });
    most.load(Ordering::SeqCst)
}

#[test]
fn without_a_bound_all_requests_run_at_once() {
    let all_at_once = Arc::new(Barrier::new(6));
    let server = TestServer::tcp(server::Config::new(), move |request| {
        all_at_once.wait();
        write!(request.stdout, "Content-Type: text/plain\n\n")?;
        Ok(())
    });
    let client = Client::from(server.address.clone());
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| client.fetch(&Params::new(), b"").expect("a response"));
        }
    });
}

#[test]
fn configured_bound_on_connections_holds() {
    let bounded =
        |client: Client| client.config(Config::new().max_connections(Some(2)).keep_alive(true));
    assert_eq!(most_at_once(bounded, server::Config::new(), 6), 2);
}

/// Rule C22.
#[test]
fn negotiated_bound_on_connections_holds() {
    let negotiated = |client: Client| {
        assert_eq!(client.negotiate().expect("a response").max_conns, Some(2));
        client
    };
    assert_eq!(most_at_once(negotiated, server::Config::new().max_connections(2), 6), 2);
}

#[test]
fn waiting_for_a_connection_times_out() {
    let (resume, resumed) = mpsc::channel::<()>();
    let (report, reports) = mpsc::channel();
    let (resumed, report) = (std::sync::Mutex::new(resumed), std::sync::Mutex::new(report));
    let server = TestServer::tcp(server::Config::new(), move |request| {
        report.lock().expect("the lock").send(()).expect("the test waits");
        let _ = resumed.lock().expect("the lock").recv();
        write!(request.stdout, "Content-Type: text/plain\n\n")?;
        Ok(())
    });
    let config =
        Config::new().max_connections(Some(1)).connect_timeout(Some(Duration::from_millis(50)));
    let client = Client::from(server.address.clone()).config(config);
    thread::scope(|scope| {
        let first = scope.spawn(|| client.fetch(&Params::new(), b""));
        reports.recv().expect("the first request has begun");
        let second = client.fetch(&Params::new(), b"");
        assert!(is_waiting_for_a_connection(&second), "{second:?}");
        drop(resume);
        first.join().expect("the first thread").expect("its response");
    });
}

/// A gateway that asks another application while it receives a response returns that application's
/// error. Rule C9.
#[test]
fn error_of_another_application_does_not_lower_the_bound() {
    let (_listener, client) = listening();
    for error in [
        Error::Refused(ProtocolStatus::Overloaded),
        Error::TimedOut(Timeout::new("read", TEST_TIMEOUT)),
    ] {
        let short = Some(Duration::from_millis(50));
        let config = Config::new().keep_alive(true).connect_timeout(short).read_timeout(short);
        let client = &Client::from(client.address().clone()).config(config);
        let send = |receive: &mut dyn FnMut() -> io::Result<()>| {
            client.send(&Params::new(), io::empty(), |_| receive()).map(drop).unwrap_err()
        };
        let mut other = Some(error);
        let first = send(&mut || {
            send(&mut || Err(other.take().expect("one call").into()));
            // The first request is still in progress.
            let third = send(&mut || Ok(()));
            assert_eq!(third.kind(), io::ErrorKind::TimedOut, "{third:?}");
            Ok(())
        });
        assert_eq!(first.kind(), io::ErrorKind::TimedOut, "{first:?}");
    }
}

/// The client then has one request less at a time. Rule C9.
#[test]
fn refusal_lowers_the_bound_for_a_while() {
    let (listener, client) = listening();
    let client = client.config(Config::new().connect_timeout(Some(Duration::from_millis(50))));
    thread::scope(|scope| {
        let first = scope.spawn(|| client.fetch(&Params::new(), b""));
        let (mut one, _) = listener.accept().expect("the first connection");
        let second = scope.spawn(|| client.fetch(&Params::new(), b""));
        let (mut two, _) = listener.accept().expect("the second connection");
        two.write_all(&end(1, 0, 2)).expect("written");
        let outcome = second.join().expect("its thread");
        assert!(matches!(outcome, Err(Error::Refused(ProtocolStatus::Overloaded))), "{outcome:?}");
        // The first request still uses the only connection that is allowed now.
        let third = client.fetch(&Params::new(), b"");
        assert!(is_waiting_for_a_connection(&third), "{third:?}");
        one.write_all(&[record(STDOUT, 1, b""), end(1, 0, 0)].concat()).expect("written");
        first.join().expect("its thread").expect("its response");
    });
}
