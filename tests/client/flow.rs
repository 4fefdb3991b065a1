//! Both directions flow at once, however large they are, whoever writes first and whoever ends
//! first; and what fails on the caller's side ends the request at once.
#![cfg(unix)]

use std::io::{self, Read, Write};
use std::sync::{mpsc, Arc};
use std::thread;

use fcgi::client::{Completion, Config, Connection};
use fcgi::net::Stream;
use fcgi::record::Role;
use fcgi::{Client, Error};

use crate::support::application::*;
use crate::support::*;

const MIB: u64 = 1 << 20;

/// Reads a body to its end and checks it.
fn read_body(stream: &mut Stream, record_type: u8, len: u64) {
    let mut expected = Pattern::new(len);
    loop {
        let record = read_record(stream).expect("a record of the body, not its end");
        assert_eq!((record.record_type, record.id), (record_type, 1));
        if record.content.is_empty() {
            assert_eq!(expected.remaining(), 0, "the body has ended early");
            return;
        }
        expected.write_all(&record.content).expect("the body");
    }
}

/// Writes a response without its end.
fn write_response(stream: &mut Stream, len: u64) {
    let mut source = Pattern::new(len);
    let mut content = vec![0; 65535];
    while source.remaining() > 0 {
        let n = source.read(&mut content).expect("a pattern");
        stream.write_all(&record(STDOUT, 1, &content[..n])).expect("the response is taken");
    }
}

/// Reads a response to its end and checks it.
fn check_response(response: &mut impl Read, len: u64) -> io::Result<()> {
    let mut expected = Pattern::new(len);
    io::copy(response, &mut expected)?;
    assert_eq!(expected.remaining(), 0, "the response has ended early");
    Ok(())
}

/// Sends a large body and checks a large response.
#[track_caller]
fn exchange(client: &Client, len: u64) -> Completion {
    let ((), completion) = client
        .send(&upload_params(len), Pattern::new(len), |response| {
            check_response(&mut response.stdout, len)
        })
        .expect("the response");
    completion
}

/// C7; "Writes the whole body before it reads": an echo, which answers as it reads.
#[test]
fn an_echo_of_20_mib() {
    for application in Application::tcp_and_unix(|_, mut stream| {
        read_begin_and_params(&mut stream).expect("the head of a request");
        echo_stdin(&mut stream);
    }) {
        assert_eq!(exchange(&application.client(), 20 * MIB), Completion::default());
    }
}

/// C7: the application writes 20 MiB before it reads a byte of the body, which is as long; from
/// `Client` and from an `Exchange` that two threads use.
#[test]
fn the_application_writes_first() {
    for application in Application::tcp_and_unix(|_, mut stream| {
        read_begin_and_params(&mut stream).expect("the head of a request");
        write_response(&mut stream, 20 * MIB);
        read_body(&mut stream, STDIN, 20 * MIB);
        stream.write_all(&response(b"")).expect("the end is taken");
    }) {
        exchange(&application.client(), 20 * MIB);

        let mut connection = application.client().connect().unwrap();
        let mut exchange = connection.begin(Role::Responder, &upload_params(20 * MIB)).unwrap();
        let (stdin, stdout) = (&mut exchange.stdin, &mut exchange.stdout);
        thread::scope(|scope| {
            let writer = scope.spawn(move || {
                io::copy(&mut Pattern::new(20 * MIB), stdin)?;
                stdin.finish()
            });
            check_response(stdout, 20 * MIB).unwrap();
            writer.join().unwrap().unwrap();
        });
        assert_eq!(exchange.finish().unwrap(), Completion::default());
        drop(connection);
    }
}

/// C7: the application reads all before it answers as much.
#[test]
fn the_application_reads_first() {
    for application in Application::tcp_and_unix(|_, mut stream| {
        read_begin_and_params(&mut stream).expect("the head of a request");
        read_body(&mut stream, STDIN, 20 * MIB);
        write_response(&mut stream, 20 * MIB);
        stream.write_all(&response(b"")).expect("the end is taken");
    }) {
        exchange(&application.client(), 20 * MIB);
    }
}

