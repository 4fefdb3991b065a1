//! Helpers for the tests of connections: records encoded and decoded independently of the crate,
//! and a server that stops when its test ends.
#![allow(dead_code, unreachable_pub, clippy::struct_field_names)] // Each program uses a part.

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

/// The time after which a test that waits fails. No assertion depends on its value.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(20);

/// Returns a record without padding.
pub fn record(record_type: u8, id: u16, content: &[u8]) -> Vec<u8> {
    padded_record(record_type, id, content, 0)
}

/// Returns a record whose padding looks like more records.
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

/// Returns a BEGIN_REQUEST record.
pub fn begin(id: u16, role: u16, flags: u8) -> Vec<u8> {
    let [role1, role0] = role.to_be_bytes();
    record(BEGIN, id, &[role1, role0, flags, 0, 0, 0, 0, 0])
}

/// Returns an END_REQUEST record.
pub fn end(id: u16, app_status: u32, protocol_status: u8) -> Vec<u8> {
    let mut body = app_status.to_be_bytes().to_vec();
    body.extend([protocol_status, 0, 0, 0]);
    record(END, id, &body)
}

/// Returns an encoded name-value pair, with lengths in their shortest form.
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

/// Returns a whole PARAMS stream.
pub fn params(id: u16, pairs: &[(&str, &str)]) -> Vec<u8> {
    let encoded: Vec<u8> =
        pairs.iter().flat_map(|(name, value)| pair(name.as_bytes(), value.as_bytes())).collect();
    let mut bytes = stream(PARAMS, id, &encoded);
    bytes.extend(record(PARAMS, id, b""));
    bytes
}

/// Returns data as records of a stream, without the final empty record.
pub fn stream(record_type: u8, id: u16, data: &[u8]) -> Vec<u8> {
    data.chunks(65535).flat_map(|content| record(record_type, id, content)).collect()
}

/// Returns a whole request: BEGIN_REQUEST, PARAMS and STDIN.
pub fn request(id: u16, role: u16, flags: u8, pairs: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    [begin(id, role, flags), params(id, pairs), stream(STDIN, id, body), record(STDIN, id, b"")]
        .concat()
}

/// A received record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_field_names)] // `type` is a keyword.
pub struct Record {
    pub record_type: u8,
    pub id: u16,
    pub content: Vec<u8>,
    pub padding: Vec<u8>,
    pub reserved: u8,
}

