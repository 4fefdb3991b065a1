use std::io::{self, Write};
use std::sync::Arc;

use super::stdin::Stdin;
use super::stdout::{Completion, Stdout};
use super::wire::Wire;
use super::Config;
use crate::error::{Error, Result};
use crate::net::{Address, Stream};
use crate::params::Params;
use crate::record::{fixed_record, BeginRequest, Header, RecordType, Role};
use crate::stream::{RecordBuffer, RecordReader};

/// The id of every request: there is one at a time on a connection.
const REQUEST_ID: u16 = 1;

/// A connection to an application, for those who want to write and read by themselves: one request
/// after the other.
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
    wire: Wire,
    reader: RecordReader<Wire>,
    config: Arc<Config>,
    /// The memory for what is written.
    buffer: Vec<u8>,
    /// Whether both directions of every request so far have ended as they should, so that another
    /// may follow.
    is_in_step: bool,
}

impl Connection {
    /// Connects to an application.
    ///
    /// # Errors
    /// [`Error::TimedOut`](crate::Error::TimedOut), and what the system reports: for a missing
    /// application at once.
    pub fn connect(address: &Address, config: Arc<Config>) -> Result<Self> {
        Self::new(Stream::connect(address, config.connect_timeout)?, config)
    }

    /// Makes one of a stream that is connected.
    ///
    /// # Errors
    /// What setting the time-outs reports.
    pub fn new(stream: impl Into<Stream>, config: Arc<Config>) -> Result<Self> {
        let stream = stream.into();
        stream.set_timeouts(config.read_timeout, config.write_timeout)?;
        let wire = Wire::new(stream);
        let reader = RecordReader::new(wire.clone());
        Ok(Self { wire, reader, config, buffer: Vec::new(), is_in_step: true })
    }

    /// Begins a request. Nothing is sent before there is more to send with it: see [`Stdin`].
    ///
    /// # Errors
    /// `NotConnected` if the connection [cannot carry](Self::is_reusable) another request.
    pub fn begin(&mut self, role: Role, params: &Params) -> Result<Exchange<'_>> {
        let preface = self.preface(role, params)?;
        Ok(self.exchange(|wire| Stdin::new(wire, REQUEST_ID, preface)))
    }

    /// The same where the first part of the body is gathered before anything is sent. The exchange
    /// goes on with [`resume`](Self::resume).
    pub(super) fn gather(&mut self, role: Role, params: &Params) -> Result<RecordBuffer> {
        let preface = self.preface(role, params)?;
        Ok(RecordBuffer::new(RecordType::Stdin, REQUEST_ID, preface))
    }

    /// What comes before the body.
    fn preface(&mut self, role: Role, params: &Params) -> Result<Vec<u8>> {
        if !self.is_reusable() {
            return Err(io::Error::new(
                io::ErrorKind::NotConnected,
                "an earlier request did not end",
            )
            .into());
        }
        self.is_in_step = false;
        let mut preface = std::mem::take(&mut self.buffer);
        preface.clear();
        let begin = BeginRequest::new(role, self.config.keep_alive);
        preface.extend_from_slice(&fixed_record(
            RecordType::BeginRequest,
            REQUEST_ID,
            begin.encode(),
        ));
        params.encode_stream(REQUEST_ID, &mut preface)?;
        Ok(preface)
    }

    /// Sends the first part of a request.
    ///
    /// # Errors
    /// A time-out alone. The answer to what could not be sent may say more than the failure.
    pub(super) fn send(&mut self, mut records: &[u8]) -> Result<Sent> {
        let mut sent = Sent::Nothing;
        while !records.is_empty() {
            match self.wire.write(records) {
                Ok(n) => {
                    records = &records[n..];
                    sent = Sent::InPart;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(error.into()),
                Err(_) => return Ok(sent),
            }
        }
        Ok(Sent::Whole)
    }

    /// Whether the application closed the connection before it took the request, so that it may be
    /// sent on another: it has seen nothing of it, or it has answered nothing to one that it
    /// may see twice.
    pub(super) fn is_dead(&mut self, sent: Sent, may_repeat: bool) -> Result<bool> {
        if !may_repeat {
            return Ok(sent == Sent::Nothing);
        }
        match self.reader.wait_for_record() {
            Ok(is_answered) => Ok(!is_answered),
            Err(error @ Error::TimedOut(_)) => Err(error),
            Err(_) => Ok(true),
        }
    }

    /// Goes on with a request of which the first part was sent.
    pub(super) fn resume(&mut self, sent: Sent, is_whole: bool) -> Exchange<'_> {
        self.is_in_step = false;
        self.exchange(|wire| Stdin::behind(wire, REQUEST_ID, sent, is_whole))
    }

    /// Keeps memory for what is written to later requests.
    pub(super) fn keep_buffer(&mut self, buffer: Vec<u8>) {
        keep_larger(&mut self.buffer, buffer);
    }

    fn exchange(&mut self, stdin: impl FnOnce(Wire) -> Stdin) -> Exchange<'_> {
        Exchange {
            stdin: stdin(self.wire.clone()),
            stdout: Stdout::new(&mut self.reader, REQUEST_ID, &self.config),
            wire: &self.wire,
            keeps_conn: self.config.keep_alive,
            buffer: &mut self.buffer,
            is_in_step: &mut self.is_in_step,
        }
    }

    /// Whether another request may follow: both directions of those before have ended, the
    /// application was asked to keep the connection, and nothing came behind the last response.
    pub fn is_reusable(&self) -> bool {
        self.is_in_step && self.reader.at_record_boundary()
    }

    /// Whether the application still holds the connection open, as far as that can be seen without
    /// waiting. Three system calls.
    pub(super) fn is_alive(&mut self) -> bool {
        let look = self.reader.fill_with(|wire, free| match wire.try_read(free) {
            Ok(Some(n)) if n > 0 => Ok(n),
            Ok(Some(_)) | Err(_) => Err(false),
            Ok(None) => Err(true),
        });
        match look {
            // The padding of the last record may come late; anything else has no business here.
            Ok(_) => self.reader.at_record_boundary(),
            Err(is_quiet) => is_quiet,
        }
    }
}

