//! How many connections a client opens: as many as its bound, what the application says, and its
//! refusals allow (rules C22, C9).

use std::io::Write;
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{mpsc, Arc, Barrier};
use std::thread;
use std::time::Duration;

use crate::support::*;
use fcgi::client::{Config, Values};
use fcgi::record::ProtocolStatus;
use fcgi::{server, Client, Error, Params};

fn listening() -> (TcpListener, Client) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listening socket");
    let client =
        Client::from(fcgi::net::Address::from(listener.local_addr().expect("its address")));
    (listener, client)
}

/// Answers one GET_VALUES with these bytes, then closes.
fn answering(bytes: &[u8]) -> fcgi::Result<Values> {
    let (listener, client) = listening();
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().expect("a connection");
            let query = read_record(&mut stream).expect("a query");
            assert_eq!((query.record_type, query.id), (GET_VALUES, 0));
            let names = [&b"FCGI_MAX_CONNS"[..], b"FCGI_MAX_REQS", b"FCGI_MPXS_CONNS"]
                .map(|name| pair(name, b""));
            assert_eq!(query.content, names.concat());
            stream.write_all(bytes).expect("the answer is taken");
        });
        client.get_values()
    })
}

#[test]
fn c22_what_an_application_says_is_told() {
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
            answering(&padded_record(GET_VALUES_RESULT, 0, &result, 5)).expect("an answer"),
            expected
        );
    }
}

#[test]
fn c22_old_applications_say_something_else_or_nothing() {
    let unknown = answering(&record(UNKNOWN_TYPE, 0, &[9, 0, 0, 0, 0, 0, 0, 0]));
    assert!(matches!(unknown, Err(Error::UnexpectedRecord { .. })), "{unknown:?}");
    let closed = answering(b"");
    assert!(matches!(closed, Err(Error::UnexpectedEof(_))), "{closed:?}");
    let cut = answering(&record(GET_VALUES_RESULT, 0, b"\x05\x01NA"));
    assert!(matches!(cut, Err(Error::InvalidParams(0))), "{cut:?}");
    // The system accepts the connection; nobody reads.
    let (_listener, client) = listening();
    let silent = client.get_values();
    assert!(matches!(silent, Err(Error::TimedOut(_))), "{silent:?}");
}

/// Sends `requests` at once to a server that counts how many it has at the same time, and returns
/// the most.
fn most_at_once(
    client: impl Fn(Client) -> Client,
    config: server::Config,
    requests: usize,
) -> usize {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (count, highest) = (Arc::clone(&now), Arc::clone(&most));
    let server = TestServer::tcp(config, move |request| {
        highest.fetch_max(count.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        // Time for another to begin, if it may; that none does proves nothing, that one does fails
        // the test.
        thread::sleep(Duration::from_millis(20));
        count.fetch_sub(1, Ordering::SeqCst);
        write!(request.stdout, "Content-Type: text/plain\n\n")?;
        Ok(())
    });
    let client = client(Client::from(server.address.clone()));
    thread::scope(|scope| {
        for _ in 0..requests {
            scope.spawn(|| client.fetch(&Params::new(), b"").expect("an answer"));
        }
    });
    most.load(Ordering::SeqCst)
}

#[test]
fn without_a_bound_each_request_has_a_connection() {
    let all_at_once = Arc::new(Barrier::new(6));
    let server = TestServer::tcp(server::Config::new(), move |request| {
        all_at_once.wait();
        write!(request.stdout, "Content-Type: text/plain\n\n")?;
        Ok(())
    });
    let client = Client::from(server.address.clone());
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| client.fetch(&Params::new(), b"").expect("an answer"));
        }
    });
}

#[test]
fn the_configured_bound_holds() {
    let bounded =
        |client: Client| client.config(Config::new().max_connections(Some(2)).keep_alive(true));
    assert_eq!(most_at_once(bounded, server::Config::new(), 6), 2);
}

#[test]
fn what_was_negotiated_holds() {
    let negotiated = |client: Client| {
        assert_eq!(client.negotiate().expect("an answer").max_conns, Some(2));
        client
    };
    assert_eq!(most_at_once(negotiated, server::Config::new().max_connections(2), 6), 2);
}

#[test]
fn who_waits_too_long_for_a_connection_is_told() {
    let (release, released) = mpsc::channel::<()>();
    let (begun, has_begun) = mpsc::channel();
    let (released, begun) = (std::sync::Mutex::new(released), std::sync::Mutex::new(begun));
    let server = TestServer::tcp(server::Config::new(), move |request| {
        begun.lock().expect("begun").send(()).expect("the test waits");
        let _ = released.lock().expect("released").recv();
        write!(request.stdout, "Content-Type: text/plain\n\n")?;
        Ok(())
    });
    let config =
        Config::new().max_connections(Some(1)).connect_timeout(Some(Duration::from_millis(50)));
    let client = Client::from(server.address.clone()).config(config);
    thread::scope(|scope| {
        let first = scope.spawn(|| client.fetch(&Params::new(), b""));
        has_begun.recv().expect("the first request has begun");
        let second = client.fetch(&Params::new(), b"");
        assert!(matches!(second, Err(Error::TimedOut("waiting for a connection"))), "{second:?}");
        drop(release);
        first.join().expect("the first request's thread").expect("its answer");
    });
}

/// Rule C9: a refusal is one; and for a while the application is asked for one request less at a
/// time.
#[test]
fn c9_a_refusal_lowers_the_bound() {
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
        // The first request still runs, so that is the one connection there may be.
        let third = client.fetch(&Params::new(), b"");
        assert!(matches!(third, Err(Error::TimedOut("waiting for a connection"))), "{third:?}");
        one.write_all(&[record(STDOUT, 1, b""), end(1, 0, 0)].concat()).expect("written");
        first.join().expect("its thread").expect("its answer");
    });
}