/// Reads a record. Returns `None` at the end of input before a record.
#[track_caller]
pub fn read_record(reader: &mut impl Read) -> Option<Record> {
    let mut header = [0; 8];
    // A read with a timeout may be interrupted, and `read` does not begin again.
    let first = loop {
        match reader.read(&mut header[..1]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => break read,
        }
    };
    if first.expect("the first byte of a record, or the end") == 0 {
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

/// The response to one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub app_status: u32,
    pub protocol_status: u8,
    /// The number of empty STDOUT records.
    pub stdout_ends: usize,
    /// The number of empty STDERR records.
    pub stderr_ends: usize,
    /// The management records received between the others.
    pub management: Vec<Record>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Returns the body of a response that begins with `ECHO_HEAD`.
    #[track_caller]
    pub fn body(&self) -> String {
        let text = self.text();
        text.strip_prefix(ECHO_HEAD).unwrap_or_else(|| panic!("{text:?}")).to_owned()
    }
}

/// Reads records up to the END_REQUEST of request `id`. Panics on a record that an application must
/// not send or that belongs to another request.
#[track_caller]
pub fn read_answer(reader: &mut impl Read, id: u16) -> Answer {
    let mut answer = Answer::default();
    loop {
        let record = read_record(reader).expect("a record of the response, not the end of input");
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

/// Asserts that the peer closes the connection without sending another byte.
#[track_caller]
pub fn assert_closed(reader: &mut impl Read) {
    let mut rest = Vec::new();
    match reader.read_to_end(&mut rest) {
        Ok(_) => assert_eq!(String::from_utf8_lossy(&rest), "", "bytes after the last response"),
        Err(error) => panic!("not closed cleanly: {error}"),
    }
}

/// The response head that `echo` writes.
pub const ECHO_HEAD: &str = "Content-Type: text/plain\r\n\r\n";

/// A handler's response with this body.
pub fn respond(request: &mut Request, body: impl AsRef<[u8]>) -> HandlerResult {
    request.stdout.write_all(ECHO_HEAD.as_bytes())?;
    Ok(request.stdout.write_all(body.as_ref())?)
}

/// The response to a request whose handler failed before it wrote anything.
pub const FAILED: &str = "Status: 500 Internal Server Error\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Length: 24\r\n\r\n\
    The application failed.\n";

/// A handler that responds with one line per param, an empty line and the body.
pub fn echo(request: &mut Request) -> HandlerResult {
    request.stdout.write_all(ECHO_HEAD.as_bytes())?;
    for (name, value) in request.params {
        request.stdout.write_all(&[name, b"=", value, b"\n"].concat())?;
    }
    request.stdout.write_all(b"\n")?;
    io::copy(&mut request.stdin, &mut request.stdout)?;
    Ok(())
}

/// Returns the response of `echo` to these params and this body.
pub fn echoed(pairs: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let lines = pairs.iter().flat_map(|(name, value)| [name, "=", value, "\n"]).collect::<String>();
    [ECHO_HEAD.as_bytes(), lines.as_bytes(), b"\n", body].concat()
}

/// A running server with a listening socket of its own. It stops when it is dropped.
pub struct TestServer {
    pub address: Address,
    pub handle: Handle,
    /// The kind and message of each error that the server reported.
    errors: Mutex<Receiver<(io::ErrorKind, String)>>,
    thread: Option<JoinHandle<fcgi::Result<()>>>,
    directory: Option<tempfile::TempDir>,
}

impl TestServer {
    /// Starts a server on a TCP socket.
    pub fn tcp(
        config: Config,
        handler: impl Fn(&mut Request) -> HandlerResult + Send + Sync + 'static,
    ) -> Self {
        Self::start(bind_server("127.0.0.1:0").config(config), handler)
    }

    /// Starts a server on a Unix socket, or on a TCP socket if the system has no Unix sockets.
    pub fn unix(
        config: Config,
        handler: impl Fn(&mut Request) -> HandlerResult + Send + Sync + 'static,
    ) -> Self {
        if cfg!(not(unix)) {
            return Self::tcp(config, handler);
        }
        let directory = tempfile::tempdir().expect("a directory for the socket");
        let path = directory.path().join("app.sock");
        let server = bind_server(path.to_str().expect("a path in UTF-8")).config(config);
        let mut running = Self::start(server, handler);
        running.directory = Some(directory);
        running
    }

    /// Starts this server.
    pub fn start(
        server: Server,
        handler: impl Fn(&mut Request) -> HandlerResult + Send + Sync + 'static,
    ) -> Self {
        let (sender, errors) = mpsc::channel();
        let server = server.on_error(move |report| {
            let error = report.error;
            drop(sender.send((error.kind(), error.to_string())));
        });
        let (address, handle) = (server.local_address().expect("its address"), server.handle());
        let thread = Some(thread::spawn(move || server.serve(handler)));
        Self { address, handle, errors: Mutex::new(errors), thread, directory: None }
    }

    /// Waits for the next error that the server reports.
    #[track_caller]
    pub fn next_error(&self) -> (io::ErrorKind, String) {
        self.errors
            .lock()
            .expect("errors")
            .recv_timeout(TEST_TIMEOUT)
            .expect("an error is reported")
    }

    /// Returns the reported errors that no other call has returned.
    pub fn reported_errors(&self) -> Vec<(io::ErrorKind, String)> {
        self.errors.lock().expect("errors").try_iter().collect()
    }

    /// Starts one server on a TCP socket and one on a Unix socket.
    pub fn tcp_and_unix(
        config: &Config,
        handler: impl Fn(&mut Request) -> HandlerResult + Clone + Send + Sync + 'static,
    ) -> [Self; 2] {
        [Self::tcp(config.clone(), handler.clone()), Self::unix(config.clone(), handler)]
    }

    /// Connects to the server. Reads and writes on the stream time out.
    pub fn connect(&self) -> Stream {
        let stream = Stream::connect(&self.address, Some(TEST_TIMEOUT)).expect("a connection");
        stream.set_timeouts(Some(TEST_TIMEOUT), Some(TEST_TIMEOUT)).expect("timeouts");
        stream
    }

    /// Sends bytes on a new connection and reads the response to request `id`.
    pub fn round_trip(&self, id: u16, bytes: &[u8]) -> Answer {
        let mut stream = self.connect();
        stream.write_all(bytes).expect("the request is sent");
        read_answer(&mut stream, id)
    }

    /// Returns whether `serve` has returned.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(|thread| thread.is_finished())
    }

    /// Stops the server and returns the result of `serve`.
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

/// Returns the two ends of a connection over TCP. Reads and writes of the first one time out.
pub fn connected_pair() -> (Stream, Stream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a listening socket");
    let address = listener.local_addr().expect("its address").into();
    let client = Stream::connect(&address, Some(TEST_TIMEOUT)).expect("a connection");
    client.set_timeouts(Some(TEST_TIMEOUT), Some(TEST_TIMEOUT)).expect("timeouts");
    (client, listener.accept().expect("its other end").0.into())
}

/// Asserts that the peer sends no byte before it closes the connection. The close may be a reset.
#[track_caller]
pub fn assert_no_response(reader: &mut impl Read) {
    let mut received = Vec::new();
    if let Err(error) = reader.read_to_end(&mut received) {
        assert_ne!(error.kind(), io::ErrorKind::TimedOut, "not closed");
    }
    assert_eq!(String::from_utf8_lossy(&received), "");
}

/// Creates a server on a new listening socket.
fn bind_server(address: &str) -> Server {
    let listener = Listener::bind(address).expect("a listening socket");
    Server::new(listener).expect("a server")
}

/// Polls until a condition holds that no event announces.
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + TEST_TIMEOUT;
    while !holds() {
        assert!(Instant::now() < deadline, "timed out waiting until {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Reads until the peer closes the connection.
pub fn read_all(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).map(|_| bytes)
}