/// How much of the first part of a request was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Nothing,
    InPart,
    Whole,
}

/// A request that is under way: one direction is written, the other is read.
///
/// Both are fields of their own, and may be used by two threads at once, as they have to be where
/// an application answers while it reads and both directions are larger than what the system holds
/// for them. ([`Client::send`](super::Client::send) does that.)
///
/// An exchange that is dropped, rather than [finished](Self::finish), leaves a connection that can
/// carry no other.
#[derive(Debug)]
pub struct Exchange<'a> {
    /// The request's body.
    pub stdin: Stdin,
    /// The response.
    pub stdout: Stdout<'a>,
    pub(super) wire: &'a Wire,
    pub(super) keeps_conn: bool,
    /// Where the memory for what is written goes back to.
    pub(super) buffer: &'a mut Vec<u8>,
    pub(super) is_in_step: &'a mut bool,
}

impl<'a> Exchange<'a> {
    /// Ends the request's body if that was not done, drops what was not read of the response, and
    /// waits for the end of the request.
    ///
    /// # Errors
    /// As reading [`Stdout`]. That the body could not be written is none, if the response is
    /// complete.
    pub fn finish(mut self) -> Result<Completion> {
        if !self.stdout.is_complete() {
            let _response_counts = self.stdin.finish();
        }
        self.complete()
    }

    /// Asks the application to end the request (section 5.4), and waits until it has. What it sends
    /// meanwhile is dropped. If it has ended the request already, nothing is sent.
    ///
    /// # Errors
    /// As [`finish`](Self::finish). Many applications close the connection instead of answering,
    /// which is [`Error::UnexpectedEof`](crate::Error::UnexpectedEof).
    pub fn abort(mut self) -> Result<Completion> {
        if !self.stdout.is_complete() {
            let abort = Header::new(RecordType::AbortRequest, REQUEST_ID, 0).encode();
            match self.stdin.interrupt(&abort) {
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(error.into()),
                // The application may have ended the request by itself, and gone. Then its answer
                // counts.
                Ok(()) | Err(_) => {}
            }
        }
        self.complete()
    }

    /// Waits for the end of the request, and leaves the connection to others.
    pub(super) fn complete(mut self) -> Result<Completion> {
        let completion = self.stdout.finish()?;
        self.release();
        Ok(completion)
    }

    /// Leaves the connection to other requests, if both directions have ended. The response must be
    /// complete.
    pub(super) fn release(mut self) {
        *self.is_in_step = self.keeps_conn && self.stdin.is_finished();
        keep_larger(self.buffer, self.stdin.take_buffer());
    }

    /// The two directions alone, for threads that need not wait for each other: the body's may be
    /// left behind when the response has [ended](Stdout::finish). The connection can carry no
    /// other request.
    pub fn into_parts(self) -> (Stdin, Stdout<'a>) {
        (self.stdin, self.stdout)
    }

    /// Gives the request up at once: ends both directions of the connection, which wakes whoever
    /// waits on them.
    pub fn cut(&self) {
        self.wire.cut();
    }
}

/// Keeps the buffer with more memory, for later requests.
fn keep_larger(kept: &mut Vec<u8>, buffer: Vec<u8>) {
    if buffer.capacity() > kept.capacity() {
        *kept = buffer;
    }
}
