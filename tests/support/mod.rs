//! What the tests of connections share: records made and read by hand, so that no test trusts the
//! codec that it tests, and a server that ends with its test.
#![allow(dead_code, unreachable_pub, clippy::struct_field_names)] // Each test file uses a part of it.

use std::io::{self, Read, Write};
use std::sync::mpsc::{self, Receiver};
use std::sync::Mutex;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fcgi::net::{Address, Listener, Stream};
use fcgi::server::{Config, Handle, HandlerResult, Request};
use fcgi::Server;

#[cfg(unix)]
pub mod application;

pub const BEGIN: u8 = 1;
pub const ABORT: u8 = 2;
pub const END: u8 = 3;
pub const PARAMS: u8 = 4;
pub const STDIN: u8 = 5;
pub const STDOUT: u8 = 6;
pub const STDERR: u8 = 7;
pub const DATA: u8 = 8;
pub const GET_VALUES: u8 = 9;
pub const GET_VALUES_RESULT: u8 = 10;
pub const UNKNOWN_TYPE: u8 = 11;

pub const RESPONDER: u16 = 1;
pub const AUTHORIZER: u16 = 2;
pub const FILTER: u16 = 3;

/// How long a test waits for what must come before it fails. What it proves never depends on it.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(20);

/// A record without padding.
pub fn record(record_type: u8, id: u16, content: &[u8]) -> Vec<u8> {
    padded_record(record_type, id, content, 0)
}

/// A record with padding that looks like more records.
pub fn padded_record(record_type: u8, id: u16, content: &[u8], padding: u8) -> Vec<u8> {
    let len = u16::try_from(content.len()).expect("content of one record");
    let mut bytes = vec![1, record_type];
    bytes.extend(id.to_be_bytes());
    bytes.extend(len.to_be_bytes());
    bytes.extend([padding, 0]);
    bytes.extend(content);
    bytes.extend([1, 3, 0, 1, 0, 8, 0, 0].iter().cycle().take(padding.into()));
    bytes
}

/// BEGIN_REQUEST.
pub fn begin(id: u16, role: u16, flags: u8) -> Vec<u8> {
    let [role1, role0] = role.to_be_bytes();
    record(BEGIN, id, &[role1, role0, flags, 0, 0, 0, 0, 0])
}

/// END_REQUEST.
pub fn end(id: u16, app_status: u32, protocol_status: u8) -> Vec<u8> {
    let mut body = app_status.to_be_bytes().to_vec();
    body.extend([protocol_status, 0, 0, 0]);
    record(END, id, &body)
}

/// A name-value pair with the shortest lengths.
pub fn pair(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for len in [name.len(), value.len()] {
        match u8::try_from(len) {
            Ok(short) if short < 128 => bytes.push(short),
            _ => bytes.extend((len as u32 | 1 << 31).to_be_bytes()),
        }
    }
    [&bytes, name, value].concat()
}

/// A PARAMS stream with its end.
pub fn params(id: u16, pairs: &[(&str, &str)]) -> Vec<u8> {
    let encoded: Vec<u8> =
        pairs.iter().flat_map(|(name, value)| pair(name.as_bytes(), value.as_bytes())).collect();
    let mut bytes = stream(PARAMS, id, &encoded);
    bytes.extend(record(PARAMS, id, b""));
    bytes
}

/// Data as records of a stream, without its end.
pub fn stream(record_type: u8, id: u16, data: &[u8]) -> Vec<u8> {
    data.chunks(65535).flat_map(|content| record(record_type, id, content)).collect()
}

/// A whole request: BEGIN, params, body, and the ends of both.
pub fn request(id: u16, role: u16, flags: u8, pairs: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    [begin(id, role, flags), params(id, pairs), stream(STDIN, id, body), record(STDIN, id, b"")]
        .concat()
}

/// A record as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_field_names)] // `type` is a word of the language.
pub struct Record {
    pub record_type: u8,
    pub id: u16,
    pub content: Vec<u8>,
    pub padding: Vec<u8>,
    pub reserved: u8,
}

