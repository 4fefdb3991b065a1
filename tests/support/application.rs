//! A scripted application for the tests of the client. It encodes and decodes records independently
//! of the crate.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{mpsc, Arc, Mutex};
use std::thread::JoinHandle;

use fcgi::client::{Body, Config};
use fcgi::net::{Address, Stream};
use fcgi::{Client, Params};

use super::*;

/// An application that runs a script on each accepted connection, each on a thread of its own.
///
/// Drop the clients before the application: its `drop` waits for all scripts, and fails the test if
/// one panicked.
pub struct Application {
    pub address: Address,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
    /// The directory of the socket, if this value owns it.
    directory: Option<tempfile::TempDir>,
}

#[derive(Default)]
struct Shared {
    accepted: AtomicUsize,
    is_closing: AtomicBool,
}

impl Application {
    /// Listens on a TCP socket. The script receives the number of the connection, counted from 0.
    pub fn tcp(script: impl Fn(usize, Stream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listening socket");
        let address = listener.local_addr().expect("its address").into();
        let accept = move || Stream::from(listener.accept().expect("a connection").0);
        Self::start(address, accept, script)
    }

    /// Listens on a Unix socket.
    pub fn unix(script: impl Fn(usize, Stream) + Send + Sync + 'static) -> Self {
        let directory = tempfile::tempdir().expect("a directory for the socket");
        let mut application = Self::unix_at(&directory.path().join("app.sock"), script);
        application.directory = Some(directory);
        application
    }

    /// Listens on a Unix socket at this path. The socket file stays after the application ends.
    pub fn unix_at(path: &Path, script: impl Fn(usize, Stream) + Send + Sync + 'static) -> Self {
        let listener = UnixListener::bind(path).expect("a listening socket");
        let accept = move || Stream::from(listener.accept().expect("a connection").0);
        Self::start(Address::unix(path).expect("an address"), accept, script)
    }

    /// Starts one application on a TCP socket and one on a Unix socket.
    pub fn tcp_and_unix(
        script: impl Fn(usize, Stream) + Send + Sync + Clone + 'static,
    ) -> [Self; 2] {
        [Self::tcp(script.clone()), Self::unix(script)]
    }

    /// Reads a request on each connection, sends these bytes and closes the connection.
    pub fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::unix(move |_, mut stream| {
            read_request(&mut stream).expect("a request");
            let _closed_by_peer = stream.write_all(&answer);
        })
    }

    fn start(
        address: Address,
        accept: impl Fn() -> Stream + Send + 'static,
        script: impl Fn(usize, Stream) + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let (state, script) = (Arc::clone(&shared), script);
        let accept_all = move || {
            std::thread::scope(|scope| loop {
                let stream = accept();
                if state.is_closing.load(Ordering::SeqCst) {
                    return;
                }
                let number = state.accepted.fetch_add(1, Ordering::SeqCst);
                stream.set_timeouts(Some(TEST_TIMEOUT), Some(TEST_TIMEOUT)).expect("timeouts");
                let script = &script;
                scope.spawn(move || script(number, stream));
            });
        };
        Self { address, shared, acceptor: Some(std::thread::spawn(accept_all)), directory: None }
    }

    /// Returns a client of this application, with timeouts that end a test that blocks.
    pub fn client(&self) -> Client {
        Client::from(self.address.clone()).config(test_config())
    }

    /// Returns a client that keeps its connections.
    pub fn keep_alive_client(&self) -> Client {
        self.client().keep_alive(true)
    }

    /// Returns the number of accepted connections.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        self.shared.is_closing.store(true, Ordering::SeqCst);
        let _wakes_accept = Stream::connect(&self.address, Some(TEST_TIMEOUT));
        let outcome = self.acceptor.take().expect("dropped once").join();
        assert!(outcome.is_ok() || std::thread::panicking(), "the application's script failed");
    }
}

/// Returns the default configuration with timeouts that end a test that blocks.
pub fn test_config() -> Config {
    Config::new()
        .connect_timeout(Some(TEST_TIMEOUT))
        .read_timeout(Some(TEST_TIMEOUT))
        .write_timeout(Some(TEST_TIMEOUT))
}

/// Returns params of a request that may be sent again.
pub fn get_params() -> Params {
    Params::from_pairs([("REQUEST_METHOD", "GET")]).expect("params")
}

/// Returns params of a request that must not be sent again. They have no `CONTENT_LENGTH`.
pub fn post_params() -> Params {
    Params::from_pairs([("REQUEST_METHOD", "POST")]).expect("params")
}

/// Returns params of a request with a body of this length.
pub fn upload_params(len: u64) -> Params {
    let mut params = post_params();
    params.set("CONTENT_LENGTH", len.to_string()).expect("a pair");
    params
}

