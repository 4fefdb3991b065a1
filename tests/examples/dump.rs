//! Tests of the example `dump`: it prints the records of a capture and of relayed connections.
#![cfg(unix)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

use fcgi::net::{Address, Stream};

use crate::example::{self, ExampleServer, KillOnDrop};
use crate::support::*;

/// The bytes of both directions, with a record of a type that the specification does not define.
fn capture() -> Vec<u8> {
    let records = [
        begin(7, 1, 1),
        padded_record(PARAMS, 7, b"", 255),
        record(STDIN, 7, b""),
        padded_record(STDOUT, 7, &[b'x'; 65535], 0),
        record(77, 7, b"?"),
        end(7, 0, 0),
        record(GET_VALUES, 0, b""),
    ];
    records.concat()
}

const LINES: &str = "\
> BEGIN_REQUEST id=7 length=8 padding=0
> PARAMS id=7 length=0 padding=255
> STDIN id=7 length=0 padding=0
< STDOUT id=7 length=65535 padding=0
? type-77 id=7 length=1 padding=0
< END_REQUEST id=7 length=8 padding=0
> GET_VALUES id=0 length=0 padding=0
";

#[test]
fn capture_is_read_from_a_file_or_stdin() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("capture");
    fs::write(&path, capture()).expect("a file");
    for (argument, input) in [(path.to_str().expect("text"), vec![]), ("-", capture())] {
        let output = example::run("dump", &[argument], &[], &input);
        assert_eq!(String::from_utf8_lossy(&output.stdout), LINES);
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    }
    let output = example::run("dump", &["/no/such/file"], &[], b"");
    assert_eq!(output.status.code(), Some(74), "{output:?}");
}

/// The records before it are printed.
#[test]
fn invalid_capture_exits_with_76() {
    let capture = [begin(1, 1, 0), record(STDIN, 1, b"content")].concat();
    let http = [&begin(1, 1, 0), &b"HTTP/1.1 200 OK\r\n\r\n"[..]].concat();
    for (bytes, lines) in [(&capture[..20], 1), (&capture[..26], 2), (&http, 1)] {
        let output = example::run("dump", &["-"], &[], bytes);
        assert_eq!(output.status.code(), Some(76), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), lines);
        assert!(output.stderr.starts_with(b"dump: "), "{output:?}");
    }
}

/// Connects to a running `dump`, as soon as it listens.
fn connect(address: &Address) -> Stream {
    example::wait_until_listening(address);
    let stream = Stream::connect(address, None).expect("a connection");
    stream.set_timeouts(Some(TEST_TIMEOUT), Some(TEST_TIMEOUT)).expect("timeouts");
    stream
}

/// Returns a running `dump` in front of an application, and the address that it listens on.
fn start(directory: &tempfile::TempDir, application: &Address) -> (KillOnDrop, Address) {
    let address = Address::unix(directory.path().join("dump.sock")).expect("an address");
    let mut command = Command::new(example::path("dump"));
    command.arg(application.to_string()).arg(format!("--listen={address}"));
    let dump = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let dump = KillOnDrop(dump.expect("dump starts"));
    (dump, address)
}

#[test]
fn relayed_connection_is_printed() {
    let directory = tempfile::tempdir().expect("a directory");
    let echo = ExampleServer::start("echo");
    let (mut dump, address) = start(&directory, &echo.address);
    let lines = BufReader::new(dump.0.stdout.take().expect("its stdout")).lines();
    let mut stream = connect(&address);
    stream.write_all(&request(5, 1, 0, &[("A", "1")], b"hello")).expect("a request is sent");
    assert_eq!(read_answer(&mut stream, 5).text(), "Content-Type: text/plain\r\n\r\nA=1\n\nhello");
    assert_closed(&mut stream);
    let expected = [
        "> BEGIN_REQUEST id=5 length=8 padding=0",
        "> PARAMS id=5 length=4 padding=0",
        "> PARAMS id=5 length=0 padding=0",
        "> STDIN id=5 length=5 padding=0",
        "> STDIN id=5 length=0 padding=0",
        "< STDOUT id=5 length=38 padding=2",
        "< STDOUT id=5 length=0 padding=0",
        "< END_REQUEST id=5 length=8 padding=0",
    ];
    let lines: Vec<_> = lines.take(expected.len()).map_while(Result::ok).collect();
    assert_eq!(lines, expected);
}

/// What is not FastCGI is relayed, too.
#[test]
fn other_protocol_is_relayed_and_reported() {
    let directory = tempfile::tempdir().expect("a directory");
    let echo = ExampleServer::start("echo");
    let (mut dump, address) = start(&directory, &echo.address);
    let mut stream = connect(&address);
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("a request is sent");
    // The application closes the connection.
    assert_closed(&mut stream);
    drop(stream);
    let mut line = String::new();
    BufReader::new(dump.0.stderr.take().expect("its stderr")).read_line(&mut line).expect("a line");
    assert!(line.starts_with("dump: unix:") && line.contains("version 71"), "{line}");
    drop(dump);
}

#[test]
fn missing_application_closes_the_connection() {
    let directory = tempfile::tempdir().expect("a directory");
    let missing = Address::unix(directory.path().join("none.sock")).expect("an address");
    let (_dump, address) = start(&directory, &missing);
    let mut stream = connect(&address);
    assert_eq!(stream.read(&mut [0]).ok(), Some(0));
}
