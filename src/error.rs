//! The one error type of the crate.

use std::{fmt, io};

use crate::protocol::{ProtocolStatus, RecordType};

/// What every fallible function of this crate returns.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, with the value that was wrong.
///
/// An `Error` turns into an [`io::Error`] and back without loss, so it passes through
/// [`Read`](io::Read), [`Write`](io::Write) and `?` in code that only knows [`io::Result`].
///
/// # Which ones may be tried again
///
/// [`is_transient`](Error::is_transient) tells: a refusal for want of a resource
/// ([`Error::Refused`] with [`ProtocolStatus::Overloaded`] or [`ProtocolStatus::CantMpxConn`]) was
/// made before the application did anything, so the same request may be sent again, later or on
/// another connection. After [`Error::TimedOut`], [`Error::UnexpectedEof`] and [`Error::Io`] the
/// application may have acted already: repeat only what may safely happen twice. Every other error
/// would come again.
///
/// ```
/// use std::io;
/// let error = fcgi::record::read_header(&mut &[9_u8, 1, 0, 1, 0, 0, 0, 0][..]).unwrap_err();
/// assert_eq!(error.to_string(), "record of unsupported FastCGI version 9");
///
/// let error = io::Error::from(error);
/// assert_eq!(error.kind(), io::ErrorKind::InvalidData);
/// assert!(matches!(fcgi::Error::from(error), fcgi::Error::UnsupportedVersion(9)));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The socket, file or other stream below failed.
    Io(io::Error),
    /// Nothing could be read, written or connected within the configured time; says which of the
    /// three.
    TimedOut(&'static str),

    /// A record header carries a version other than 1 (section 3.3).
    UnsupportedVersion(u8),
    /// The input ended inside a record, or before the record that had to come; says what was being
    /// read.
    UnexpectedEof(&'static str),
    /// Content too long for one record: its length in bytes; the most is
    /// [`MAX_CONTENT_LEN`](crate::record::MAX_CONTENT_LEN).
    ContentTooLong(usize),
    /// An application record with the null id, or a management record with another (section 3.3).
    InvalidRequestId {
        /// The type of the record.
        record_type: RecordType,
        /// The id that a record of this type cannot have.
        request_id: u16,
    },
    /// The body of a record of fixed layout is shorter than its 8 bytes.
    InvalidBodyLength {
        /// The type of the record.
        record_type: RecordType,
        /// The length of its content in bytes.
        len: usize,
    },
    /// A record that cannot come at this point.
    UnexpectedRecord {
        /// The type of the record.
        record_type: RecordType,
        /// The request that it names.
        request_id: u16,
    },

    /// A sequence of name-value pairs ends inside a pair, which begins at this offset in bytes
    /// (section 3.4).
    InvalidParams(usize),
    /// A name or value too long for the protocol, or for the sequence it was to join: its length
    /// in bytes.
    ParamTooLong(usize),
    /// The params of a request take more bytes than the configured limit, which this is.
    ParamsTooLarge(usize),

    /// The web server aborted the request (section 5.4).
    Aborted,
    /// A stream ended before the length that was announced for it.
    StreamTooShort {
        /// What announced the length: the variable `CONTENT_LENGTH` or `FCGI_DATA_LENGTH`, the
        /// field `Content-Length`.
        variable: &'static str,
        /// The announced length in bytes.
        announced: u64,
        /// The bytes that came.
        received: u64,
    },
    /// A stream is longer than the length that was announced for it.
    StreamTooLong {
        /// What announced the length: the variable `CONTENT_LENGTH` or `FCGI_DATA_LENGTH`, the
        /// field `Content-Length`.
        variable: &'static str,
        /// The announced length in bytes.
        announced: u64,
    },
    /// A request was dropped without [`finish`](crate::server::Request::finish), so its connection
    /// is of no more use.
    RequestNotFinished,

    /// The application refused the request with this status (section 5.5).
    Refused(ProtocolStatus),
    /// The response is longer than the configured limit in bytes, which this is.
    ResponseTooLarge(usize),

    /// The response head takes more bytes than the configured limit, which this is.
    HeadTooLarge(usize),
    /// The response head has more fields than the configured limit, which this is.
    TooManyFields(usize),
    /// The response head ended before its empty line (RFC 3875, section 6.2).
    IncompleteHead,
    /// A line of the response head, or a field to be written, that is no header field (RFC 3875,
    /// section 6.3).
    InvalidField(String),
    /// A field that may come once came twice: its name (RFC 3875, section 6.3).
    DuplicateField(String),
    /// None of `Content-Type`, `Location` and `Status` is in the response head (RFC 3875, section
    /// 6.2).
    MissingField,
    /// A `Status` that is not three digits from 100 to 999 and a reason (RFC 3875, section 6.3.3).
    InvalidStatus(String),
    /// A `Location` that is neither an absolute URI nor a path (RFC 3875, section 6.3.2).
    InvalidLocation(String),
    /// A `Content-Length` that is no decimal number, or two that differ.
    InvalidContentLength(String),

    /// A request that no CGI environment can be made of: what is wrong, and the text that is.
    InvalidRequest {
        /// The part of the request: `method`, `target`, `path`, a header's name.
        part: String,
        /// What it holds.
        value: String,
    },
    /// Text that is no [`Address`](crate::net::Address).
    InvalidAddress(String),
    /// Descriptor 0 is no listening socket; says what it is (section 2.2).
    NotListening(&'static str),
    /// An item of an [`AllowList`](crate::net::AllowList) that is no IP address (section 3.2);
    /// empty if there was nothing.
    InvalidAllowList(String),
}

impl Error {
    /// Whether the same request may be sent again without harm: it was refused before the
    /// application did anything.
    ///
    /// ```
    /// use fcgi::{record::ProtocolStatus, Error};
    /// assert!(Error::Refused(ProtocolStatus::Overloaded).is_transient());
    /// assert!(!Error::Refused(ProtocolStatus::UnknownRole).is_transient());
    /// ```
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Refused(ProtocolStatus::Overloaded | ProtocolStatus::CantMpxConn))
    }

    /// The kind that this error has as an [`io::Error`].
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Io(error) => error.kind(),
            Self::TimedOut(_) => io::ErrorKind::TimedOut,
            Self::UnexpectedEof(_) | Self::StreamTooShort { .. } | Self::IncompleteHead => {
                io::ErrorKind::UnexpectedEof
            }
            Self::Aborted => io::ErrorKind::ConnectionAborted,
            Self::Refused(_) => io::ErrorKind::ConnectionRefused,
            Self::ContentTooLong(_)
            | Self::InvalidRequestId { .. }
            | Self::ParamTooLong(_)
            | Self::InvalidRequest { .. }
            | Self::InvalidAddress(_)
            | Self::NotListening(_)
            | Self::InvalidAllowList(_) => io::ErrorKind::InvalidInput,
            _ => io::ErrorKind::InvalidData,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::TimedOut(operation) => write!(f, "{operation} timed out"),
            Self::UnsupportedVersion(version) => write!(f, "record of unsupported FastCGI version {version}"),
            Self::UnexpectedEof(what) => write!(f, "input ended before the end of {what}"),
            Self::ContentTooLong(len) => write!(f, "{len} bytes do not fit into one record"),
            Self::InvalidRequestId { record_type, request_id } => {
                write!(f, "{record_type:?} record with request id {request_id}")
            }
            Self::InvalidBodyLength { record_type, len } => {
                write!(f, "{record_type:?} record with a body of {len} bytes instead of 8")
            }
            Self::UnexpectedRecord { record_type, request_id } => {
                write!(f, "unexpected {record_type:?} record for request {request_id}")
            }
            Self::InvalidParams(offset) => write!(f, "name-value pair at byte {offset} is cut short"),
            Self::ParamTooLong(len) => write!(f, "name or value of {len} bytes is too long"),
            Self::ParamsTooLarge(limit) => write!(f, "params exceed the limit of {limit} bytes"),
            Self::Aborted => f.write_str("request aborted by the web server"),
            Self::StreamTooShort { variable, announced, received } => {
                write!(f, "stream ended after {received} of the {announced} bytes of {variable}")
            }
            Self::StreamTooLong { variable, announced } => {
                write!(f, "stream is longer than the {announced} bytes of {variable}")
            }
            Self::RequestNotFinished => f.write_str("previous request was dropped without being finished"),
            Self::Refused(status) => write!(f, "application refused the request: {status}"),
            Self::ResponseTooLarge(limit) => write!(f, "response exceeds the limit of {limit} bytes"),
            Self::HeadTooLarge(limit) => write!(f, "response head exceeds the limit of {limit} bytes"),
            Self::TooManyFields(limit) => write!(f, "response head exceeds the limit of {limit} fields"),
            Self::IncompleteHead => f.write_str("response ended before the end of its head"),
            Self::InvalidField(line) => write!(f, "invalid header field {line:?}"),
            Self::DuplicateField(name) => write!(f, "header field {name:?} comes twice"),
            Self::MissingField => f.write_str("response head has no Content-Type, Location or Status"),
            Self::InvalidStatus(value) => write!(f, "invalid Status {value:?}"),
            Self::InvalidLocation(value) => write!(f, "invalid Location {value:?}"),
            Self::InvalidContentLength(value) => write!(f, "invalid Content-Length {value:?}"),
            Self::InvalidRequest { part, value } => write!(f, "invalid {part} {value:?}"),
            Self::InvalidAddress(text) => write!(f, "invalid address {text:?}, neither HOST:PORT nor unix:PATH"),
            Self::NotListening(what) => write!(
                f,
                "descriptor 0 is {what}, not a listening socket: start the program from a web server, with spawn-fcgi or \
                 another process manager"
            ),
            Self::InvalidAllowList(item) => write!(f, "invalid item {item:?} in the list of allowed addresses"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Io(error) => error,
            error => Self::new(error.kind(), error),
        }
    }
}

impl From<io::Error> for Error {
    /// Takes an `Error` out again if one is inside.
    fn from(error: io::Error) -> Self {
        if !error.get_ref().is_some_and(|inner| inner.is::<Self>()) {
            return Self::Io(error);
        }
        let kind = error.kind();
        match error.into_inner().map(|inner| inner.downcast::<Self>()) {
            Some(Ok(error)) => *error,
            _ => Self::Io(kind.into()),
        }
    }
}