/// C7: a caller who does not read the response does not block the application.
#[test]
fn an_unread_response_is_drained() {
    let application = Application::unix(|_, mut stream| {
        read_begin_and_params(&mut stream).expect("the head of a request");
        write_response(&mut stream, 20 * MIB);
        read_body(&mut stream, STDIN, 20 * MIB);
        stream.write_all(&response(b"")).expect("the end is taken");
    });
    application
        .client()
        .send(&upload_params(20 * MIB), Pattern::new(20 * MIB), |_| Ok(()))
        .unwrap();
}

/// C7, C26: a filter's body and file flow while it answers.
#[test]
fn a_filter_flows_too() {
    let application = Application::unix(|_, mut stream| {
        read_begin_and_params(&mut stream).expect("the head of a request");
        write_response(&mut stream, 8 * MIB);
        read_body(&mut stream, STDIN, 8 * MIB);
        read_body(&mut stream, DATA, 8 * MIB);
        stream.write_all(&response(b"")).expect("the end is taken");
    });
    let mut params = upload_params(8 * MIB);
    params.set("FCGI_DATA_LENGTH", (8 * MIB).to_string()).unwrap();
    application
        .client()
        .filter(&params, Pattern::new(8 * MIB), Pattern::new(9 * MIB), |response| {
            check_response(&mut response.stdout, 8 * MIB)
        })
        .unwrap();
}

/// C8; "The application ends early while the body is still being sent; the response is lost to
/// EPIPE": END_REQUEST after 1 KiB of a body of 64 MiB, from an application that closes and from
/// one that stalls. The response counts, the rest of the body is not read, and "A connection is
/// pooled at END_REQUEST though stdin was not sent": the next request has another.
#[test]
fn an_application_that_ends_early() {
    for application in Application::tcp_and_unix(|_, stream| end_early(stream, || {})) {
        assert_early_end(&application);
    }
    let (gate, open) = gate();
    let applications =
        Application::tcp_and_unix(move |_, stream| end_early(stream, || gate.wait()));
    applications.iter().for_each(assert_early_end);
    drop(open);
}

fn end_early(mut stream: Stream, stall: impl FnOnce()) {
    let request = read_begin_and_params(&mut stream).expect("the head of a request");
    if request.param("CONTENT_LENGTH").is_some() {
        stream.read_exact(&mut [0; 1024]).expect("a part of the body");
        let answer =
            [record(STDERR, 1, b"too much"), record(STDOUT, 1, b"413"), end(1, 9, 0)].concat();
        stream.write_all(&answer).expect("the answer is taken");
        stall();
    } else {
        read_record(&mut stream).expect("the end of the body");
        stream.write_all(&response(b"second")).expect("the answer is taken");
        assert_closed(&mut stream);
    }
}

#[track_caller]
fn assert_early_end(application: &Application) {
    let client = application.keep_alive_client();
    let mut body = Pattern::new(64 * MIB);
    let (stdout, completion) = client
        .send(&upload_params(64 * MIB), &mut body, |response| {
            let mut stdout = String::new();
            response.stdout.read_to_string(&mut stdout)?;
            Ok(stdout)
        })
        .unwrap();
    assert_eq!(
        (&stdout[..], completion.app_status, &completion.stderr[..]),
        ("413", 9, &b"too much"[..])
    );
    assert!(body.remaining() > 32 * MIB, "{} were left", body.remaining());
    assert_eq!(client.fetch(&get_params(), b"").unwrap().stdout, b"second");
    assert_eq!(application.accepted(), 2);
}

/// C8: the same from `fetch`, and with a body that leaves whole with the beginning of its request.
#[test]
fn an_application_that_reads_nothing() {
    for len in [0, 20_000, 100_000] {
        let application = Application::unix(|_, mut stream| {
            stream.read_exact(&mut [0]).expect("a byte of the request");
            stream.write_all(&response(b"early")).expect("the answer is taken");
        });
        let reply = application.client().fetch(&post_params(), &vec![b'x'; len]).unwrap();
        assert_eq!(reply.stdout, b"early");
    }
}

