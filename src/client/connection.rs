use std::io::{self, Write};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::config::Config;
use super::connect::connect;
use super::deadline::Deadline;
use super::exchange::{Exchange, Reuse};
use super::room::MakeRoom;
use super::socket::{self, SocketReader};
use super::stdin::{self, Stdin};
use super::stdout::Stdout;
use crate::error::{Error, Result};
use crate::net::{Address, Stream};
use crate::params::Params;
use crate::record::{fixed_record, BeginRequest, RecordType, Role};
use crate::stream::{RecordBuffer, RecordReader};

/// A connection to an application, which carries one request after another.
///
/// Use it to control when the body is written and the response is read.
/// [`Client`](crate::Client) does both and keeps a pool of connections.
///
/// ```
/// use fcgi::{client::Connection, record::Role, Params};
/// use std::io::{Read, Write};
///
/// fn ask(connection: &mut Connection, params: &Params) -> fcgi::Result<Vec<u8>> {
///     let mut exchange = connection.begin(Role::Responder, params)?;
///     exchange.stdin.write_all(b"name=ferris")?;
///     exchange.stdin.finish()?;
///     let mut response = Vec::new();
///     exchange.stdout.read_to_end(&mut response)?;
///     exchange.finish()?;
///     Ok(response)
/// }
/// ```
#[derive(Debug)]
pub struct Connection {
    reader: RecordReader<SocketReader>,
    config: Arc<Config>,
    reuse: Reuse,
    /// The id of the latest request, 0 before the first one.
    ///
    /// A connection carries one request at a time, with the ids 1 and 2 in turn. A record that the
    /// application sends after the end of a request is therefore not part of the next response.
    request_id: u16,
}

/// How much of the first part of a request has been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Nothing,
    Part,
    All,
}

