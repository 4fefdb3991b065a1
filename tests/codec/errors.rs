//! Tests of `fcgi::Error`: every error has a message and an `io::ErrorKind`, survives a round trip
//! through `io::Error`, and is returned where the documentation says so.

use std::error::Error as _;
use std::io::{self, ErrorKind, Write};
use std::time::Duration;

use fcgi::cgi::{Head, HeadParser};
use fcgi::error::Timeout;
use fcgi::net::{Address, AllowList};
use fcgi::record::{self, EndRequest, ProtocolStatus, RecordType};
use fcgi::stream::StreamWriter;
use fcgi::{Error, Params};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn errors_of_records_have_their_message_and_kind() {
    assert_errors([
        (
            Error::Io(io::Error::new(ErrorKind::BrokenPipe, "no reader")),
            "no reader",
            ErrorKind::BrokenPipe,
        ),
        (
            Error::Connect {
                address: "127.0.0.1:9".into(),
                source: io::Error::from_raw_os_error(111),
            },
            "cannot connect to 127.0.0.1:9: connection refused",
            ErrorKind::ConnectionRefused,
        ),
        (
            Error::Connect {
                address: "unix:/run/app.sock".into(),
                source: Error::TimedOut(Timeout::new("connect", SECOND)).into(),
            },
            "cannot connect to unix:/run/app.sock: connect timed out after 1 s",
            ErrorKind::TimedOut,
        ),
        (
            Error::Socket {
                operation: "listen on",
                address: "unix:/run/app.sock".into(),
                source: io::Error::from_raw_os_error(13),
            },
            "cannot listen on unix:/run/app.sock: permission denied",
            ErrorKind::PermissionDenied,
        ),
        (
            Error::TimedOut(Timeout::new("read", 60 * SECOND)),
            "read timed out after 60 s",
            ErrorKind::TimedOut,
        ),
        (
            Error::TimedOut(Timeout::new("write", SECOND / 4)),
            "write timed out after 250 ms",
            ErrorKind::TimedOut,
        ),
        (
            Error::TimedOut(Timeout::new("write", SECOND / 2000)),
            "write timed out after 500 µs",
            ErrorKind::TimedOut,
        ),
        (
            Error::TimedOut(Timeout::new("write", SECOND / 1_000_000_000)),
            "write timed out after 1 ns",
            ErrorKind::TimedOut,
        ),
        (
            Error::RequestTimedOut(Duration::from_millis(1500)),
            "request did not arrive within 1500 ms",
            ErrorKind::TimedOut,
        ),
        (
            Error::UnsupportedVersion(2),
            "record has unsupported FastCGI version 2",
            ErrorKind::InvalidData,
        ),
        (
            Error::UnsupportedVersion(b'G'),
            "record has unsupported FastCGI version 71: the peer may be using HTTP",
            ErrorKind::InvalidData,
        ),
        (
            Error::UnsupportedVersion(22),
            "record has unsupported FastCGI version 22: the peer may be using TLS",
            ErrorKind::InvalidData,
        ),
        (
            Error::UnexpectedEof("a record"),
            "input ended before the end of a record",
            ErrorKind::UnexpectedEof,
        ),
        (
            Error::ContentTooLong(65536),
            "content of 65536 bytes exceeds the 65535 bytes that a record can hold",
            ErrorKind::InvalidInput,
        ),
        (
            Error::InvalidRequestId { record_type: RecordType::Stdout, request_id: 0 },
            "STDOUT record cannot have request id 0",
            ErrorKind::InvalidInput,
        ),
        (
            Error::InvalidBodyLength { record_type: RecordType::EndRequest, len: 7 },
            "END_REQUEST record has a body of 7 bytes instead of 8",
            ErrorKind::InvalidData,
        ),
        (
            Error::UnexpectedRecord { record_type: RecordType::Unknown(99), request_id: 3 },
            "unexpected type-99 record for request 3",
            ErrorKind::InvalidData,
        ),
    ]);
}