/// C8: an application that answers and closes before the request is sent at all: the answer is read
/// all the same, be it a response or a refusal.
#[test]
fn an_application_that_does_not_wait_for_the_request() {
    struct Late(mpsc::Receiver<()>);
    impl Read for Late {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            // Connected, and nothing sent yet.
            self.0.recv_timeout(TEST_TIMEOUT).expect("the application has closed");
            buffer.fill(b'x');
            Ok(buffer.len())
        }
    }
    for (answer, expected) in
        [(response(b"busy"), "Ok(4)"), (end(1, 0, 2), "Err(Refused(Overloaded))")]
    {
        let (tell, told) = mpsc::channel();
        let application = Application::unix(move |_, mut stream| {
            stream.write_all(&answer).expect("the answer is taken");
            drop(stream);
            tell.send(()).expect("the test");
        });
        let received = application
            .client()
            .send(&upload_params(10), Late(told), |response| {
                response.stdout.read_to_end(&mut Vec::new())
            })
            .map(|(len, _)| len);
        assert_eq!(format!("{received:?}"), expected);
    }
}

/// C8: an `Exchange` whose body can no longer be written still has its response; writing tells,
/// finishing does not mind.
#[test]
fn an_exchange_with_an_application_that_ends_early() {
    let (near, mut far) = socket_pair();
    let mut connection = Connection::new(near, Arc::new(test_config().keep_alive(true))).unwrap();
    let mut exchange = connection.begin(Role::Responder, &post_params()).unwrap();
    exchange.stdin.flush().unwrap();
    read_begin_and_params(&mut far).unwrap();
    far.write_all(&response(b"early")).unwrap();
    drop(far);
    let error = io::copy(&mut Pattern::new(MIB), &mut exchange.stdin).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    exchange.stdin.write(b"x").unwrap_err();
    exchange.stdin.finish().unwrap_err();
    let mut stdout = String::new();
    exchange.stdout.read_to_string(&mut stdout).unwrap();
    assert_eq!(stdout, "early");
    assert_eq!(exchange.finish().unwrap(), Completion::default());
    assert!(!connection.is_reusable());
}

/// C8: a body that waits for something in the response itself.
#[test]
fn a_body_that_waits_for_the_response() {
    struct Waiting(mpsc::Receiver<Vec<u8>>);
    impl Read for Waiting {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let piece = self.0.recv_timeout(TEST_TIMEOUT).unwrap_or_default();
            buffer[..piece.len()].copy_from_slice(&piece);
            Ok(piece.len())
        }
    }
    let application = Application::unix(|_, mut stream| {
        read_begin_and_params(&mut stream).expect("the head of a request");
        echo_stdin(&mut stream);
    });
    let (ask, asked) = mpsc::channel();
    ask.send(b"0".to_vec()).unwrap();
    application
        .client()
        .send(&post_params(), Waiting(asked), |response| {
            for number in 0..100 {
                let mut digits = vec![0; number.to_string().len()];
                response.stdout.read_exact(&mut digits)?;
                assert_eq!(digits, number.to_string().as_bytes());
                ask.send((number + 1).to_string().into_bytes()).unwrap();
            }
            ask.send(Vec::new()).unwrap();
            Ok(())
        })
        .unwrap();
}

/// A body of which the n-th read fails.
struct Failing(usize, fn() -> io::Result<usize>);

impl Read for Failing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return self.1();
        }
        self.0 -= 1;
        buffer.fill(b'x');
        Ok(buffer.len())
    }
}

/// A client without timeouts of an application that waits for all of a stream, the end of which
/// must never come.
fn waiting_for(record_type: u8) -> (Application, Client) {
    let application = Application::unix(move |_, mut stream| {
        let mut header = [0; 8];
        while stream.read_exact(&mut header).is_ok() {
            let len = u64::from(u16::from_be_bytes([header[4], header[5]])) + u64::from(header[6]);
            assert!(
                (header[1], len) != (record_type, 0),
                "the stream was ended as if it were whole"
            );
            let _be_it_cut = io::copy(&mut (&mut stream).take(len), &mut io::sink());
        }
    });
    let config = Config::new().read_timeout(None).write_timeout(None).keep_alive(true);
    let client = application.client().config(config);
    (application, client)
}

