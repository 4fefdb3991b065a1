use std::io::Write;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::net::{Address, Stream};
use crate::params::{Params, ParamsDecoder};
use crate::record::{self, RecordType, MAX_CONNS, MAX_REQS, MPXS_CONNS, NULL_REQUEST_ID};
use crate::stream::RecordReader;

/// How long an application may take to answer: those that cannot, say nothing.
const PATIENCE: Duration = Duration::from_secs(1);

/// What an application says that it can do (section 4.1); `None` where it does not say, or says no
/// number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Values {
    /// The connections that it accepts at once (`FCGI_MAX_CONNS`).
    pub max_conns: Option<usize>,
    /// The requests that it accepts at once (`FCGI_MAX_REQS`).
    pub max_reqs: Option<usize>,
    /// Whether it serves many requests at once on one connection (`FCGI_MPXS_CONNS`).
    pub mpxs_conns: Option<bool>,
}

impl Values {
    /// Asks on a connection of its own, which an application that cannot answer may close, or leave
    /// without an answer.
    pub(super) fn ask(address: &Address, connect_timeout: Option<Duration>) -> Result<Self> {
        let mut stream = Stream::connect(
            address,
            Some(connect_timeout.map_or(PATIENCE, |timeout| timeout.min(PATIENCE))),
        )?;
        stream.set_timeouts(Some(PATIENCE), Some(PATIENCE))?;
        let query = Params::from_pairs([MAX_CONNS, MAX_REQS, MPXS_CONNS].map(|name| (name, "")))?;
        record::write_record(
            &mut stream,
            RecordType::GetValues,
            NULL_REQUEST_ID,
            query.as_bytes(),
        )?;
        stream.flush()?;
        Self::read(&mut RecordReader::new(stream))
    }

    fn read(reader: &mut RecordReader<Stream>) -> Result<Self> {
        let header =
            reader.next_header()?.ok_or(Error::UnexpectedEof("the answer to GET_VALUES"))?;
        if header.record_type != RecordType::GetValuesResult {
            let (record_type, request_id) = (header.record_type, header.request_id);
            return Err(Error::UnexpectedRecord { record_type, request_id });
        }
        let mut decoder = ParamsDecoder::new(Params::new());
        reader.decode_params(&mut decoder)?;
        let result = decoder.finish()?;
        let number = |name| result.decimal(name).and_then(|value| usize::try_from(value).ok());
        Ok(Self {
            max_conns: number(MAX_CONNS),
            max_reqs: number(MAX_REQS),
            mpxs_conns: number(MPXS_CONNS).map(|value| value != 0),
        })
    }
}
