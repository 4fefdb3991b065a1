//! Proves the bounds of a client, each at the bound and one past it: the response that `fetch`
//! holds, its STDERR and its head. Idle connections are tested in `reuse`, timeouts in `timeouts`,
//! and memory as a whole in the program `client_memory`.
#![cfg(unix)]

use std::io::{self, Read, Write};
use std::sync::Arc;

use fcgi::cgi::Head;
use fcgi::client::{Completion, Config, Connection};
use fcgi::record::Role;
use fcgi::Error;

use crate::support::application::*;
use crate::support::*;

/// Sends a request and reads the head of the response.
fn read_head_of(application: &Application, config: Config) -> fcgi::Result<Head> {
    let client = application.client().config(config);
    client.send(&get_params(), io::empty(), |response| response.read_head()).map(|(head, _)| head)
}

/// Returns a head of exactly this many bytes, including the empty line.
fn head_of(len: usize) -> Vec<u8> {
    let mut head = b"Content-Type: text/plain\r\n".to_vec();
    while len - head.len() > 10_000 {
        head.extend_from_slice(format!("X-Long: {}\r\n", "v".repeat(5000 - 10)).as_bytes());
    }
    let rest = len - head.len() - "X-Last: \r\n\r\n".len();
    head.extend_from_slice(format!("X-Last: {}\r\n\r\n", "v".repeat(rest)).as_bytes());
    assert_eq!(head.len(), len);
    head
}

/// The default limit is 64 KiB. Rule H16.
#[test]
fn head_may_be_as_long_as_the_limit() {
    assert_eq!(Config::new().max_head, 64 * 1024);
    for (limit, config) in [(64 * 1024, test_config()), (1000, test_config().max_head(1000, 256))] {
        for len in [limit - 1, limit, limit + 1] {
            let application =
                Application::answering(response(&[&head_of(len), &b"body"[..]].concat()));
            match read_head_of(&application, config.clone()) {
                Ok(head) => {
                    assert!(len <= limit, "{len} of {limit}");
                    assert_eq!((head.status(), head.content_type()), (200, Some("text/plain")));
                }
                Err(Error::HeadTooLarge(found)) => assert_eq!((found, len), (limit, limit + 1)),
                Err(error) => panic!("{len} of {limit}: {error:?}"),
            }
        }
    }
}

/// The default limit is 1024. Rule H16.
#[test]
fn head_may_have_as_many_fields_as_the_limit() {
    assert_eq!(Config::new().max_head_fields, 1024);
    for (limit, config) in [(1024, test_config()), (3, test_config().max_head(1 << 16, 3))] {
        for count in [limit, limit + 1] {
            let head = format!("Status: 404\n{}\n", "X-Field: v\n".repeat(count - 1));
            let application = Application::answering(response(head.as_bytes()));
            match read_head_of(&application, config.clone()) {
                Ok(head) => assert_eq!((head.status(), count), (404, limit)),
                Err(Error::TooManyFields(found)) => assert_eq!((found, count), (limit, limit + 1)),
                Err(error) => panic!("{count} of {limit}: {error:?}"),
            }
        }
    }
}

/// Rule H11.
#[test]
fn strict_client_refuses_heads_that_others_accept() {
    assert!(!Config::new().strict_heads);
    for is_strict in [false, true] {
        let config = test_config().strict_heads(is_strict);
        let answering = || Application::answering(response(b"Location: a.php\n\n"));
        let read = read_head_of(&answering(), config.clone());
        let reply = answering().client().config(config).fetch(&get_params(), b"");
        let fetched = reply.expect("a response").status();
        if is_strict {
            assert!(matches!(read, Err(Error::InvalidLocation(_))), "{read:?}");
            assert!(matches!(fetched, Err(Error::InvalidLocation(_))), "{fetched:?}");
        } else {
            assert_eq!((read.expect("a head").status(), fetched.expect("a head")), (302, 302));
        }
    }
}

/// Rule H16.
#[test]
fn head_without_end_is_refused_while_the_application_writes() {
    for line in [&b"X-Same: again\n"[..], b"x"] {
        let application = Application::unix(move |_, mut stream| {
            read_request(&mut stream).expect("a request");
            let lines = record(STDOUT, 1, &line.repeat(4000));
            // Write until the client closes the connection, long before the end.
            let _closed = (0..1000).try_for_each(|_| stream.write_all(&lines));
        });
        let outcome = read_head_of(&application, test_config().max_head(64 * 1024, 1_000_000));
        assert!(matches!(outcome, Err(Error::HeadTooLarge(65536))), "{outcome:?}");
    }
}