/// Returns the two ends of a connection over Unix sockets.
pub fn socket_pair() -> (UnixStream, Stream) {
    let (near, far) = UnixStream::pair().expect("a pair of sockets");
    let far = Stream::from(far);
    far.set_timeouts(Some(TEST_TIMEOUT), Some(TEST_TIMEOUT)).expect("timeouts");
    (near, far)
}

/// Returns the two ends of a connection over TCP.
pub fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listening socket");
    let near =
        TcpStream::connect(listener.local_addr().expect("its address")).expect("a connection");
    (near, listener.accept().expect("its other end").0)
}

/// Returns a whole response with app status 0 to the first request of a connection, whose id is 1:
/// STDOUT and END_REQUEST.
pub fn response(stdout: &[u8]) -> Vec<u8> {
    response_to(1, stdout)
}

/// Returns a whole response with app status 0 to the request with this id.
pub fn response_to(id: u16, stdout: &[u8]) -> Vec<u8> {
    [stream(STDOUT, id, stdout), record(STDOUT, id, b""), end(id, 0, 0)].concat()
}

/// A received request.
#[derive(Clone, Debug, Default)]
pub struct ReceivedRequest {
    pub id: u16,
    pub role: u16,
    pub flags: u8,
    pub params: Vec<(Vec<u8>, Vec<u8>)>,
    pub stdin: Vec<u8>,
    /// The DATA stream, for a filter.
    pub data: Vec<u8>,
    /// All records of the request.
    pub records: Vec<Record>,
}

impl ReceivedRequest {
    pub fn param(&self, name: &str) -> Option<&[u8]> {
        self.params.iter().find(|(known, _)| known == name.as_bytes()).map(|(_, value)| &value[..])
    }

    /// Returns a whole response to this request with app status 0.
    pub fn response(&self, stdout: &[u8]) -> Vec<u8> {
        response_to(self.id, stdout)
    }

    /// Returns the types of the records in their order.
    pub fn record_types(&self) -> Vec<u8> {
        self.records.iter().map(|record| record.record_type).collect()
    }

    /// Returns the content lengths of the records of one type.
    pub fn content_lengths(&self, record_type: u8) -> Vec<usize> {
        let of_type = self.records.iter().filter(|record| record.record_type == record_type);
        of_type.map(|record| record.content.len()).collect()
    }

    /// Reads the next stream of the request to its end.
    #[track_caller]
    fn read_stream(&mut self, reader: &mut impl Read, record_type: u8) -> Vec<u8> {
        let mut data = Vec::new();
        loop {
            let record =
                read_record(reader).expect("a record of the request, not the end of input");
            assert_eq!(
                (record.record_type, record.id),
                (record_type, self.id),
                "out of order: {record:?}"
            );
            let is_end = record.content.is_empty();
            data.extend_from_slice(&record.content);
            self.records.push(record);
            if is_end {
                return data;
            }
        }
    }
}

/// Reads BEGIN_REQUEST and the params. Returns `None` if the client closes the connection instead.
/// Panics on any other record, and on another request id.
#[track_caller]
pub fn read_begin_and_params(reader: &mut impl Read) -> Option<ReceivedRequest> {
    let begin = read_record(reader)?;
    assert_eq!((begin.record_type, begin.content.len()), (BEGIN, 8), "{begin:?}");
    assert_ne!(begin.id, 0, "the id of a request");
    let role = u16::from_be_bytes([begin.content[0], begin.content[1]]);
    let mut request = ReceivedRequest {
        id: begin.id,
        role,
        flags: begin.content[2],
        ..ReceivedRequest::default()
    };
    request.records.push(begin);
    request.params = decode_pairs(&request.read_stream(reader, PARAMS));
    Some(request)
}

/// Reads a whole request. Returns and panics as [`read_begin_and_params`] does.
#[track_caller]
pub fn read_request(reader: &mut impl Read) -> Option<ReceivedRequest> {
    let mut request = read_begin_and_params(reader)?;
    request.stdin = request.read_stream(reader, STDIN);
    if request.role == FILTER {
        request.data = request.read_stream(reader, DATA);
    }
    Some(request)
}

/// Decodes name-value pairs.
#[track_caller]
pub fn decode_pairs(mut encoded: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut pairs = Vec::new();
    while !encoded.is_empty() {
        let [name_len, value_len] = [decode_len(&mut encoded), decode_len(&mut encoded)];
        let (name, rest) = encoded.split_at(name_len);
        let (value, rest) = rest.split_at(value_len);
        pairs.push((name.to_vec(), value.to_vec()));
        encoded = rest;
    }
    pairs
}

fn decode_len(encoded: &mut &[u8]) -> usize {
    let first = encoded[0];
    let size = if first < 128 { 1 } else { 4 };
    let (len, rest) = encoded.split_at(size);
    *encoded = rest;
    len.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)) & 0x7fff_ffff
}

