use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use super::config::Config;
use super::connection_state::ConnectionState;
use super::output::TimeBudget;
use super::timeouts::TimedStream;
use crate::error::{Error, Result};
use crate::params::{Params, ParamsDecoder};
use crate::record::{
    self, BeginRequest, EndRequest, Header, ProtocolStatus, RecordType, UnknownType, MAX_CONNS,
    MAX_REQS, MPXS_CONNS, NULL_REQUEST_ID,
};
use crate::stream::RecordReader;

/// The read half of a connection.
///
/// [`next`](Self::next) inside a request and [`next_begin`](Self::next_begin) between requests
/// return the records that concern the request. All others are handled here.
#[derive(Debug)]
pub(super) struct Input {
    reader: RecordReader<TimedStream>,
    state: Arc<ConnectionState>,
    /// The value of FCGI_MAX_CONNS and FCGI_MAX_REQS.
    max_connections: usize,
    /// How long the answers to management records, and refusals, may still block until the
    /// connection is idle.
    answer_time: TimeBudget,
}

/// The total time that answers may block before the connection fails. It bounds how long a peer
/// that does not read can hold its slot.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// A request that was begun. The rest of its records may not have arrived yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct AcceptedRequest {
    pub(super) id: u16,
    pub(super) begin: BeginRequest,
}

impl Input {
    pub(super) fn new(state: Arc<ConnectionState>, config: &Config, buffer: Vec<u8>) -> Self {
        let stream = TimedStream::new(state.stream().clone(), config);
        let reader = RecordReader::with_buffer(stream, buffer);
        let max_connections = config.max_connections;
        Self { reader, state, max_connections, answer_time: TimeBudget::new(ANSWER_TIME) }
    }

    #[inline]
    pub(super) fn reader(&self) -> &RecordReader<TimedStream> {
        &self.reader
    }

    #[inline]
    pub(super) fn reader_mut(&mut self) -> &mut RecordReader<TimedStream> {
        &mut self.reader
    }

    pub(super) fn state(&self) -> &Arc<ConnectionState> {
        &self.state
    }