/// Reads a record; `None` at a clean end of the input.
#[track_caller]
pub fn read_record(reader: &mut impl Read) -> Option<Record> {
    let mut header = [0; 8];
    if reader.read(&mut header[..1]).expect("the first byte of a record, or the end") == 0 {
        return None;
    }
    reader.read_exact(&mut header[1..]).expect("the rest of a header");
    assert_eq!(header[0], 1, "the version of a record");
    let mut content = vec![0; u16::from_be_bytes([header[4], header[5]]).into()];
    reader.read_exact(&mut content).expect("the content of a record");
    let mut padding = vec![0; header[6].into()];
    reader.read_exact(&mut padding).expect("the padding of a record");
    let id = u16::from_be_bytes([header[2], header[3]]);
    Some(Record { record_type: header[1], id, content, padding, reserved: header[7] })
}

/// What an application answered to one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub app_status: u32,
    pub protocol_status: u8,
    /// How many records of STDOUT and STDERR were empty.
    pub stdout_ends: usize,
    pub stderr_ends: usize,
    /// The management records that came in between.
    pub management: Vec<Record>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// Reads the records of a request up to its END_REQUEST, and fails on any that an application may
/// not send, or that belongs to another request.
#[track_caller]
pub fn read_answer(reader: &mut impl Read, id: u16) -> Answer {
    let mut answer = Answer::default();
    loop {
        let record = read_record(reader).expect("a record of the answer, not its end");
        assert_eq!(record.reserved, 0, "the reserved byte of {record:?}");
        assert!(record.padding.iter().all(|byte| *byte == 0), "the padding of {record:?}");
        if record.id == 0 {
            assert!([GET_VALUES_RESULT, UNKNOWN_TYPE].contains(&record.record_type), "{record:?}");
            answer.management.push(record);
            continue;
        }
        assert_eq!(record.id, id, "the id of {record:?}");
        match record.record_type {
            STDOUT => {
                assert_eq!(answer.stdout_ends, 0, "STDOUT after its end");
                answer.stdout_ends += usize::from(record.content.is_empty());
                answer.stdout.extend(record.content);
            }
            STDERR => {
                assert_eq!(answer.stderr_ends, 0, "STDERR after its end");
                answer.stderr_ends += usize::from(record.content.is_empty());
                answer.stderr.extend(record.content);
            }
            END => {
                assert_eq!(record.content.len(), 8, "{record:?}");
                assert_eq!(record.content[5..], [0; 3], "the reserved bytes of END_REQUEST");
                answer.app_status =
                    u32::from_be_bytes(record.content[..4].try_into().expect("four bytes"));
                answer.protocol_status = record.content[4];
                return answer;
            }
            _ => panic!("{record:?} from an application"),
        }
    }
}

/// Asserts that the other end closes without another byte.
#[track_caller]
pub fn assert_closed(reader: &mut impl Read) {
    let mut rest = Vec::new();
    match reader.read_to_end(&mut rest) {
        Ok(_) => assert_eq!(String::from_utf8_lossy(&rest), "", "bytes behind the last answer"),
        Err(error) => panic!("not closed cleanly: {error}"),
    }
}

/// What `echo` answers with before anything else.
pub const ECHO_HEAD: &str = "Content-Type: text/plain\r\n\r\n";

/// A handler that answers with every param on a line, an empty line, and the body.
pub fn echo(request: &mut Request) -> HandlerResult {
    request.stdout.write_all(ECHO_HEAD.as_bytes())?;
    for (name, value) in request.params {
        request.stdout.write_all(&[name, b"=", value, b"\n"].concat())?;
    }
    request.stdout.write_all(b"\n")?;
    io::copy(&mut request.stdin, &mut request.stdout)?;
    Ok(())
}

/// What `echo` answers to these.
pub fn echoed(pairs: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let lines = pairs.iter().flat_map(|(name, value)| [name, "=", value, "\n"]).collect::<String>();
    [ECHO_HEAD.as_bytes(), lines.as_bytes(), b"\n", body].concat()
}

