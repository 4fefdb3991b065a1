//! Proves that body and response are transferred at the same time, however large they are and
//! whichever side writes or ends first, and that an error on the caller's side ends the request at
//! once.
#![cfg(unix)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{mpsc, Arc};
use std::thread;

use fcgi::client::{Body, Completion, Config, Connection, Response};
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
            assert_eq!(expected.remaining(), 0, "the body ended early");
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
        stream.write_all(&record(STDOUT, 1, &content[..n])).expect("the response is sent");
    }
}

/// Reads a response to its end and checks it.
fn check_response(response: &mut impl Read, len: u64) -> io::Result<()> {
    let mut expected = Pattern::new(len);
    io::copy(response, &mut expected)?;
    assert_eq!(expected.remaining(), 0, "the response ended early");
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

/// The application echoes 20 MiB as it reads them. Rule C7.
#[test]
fn response_is_read_while_the_body_is_sent() {
    for application in Application::tcp_and_unix(|_, mut stream| {
        read_begin_and_params(&mut stream).expect("the start of a request");
        echo_stdin(&mut stream);
    }) {
        assert_eq!(exchange(&application.client(), 20 * MIB), Completion::default());
    }
}

/// The body is as long. The request is sent with `Client`, and with an `Exchange` used by two
/// threads. Rule C7.
#[test]
fn application_may_write_20_mib_before_it_reads() {
    for application in Application::tcp_and_unix(|_, mut stream| {
        read_begin_and_params(&mut stream).expect("the start of a request");
        write_response(&mut stream, 20 * MIB);
        read_body(&mut stream, STDIN, 20 * MIB);
        stream.write_all(&response(b"")).expect("the end is sent");
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

/// Rule C7.
#[test]
fn application_may_read_20_mib_before_it_writes() {
    for application in Application::tcp_and_unix(|_, mut stream| {
        read_begin_and_params(&mut stream).expect("the start of a request");
        read_body(&mut stream, STDIN, 20 * MIB);
        write_response(&mut stream, 20 * MIB);
        stream.write_all(&response(b"")).expect("the end is sent");
    }) {
        exchange(&application.client(), 20 * MIB);
    }
}

/// Rule C7.
#[test]
fn response_that_the_caller_does_not_read_does_not_block() {
    let application = Application::unix(|_, mut stream| {
        read_begin_and_params(&mut stream).expect("the start of a request");
        write_response(&mut stream, 20 * MIB);
        read_body(&mut stream, STDIN, 20 * MIB);
        stream.write_all(&response(b"")).expect("the end is sent");
    });
    application
        .client()
        .send(&upload_params(20 * MIB), Pattern::new(20 * MIB), |_| fcgi::Result::Ok(()))
        .unwrap();
}

/// Rules C7 and C26.
#[test]
fn filter_body_and_data_are_sent_while_it_responds() {
    let application = Application::unix(|_, mut stream| {
        read_begin_and_params(&mut stream).expect("the start of a request");
        write_response(&mut stream, 8 * MIB);
        read_body(&mut stream, STDIN, 8 * MIB);
        read_body(&mut stream, DATA, 8 * MIB);
        stream.write_all(&response(b"")).expect("the end is sent");
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

/// END_REQUEST comes after 1 KiB of a body of 64 MiB. The application closes the connection, or
/// leaves it open without reading. The rest of the body is not sent, and the next request uses
/// another connection. Rule C8.
#[test]
fn response_counts_although_the_body_was_not_read() {
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
    let request = read_begin_and_params(&mut stream).expect("the start of a request");
    if request.param("CONTENT_LENGTH").is_some() {
        stream.read_exact(&mut [0; 1024]).expect("a part of the body");
        let answer =
            [record(STDERR, 1, b"too much"), record(STDOUT, 1, b"413"), end(1, 9, 0)].concat();
        stream.write_all(&answer).expect("the response is sent");
        stall();
    } else {
        read_record(&mut stream).expect("the end of the body");
        stream.write_all(&response(b"second")).expect("the response is sent");
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
            fcgi::Result::Ok(stdout)
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

/// The body may leave in one write with the start of the request. Rule C8.
#[test]
fn fetch_returns_a_response_sent_before_the_body_was_read() {
    for len in [0, 20_000, 100_000] {
        let application = Application::unix(|_, mut stream| {
            stream.read_exact(&mut [0]).expect("a byte of the request");
            stream.write_all(&response(b"early")).expect("the response is sent");
        });
        let reply = application.client().fetch(&post_params(), vec![b'x'; len]).unwrap();
        assert_eq!(reply.stdout, b"early");
    }
}

/// The application responds and closes the connection before the client has sent anything.
/// Rule C8.
#[test]
fn response_sent_before_the_request_is_returned() {
    struct Late(mpsc::Receiver<()>);
    impl Read for Late {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            // The connection exists, but nothing has been sent.
            self.0.recv_timeout(TEST_TIMEOUT).expect("the application closes the connection");
            buffer.fill(b'x');
            Ok(buffer.len())
        }
    }
    for (answer, expected) in [
        (response(b"busy"), "Ok(4)"),
        (end(1, 0, 2), "Err(application refused the request: OVERLOADED)"),
    ] {
        let (report, reports) = mpsc::channel();
        let application = Application::unix(move |_, mut stream| {
            stream.write_all(&answer).expect("the response is sent");
            drop(stream);
            report.send(()).expect("the test waits");
        });
        let received = application
            .client()
            .send(&upload_params(10), Body::from_reader(Late(reports)), |response| {
                response.stdout.read_to_end(&mut Vec::new())
            })
            .map(|(len, _)| len)
            .map_err(Error::from);
        assert_eq!(format!("{received:?}"), expected);
    }
}

/// Writing the body returns an error, but reading the response and finishing succeed. Rule C8.
#[test]
fn exchange_returns_the_response_although_writing_failed() {
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

/// Each piece of the body is produced after the response to the previous one. Rule C7.
#[test]
fn body_may_depend_on_the_response() {
    struct Waiting(mpsc::Receiver<Vec<u8>>);
    impl Read for Waiting {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let piece = self.0.recv_timeout(TEST_TIMEOUT).unwrap_or_default();
            buffer[..piece.len()].copy_from_slice(&piece);
            Ok(piece.len())
        }
    }
    let application = Application::unix(|_, mut stream| {
        read_begin_and_params(&mut stream).expect("the start of a request");
        echo_stdin(&mut stream);
    });
    let (sender, receiver) = mpsc::channel();
    sender.send(b"0".to_vec()).unwrap();
    application
        .client()
        .send(&post_params(), Body::from_reader(Waiting(receiver)), |response| {
            for number in 0..100 {
                let mut digits = vec![0; number.to_string().len()];
                response.stdout.read_exact(&mut digits)?;
                assert_eq!(digits, number.to_string().as_bytes());
                sender.send((number + 1).to_string().into_bytes()).unwrap();
            }
            sender.send(Vec::new()).unwrap();
            fcgi::Result::Ok(())
        })
        .unwrap();
}

/// A file that is not a regular one, such as a FIFO, may wait for the response as well. Rule C7.
#[test]
fn body_from_a_special_file_may_depend_on_the_response() {
    let application = Application::unix(|_, mut stream| {
        read_begin_and_params(&mut stream).expect("the start of a request");
        echo_stdin(&mut stream);
    });
    let (mut near, far) = UnixStream::pair().unwrap();
    near.write_all(b"first").unwrap();
    application
        .client()
        .send(&upload_params(9), File::from(OwnedFd::from(far)), |response| {
            let mut echo = [0; 9];
            response.stdout.read_exact(&mut echo[..5])?;
            near.write_all(b"next")?;
            response.stdout.read_exact(&mut echo[5..])?;
            assert_eq!(&echo, b"firstnext");
            fcgi::Result::Ok(())
        })
        .unwrap();
}

/// A body whose n-th read fails.
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

/// A body whose read fails when the sender is dropped.
struct FailingLater(mpsc::Receiver<()>);

impl Read for FailingLater {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        let _dropped = self.0.recv_timeout(TEST_TIMEOUT);
        Err(io::Error::other("the upload failed"))
    }
}

/// Returns an application that waits for the end of a stream, and a client without timeouts. The
/// end must never arrive.
fn waiting_for(record_type: u8) -> (Application, Client) {
    let application = Application::unix(move |_, mut stream| {
        let mut header = [0; 8];
        while stream.read_exact(&mut header).is_ok() {
            let len = u64::from(u16::from_be_bytes([header[4], header[5]])) + u64::from(header[6]);
            assert!(
                (header[1], len) != (record_type, 0),
                "the stream was ended as if it were complete"
            );
            let _truncated = io::copy(&mut (&mut stream).take(len), &mut io::sink());
        }
    });
    let config = Config::new().read_timeout(None).write_timeout(None).keep_alive(true);
    let client = application.client().config(config);
    (application, client)
}

/// The caller gets the error of its body, although the application waits for the rest. The body is
/// never ended as if it were complete.
#[test]
fn error_of_the_body_ends_the_request_at_once() {
    for reads in [0, 1, 2, 50] {
        let (application, client) = waiting_for(STDIN);
        let outcome = run_with_timeout(move || {
            let mut body = Failing(reads, || Err(io::Error::other("the upload failed")));
            client.send(&post_params(), &mut body, |response| {
                response.stdout.read_to_end(&mut Vec::new())
            })
        });
        let error = outcome.expect("no panic").unwrap_err();
        assert_eq!(error.to_string(), "the upload failed", "after {reads} reads");
        drop(application);
    }
}

/// The whole response has arrived before the body fails.
#[test]
fn complete_response_is_returned_although_the_body_failed() {
    let application = Application::unix(|_, mut stream| {
        read_begin_and_params(&mut stream).expect("a request");
        stream.write_all(&response(b"complete")).expect("the response is sent");
        wait_for_close(&mut stream);
    });
    let client = application.client();
    let (received, is_received) = mpsc::channel::<()>();
    let outcome = run_with_timeout(move || {
        let failure = FailingLater(is_received);
        let mut body = (&b"part"[..]).chain(failure);
        client.send(&post_params(), &mut body, |response| {
            let mut stdout = Vec::new();
            response.stdout.read_to_end(&mut stdout)?;
            drop(received);
            fcgi::Result::Ok(stdout)
        })
    });
    let (stdout, _completion) = outcome.expect("no panic").expect("a response");
    assert_eq!(stdout, b"complete");
    drop(application);
}

#[test]
fn error_of_the_filter_data_ends_the_request_at_once() {
    let (application, client) = waiting_for(DATA);
    let outcome = run_with_timeout(move || {
        let mut data = Failing(3, || Err(io::Error::other("the disk failed")));
        client.filter(&upload_params(3), b"abc", &mut data, |_| fcgi::Result::Ok(()))
    });
    assert_eq!(outcome.expect("no panic").unwrap_err().to_string(), "the disk failed");
    drop(application);
}

/// The file is open for writing only. Its length is known, so the thread that calls `filter` reads
/// it, after the first part of the request has been sent. A directory is read by another thread.
#[test]
fn error_of_reading_a_file_of_the_filter_data_ends_the_request_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("data");
    let mut file = File::create(&path).expect("a file");
    file.write_all(&[b'x'; 100]).expect("the file is written");
    let unreadable = File::options().write(true).open(&path).expect("the file opens");
    for data in [unreadable, File::open(directory.path()).expect("the directory opens")] {
        let expected = (&data).read(&mut [0]).expect_err("it cannot be read").raw_os_error();
        let (application, client) = waiting_for(DATA);
        let outcome = run_with_timeout(move || {
            client.filter(&upload_params(3), b"abc", data, |_| fcgi::Result::Ok(()))
        });
        let error = io::Error::from(outcome.expect("no panic").unwrap_err());
        assert_eq!(error.raw_os_error(), expected, "{error}");
        drop(application);
    }
}

/// The body ends where the file now ends. The application can see from CONTENT_LENGTH that it is
/// short.
#[test]
fn body_from_a_file_that_is_truncated_meanwhile_ends_early() {
    for len in [2 * MIB, 8 * MIB] {
        let file = tempfile::tempfile().expect("a temporary file");
        file.set_len(len).expect("a file of this length");
        let truncated = file.try_clone().expect("a second handle");
        let (report, received) = mpsc::channel();
        let application = Application::unix(move |_, mut stream| {
            let request = read_begin_and_params(&mut stream).expect("a request");
            assert_eq!(request.param("CONTENT_LENGTH"), Some(len.to_string().as_bytes()));
            truncated.set_len(0).expect("the file is truncated");
            let records = std::iter::from_fn(|| read_record(&mut stream));
            let body = records.take_while(|record| !record.content.is_empty());
            let received: u64 = body.map(|record| record.content.len() as u64).sum();
            report.send(received).expect("the test waits");
            stream.write_all(&response(b"short")).expect("the response is sent");
        });
        let client = application.client();
        let outcome = run_with_timeout(move || client.fetch(&post_params(), file));
        let reply = outcome.expect("no panic").expect("a response");
        assert_eq!(reply.stdout, b"short");
        let received = received.recv().expect("the length of the body");
        // The socket has room for less, so the rest is read after the file was truncated.
        assert!(received > 0 && received < MIB, "{received} bytes");
        drop(application);
    }
}

#[test]
fn interrupted_read_of_the_body_is_retried() {
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
        read_begin_and_params(&mut stream).expect("the start of a request");
        echo_stdin(&mut stream);
    });
    let mut body = Interrupted(Pattern::new(MIB), false);
    application
        .client()
        .send(&upload_params(MIB), &mut body, |response| check_response(&mut response.stdout, MIB))
        .unwrap();
}

/// The application waits for the rest of the body.
#[test]
fn panic_of_the_body_reaches_the_caller_at_once() {
    for reads in [0, 1, 2, 50] {
        let (application, client) = waiting_for(STDIN);
        let outcome = run_with_timeout(move || {
            let mut body = Failing(reads, || panic!("the body panics"));
            client.send(&post_params(), &mut body, |response| {
                response.stdout.read_to_end(&mut Vec::new())
            })
        });
        assert_eq!(
            outcome.unwrap_err().downcast_ref(),
            Some(&"the body panics"),
            "after {reads} reads"
        );
        drop(application);
    }
}

/// This holds while the body waits for an application that does not read, too. The connection is
/// not reused.
#[test]
fn panic_of_the_receiver_reaches_the_caller_at_once() {
    for len in [0, 64 * MIB] {
        let (gate, open) = gate();
        let application = Application::unix(move |_, mut stream| {
            let request = read_begin_and_params(&mut stream).expect("the start of a request");
            if request.param("LAST").is_some() {
                stream.write_all(&response(b"served")).expect("the response is sent");
                return wait_for_close(&mut stream);
            }
            stream.write_all(&record(STDOUT, 1, b"start")).expect("the response is sent");
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

/// The error of the body caused the other one.
#[test]
fn error_of_the_body_precedes_that_of_the_receiver() {
    let (application, client) = waiting_for(STDIN);
    let outcome = run_with_timeout(move || {
        let mut body = Failing(3, || Err(io::Error::other("the cause")));
        client.send(&post_params(), &mut body, |response| -> io::Result<()> {
            let error = response.stdout.read(&mut [0]).unwrap_err();
            assert!(matches!(Error::from(error), Error::UnexpectedEof(_)));
            Err(io::Error::other("the effect"))
        })
    });
    assert_eq!(outcome.expect("no panic").unwrap_err().to_string(), "the cause");
    drop(application);
}

/// Returns the error of a request whose body waits for the end of the receiver, and then fails.
/// The application answers with these bytes.
fn error_before_that_of_the_body(
    answer: Vec<u8>,
    receive: impl FnOnce(&mut Response<'_>) -> io::Result<()> + Send + 'static,
) -> io::Error {
    let application = Application::unix(move |_, mut stream| {
        read_begin_and_params(&mut stream).expect("a request");
        stream.write_all(&answer).expect("the response is sent");
        wait_for_close(&mut stream);
    });
    let client = application.client();
    let (received, is_received) = mpsc::channel::<()>();
    let outcome = run_with_timeout(move || {
        let mut body = (&b"part"[..]).chain(FailingLater(is_received));
        client.send(&post_params(), &mut body, move |response| {
            let outcome = receive(response);
            drop(received);
            outcome
        })
    });
    outcome.expect("no panic").expect_err("an error")
}

/// The body fails because the request has failed, such as in a gateway that closes both.
#[test]
fn error_of_the_receiver_precedes_that_of_the_body() {
    let error = error_before_that_of_the_body(record(STDOUT, 1, b"start"), |response| {
        response.stdout.read_exact(&mut [0; 5])?;
        Err(io::Error::other("the cause"))
    });
    assert_eq!(error.to_string(), "the cause");

    let error = error_before_that_of_the_body(record(STDOUT, 7, b"start"), |response| {
        response.stdout.read_exact(&mut [0; 5])
    });
    assert!(matches!(error.into(), Error::UnexpectedRecord { request_id: 7, .. }));
}