/// Reads until the client closes or resets the connection.
pub fn wait_for_close(reader: &mut impl Read) {
    let mut buffer = [0; 4096];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return,
            Err(error) => {
                assert_eq!(
                    error.kind(),
                    io::ErrorKind::ConnectionReset,
                    "waiting for the client to close"
                );
                return;
            }
            Ok(_) => {}
        }
    }
}

/// Copies STDIN to STDOUT as it arrives, then ends the request.
pub fn echo_stdin(stream: &mut Stream) {
    while let Some(mut record) = read_record(stream) {
        assert_eq!(record.record_type, STDIN, "{record:?}");
        if record.content.is_empty() {
            stream.write_all(&response(b"")).expect("the end is sent");
            return;
        }
        let mut header = self::record(STDOUT, record.id, b"");
        header[4..6].copy_from_slice(&(record.content.len() as u16).to_be_bytes());
        header.append(&mut record.content);
        stream.write_all(&header).expect("the echo is sent");
    }
}

/// A long stream whose bytes identify their position. Reading generates the bytes, writing checks
/// them.
#[derive(Debug)]
pub struct Pattern {
    left: u64,
    /// The block that is repeated. Its length divides the length of no buffer.
    part: Vec<u8>,
    at: usize,
}

impl Pattern {
    pub fn new(len: u64) -> Self {
        let mut seed = 1_u32;
        let mut next = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 24) as u8
        };
        Self { left: len, part: (0..65521).map(|_| next()).collect(), at: 0 }
    }

    /// Returns a whole pattern of this length.
    pub fn bytes(len: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        Self::new(len).read_to_end(&mut bytes).expect("a pattern");
        bytes
    }

    /// Returns the number of bytes not yet read or written.
    pub fn remaining(&self) -> u64 {
        self.left
    }

    /// Returns the next bytes, at most `max`.
    fn next(&mut self, max: usize) -> &[u8] {
        let start = self.at;
        let len = max.min(self.part.len() - start).min(usize::try_from(self.left).unwrap_or(max));
        self.at = (start + len) % self.part.len();
        self.left -= len as u64;
        &self.part[start..start + len]
    }
}

impl Read for Pattern {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() && self.left > 0 {
            let piece = self.next(buffer.len() - filled);
            buffer[filled..filled + piece.len()].copy_from_slice(piece);
            filled += piece.len();
        }
        Ok(filled)
    }
}

impl From<Pattern> for Body<'_> {
    fn from(pattern: Pattern) -> Self {
        Self::from_reader(pattern)
    }
}

impl Write for Pattern {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let left = self.left;
        let piece = self.next(data.len());
        assert!(!piece.is_empty(), "more bytes than expected");
        assert!(piece == &data[..piece.len()], "unexpected bytes, {left} before the end");
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A reader that returns one of these chunks per read.
#[derive(Debug, Default)]
pub struct ChunkedReader(pub VecDeque<Vec<u8>>);

impl ChunkedReader {
    pub fn new(chunks: &[&[u8]]) -> Self {
        Self(chunks.iter().map(|chunk| chunk.to_vec()).collect())
    }
}

impl Read for ChunkedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(chunk) = self.0.pop_front() else { return Ok(0) };
        buffer[..chunk.len()].copy_from_slice(&chunk);
        Ok(chunk.len())
    }
}

/// Runs a function that might block indefinitely on a thread of its own, and returns its result or
/// its panic. Panics if the function does not return in time.
#[track_caller]
pub fn run_with_timeout<T: Send + 'static>(
    run: impl FnOnce() -> T + Send + 'static,
) -> std::thread::Result<T> {
    let (sender, receiver) = mpsc::channel();
    let _detached = std::thread::spawn(move || {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        let _timed_out = sender.send(outcome);
    });
    receiver.recv_timeout(TEST_TIMEOUT).expect("the function returns in time")
}

/// Connects to a Unix socket until its backlog is full, on Linux. The last connection waits until
/// the listener is dropped or accepts others.
pub fn fill_backlog(path: &Path) {
    let (report, reports) = mpsc::channel();
    let path = path.to_owned();
    let _detached = std::thread::spawn(move || {
        // A connection that is closed stays in the backlog until it is accepted.
        while UnixStream::connect(&path).is_ok() && report.send(()).is_ok() {}
    });
    while reports.recv_timeout(Duration::from_secs(1)).is_ok() {}
}

/// Blocks a script, without reading, until the test drops the sender.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Mutex<mpsc::Receiver<()>>>);

/// Returns a closed gate and the sender that opens it when dropped.
pub fn gate() -> (Gate, mpsc::Sender<()>) {
    let (sender, receiver) = mpsc::channel();
    (Gate(Arc::new(Mutex::new(receiver))), sender)
}

impl Gate {
    pub fn wait(&self) {
        let receiver = self.0.lock().expect("the gate");
        let outcome = receiver.recv_timeout(TEST_TIMEOUT);
        assert_eq!(outcome, Err(mpsc::RecvTimeoutError::Disconnected), "the gate stays closed");
    }
}