impl Connection {
    /// Connects to the application at `address`.
    ///
    /// ```no_run
    /// // An application must be listening.
    /// use fcgi::client::{Config, Connection};
    /// use std::sync::{Arc, Weak};
    ///
    /// let config = Arc::new(Config::new().keep_alive(true));
    /// let connection = Connection::connect(&"127.0.0.1:9000".parse()?, config)?;
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::TimedOut`] after [`Config::connect_timeout`], and the errors of the operating
    /// system. If nothing listens at the address, the error is returned at once.
    pub fn connect(address: &Address, config: Arc<Config>) -> Result<Self> {
        let max = config.connect_timeout.unwrap_or(Duration::MAX);
        Self::new(connect(address, max, false)?, config)
    }

    /// Creates a connection from a stream that is already connected.
    ///
    /// # Errors
    /// An I/O error if the timeouts cannot be set. A timeout of zero is `InvalidInput`.
    pub fn new(stream: impl Into<Stream>, config: Arc<Config>) -> Result<Self> {
        Self::open(stream.into(), config, None)
    }

    /// Creates a connection. `room` makes room for it until the application has sent something.
    pub(super) fn open(
        stream: Stream,
        config: Arc<Config>,
        room: Option<Weak<dyn MakeRoom>>,
    ) -> Result<Self> {
        let (reader, writer) =
            socket::open(stream, config.read_timeout, config.write_timeout, config.deadline, room)?;
        let reader = RecordReader::new(reader);
        let reuse = Reuse::new(config.keep_alive, writer);
        Ok(Self { reader, config, reuse, request_id: 0 })
    }

    /// Begins a request. Nothing is sent until the body is written, flushed or finished; see
    /// [`Stdin`]. [`Config::deadline`] is counted from this call.
    ///
    /// # Errors
    /// `NotConnected` if the connection is not [reusable](Self::is_reusable).
    pub fn begin(&mut self, role: Role, params: &Params) -> Result<Exchange<'_>> {
        let start = self.encode_start(role, params)?;
        self.start_timers(Deadline::new(Instant::now(), self.config.deadline), false);
        let stdin = Stdin::new(self.reuse.writer.clone(), self.request_id, start);
        Ok(self.exchange(stdin))
    }

    /// Returns whether the connection can carry another request: the previous requests have ended
    /// in both directions, the application has been asked to keep the connection open, and it has
    /// sent nothing after the last response.
    pub fn is_reusable(&self) -> bool {
        self.reuse.is_idle && self.reader.at_record_boundary()
    }

    /// Returns whether the latest request has failed because the application serves too many
    /// others.
    pub(super) fn is_overloaded(&self) -> bool {
        self.reuse.is_overloaded
    }

    /// Begins a request in memory: returns a buffer that holds BEGIN_REQUEST and PARAMS, and that
    /// the first part of the body can be added to. [`send`](Self::send) sends its records.
    pub(super) fn begin_in_memory(&mut self, role: Role, params: &Params) -> Result<RecordBuffer> {
        let start = self.encode_start(role, params)?;
        Ok(RecordBuffer::new(RecordType::Stdin, self.request_id, start))
    }

    /// Returns the records that precede the body.
    fn encode_start(&mut self, role: Role, params: &Params) -> Result<Vec<u8>> {
        if !self.is_reusable() {
            let message = "an earlier request on the connection has not ended";
            return Err(io::Error::new(io::ErrorKind::NotConnected, message).into());
        }
        self.reuse.is_idle = false;
        self.request_id = if self.request_id == 1 { 2 } else { 1 };
        let mut start = std::mem::take(&mut self.reuse.buffer);
        start.clear();
        let begin = BeginRequest::new(role, self.config.keep_alive).encode();
        start.extend_from_slice(&fixed_record(RecordType::BeginRequest, self.request_id, begin));
        params.encode_stream(self.request_id, &mut start)?;
        Ok(start)
    }

    /// Replaces the connection by a new one, for a request that has begun in memory. Its id stays
    /// the same.
    pub(super) fn replace(&mut self, new: Self) {
        *self = Self { request_id: self.request_id, ..new };
    }

    /// Starts the timers of a request with this deadline. If `is_prompt`, the request has just
    /// begun, and the first write and the first read do not look at the clock.
    #[inline]
    pub(super) fn start_timers(&mut self, deadline: Deadline, is_prompt: bool) {
        self.reader.get_mut().start(deadline, is_prompt);
        self.reuse.writer.start(deadline, is_prompt);
    }

    /// Sends the first part of a request. A failure other than a timeout is reported as
    /// [`Progress`], because the application may have answered before it closed the connection.
    ///
    /// # Errors
    /// [`Error::TimedOut`].
    pub(super) fn send(&mut self, mut records: &[u8]) -> Result<Progress> {
        let mut progress = Progress::Nothing;
        while !records.is_empty() {
            match self.reuse.writer.write(records) {
                Ok(n) => {
                    records = &records[n..];
                    progress = Progress::Part;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(error.into()),
                Err(_) => return Ok(progress),
            }
        }
        Ok(Progress::All)
    }

    /// Waits for the first byte of a response. Returns false if the connection ends or fails
    /// instead.
    ///
    /// # Errors
    /// [`Error::TimedOut`].
    pub(super) fn wait_for_response(&mut self) -> Result<bool> {
        match self.reader.wait_for_record() {
            Ok(has_record) => Ok(has_record),
            Err(error @ Error::TimedOut(_)) => Err(error),
            Err(_) => Ok(false),
        }
    }

    /// Continues a request whose first part has been sent, which has left the body in `state`.
    pub(super) fn resume(&mut self, state: stdin::State) -> Exchange<'_> {
        self.reuse.is_idle = false;
        let stdin = Stdin::resume(self.reuse.writer.clone(), self.request_id, state);
        self.exchange(stdin)
    }

    /// Keeps the memory of `buffer` for the next request.
    pub(super) fn keep_buffer(&mut self, buffer: Vec<u8>) {
        self.reuse.keep_buffer(buffer);
    }

    fn exchange(&mut self, stdin: Stdin) -> Exchange<'_> {
        let stdout = Stdout::new(&mut self.reader, self.request_id, &self.config);
        Exchange { stdin, stdout, reuse: &mut self.reuse }
    }

    /// Returns whether the application holds the connection open, as far as that can be seen within
    /// `wait`. Makes three system calls.
    pub(super) fn is_open(&mut self, wait: Duration) -> bool {
        let end = Deadline::new(Instant::now(), Some(wait));
        loop {
            let wait = end.left();
            let look = self.reader.fill_with(|socket, free| match socket.read_within(wait, free) {
                Ok(Some(n)) if n > 0 => Ok(n),
                Ok(Some(_)) | Err(_) => Err(false),
                Ok(None) => Err(true),
            });
            match look {
                // The padding of the last record may arrive late. Anything else is an error.
                Ok(_) if self.reader.at_record_boundary() => {}
                Ok(_) => return false,
                Err(is_open) => return is_open,
            }
        }
    }
}