#[test]
fn errors_of_requests_have_their_message_and_kind() {
    assert_errors([
        (
            Error::InvalidParams(4),
            "name-value pair at offset 4 is incomplete",
            ErrorKind::InvalidData,
        ),
        (
            Error::ParamTooLong(1 << 31),
            "name-value data of 2147483648 bytes is too long",
            ErrorKind::InvalidInput,
        ),
        (
            Error::ParamsTooLarge(1024),
            "params exceed the limit of 1024 bytes",
            ErrorKind::InvalidData,
        ),
        (Error::BodyTooLarge(1024), "body exceeds the limit of 1024 bytes", ErrorKind::InvalidData),
        (Error::Aborted, "request aborted by the web server", ErrorKind::ConnectionAborted),
        (
            Error::StreamTooShort { variable: "CONTENT_LENGTH", announced: 10, received: 5 },
            "stream ended after 5 of the 10 bytes announced by CONTENT_LENGTH",
            ErrorKind::UnexpectedEof,
        ),
        (
            Error::StreamTooLong { variable: "FCGI_DATA_LENGTH", announced: 10 },
            "stream is longer than the 10 bytes announced by FCGI_DATA_LENGTH",
            ErrorKind::InvalidData,
        ),
        (
            Error::ProgramFailed(std::process::ExitStatus::default()),
            "program ended with exit status: 0",
            ErrorKind::Other,
        ),
        (Error::NoResponse, "handler returned without a response", ErrorKind::Other),
        (Error::ResponseStarted, "part of a response was already written", ErrorKind::InvalidInput),
        (Error::RequestEnded, "request has already ended", ErrorKind::InvalidInput),
        (
            Error::RequestNotFinished,
            "previous request was dropped without being finished",
            ErrorKind::InvalidInput,
        ),
        (
            Error::Refused(ProtocolStatus::Overloaded),
            "application refused the request: OVERLOADED",
            ErrorKind::ConnectionRefused,
        ),
        (
            Error::Refused(ProtocolStatus::Unknown(9)),
            "application refused the request: status-9",
            ErrorKind::ConnectionRefused,
        ),
    ]);
}

