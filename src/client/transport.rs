use std::io;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::close_requests::CloseKept;
use super::config::Config;
use super::deadline::Deadline;
use super::socket::{self, Progress, SharedSocket, SocketReader, SocketWriter};
use crate::error::{Error, Result};
use crate::net::{Address, Stream};
use crate::params::Params;
use crate::record::{fixed_record, BeginRequest, RecordType, Role};
use crate::stream::{RecordBuffer, RecordReader};

/// The most bytes of memory that one request leaves for the next. The first part of most requests
/// and the buffer of a body fit.
const MAX_KEPT_BUFFER: usize = 256 * 1024;

/// Both directions of a connection, and the memory that one request leaves for the next.
#[derive(Debug)]
pub(super) struct Transport {
    pub(super) reader: RecordReader<SocketReader>,
    /// Each request writes with a clone.
    writer: SocketWriter,
    config: Arc<Config>,
    /// Memory for the records of the next request.
    buffer: Vec<u8>,
    /// The number of requests that have begun on the connection.
    requests_begun: u64,
    /// The id of the latest request, 0 before the first one.
    ///
    /// A connection carries one request at a time, with the ids 1 and 2 in turn. A record that the
    /// application sends after the end of a request is therefore not part of the next response.
    request_id: u16,
    /// Whether the application has been asked to keep the connection open.
    keep_alive: bool,
    /// Whether another request may begin. Invariant: false from the start of a request until both
    /// of its directions have ended with `keep_alive` set. A request that ends otherwise leaves it
    /// false.
    is_idle: bool,
    /// Whether the application has failed a request because it serves too many others.
    is_overloaded: bool,
}

/// Why a connection has no input.
enum NoInput {
    /// The application may still send some.
    Open,
    /// The connection has ended or failed.
    Closed,
    /// A signal has ended the wait for input.
    Interrupted,
}