/// A server on a socket of its own, which ends with its test.
pub struct TestServer {
    pub address: Address,
    pub handle: Handle,
    /// The errors that the server reported: the kind and the text of each.
    errors: Mutex<Receiver<(io::ErrorKind, String)>>,
    thread: Option<JoinHandle<fcgi::Result<()>>>,
    directory: Option<tempfile::TempDir>,
}

impl TestServer {
    /// Serves on TCP.
    pub fn tcp(
        config: Config,
        handler: impl Fn(&mut Request) -> HandlerResult + Send + Sync + 'static,
    ) -> Self {
        Self::start(bind_server("127.0.0.1:0").config(config), handler)
    }

    /// Serves on a Unix socket.
    pub fn unix(
        config: Config,
        handler: impl Fn(&mut Request) -> HandlerResult + Send + Sync + 'static,
    ) -> Self {
        let directory = tempfile::tempdir().expect("a directory for the socket");
        let path = directory.path().join("app.sock");
        let server = bind_server(path.to_str().expect("a path in UTF-8")).config(config);
        let mut running = Self::start(server, handler);
        running.directory = Some(directory);
        running
    }

    /// Serves with a server made by the test.
    pub fn start(
        server: Server,
        handler: impl Fn(&mut Request) -> HandlerResult + Send + Sync + 'static,
    ) -> Self {
        let (sender, errors) = mpsc::channel();
        let server =
            server.on_error(move |error| drop(sender.send((error.kind(), error.to_string()))));
        let (address, handle) = (server.local_address().expect("its address"), server.handle());
        let thread = Some(thread::spawn(move || server.serve(handler)));
        Self { address, handle, errors: Mutex::new(errors), thread, directory: None }
    }

    /// The next error that the server reports.
    #[track_caller]
    pub fn next_error(&self) -> (io::ErrorKind, String) {
        self.errors
            .lock()
            .expect("errors")
            .recv_timeout(TEST_TIMEOUT)
            .expect("an error is reported")
    }

    /// The errors that the server has reported and nobody has looked at.
    pub fn reported_errors(&self) -> Vec<(io::ErrorKind, String)> {
        self.errors.lock().expect("errors").try_iter().collect()
    }

    /// One server of each kind.
    pub fn tcp_and_unix(
        config: &Config,
        handler: impl Fn(&mut Request) -> HandlerResult + Clone + Send + Sync + 'static,
    ) -> [Self; 2] {
        [Self::tcp(config.clone(), handler.clone()), Self::unix(config.clone(), handler)]
    }

    /// Connects to the server; reads and writes that take too long fail.
    pub fn connect(&self) -> Stream {
        let stream = Stream::connect(&self.address, Some(TEST_TIMEOUT)).expect("a connection");
        stream.set_timeouts(Some(TEST_TIMEOUT), Some(TEST_TIMEOUT)).expect("timeouts");
        stream
    }

    /// Sends bytes on a connection of its own and reads the answer to request `id`.
    pub fn round_trip(&self, id: u16, bytes: &[u8]) -> Answer {
        let mut stream = self.connect();
        stream.write_all(bytes).expect("the request is taken");
        read_answer(&mut stream, id)
    }

    /// Whether `serve` has returned.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().map_or(true, |thread| thread.is_finished())
    }

    /// Stops the server and returns what `serve` returned.
    pub fn stop(mut self) -> fcgi::Result<()> {
        self.handle.shutdown();
        self.thread.take().expect("stopped once").join().expect("the server's thread")
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.handle.shutdown();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Asserts that the other end closes, cleanly or not, without a byte.
#[track_caller]
pub fn assert_no_response(reader: &mut impl Read) {
    let mut said = Vec::new();
    if let Err(error) = reader.read_to_end(&mut said) {
        assert_ne!(error.kind(), io::ErrorKind::TimedOut, "not closed");
    }
    assert_eq!(String::from_utf8_lossy(&said), "");
}

/// A server on a listening socket of its own.
fn bind_server(address: &str) -> Server {
    let listener =
        Listener::bind(&address.parse().expect("an address")).expect("a listening socket");
    Server::new(listener).expect("a server")
}

/// Waits until something holds that no event tells of.
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + TEST_TIMEOUT;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Reads everything that comes until the other end closes.
pub fn read_all(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).map(|_| bytes)
}