#[test]
fn errors_of_responses_and_arguments_have_their_message_and_kind() {
    let text = || String::from("a\n\"b\"");
    assert_errors([
        (
            Error::ResponseTooLarge(10),
            "response exceeds the limit of 10 bytes",
            ErrorKind::InvalidData,
        ),
        (
            Error::HeadTooLarge(10),
            "response head exceeds the limit of 10 bytes",
            ErrorKind::InvalidData,
        ),
        (
            Error::TooManyFields(10),
            "response head exceeds the limit of 10 fields",
            ErrorKind::InvalidData,
        ),
        (
            Error::IncompleteHead,
            "response ended before the end of its head",
            ErrorKind::UnexpectedEof,
        ),
        (Error::InvalidField(text()), r#"invalid header field "a\n\"b\"""#, ErrorKind::InvalidData),
        (
            Error::DuplicateField("Status".into()),
            r#"header field "Status" occurs more than once"#,
            ErrorKind::InvalidData,
        ),
        (
            Error::MissingField,
            "response head has no Content-Type, Location or Status field",
            ErrorKind::InvalidData,
        ),
        (Error::InvalidStatus(text()), r#"invalid Status "a\n\"b\"""#, ErrorKind::InvalidData),
        (
            Error::InvalidLocation(text()),
            "invalid Location \"a\\n\\\"b\\\"\", expected an absolute URI or an absolute path",
            ErrorKind::InvalidData,
        ),
        (
            Error::InvalidContentLength(text()),
            r#"invalid Content-Length "a\n\"b\"""#,
            ErrorKind::InvalidData,
        ),
        (
            Error::InvalidRequest { part: "method".into(), value: text() },
            r#"invalid method "a\n\"b\"""#,
            ErrorKind::InvalidInput,
        ),
        (
            Error::InvalidAddress(text()),
            r#"invalid address "a\n\"b\"", expected HOST:PORT or unix:PATH"#,
            ErrorKind::InvalidInput,
        ),
        (
            Error::NotListening { found: "a pipe", has_listen_fds: false },
            "descriptor 0 is a pipe, not a listening socket: start the program from a web server, \
             with spawn-fcgi or another process manager",
            ErrorKind::InvalidInput,
        ),
        (
            Error::NotListening { found: "a file", has_listen_fds: true },
            "descriptor 0 is a file, not a listening socket: LISTEN_FDS is set, so the socket may \
             be on descriptor 3: set StandardInput=socket in the systemd service, or start the \
             program with `<&3` in a shell",
            ErrorKind::InvalidInput,
        ),
        (
            Error::InvalidAllowList(text()),
            r#"invalid item "a\n\"b\"" in the list of allowed IP addresses"#,
            ErrorKind::InvalidInput,
        ),
    ]);
}

/// Asserts the message and the kind of errors, also after a round trip through `io::Error`.
#[track_caller]
fn assert_errors<const N: usize>(errors: [(Error, &str, ErrorKind); N]) {
    for (error, text, kind) in errors {
        assert_eq!(error.to_string(), text);
        assert_eq!(error.kind(), kind, "{text}");
        assert!(!text.contains('\n'), "one line, whatever the peer sent");
        assert!(error.source().is_none(), "{text}: nothing is said twice");

        let debug = format!("{error:?}");
        let passed = io::Error::from(error);
        assert_eq!((passed.kind(), passed.to_string()), (kind, text.to_string()));
        let back = Error::from(passed);
        assert_eq!(format!("{back:?}"), debug);
        assert_eq!(back.kind(), kind);
        // Convert twice more, as `io::copy` in a handler and `?` in its caller do.
        let back = Error::from(io::Error::from(back));
        assert_eq!(format!("{back:?}"), debug);

        let [first, second] = failed_writes(back.into()).map(Error::from);
        assert_eq!(format!("{first:?}"), debug);
        assert_eq!((second.kind(), second.to_string()), (kind, text.to_string()));
        if !matches!(second, Error::Io(_)) {
            assert_eq!(format!("{second:?}"), debug);
        }
    }
}

/// A writer that fails once.
struct FailingOnce(Option<io::Error>);

impl Write for FailingOnce {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(data.len()), Err)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the errors of a `StreamWriter` when its underlying writer has failed, and after that.
#[track_caller]
fn failed_writes(error: io::Error) -> [io::Error; 2] {
    let inner = FailingOnce(Some(error));
    let mut writer = StreamWriter::new(inner, RecordType::Stdout, 1).expect("a writer");
    [b"one", b"two"].map(|data| {
        writer.write_all(data).and_then(|()| writer.flush()).expect_err("a failed write")
    })
}

#[test]
fn repeated_io_error_keeps_its_code_kind_and_message() {
    let [_, again] = failed_writes(io::Error::from_raw_os_error(32));
    assert_eq!(again.raw_os_error(), Some(32));
    let [_, again] = failed_writes(ErrorKind::WriteZero.into());
    assert!(again.kind() == ErrorKind::WriteZero && again.get_ref().is_none());
    let not_a_number = "abc".parse::<u8>().expect_err("not a number");
    let text = not_a_number.to_string();
    let [_, again] = failed_writes(io::Error::new(ErrorKind::NotFound, not_a_number));
    assert_eq!((again.kind(), again.to_string()), (ErrorKind::NotFound, text));
}

#[test]
fn io_error_keeps_its_code_and_inner_error() {
    let system = io::Error::from_raw_os_error(32);
    assert_eq!(io::Error::from(Error::from(system)).raw_os_error(), Some(32));

    let plain = Error::from(io::Error::from(ErrorKind::TimedOut));
    assert!(matches!(&plain, Error::Io(_)) && plain.kind() == ErrorKind::TimedOut, "{plain:?}");

    let own = Error::from(io::Error::new(
        ErrorKind::NotFound,
        "by the caller".parse::<u8>().expect_err("not a number"),
    ));
    let inner = io::Error::from(own).into_inner().expect("the caller's error");
    assert!(inner.is::<std::num::ParseIntError>());
}

/// An error with a message and a source of its own.
#[derive(Debug)]
struct Outer(std::num::ParseIntError);

impl std::fmt::Display for Outer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("outer")
    }
}