/// A body that cannot be read is the caller's own error, told at once though the application waits
/// for the rest, and never the end of a whole body.
#[test]
fn a_body_that_fails() {
    for reads in [0, 1, 2, 50] {
        let (application, client) = waiting_for(STDIN);
        let outcome = run_with_timeout(move || {
            let body = Failing(reads, || Err(io::Error::other("the upload broke off")));
            client
                .send(&post_params(), body, |response| response.stdout.read_to_end(&mut Vec::new()))
        });
        let error = outcome.expect("no panic").unwrap_err();
        assert_eq!(error.to_string(), "the upload broke off", "after {reads} reads");
        drop(application);
    }
}

/// A filter's file that cannot be read is the same.
#[test]
fn a_file_that_fails() {
    let (application, client) = waiting_for(DATA);
    let outcome = run_with_timeout(move || {
        let data = Failing(3, || Err(io::Error::other("the disk broke")));
        client.filter(&upload_params(3), &b"abc"[..], data, |_| Ok(()))
    });
    assert_eq!(outcome.expect("no panic").unwrap_err().to_string(), "the disk broke");
    drop(application);
}

/// A read of the body that a signal interrupts is made again.
#[test]
fn an_interrupted_body_goes_on() {
    struct Interrupted(Pattern, bool);
    impl Read for Interrupted {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            self.0.read(buffer)
        }
    }
    let application = Application::unix(|_, mut stream| {
        read_begin_and_params(&mut stream).expect("the head of a request");
        echo_stdin(&mut stream);
    });
    let body = Interrupted(Pattern::new(MIB), false);
    application
        .client()
        .send(&upload_params(MIB), body, |response| check_response(&mut response.stdout, MIB))
        .unwrap();
}

/// A body that panics takes its caller along, and not the request's timeout first: the application
/// waits for the rest.
#[test]
fn a_body_that_panics() {
    for reads in [0, 1, 2, 50] {
        let (application, client) = waiting_for(STDIN);
        let outcome = run_with_timeout(move || {
            let body = Failing(reads, || panic!("the body panics"));
            client
                .send(&post_params(), body, |response| response.stdout.read_to_end(&mut Vec::new()))
        });
        assert_eq!(
            outcome.unwrap_err().downcast_ref(),
            Some(&"the body panics"),
            "after {reads} reads"
        );
        drop(application);
    }
}

/// A receiver that panics takes its caller along, also while the body waits for an application that
/// does not read; the connection is not used again.
#[test]
fn a_receiver_that_panics() {
    for len in [0, 64 * MIB] {
        let (gate, open) = gate();
        let application = Application::unix(move |_, mut stream| {
            let request = read_begin_and_params(&mut stream).expect("the head of a request");
            if request.param("LAST").is_some() {
                stream.write_all(&response(b"served")).expect("the answer is taken");
                return wait_for_close(&mut stream);
            }
            stream.write_all(&record(STDOUT, 1, b"begun")).expect("the answer is taken");
            gate.wait();
        });
        let config = Config::new().read_timeout(None).write_timeout(None).keep_alive(true);
        let client = Arc::new(application.client().config(config));
        let panicking = Arc::clone(&client);
        let outcome = run_with_timeout(move || {
            panicking.send(&upload_params(len), Pattern::new(len), |response| -> io::Result<()> {
                response.stdout.read_exact(&mut [0; 5])?;
                panic!("the receiver panics")
            })
        });
        assert_eq!(
            outcome.unwrap_err().downcast_ref(),
            Some(&"the receiver panics"),
            "a body of {len}"
        );
        let params = fcgi::Params::from_pairs([("LAST", "1")]).unwrap();
        assert_eq!(client.fetch(&params, b"").unwrap().stdout, b"served");
        drop((client, open));
    }
}

/// A body and a receiver that both end in errors: the body's is told, for it was the cause.
#[test]
fn the_cause_is_told() {
    let (application, client) = waiting_for(STDIN);
    let outcome = run_with_timeout(move || {
        let body = Failing(3, || Err(io::Error::other("the cause")));
        client.send(&post_params(), body, |response| -> io::Result<()> {
            let error = response.stdout.read(&mut [0]).unwrap_err();
            assert!(matches!(Error::from(error), Error::UnexpectedEof(_)));
            Err(io::Error::other("the effect"))
        })
    });
    assert_eq!(outcome.expect("no panic").unwrap_err().to_string(), "the cause");
    drop(application);
}