/// The default limit is 64 MiB. Rule C30.
#[test]
fn fetched_response_may_be_as_long_as_the_limit() {
    assert_eq!(Config::new().max_response, 64 * 1024 * 1024);
    for limit in [0, 1, 8192, 100_000] {
        for len in [limit, limit + 1] {
            let application = Application::answering(response(&Pattern::bytes(len as u64)));
            match application
                .client()
                .config(test_config().max_response(limit))
                .fetch(&get_params(), b"")
            {
                Ok(reply) => assert_eq!((len, reply.stdout.len()), (limit, limit)),
                Err(Error::ResponseTooLarge(found)) => assert_eq!((found, len), (limit, limit + 1)),
                Err(error) => panic!("{len} of {limit}: {error:?}"),
            }
        }
    }
}

/// A limit that no response reaches has no effect. Rule C30.
#[test]
fn fetched_response_without_end_is_refused_at_the_limit() {
    let application = Application::unix(|_, mut stream| {
        read_request(&mut stream).expect("a request");
        let data = record(STDOUT, 1, &b"x".repeat(60_000));
        let _closed = (0..1000).try_for_each(|_| stream.write_all(&data));
    });
    let outcome =
        application.client().config(test_config().max_response(1 << 20)).fetch(&get_params(), b"");
    assert!(matches!(outcome, Err(Error::ResponseTooLarge(1_048_576))));

    let application = Application::answering(response(b"all of it"));
    let reply = application
        .client()
        .config(test_config().max_response(usize::MAX))
        .fetch(&get_params(), b"")
        .unwrap();
    assert_eq!(reply.stdout, b"all of it");
}

/// The default limit is 64 KiB. The response is complete and the connection is reused. Rule C30.
#[test]
fn stderr_is_held_up_to_the_limit_and_counted_beyond() {
    assert_eq!(Config::new().max_stderr, 64 * 1024);
    for (limit, config) in [
        (1 << 16, test_config()),
        (0, test_config().max_stderr(0)),
        (10, test_config().max_stderr(10)),
    ] {
        for len in [0, 1, limit, limit + 1, limit + 500_000_usize] {
            let application = Application::unix(move |_, mut stream| {
                while let Some(request) = read_request(&mut stream) {
                    let text = Pattern::bytes(len as u64);
                    let (first, last) = text.split_at(text.len() / 3);
                    let answer = [
                        self::stream(STDERR, request.id, first),
                        record(STDOUT, request.id, b"out"),
                        self::stream(STDERR, request.id, last),
                        record(STDERR, request.id, b""),
                        request.response(b"put"),
                    ];
                    stream.write_all(&answer.concat()).expect("the response is sent");
                }
            });
            let client = application.client().config(config.clone().keep_alive(true));
            for _ in 0..2 {
                let reply = client.fetch(&get_params(), b"").unwrap();
                let held = len.min(limit);
                let Completion { stderr, stderr_dropped, .. } = reply.completion;
                assert!(stderr == Pattern::bytes(held as u64), "{} of {len} bytes", stderr.len());
                assert_eq!(
                    (&reply.stdout[..], stderr_dropped),
                    (&b"output"[..], (len - held) as u64)
                );
            }
            assert_eq!(application.accepted(), 1);
            drop(client);
        }
    }
}

/// Rule C30.
#[test]
fn stderr_without_a_response_does_not_fill_the_memory() {
    let (near, mut far) = socket_pair();
    let application = std::thread::spawn(move || {
        read_request(&mut far).expect("a request");
        let text = record(STDERR, 1, &b"e".repeat(65535));
        for _ in 0..300 {
            far.write_all(&text).expect("the text is sent");
        }
        far.write_all(&end(1, 1, 0)).expect("the end is sent");
    });
    let mut connection = Connection::new(near, Arc::new(test_config())).unwrap();
    let mut exchange = connection.begin(Role::Responder, &get_params()).unwrap();
    exchange.stdin.finish().unwrap();
    assert_eq!(exchange.stdout.read(&mut [0]).unwrap(), 0);
    let completion = exchange.finish().unwrap();
    assert_eq!(completion.stderr.len(), 65536);
    assert_eq!(completion.stderr_dropped, 300 * 65535 - 65536);
    application.join().unwrap();
}