impl std::error::Error for Outer {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// Returns the messages of an error and of its sources.
fn chain(error: &(dyn std::error::Error + 'static)) -> Vec<String> {
    let errors = std::iter::successors(Some(error), |&error| error.source());
    errors.map(ToString::to_string).collect()
}

#[test]
fn no_text_occurs_twice_in_an_error_and_its_sources() {
    let inner = "abc".parse::<u8>().expect_err("not a number");
    let text = inner.to_string();
    let io_error = || io::Error::other(Outer(inner.clone()));
    for (error, message) in [
        (Error::Io(io_error()), "outer"),
        (
            Error::Connect { address: "host:1".into(), source: io_error() },
            "cannot connect to host:1: outer",
        ),
        (
            Error::Socket { operation: "close", address: "host:1".into(), source: io_error() },
            "cannot close host:1: outer",
        ),
    ] {
        assert_eq!(chain(&error), [message, &text]);
        assert_eq!(chain(&io::Error::from(error)), [message, &text]);
    }
    let refused =
        Error::Connect { address: "host:1".into(), source: io::Error::from_raw_os_error(111) };
    assert_eq!(chain(&io::Error::from(refused)).len(), 1);
}

#[test]
fn only_refusals_for_lack_of_resources_are_transient() {
    for (status, is_transient) in [
        (ProtocolStatus::RequestComplete, false),
        (ProtocolStatus::CantMpxConn, true),
        (ProtocolStatus::Overloaded, true),
        (ProtocolStatus::UnknownRole, false),
        (ProtocolStatus::Unknown(9), false),
    ] {
        assert_eq!(Error::Refused(status).is_transient(), is_transient, "{status}");
    }
    for error in [
        Error::Io(ErrorKind::ConnectionRefused.into()),
        Error::TimedOut(Timeout::new("read", SECOND)),
        Error::UnexpectedEof("a response"),
        Error::Aborted,
        Error::UnsupportedVersion(2),
    ] {
        assert!(!error.is_transient(), "{error}");
    }
}

#[test]
fn errors_can_be_sent_to_threads_and_boxed() {
    fn is_usual<T: std::error::Error + Send + Sync + 'static>() {}
    is_usual::<Error>();
}

#[test]
fn codec_and_response_head_return_their_errors() {
    let head = |bytes: &[u8]| Head::parse(bytes).expect_err("a bad head");
    let strict = |bytes: &[u8]| HeadParser::new().strict(true).feed(bytes).expect_err("a bad head");
    let fields = |max| {
        HeadParser::new()
            .max_fields(max)
            .feed(b"Status: 200\nA: 1\nB: 2\n\n")
            .expect_err("a bad head")
    };
    let table = [
        (
            Params::parse(b"\x05\x01NA").expect_err("cut"),
            "name-value pair at offset 0 is incomplete",
        ),
        (
            EndRequest::parse(&[0; 7]).expect_err("short"),
            "END_REQUEST record has a body of 7 bytes instead of 8",
        ),
        (
            record::read_header(&mut &[2, 0, 0, 0, 0, 0, 0, 0][..]).expect_err("bad"),
            "record has unsupported FastCGI version 2",
        ),
        (
            record::read_header(&mut &[1][..]).expect_err("cut"),
            "input ended before the end of a record header",
        ),
        (
            record::write_record(&mut Vec::new(), RecordType::Stdin, 1, &[0; 65536])
                .expect_err("long"),
            "content of 65536 bytes exceeds the 65535 bytes that a record can hold",
        ),
        (
            record::write_record(&mut Vec::new(), RecordType::GetValues, 5, b"")
                .expect_err("bad id"),
            "GET_VALUES record cannot have request id 5",
        ),
        (
            HeadParser::new().max_bytes(20).feed(&[b'x'; 21]).expect_err("a bad head"),
            "response head exceeds the limit of 20 bytes",
        ),
        (fields(2), "response head exceeds the limit of 2 fields"),
        (head(b"Status: 200\n"), "response ended before the end of its head"),
        (head(b"HTTP/1.1 200 OK\n\n"), r#"invalid header field "HTTP/1.1 200 OK""#),
        (head(b"Status: 200\nStatus: 200\n\n"), r#"header field "Status" occurs more than once"#),
        (strict(b"ETag: 1\n\n"), "response head has no Content-Type, Location or Status field"),
        (head(b"Status: 99\n\n"), r#"invalid Status "99""#),
        (
            strict(b"Location: nowhere\n\n"),
            r#"invalid Location "nowhere", expected an absolute URI or an absolute path"#,
        ),
        (head(b"Status: 200\nContent-Length: -1\n\n"), r#"invalid Content-Length "-1""#),
        (
            "nowhere".parse::<Address>().expect_err("no address"),
            r#"invalid address "nowhere", expected HOST:PORT or unix:PATH"#,
        ),
        (
            "127.0.0.1, me".parse::<AllowList>().expect_err("no list"),
            r#"invalid item "me" in the list of allowed IP addresses"#,
        ),
    ];
    for (error, expected) in table {
        assert_eq!(format!("{error:?}"), expected);
    }
}

/// Errors of connections. The test plays the peer.
#[cfg(unix)]
mod connections {
    use std::io::Read;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    use super::*;
    use fcgi::record::Role;
    use fcgi::{client, server, Client};

    const BEGIN: &[u8] = b"\x01\x01\0\x01\0\x08\0\0\0\x01\x01\0\0\0\0\0";
    const PARAMS_END: &[u8] = b"\x01\x04\0\x01\0\0\0\0";
    const STDIN_END: &[u8] = b"\x01\x05\0\x01\0\0\0\0";
    const HELLO: &[u8] = b"\x01\x05\0\x01\0\x05\0\0hello";

    /// Serves these bytes, reading the body of each request. Returns the first error.
    #[track_caller]
    fn served(records: &[&[u8]]) -> String {
        let (mut ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        ours.write_all(&records.concat()).expect("room for it");
        let soon = Duration::from_millis(1);
        let config = server::Config::new().max_params(100).read_timeout(Some(soon)).drain(0, soon);
        let mut connection =
            server::Connection::with_config(theirs, Arc::new(config)).expect("a connection");
        loop {
            let mut request = match connection.next_request() {
                Ok(request) => request.expect("a request or an error"),
                Err(error) => return format!("{error:?}"),
            };
            if let Err(error) = request.stdin.read_to_end(&mut Vec::new()) {
                return format!("{:?}", Error::from(error));
            }
            // The request is dropped without being finished.
        }
    }

    fn with_length(len: u8) -> Vec<u8> {
        [b"\x01\x04\0\x01\0\x11\0\0\x0e\x01CONTENT_LENGTH", &[len][..]].concat()
    }

    #[test]
    fn application_side_returns_its_errors() {
        let (five, nine) = (with_length(b'4'), with_length(b'9'));
        let table: [(&[&[u8]], &str); 10] = [
            (&[BEGIN], "read timed out after 1 ms"),
            (&[BEGIN, STDIN_END], "unexpected STDIN record for request 1"),
            (
                &[BEGIN, b"\x01\x04\0\x01\0\x02\0\0\x05\x01", PARAMS_END],
                "name-value pair at offset 0 is incomplete",
            ),
            (
                &[BEGIN, b"\x01\x04\0\x01\0\x65\0\0", &[0; 101]],
                "params exceed the limit of 100 bytes",
            ),
            (&[BEGIN, PARAMS_END, b"\x01\x02\0\x01\0\0\0\0"], "request aborted by the web server"),
            (
                &[BEGIN, &nine, PARAMS_END, HELLO, STDIN_END],
                "stream ended after 5 of the 9 bytes announced by CONTENT_LENGTH",
            ),
            (
                &[BEGIN, &five, PARAMS_END, HELLO, STDIN_END],
                "stream is longer than the 4 bytes announced by CONTENT_LENGTH",
            ),
            (
                &[BEGIN, PARAMS_END, STDIN_END],
                "previous request was dropped without being finished",
            ),
            (&[b"\x02\x01\0\x01\0\x08\0\0"], "record has unsupported FastCGI version 2"),
            (
                &[b"GET / HTTP/1.1\r\n\r\n"],
                "record has unsupported FastCGI version 71: the peer may be using HTTP",
            ),
        ];
        for (records, expected) in table {
            assert_eq!(served(records), expected);
        }
    }

    /// Returns the error of an exchange that receives these records.
    #[track_caller]
    fn answered(records: &[&[u8]]) -> Error {
        let (mut ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        ours.write_all(&records.concat()).expect("room for it");
        ours.shutdown(std::net::Shutdown::Write).expect("connected");
        let mut connection = client::Connection::new(theirs, Arc::default()).expect("a connection");
        let exchange = connection.begin(Role::Responder, &Params::new()).expect("a new connection");
        exchange.finish().expect_err("an error")
    }

    #[test]
    fn web_server_side_returns_its_errors() {
        let table: [(&[&[u8]], &str); 7] = [
            (
                &[b"HTTP/1.1 400 Bad Request\r\n\r\n"],
                "record has unsupported FastCGI version 72: the peer may be using HTTP",
            ),
            (
                &[b"\x01\x03\0\x01\0\x08\0\0\0\0\0\0\x02\0\0\0"],
                "application refused the request: OVERLOADED",
            ),
            (
                &[b"\x01\x03\0\x01\0\x08\0\0\0\0\0\0\x07\0\0\0"],
                "application refused the request: status-7",
            ),
            (&[b"\x01\x06\0\x02\0\0\0\0"], "unexpected STDOUT record for request 2"),
            (
                &[b"\x01\x03\0\x01\0\x07\0\0\0\0\0\0\0\0\0"],
                "END_REQUEST record has a body of 7 bytes instead of 8",
            ),
            (&[b"\x01\x06\0\x01\0\0\0\0"], "input ended before the end of a response"),
            (&[b"\xff\x06\0\x01\0\0\0\0"], "record has unsupported FastCGI version 255"),
        ];
        for (records, expected) in table {
            assert_eq!(format!("{:?}", answered(records)), expected);
        }
    }

    #[test]
    fn fetch_returns_its_errors() {
        let directory = tempfile::tempdir().expect("a directory for the socket");
        let path = directory.path().join("app.sock");
        let client = Client::new(path.to_str().expect("a path of text")).expect("an address");
        let error = client.fetch(&Params::new(), b"").expect_err("no process listens");
        assert_eq!(error.kind(), ErrorKind::NotFound);

        let params = |len| Params::from_pairs([("CONTENT_LENGTH", len)]).expect("a pair");
        let error = client.fetch(&params("9"), b"hello").expect_err("too short");
        assert!(
            matches!(error, Error::StreamTooShort { announced: 9, received: 5, .. }),
            "{error:?}"
        );
        let error = client.fetch(&params("4"), b"hello").expect_err("too long");
        assert!(matches!(error, Error::StreamTooLong { announced: 4, .. }), "{error:?}");

        let listener = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
        let answering = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            stream.write_all(HELLO_RESPONSE).expect("room for it");
            // Read the request to its end, so that the close causes no reset.
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let mut config = client::Config::new();
        config.max_response = 4;
        let error = client.config(config).fetch(&Params::new(), b"").expect_err("too large");
        assert!(matches!(error, Error::ResponseTooLarge(4)), "{error:?}");
        answering.join().expect("no panic");
    }

    const HELLO_RESPONSE: &[u8] =
        b"\x01\x06\0\x01\0\x05\0\0hello\x01\x03\0\x01\0\x08\0\0\0\0\0\0\0\0\0\0";
}