    /// Reads the next record of the active request. Returns `None` if the input ends between two
    /// records.
    ///
    /// Management records are answered (FastCGI specification, section 4), other requests are
    /// refused, and records of inactive requests are skipped (section 3.3).
    // Every record of a request is read here. A call costs 4 % of the instructions of a request.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(super) fn next(&mut self, active: u16) -> Result<Option<Header>> {
        loop {
            match self.reader.next_header()? {
                Some(header) if header.request_id != active => self.handle_other(header)?,
                header => return Ok(header),
            }
        }
    }

    /// Reads the next BEGIN_REQUEST record. Returns `None` if the input ends between two records.
    ///
    /// Management records are answered, and records of inactive requests are skipped.
    pub(super) fn next_begin(&mut self) -> Result<Option<Header>> {
        loop {
            self.update_idle()?;
            match self.reader.next_header()? {
                Some(header) if header.request_id == NULL_REQUEST_ID => {
                    self.state.on_other_record();
                    self.answer_management(header)?;
                }
                Some(header) if header.record_type == RecordType::BeginRequest => {
                    return Ok(Some(header));
                }
                Some(_) => self.state.on_other_record(),
                None => return Ok(None),
            }
        }
    }

    /// Reads the first bytes of a new connection. Returns 0 at the end of the input.
    pub(super) fn read_first(&mut self) -> io::Result<usize> {
        let state = &self.state;
        self.reader.fill_with(|stream, free| {
            let n = stream.read(free)?;
            if n > 0 {
                state.on_first_input();
            }
            Ok(n)
        })
    }

    /// Ends a request that is not passed to a handler.
    pub(super) fn end_request(&mut self, request_id: u16, status: ProtocolStatus) -> Result<()> {
        let end = EndRequest { app_status: 0, protocol_status: status };
        self.write_answer(&end.encode_record(request_id))
    }

    /// Returns whether the connection is between requests, and no byte of the next one was
    /// received.
    pub(super) fn is_idle(&self) -> bool {
        self.reader.get_ref().is_idle()
    }

    /// Reads until a whole request is buffered, up to the end of its last stream. BEGIN_REQUEST is
    /// the current record. Returns `false` if the input ends before that, or the request is larger
    /// than the buffer.
    ///
    /// The read half was shut down, so no read blocks.
    pub(super) fn buffer_request(&mut self, request_id: u16, last: RecordType) -> Result<bool> {
        while !self.has_buffered_end(request_id, last) {
            if self.reader.is_full()
                || self.reader.fill_with(|stream, free| stream.read(free))? == 0
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads what has arrived into the buffer, without waiting. Returns `None` if nothing has, and
    /// 0 at the end of the input.
    pub(super) fn try_fill(&mut self) -> io::Result<Option<usize>> {
        let filled = self.reader.fill_with(|timed, free| match timed.try_read(free) {
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

    /// Returns whether an ABORT_REQUEST record for this request is buffered.
    pub(super) fn has_buffered_abort(&self, request_id: u16) -> bool {
        self.has_buffered(|header| {
            header.record_type == RecordType::AbortRequest && header.request_id == request_id
        })
    }

    /// Returns whether the record that ends this stream is buffered.
    pub(super) fn has_buffered_end(&self, request_id: u16, stream: RecordType) -> bool {
        self.has_buffered(|header| {
            header.record_type == stream
                && header.request_id == request_id
                && header.content_len == 0
        })
    }

    fn has_buffered(&self, predicate: impl FnMut(Header) -> bool) -> bool {
        self.reader.buffered_headers().any(predicate)
    }

    /// Applies the idle timeout if no byte is buffered after the current record. Starts the request
    /// timeout of the next request.
    fn update_idle(&mut self) -> Result<()> {
        self.reader.skip_record()?;
        self.reader.get_mut().reset_clock();
        if self.reader.buffer().is_empty() {
            self.reader.get_mut().set_idle();
            self.answer_time = TimeBudget::new(ANSWER_TIME);
        }
        Ok(())
    }

    /// Handles a record that does not belong to the active request.
    #[cold]
    fn handle_other(&mut self, header: Header) -> Result<()> {
        match (header.request_id, header.record_type) {
            (NULL_REQUEST_ID, _) => self.answer_management(header),
            (id, RecordType::BeginRequest) => self.end_request(id, ProtocolStatus::CantMpxConn),
            _ => Ok(()),
        }
    }

    /// Answers a record with the null id. Types that belong to requests, and types that only an
    /// application sends, are skipped, but BEGIN_REQUEST is an error: its request has no id.
    #[cold]
    fn answer_management(&mut self, header: Header) -> Result<()> {
        match header.record_type {
            RecordType::GetValues => self.answer_get_values(),
            record_type @ RecordType::Unknown(_) => {
                let mut answer = Vec::new();
                record::write_unknown_type(&mut answer, UnknownType { record_type })?;
                self.write_answer(&answer)
            }
            record_type @ RecordType::BeginRequest => {
                Err(Error::InvalidRequestId { record_type, request_id: NULL_REQUEST_ID })
            }
            _ => Ok(()),
        }
    }

    /// Answers GET_VALUES with each known variable that was asked for, once (FastCGI specification,
    /// section 4.1). An incomplete pair at the end of the query is ignored.
    fn answer_get_values(&mut self) -> Result<()> {
        let mut decoder = ParamsDecoder::new(Params::new());
        self.reader.decode_params(&mut decoder)?;
        let query = decoder.finish_whole_pairs();
        let mut result = Params::new();
        let max = self.max_connections.to_string();
        for (name, value) in [(MAX_CONNS, &*max), (MAX_REQS, &*max), (MPXS_CONNS, "0")] {
            if query.get_bytes(name).is_some() {
                result.push(name, value)?;
            }
        }
        let mut answer = Vec::new();
        let content = result.as_bytes();
        record::write_record(&mut answer, RecordType::GetValuesResult, NULL_REQUEST_ID, content)?;
        self.write_answer(&answer)
    }

    /// Sends an answer that does not come from a handler.
    ///
    /// # Errors
    /// [`Error::TimedOut`] if the answers since the connection was idle block for more than
    /// [`ANSWER_TIME`] in all.
    fn write_answer(&mut self, records: &[u8]) -> Result<()> {
        self.state.output().write_within(records, &mut self.answer_time)
    }
}
