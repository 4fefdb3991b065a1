use std::io::{self, IoSliceMut, Read, Write};
use std::time::{Duration, Instant};

use super::output::Output;
use super::Config;
use crate::error::{Error, Result};
use crate::net::Stream;
use crate::params::Params;
use crate::record::{
    self, EndRequest, Header, ProtocolStatus, RecordType, UnknownType, MAX_CONNS, MAX_REQS,
    MPXS_CONNS, NULL_REQUEST_ID,
};
use crate::stream::RecordReader;

/// The reading side of an application's connection.
///
/// [`next`](Self::next) and, between requests, [`next_begin`](Self::next_begin) are where records
/// are looked at: they deal with all that does not concern the request, and hand out the rest.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) reader: RecordReader<TimedStream>,
    /// The answer to GET_VALUES for FCGI_MAX_CONNS and FCGI_MAX_REQS.
    max_connections: usize,
}

impl Input {
    pub(super) fn new(stream: Stream, config: &Config, buffer: Vec<u8>) -> Self {
        let reader = RecordReader::with_buffer(TimedStream::new(stream, config), buffer);
        Self { reader, max_connections: config.max_connections }
    }

    /// The next record of the request `active`; `None` at the clean end of the input.
    ///
    /// On the way management records are answered (section 4), other requests are refused, and the
    /// records of ids that are not active are passed over (section 3.3).
    // Each record of a request comes this way, and a call for each takes 4 % of our instructions.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(super) fn next(&mut self, active: u16) -> Result<Option<Header>> {
        loop {
            match self.reader.next_header()? {
                Some(header) if header.request_id != active => self.pass(header)?,
                header => return Ok(header),
            }
        }
    }

    /// The next record that begins a request; `None` at the clean end of the input. On the way, as
    /// with [`next`](Self::next).
    pub(super) fn next_begin(&mut self) -> Result<Option<Header>> {
        loop {
            self.note_idleness()?;
            match self.reader.next_header()? {
                Some(header) if header.request_id == NULL_REQUEST_ID => {
                    self.answer_management(header)?;
                }
                Some(header) if header.record_type != RecordType::BeginRequest => {}
                header => return Ok(header),
            }
        }
    }

    /// Deals with a record that is not of the active request.
    #[cold]
    fn pass(&mut self, header: Header) -> Result<()> {
        match (header.request_id, header.record_type) {
            (NULL_REQUEST_ID, _) => self.answer_management(header),
            (id, RecordType::BeginRequest) => self.end_request(id, ProtocolStatus::CantMpxConn),
            _ => Ok(()),
        }
    }

    /// Between requests, whatever came last: if nothing has come behind it, the connection is idle
    /// until something does.
    fn note_idleness(&mut self) -> Result<()> {
        self.reader.skip_record()?;
        if self.reader.buffer().is_empty() {
            self.reader.get_mut().is_idle = true;
        }
        Ok(())
    }

    /// Whether nothing has come since the connection became idle: if a read has timed out, that it
    /// was idle for too long.
    pub(super) fn is_idle(&self) -> bool {
        self.reader.get_ref().is_idle
    }

    /// Whether all of a request has come, up to the end of its last stream; BEGIN is the current
    /// record. For a connection whose reading side was shut down, so that this waits for
    /// nothing. A request that is larger than the buffer is taken to be cut.
    pub(super) fn has_whole_request(&mut self, request_id: u16, last: RecordType) -> Result<bool> {
        while !self.has_buffered_end(request_id, last) {
            if self.reader.is_full() || self.reader.fill_with(|inner, free| inner.read(free))? == 0
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Ends a request that no handler has seen.
    pub(super) fn end_request(
        &self,
        request_id: u16,
        protocol_status: ProtocolStatus,
    ) -> Result<()> {
        let end = EndRequest { app_status: 0, protocol_status };
        Ok(self.output().write_all(&end.record(request_id))?)
    }

    /// Reads what has arrived into the buffer, without waiting. Returns `None` if nothing has, and 0
    /// at the end of the input.
    pub(super) fn try_fill(&mut self) -> io::Result<Option<usize>> {
        let filled = self.reader.fill_with(|inner, free| match inner.stream.try_read(free) {
            Ok(Some(n)) => Ok(n),
            Ok(None) => Err(None),
            Err(error) => Err(Some(error)),
        });
        match filled {
            Ok(n) => Ok(Some(n)),
            Err(None) => Ok(None),
            Err(Some(error)) => Err(error),
        }
    }

    /// Returns whether an ABORT_REQUEST for this request is buffered.
    pub(super) fn has_buffered_abort(&self, request_id: u16) -> bool {
        self.reader.buffered_headers().any(|header| {
            header.record_type == RecordType::AbortRequest && header.request_id == request_id
        })
    }

    fn output(&self) -> Output<'_> {
        Output(&self.reader.get_ref().stream)
    }

    /// Whether the stream of this type has its end among what was read already and not yet used.
    pub(super) fn has_buffered_end(&self, request_id: u16, record_type: RecordType) -> bool {
        let is_end = |header: Header| {
            header.record_type == record_type
                && header.request_id == request_id
                && header.content_len == 0
        };
        self.reader.buffered_headers().any(is_end)
    }

    /// Answers a record with the null id. Types that belong to requests, or that only an
    /// application sends, mean nothing there.
    #[cold]
    fn answer_management(&mut self, header: Header) -> Result<()> {
        match header.record_type {
            RecordType::GetValues => self.answer_get_values(),
            RecordType::Unknown(_) => record::write_unknown_type(
                &mut self.output(),
                UnknownType { record_type: header.record_type },
            ),
            _ => Ok(()),
        }
    }

    /// Answers GET_VALUES (section 4.1): each variable that we know once, the others left out. Of a
    /// query that is cut short, the whole pairs count.
    fn answer_get_values(&mut self) -> Result<()> {
        let mut query = Params::new();
        self.reader.gather_into(&mut query)?;
        let _cut_short = query.index();
        let mut result = Params::new();
        let max = self.max_connections.to_string();
        for (name, value) in [(MAX_CONNS, &*max), (MAX_REQS, &*max), (MPXS_CONNS, "0")] {
            if query.get_bytes(name).is_some() {
                result.push(name, value)?;
            }
        }
        record::write_record(
            &mut self.output(),
            RecordType::GetValuesResult,
            NULL_REQUEST_ID,
            result.as_bytes(),
        )
    }
}

