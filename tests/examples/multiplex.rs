//! Tests of the example `multiplex` with a scripted application: many requests are open at once on
//! one connection, responses may come in any order, an abort affects one request, and a refused
//! request is sent again.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::process::Output;
use std::thread;

use crate::example;
use crate::support::*;

const COUNT: u16 = 5;
const BODY: usize = 100_000;

/// Connects to an application when it is dropped, so that the application does not wait for an
/// example that has failed.
struct ConnectOnDrop<'a>(&'a str);

impl Drop for ConnectOnDrop<'_> {
    fn drop(&mut self) {
        // If this fails, nothing waits at the address.
        let _ = TcpStream::connect(self.0);
    }
}

/// Runs the example with `COUNT` requests and these further arguments. The application allows
/// multiplexing, and `serve` gets its listener and the connection with all requests.
fn run(args: &[&str], serve: impl FnOnce(&TcpListener, TcpStream) + Send) -> Output {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listening socket");
    let address = listener.local_addr().expect("its address").to_string();
    thread::scope(|scope| {
        scope.spawn(|| {
            answer_get_values(&listener);
            serve(&listener, listener.accept().expect("a connection").0);
        });
        let _end = ConnectOnDrop(&address);
        let count = COUNT.to_string();
        example::run("multiplex", &[&[&*address, &count], args].concat(), &[], b"")
    })
}

/// Responds to GET_VALUES.
fn answer_get_values(listener: &TcpListener) {
    let (mut stream, _) = listener.accept().expect("a connection");
    let query = read_record(&mut stream).expect("a query");
    assert_eq!((query.record_type, query.id), (GET_VALUES, 0));
    let result = pair(b"FCGI_MPXS_CONNS", b"1");
    stream.write_all(&record(GET_VALUES_RESULT, 0, &result)).expect("the response is sent");
}

/// Reads records until each of `COUNT` requests has its whole input or is aborted. Returns the
/// length of each STDIN, or `None` for an aborted request.
fn read_requests(stream: &mut TcpStream) -> BTreeMap<u16, Option<usize>> {
    let mut lens: BTreeMap<u16, usize> = BTreeMap::new();
    let mut ended = BTreeMap::new();
    while ended.len() < usize::from(COUNT) {
        let record = read_record(stream).expect("more records");
        match record.record_type {
            STDIN if record.content.is_empty() => {
                ended.insert(record.id, Some(lens[&record.id]));
            }
            STDIN => *lens.entry(record.id).or_default() += record.content.len(),
            ABORT => {
                ended.insert(record.id, None);
            }
            _ => {}
        }
    }
    ended
}

fn lines(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// Rules A22 and C24.
#[test]
fn open_requests_do_not_mix() {
    let output = run(&["2"], |_, mut stream| {
        let requests = read_requests(&mut stream);
        let expected: BTreeMap<_, _> =
            (1..=COUNT).map(|id| (id, (id != 2).then_some(BODY))).collect();
        assert_eq!(requests, expected, "whole bodies, and one aborted request");
        // Send a piece of each response in turn, the last request first.
        for piece in ["Content-Type: text/plain\n\n", "answer "] {
            for id in (1..=COUNT).rev() {
                stream.write_all(&padded_record(STDOUT, id, piece.as_bytes(), 3)).expect("written");
            }
        }
        for id in (1..=COUNT).rev() {
            let rest = [
                record(STDOUT, id, id.to_string().as_bytes()),
                record(STDOUT, id, b""),
                end(id, id.into(), 0),
            ];
            stream.write_all(&rest.concat()).expect("written");
        }
    });
    let expected = [
        "1: 34 bytes, app status 1: answer 1",
        "2: 0 bytes, app status 2, aborted: ",
        "3: 34 bytes, app status 3: answer 3",
        "4: 34 bytes, app status 4: answer 4",
        "5: 34 bytes, app status 5: answer 5",
    ];
    assert_eq!(lines(&output), expected);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

/// CANT_MPX_CONN for one request does not affect the others. Rule C24.
#[test]
fn refused_request_is_sent_again_alone() {
    let output = run(&[], |listener, mut stream| {
        read_requests(&mut stream);
        for id in 1..=COUNT {
            let (status, text) = if id == 3 { (1, "") } else { (0, "together") };
            let answer = [stream_of(id, text), end(id, 0, status)];
            stream.write_all(&answer.concat()).expect("written");
        }
        let (mut stream, _) = listener.accept().expect("a connection for the refused request");
        while read_record(&mut stream)
            .is_some_and(|record| record.record_type != STDIN || !record.content.is_empty())
        {
        }
        stream.write_all(&[stream_of(1, "alone"), end(1, 0, 0)].concat()).expect("written");
    });
    let endings: Vec<_> =
        lines(&output).iter().map(|line| line.rsplit(' ').next().map(str::to_owned)).collect();
    let expected = ["together", "together", "alone", "together", "together"];
    assert_eq!(endings.into_iter().flatten().collect::<Vec<_>>(), expected);
}

fn stream_of(id: u16, text: &str) -> Vec<u8> {
    [stream(STDOUT, id, text.as_bytes()), record(STDOUT, id, b"")].concat()
}

/// Rule C24.
#[test]
fn too_long_response_is_aborted_alone() {
    let output = run(&[], |_, mut stream| {
        read_requests(&mut stream);
        for _ in 0..20 {
            stream.write_all(&record(STDOUT, 4, &[b'x'; 65535])).expect("written");
        }
        let abort = read_record(&mut stream).expect("an abort");
        assert_eq!((abort.record_type, abort.id), (ABORT, 4));
        for id in 1..=COUNT {
            stream.write_all(&[stream_of(id, "done"), end(id, 0, 0)].concat()).expect("written");
        }
    });
    let lines = lines(&output);
    assert_eq!(lines[0], "1: 4 bytes, app status 0: done");
    assert!(lines[3].starts_with("4: 1048560 bytes, app status 0, aborted: "), "{}", lines[3]);
}

/// Rule C22.
#[test]
fn application_without_multiplexing_gets_one_request_at_a_time() {
    let echo = example::ExampleServer::start("echo");
    let output = example::run("multiplex", &[&echo.address.to_string(), "3"], &[], b"");
    assert_eq!(lines(&output).len(), 3);
    assert!(
        lines(&output).iter().all(|line| line.contains(" bytes, app status 0: xxxx")),
        "{output:?}"
    );
    assert!(String::from_utf8_lossy(&output.stderr).contains("one request at a time"));
}