impl Transport {
    /// Creates the transport of a new connection to this address. `pool` closes kept connections
    /// while the application does not answer on this one.
    pub(super) fn open(
        stream: Stream,
        address: Option<Arc<Address>>,
        config: Arc<Config>,
        pool: Option<Weak<dyn CloseKept>>,
    ) -> Result<Self> {
        let Config { read_timeout, write_timeout, deadline, .. } = *config;
        let (reader, writer) =
            socket::open(stream, address, read_timeout, write_timeout, deadline, pool)?;
        Ok(Self {
            reader: RecordReader::new(reader),
            writer,
            keep_alive: config.keep_alive,
            config,
            buffer: Vec::new(),
            requests_begun: 0,
            request_id: 0,
            is_idle: true,
            is_overloaded: false,
        })
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// Returns whether the connection was opened with this configuration.
    #[inline]
    pub(super) fn has_config(&self, config: &Arc<Config>) -> bool {
        Arc::ptr_eq(&self.config, config)
    }

    pub(super) fn socket(&self) -> &SharedSocket {
        self.writer.socket()
    }

    /// Returns a writer for the body of a request.
    pub(super) fn writer(&self) -> SocketWriter {
        self.writer.clone()
    }

    pub(super) fn request_id(&self) -> u16 {
        self.request_id
    }

    /// Returns whether the latest request is not the first one on the connection.
    #[inline]
    pub(super) fn is_kept(&self) -> bool {
        self.requests_begun > 1
    }

    /// Returns the number of requests that have begun on the connection. A connection that
    /// [replaces](Self::replace) another one has carried only the latest.
    pub(super) fn requests_begun(&self) -> u64 {
        self.requests_begun
    }

    /// Returns whether the connection can carry another request: the previous requests have ended
    /// in both directions, the application has been asked to keep the connection open, it has sent
    /// nothing after the last response, and no request was canceled.
    pub(super) fn is_reusable(&self) -> bool {
        self.is_idle && self.reader.at_record_boundary() && !self.socket().is_canceled()
    }

    /// Returns whether the last request failed because the application serves too many others.
    pub(super) fn is_overloaded(&self) -> bool {
        self.is_overloaded
    }

    /// Begins a request in memory: returns a buffer that holds BEGIN_REQUEST and PARAMS, and that
    /// the first part of the body can be added to. [`send`](Self::send) sends its records.
    pub(super) fn begin_in_memory(&mut self, role: Role, params: &Params) -> Result<RecordBuffer> {
        let start = self.encode_start(role, params)?;
        Ok(RecordBuffer::new(RecordType::Stdin, self.request_id, start))
    }

    /// Begins a request: returns the records that precede the body.
    ///
    /// # Errors
    /// `NotConnected` if the connection is not [reusable](Self::is_reusable).
    pub(super) fn encode_start(&mut self, role: Role, params: &Params) -> Result<Vec<u8>> {
        if !self.is_reusable() {
            let message = "the connection cannot carry another request";
            return Err(io::Error::new(io::ErrorKind::NotConnected, message).into());
        }
        self.is_idle = false;
        self.requests_begun += 1;
        self.request_id = if self.request_id == 1 { 2 } else { 1 };
        let mut start = std::mem::take(&mut self.buffer);
        start.clear();
        let begin = BeginRequest::new(role, self.keep_alive).encode();
        start.extend_from_slice(&fixed_record(RecordType::BeginRequest, self.request_id, begin));
        params.encode_stream(self.request_id, &mut start)?;
        Ok(start)
    }

    /// Replaces the connection by a new one, for a request that has begun in memory. Its id stays
    /// the same.
    pub(super) fn replace(&mut self, new: Self) {
        *self = Self { request_id: self.request_id, requests_begun: 1, is_idle: false, ..new };
    }

    /// Starts the timers of a request with this deadline. If `skips_clock`, the request has just
    /// begun, and the first write and the first read do not read the clock.
    #[inline]
    pub(super) fn start_timers(&mut self, deadline: Deadline, skips_clock: bool) {
        self.reader.get_mut().start(deadline, skips_clock);
        self.writer.start(deadline, skips_clock);
    }

    /// Makes the first read of the response read the clock: the caller decides when to begin it.
    pub(super) fn end_clock_skip(&mut self) {
        self.reader.get_mut().end_clock_skip();
    }

    /// Sends the first part of a request, like [`SocketWriter::send`].
    ///
    /// # Errors
    /// [`Error::TimedOut`].
    #[inline]
    pub(super) fn send(&mut self, records: &[u8]) -> Result<Progress> {
        self.writer.send(records)
    }

    /// Waits for the first byte of a response. Returns false if the connection ends or fails
    /// instead.
    ///
    /// # Errors
    /// [`Error::TimedOut`].
    #[inline]
    pub(super) fn wait_for_response(&mut self) -> Result<bool> {
        match self.reader.wait_for_record() {
            Ok(has_record) => Ok(has_record),
            Err(error @ Error::TimedOut(_)) => Err(error),
            Err(_) => Ok(false),
        }
    }

    /// Ends a request whose response is complete. The connection can carry another one if the body
    /// has been sent to its end, too.
    #[inline]
    pub(super) fn end_request(&mut self, is_body_sent: bool) {
        self.is_idle = self.keep_alive && is_body_sent;
    }

    /// Returns whether the application may not have accepted the connection yet, because it still
    /// serves kept connections: it has been asked to keep connections open, and has sent nothing.
    pub(super) fn may_be_unaccepted(&self) -> bool {
        self.keep_alive && self.reader.get_ref().is_unanswered()
    }

    /// Notes that the application serves too many other requests.
    pub(super) fn set_overloaded(&mut self) {
        self.is_overloaded = true;
    }

    /// Keeps the larger of two buffers for the next request, unless it has taken more memory than
    /// most requests need.
    #[inline]
    pub(super) fn keep_buffer(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() > self.buffer.capacity() && buffer.capacity() <= MAX_KEPT_BUFFER {
            self.buffer = buffer;
        }
    }

    /// Returns whether the connection is still open after waiting up to `wait` for the application
    /// to close it. Makes three system calls without a wait, and at least two with one.
    pub(super) fn stays_open(&mut self, wait: Duration) -> bool {
        let end = Deadline::new(Instant::now(), Some(wait));
        loop {
            let wait = end.left();
            let read = self.reader.fill_with(|socket, free| match socket.read_within(wait, free) {
                Ok(Some(n)) if n > 0 => Ok(n),
                Ok(None) => Err(NoInput::Open),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    Err(NoInput::Interrupted)
                }
                Ok(Some(_)) | Err(_) => Err(NoInput::Closed),
            });
            match read {
                // The padding of the last record may arrive late. Anything else is an error.
                Ok(_) if self.reader.at_record_boundary() => {}
                Err(NoInput::Interrupted) => {}
                Ok(_) | Err(NoInput::Closed) => return false,
                Err(NoInput::Open) => return true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_a_large_request_is_not_kept() -> Result<()> {
        let (stream, _peer) = Stream::pair()?;
        let mut transport = Transport::open(stream, None, Arc::default(), None)?;
        transport.keep_buffer(Vec::with_capacity(100));
        transport.keep_buffer(Vec::with_capacity(20 << 20));
        assert_eq!(transport.buffer.capacity(), 100);
        transport.keep_buffer(Vec::with_capacity(MAX_KEPT_BUFFER));
        assert_eq!(transport.buffer.capacity(), MAX_KEPT_BUFFER);
        Ok(())
    }
}
