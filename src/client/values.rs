use std::io::Write;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::close_requests::CloseKept;
use super::config::Config;
use super::connect::connect;
use super::deadline::Deadline;
use super::socket::{self, SocketReader};
use crate::error::{Error, Result};
use crate::net::Address;
use crate::params::{Params, ParamsDecoder};
use crate::record::{self, RecordType, MAX_CONNS, MAX_REQS, MPXS_CONNS, NULL_REQUEST_ID};
use crate::stream::RecordReader;

/// The limit on connecting, sending the question and receiving the answer together. An application
/// that cannot answer often keeps the connection open and sends nothing.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The limits that an application reports in its answer to GET_VALUES (FastCGI specification,
/// section 4.1). A field is `None` if the application does not report the value, or if it is not a
/// number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Values {
    /// The most connections that the application accepts at a time (`FCGI_MAX_CONNS`).
    pub max_conns: Option<usize>,
    /// The most requests that the application accepts at a time (`FCGI_MAX_REQS`).
    pub max_reqs: Option<usize>,
    /// Whether the application serves several requests at a time on one connection
    /// (`FCGI_MPXS_CONNS`).
    pub mpxs_conns: Option<bool>,
}

impl Values {
    /// Sends GET_VALUES on a new connection, and reads the answer. `pool` closes kept connections
    /// if the application does not answer: all of its processes may be serving them.
    pub(super) fn ask(
        address: &Address,
        config: &Config,
        pool: Option<Weak<dyn CloseKept>>,
    ) -> Result<Self> {
        let max = config.deadline.map_or(TIMEOUT, |max| max.min(TIMEOUT));
        let deadline = Deadline::new(Instant::now(), Some(max));
        let connect_timeout = config.connect_timeout.unwrap_or(Duration::MAX);
        let stream = connect(address, connect_timeout.min(deadline.left()))?;
        let address = Some(Arc::new(address.clone()));
        let (mut reader, mut writer) = socket::open(stream, address, None, None, Some(max), pool)?;
        reader.start(deadline, false);
        writer.start(deadline, false);
        let names = Params::from_pairs([MAX_CONNS, MAX_REQS, MPXS_CONNS].map(|name| (name, "")))?;
        let names = names.as_bytes();
        record::write_record(&mut writer, RecordType::GetValues, NULL_REQUEST_ID, names)?;
        writer.flush()?;
        Self::read(&mut RecordReader::new(reader))
    }

    /// Returns the number of connections that the application accepts, each of which carries one
    /// request.
    pub(super) fn max_connections(&self) -> Option<usize> {
        self.max_conns.into_iter().chain(self.max_reqs).min()
    }

    fn read(reader: &mut RecordReader<SocketReader>) -> Result<Self> {
        let header =
            reader.next_header()?.ok_or(Error::UnexpectedEof("the answer to GET_VALUES"))?;
        if header.record_type != RecordType::GetValuesResult {
            return Err(header.unexpected());
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