/// A stream whose reads wait longer while the connection is idle than inside a request, without a
/// system call to say so: the socket's time-out is the shorter one, and reads that expire are
/// counted. It is set before the first read that needs it: with idle connections that may wait for
/// ever, small requests never do, and take a few percent less time.
#[derive(Debug)]
pub(super) struct TimedStream {
    pub(super) stream: Stream,
    /// The socket's time-out, and whether it is set.
    tick: Option<Duration>,
    is_ticking: bool,
    read_timeout: Option<Duration>,
    idle_timeout: Option<Duration>,
    /// Whether the connection is between requests and nothing has come yet.
    is_idle: bool,
    /// When reading ends, whatever comes.
    deadline: Option<Instant>,
}

impl TimedStream {
    fn new(stream: Stream, config: &Config) -> Self {
        let (read_timeout, idle_timeout) = (config.read_timeout, config.idle_timeout);
        let tick = match (read_timeout, idle_timeout) {
            (Some(read), Some(idle)) => Some(read.min(idle)),
            (read, idle) => read.or(idle),
        };
        Self {
            stream,
            tick,
            is_ticking: false,
            read_timeout,
            idle_timeout,
            is_idle: true,
            deadline: None,
        }
    }

    /// From here on reading ends after this time, however often something comes.
    pub(super) fn end_after(&mut self, time: Duration) {
        self.deadline = Instant::now().checked_add(time);
    }

    /// Sets the socket's time-out, unless this read may wait for ever. Who wants the connection to
    /// close wakes it by shutting the reading side down, which elsewhere than on Unix is not
    /// sure to.
    fn start_ticking(&mut self) -> io::Result<()> {
        let may_wait_for_ever =
            cfg!(unix) && self.is_idle && self.idle_timeout.is_none() && self.deadline.is_none();
        if !may_wait_for_ever {
            self.stream.set_read_timeout(self.tick)?;
            self.is_ticking = true;
        }
        Ok(())
    }

    fn read_with_timeout(
        &mut self,
        mut read: impl FnMut(&Stream) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if !self.is_ticking {
            self.start_ticking()?;
        }
        let mut waited = Duration::ZERO;
        loop {
            if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(Error::TimedOut("read").into());
            }
            match read(&self.stream) {
                // How HAProxy ends a connection for which it has no more use.
                Err(error) if self.is_idle && error.kind() == io::ErrorKind::ConnectionReset => {
                    return Ok(0)
                }
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    waited += self.tick.unwrap_or_default();
                    let limit = if self.is_idle { self.idle_timeout } else { self.read_timeout };
                    if limit.is_some_and(|limit| waited >= limit) {
                        return Err(error);
                    }
                }
                // A signal says nothing of the web server: where there was nothing to read, the
                // connection is still idle.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => {
                    self.is_idle = false;
                    return outcome;
                }
            }
        }
    }
}

impl Read for TimedStream {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_with_timeout(|mut stream| stream.read(buffer))
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.read_with_timeout(|mut stream| stream.read_vectored(buffers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Linux interrupts a read that has a time-out whenever the process goes on after a stop.
    #[test]
    fn a_signal_leaves_an_idle_connection_idle() -> Result<()> {
        let (stream, _peer) = Stream::pair()?;
        let mut stream =
            TimedStream::new(stream, &Config::new().idle_timeout(Some(Duration::from_secs(120))));
        let mut ends =
            [io::ErrorKind::Interrupted, io::ErrorKind::TimedOut, io::ErrorKind::TimedOut]
                .into_iter();
        let outcome = stream.read_with_timeout(|_| Err(ends.next().expect("no other read").into()));
        assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(stream.is_idle && ends.next().is_none());
        Ok(())
    }
}
