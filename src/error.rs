//! The error type of the crate.
//!
//! Sections of the specification are those of the [FastCGI specification]. [RFC 3875] defines
//! CGI/1.1.
//!
//! [FastCGI specification]: https://fastcgi-archives.github.io/FastCGI_Specification.html
//! [RFC 3875]: https://www.rfc-editor.org/rfc/rfc3875

use std::process::ExitStatus;
use std::time::Duration;
use std::{fmt, io, result};

use crate::protocol::{ProtocolStatus, RecordType, MAX_CONTENT_LEN};

/// The end of the message of [`Error::NotListening`], with a hint for the user of the program.
const NOT_LISTENING: &str = "start the program from a web server, with spawn-fcgi or another \
                             process manager";
/// The same for a program that systemd has started, with its socket on descriptor 3.
const LISTEN_FDS: &str = "LISTEN_FDS is set, so the socket is on descriptor 3: set \
                          StandardInput=socket in the systemd service, or start the program with \
                          `<&3` in a shell";

/// The result type of the crate's fallible functions.
///
/// ```
/// fn first_value(encoded: &[u8]) -> fcgi::Result<Option<Vec<u8>>> {
///     let params = fcgi::Params::parse(encoded)?;
///     let first = params.iter().next();
///     Ok(first.map(|(_name, value)| value.to_vec()))
/// }
///
/// assert_eq!(first_value(b"\x01\x01AB")?, Some(b"B".to_vec()));
/// assert!(first_value(b"\x01\x01A").is_err());
/// # Ok::<(), fcgi::Error>(())
/// ```
pub type Result<T> = result::Result<T, Error>;

/// The error type of the crate. A guide lists the cause of each variant, and
/// [what to do](crate::guide::troubleshooting#errors).
///
/// Every variant that is about a wrong value carries that value. An `Error` converts to an
/// [`io::Error`] and back without loss, so `?` works in functions that return [`io::Result`].
///
/// # Which requests can be sent again
///
/// - If [`is_transient`](Self::is_transient) returns true, the application has refused the request
///   before it did anything. The same request can be sent again, later or on another connection.
/// - After [`TimedOut`](Self::TimedOut), [`UnexpectedEof`](Self::UnexpectedEof) and
///   [`Io`](Self::Io) the application may already have acted. Only send a request again if it does
///   no harm to serve it twice.
/// - After any other error the same request would most likely fail in the same way.
///
/// ```
/// use std::io;
///
/// let header = [9, 1, 0, 1, 0, 0, 0, 0];
/// let error = fcgi::record::read_header(&mut &header[..]).unwrap_err();
/// assert_eq!(error.to_string(), "record has unsupported FastCGI version 9");
///
/// let error = io::Error::from(error);
/// assert_eq!(error.kind(), io::ErrorKind::InvalidData);
/// assert!(matches!(fcgi::Error::from(error), fcgi::Error::UnsupportedVersion(9)));
/// ```
#[non_exhaustive]
pub enum Error {
    /// The underlying socket, file, reader or writer failed.
    Io(io::Error),
    /// An operation did not complete within its configured timeout.
    ///
    /// The value names the operation, for example `read`, `write` or `connect`.
    TimedOut(&'static str),
    /// The params of a request, or its body, did not arrive within
    /// [`server::Config::request_timeout`](crate::server::Config::request_timeout).
    ///
    /// The value is that timeout.
    RequestTimedOut(Duration),

    /// A record header has a version other than 1 (section 3.3 of the specification).
    ///
    /// The value is that version.
    UnsupportedVersion(u8),
    /// The input ended inside a record, or while a record was still expected.
    ///
    /// The value names what was being read, for example `a record header`.
    UnexpectedEof(&'static str),
    /// The content to be written is too long for one record.
    ///
    /// The value is its length in bytes. The maximum is
    /// [`MAX_CONTENT_LEN`].
    ContentTooLong(usize),
    /// A record to be written belongs to a request and has the null id, or is a management record
    /// and has another id (section 3.3 of the specification).
    InvalidRequestId {
        /// The type of the record.
        record_type: RecordType,
        /// The request id, which a record of this type cannot have.
        request_id: u16,
    },
    /// The body of a BEGIN_REQUEST, END_REQUEST or UNKNOWN_TYPE record is shorter than 8 bytes.
    InvalidBodyLength {
        /// The type of the record.
        record_type: RecordType,
        /// The length of the body in bytes.
        len: usize,
    },
    /// The peer sent a record that is not allowed at this point.
    UnexpectedRecord {
        /// The type of the record.
        record_type: RecordType,
        /// The request id in the record's header.
        request_id: u16,
    },

    /// A sequence of name-value pairs ends inside a pair (section 3.4 of the specification).
    ///
    /// The value is the offset in bytes at which that pair begins.
    InvalidParams(usize),
    /// A name or a value is longer than the protocol allows, or the encoded pairs together exceed
    /// 2³² − 1 bytes.
    ///
    /// The value is the length in bytes of the name, the value or the encoded pairs.
    ParamTooLong(usize),
    /// The params of a request are larger than
    /// [`server::Config::max_params`](crate::server::Config::max_params).
    ///
    /// The value is that limit in bytes.
    ParamsTooLarge(usize),
    /// The body of a request is larger than
    /// [`server::Config::max_body`](crate::server::Config::max_body).
    ///
    /// The value is that limit in bytes.
    BodyTooLarge(u64),

    /// The web server aborted the request (section 5.4 of the specification).
    Aborted,
    /// A stream ended before its announced length.
    StreamTooShort {
        /// The name of the variable or field that announced the length: `CONTENT_LENGTH`,
        /// `FCGI_DATA_LENGTH` or `Content-Length`.
        variable: &'static str,
        /// The announced length in bytes.
        announced: u64,
        /// The number of bytes before the end of the stream.
        received: u64,
    },
    /// A stream is longer than its announced length.
    StreamTooLong {
        /// The name of the variable or field that announced the length: `CONTENT_LENGTH`,
        /// `FCGI_DATA_LENGTH` or `Content-Length`.
        variable: &'static str,
        /// The announced length in bytes.
        announced: u64,
    },
    /// A handler returned without an error and without having written a response.
    NoResponse,
    /// A response was to be written with
    /// [`Request::respond`](crate::server::Request::respond), but a part of another one had been
    /// written before.
    ResponseStarted,
    /// A stream of a request was read or written after the request had been ended by
    /// [`Request::finish_early`](crate::server::Request::finish_early).
    RequestEnded,
    /// A CGI program ended with an error, and its response is missing or incomplete.
    ///
    /// The value is its exit status, which includes the signal that ended it.
    ProgramFailed(ExitStatus),
    /// The previous request of a connection was dropped without a call of
    /// [`finish`](crate::server::Request::finish). The connection cannot be reused.
    RequestNotFinished,

    /// The application refused the request (section 5.5 of the specification).
    ///
    /// The value is the protocol status of its END_REQUEST record.
    Refused(ProtocolStatus),
    /// The response is larger than
    /// [`client::Config::max_response`](crate::client::Config::max_response).
    ///
    /// The value is that limit in bytes.
    ResponseTooLarge(usize),

    /// The response head is larger than the configured limit, such as
    /// [`client::Config::max_head`](crate::client::Config::max_head).
    ///
    /// The value is that limit in bytes.
    HeadTooLarge(usize),
    /// The response head has more fields than the configured limit, such as
    /// [`client::Config::max_head_fields`](crate::client::Config::max_head_fields).
    ///
    /// The value is that limit, a number of fields.
    TooManyFields(usize),
    /// The response ended before the empty line after its head (RFC 3875, section 6.2).
    IncompleteHead,
    /// A line of a response head is not a header field, or a field to be written would not be one
    /// (RFC 3875, section 6.3).
    ///
    /// The value is the beginning of the line.
    InvalidField(String),
    /// A field that may occur only once occurs again (RFC 3875, section 6.3).
    ///
    /// The value is the name of the field.
    DuplicateField(String),
    /// The response head has no `Content-Type`, `Location` or `Status` field (RFC 3875, section
    /// 6.2). Only a [strict](crate::cgi::HeadParser::strict) parser refuses such a head.
    MissingField,
    /// A `Status` field does not consist of a status code from 100 to 999 and an optional reason
    /// phrase (RFC 3875, section 6.3.3).
    ///
    /// The value is the beginning of the field's value.
    InvalidStatus(String),
    /// A `Location` field contains a control byte. Or it is neither an absolute URI nor a path
    /// (RFC 3875, section 6.3.2), and it is written, or parsed by a
    /// [strict](crate::cgi::HeadParser::strict) parser.
    ///
    /// The value is the beginning of the field's value.
    InvalidLocation(String),
    /// A `Content-Length` field is not a decimal number, or differs from an earlier one.
    ///
    /// The value is the beginning of the field's value.
    InvalidContentLength(String),

    /// A CGI environment cannot be built from an HTTP request, because a part of it is invalid.
    InvalidRequest {
        /// The invalid part: `method`, `target`, `path` or the name of a header field, for
        /// example.
        part: String,
        /// The beginning of its value.
        value: String,
    },
    /// A text is not an [`Address`](crate::net::Address).
    ///
    /// The value is that text.
    InvalidAddress(String),
    /// Descriptor 0 is not a listening socket (section 2.2 of the specification).
    ///
    /// The value describes what it is, for example `a pipe`. The message names the remedy, also for
    /// a program that systemd has started with its socket on descriptor 3 (`LISTEN_FDS`). See
    /// [`deployment`](crate::deployment).
    NotListening(&'static str),
    /// An item of an [`AllowList`](crate::net::AllowList) is not an IP address (section 3.2 of the
    /// specification).
    ///
    /// The value is that item. It is empty if the list is empty, or contains an empty item.
    InvalidAllowList(String),
}

impl Error {
    /// Returns true if the same request can be sent again, later or on another connection.
    ///
    /// This is the case if the application has refused the request because it is overloaded, or
    /// because it serves one request at a time on a connection.
    ///
    /// ```
    /// use fcgi::{record::ProtocolStatus, Error};
    ///
    /// assert!(Error::Refused(ProtocolStatus::Overloaded).is_transient());
    /// assert!(!Error::Refused(ProtocolStatus::UnknownRole).is_transient());
    /// ```
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Refused(ProtocolStatus::Overloaded | ProtocolStatus::CantMpxConn))
    }

    /// Returns the kind that the error has after a conversion to [`io::Error`].
    ///
    /// ```
    /// use std::io::ErrorKind;
    ///
    /// assert_eq!(fcgi::Error::TimedOut("read").kind(), ErrorKind::TimedOut);
    /// assert_eq!(fcgi::Error::InvalidParams(0).kind(), ErrorKind::InvalidData);
    /// ```
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Io(error) => error.kind(),
            Self::TimedOut(_) | Self::RequestTimedOut(_) => io::ErrorKind::TimedOut,
            Self::UnexpectedEof(_) | Self::StreamTooShort { .. } | Self::IncompleteHead => {
                io::ErrorKind::UnexpectedEof
            }
            Self::Aborted => io::ErrorKind::ConnectionAborted,
            Self::Refused(_) => io::ErrorKind::ConnectionRefused,
            Self::ContentTooLong(_)
            | Self::InvalidRequestId { .. }
            | Self::ParamTooLong(_)
            | Self::ResponseStarted
            | Self::RequestEnded
            | Self::InvalidRequest { .. }
            | Self::InvalidAddress(_)
            | Self::NotListening(_)
            | Self::InvalidAllowList(_) => io::ErrorKind::InvalidInput,
            _ => io::ErrorKind::InvalidData,
        }
    }
}

/// Writes the same message as [`Display`](fmt::Display), so that a program whose `main` returns an
/// error prints a sentence.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::TimedOut(operation) => write!(f, "{operation} timed out"),
            Self::RequestTimedOut(limit) => {
                write!(f, "request did not arrive within {} ms", limit.as_millis())
            }
            Self::UnsupportedVersion(version) => {
                write!(f, "record has unsupported FastCGI version {version}")
            }
            Self::UnexpectedEof(what) => write!(f, "input ended before the end of {what}"),
            Self::ContentTooLong(len) => write!(
                f,
                "content of {len} bytes exceeds the {MAX_CONTENT_LEN} bytes that a record can hold"
            ),
            Self::InvalidRequestId { record_type, request_id } => {
                write!(f, "{record_type:?} record cannot have request id {request_id}")
            }
            Self::InvalidBodyLength { record_type, len } => {
                write!(f, "{record_type:?} record has a body of {len} bytes instead of 8")
            }
            Self::UnexpectedRecord { record_type, request_id } => {
                write!(f, "unexpected {record_type:?} record for request {request_id}")
            }
            _ => self.fmt_request_error(f),
        }
    }
}

impl Error {
    /// Writes the messages that `fmt` does not write.
    fn fmt_request_error(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidParams(offset) => {
                write!(f, "name-value pair at offset {offset} is incomplete")
            }
            Self::ParamTooLong(len) => write!(f, "name-value data of {len} bytes is too long"),
            Self::ParamsTooLarge(limit) => write!(f, "params exceed the limit of {limit} bytes"),
            Self::BodyTooLarge(limit) => write!(f, "body exceeds the limit of {limit} bytes"),
            Self::Aborted => f.write_str("request aborted by the web server"),
            Self::StreamTooShort { variable, announced, received } => {
                write!(
                    f,
                    "stream ended after {received} of the {announced} bytes announced by {variable}"
                )
            }
            Self::StreamTooLong { variable, announced } => {
                write!(f, "stream is longer than the {announced} bytes announced by {variable}")
            }
            Self::NoResponse => f.write_str("handler returned without a response"),
            Self::ResponseStarted => f.write_str("part of a response was already written"),
            Self::RequestEnded => f.write_str("request has already ended"),
            Self::ProgramFailed(status) => write!(f, "program ended with {status}"),
            Self::RequestNotFinished => {
                f.write_str("previous request was dropped without being finished")
            }
            Self::Refused(status) => write!(f, "application refused the request: {status}"),
            Self::ResponseTooLarge(limit) => {
                write!(f, "response exceeds the limit of {limit} bytes")
            }
            _ => self.fmt_text_error(f),
        }
    }

    /// Writes the messages that `fmt_request_error` does not write.
    fn fmt_text_error(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HeadTooLarge(limit) => {
                write!(f, "response head exceeds the limit of {limit} bytes")
            }
            Self::TooManyFields(limit) => {
                write!(f, "response head exceeds the limit of {limit} fields")
            }
            Self::IncompleteHead => f.write_str("response ended before the end of its head"),
            Self::InvalidField(line) => write!(f, "invalid header field {line:?}"),
            Self::DuplicateField(name) => write!(f, "header field {name:?} occurs more than once"),
            Self::MissingField => {
                f.write_str("response head has no Content-Type, Location or Status field")
            }
            Self::InvalidStatus(value) => write!(f, "invalid Status {value:?}"),
            Self::InvalidLocation(value) => write!(f, "invalid Location {value:?}"),
            Self::InvalidContentLength(value) => write!(f, "invalid Content-Length {value:?}"),
            Self::InvalidRequest { part, value } => write!(f, "invalid {part} {value:?}"),
            Self::InvalidAddress(text) => {
                write!(f, "invalid address {text:?}, expected HOST:PORT or unix:PATH")
            }
            Self::NotListening(what) => {
                let is_systemd = std::env::var_os("LISTEN_FDS").is_some();
                let hint = if is_systemd { LISTEN_FDS } else { NOT_LISTENING };
                write!(f, "descriptor 0 is {what}, not a listening socket: {hint}")
            }
            Self::InvalidAllowList(item) => {
                write!(f, "invalid item {item:?} in the list of allowed IP addresses")
            }
            // Unreachable: every other variant has its message above.
            _ => f.write_str("error"),
        }
    }
}

impl Error {
    /// Returns an error with the same message and kind, for a caller that fails again for the same
    /// cause.
    #[cold]
    pub(crate) fn duplicate(&self) -> Self {
        match self {
            Self::Io(error) => Self::Io(duplicate_io(error)),
            Self::TimedOut(operation) => Self::TimedOut(operation),
            Self::RequestTimedOut(limit) => Self::RequestTimedOut(*limit),
            Self::UnsupportedVersion(version) => Self::UnsupportedVersion(*version),
            Self::UnexpectedEof(what) => Self::UnexpectedEof(what),
            Self::ContentTooLong(len) => Self::ContentTooLong(*len),
            &Self::InvalidRequestId { record_type, request_id } => {
                Self::InvalidRequestId { record_type, request_id }
            }
            &Self::InvalidBodyLength { record_type, len } => {
                Self::InvalidBodyLength { record_type, len }
            }
            &Self::UnexpectedRecord { record_type, request_id } => {
                Self::UnexpectedRecord { record_type, request_id }
            }
            Self::InvalidParams(offset) => Self::InvalidParams(*offset),
            Self::ParamTooLong(len) => Self::ParamTooLong(*len),
            Self::ParamsTooLarge(limit) => Self::ParamsTooLarge(*limit),
            Self::BodyTooLarge(limit) => Self::BodyTooLarge(*limit),
            Self::Aborted => Self::Aborted,
            &Self::StreamTooShort { variable, announced, received } => {
                Self::StreamTooShort { variable, announced, received }
            }
            &Self::StreamTooLong { variable, announced } => {
                Self::StreamTooLong { variable, announced }
            }
            Self::NoResponse => Self::NoResponse,
            Self::ProgramFailed(status) => Self::ProgramFailed(*status),
            Self::RequestNotFinished => Self::RequestNotFinished,
            Self::Refused(status) => Self::Refused(*status),
            Self::ResponseTooLarge(limit) => Self::ResponseTooLarge(*limit),
            Self::HeadTooLarge(limit) => Self::HeadTooLarge(*limit),
            Self::TooManyFields(limit) => Self::TooManyFields(*limit),
            Self::IncompleteHead => Self::IncompleteHead,
            Self::MissingField => Self::MissingField,
            _ => self.duplicate_text(),
        }
    }

    /// Duplicates the errors that `duplicate` does not duplicate.
    fn duplicate_text(&self) -> Self {
        match self {
            Self::ResponseStarted => Self::ResponseStarted,
            Self::RequestEnded => Self::RequestEnded,
            Self::InvalidField(line) => Self::InvalidField(line.clone()),
            Self::DuplicateField(name) => Self::DuplicateField(name.clone()),
            Self::InvalidStatus(value) => Self::InvalidStatus(value.clone()),
            Self::InvalidLocation(value) => Self::InvalidLocation(value.clone()),
            Self::InvalidContentLength(value) => Self::InvalidContentLength(value.clone()),
            Self::InvalidRequest { part, value } => {
                Self::InvalidRequest { part: part.clone(), value: value.clone() }
            }
            Self::InvalidAddress(text) => Self::InvalidAddress(text.clone()),
            Self::NotListening(what) => Self::NotListening(what),
            Self::InvalidAllowList(item) => Self::InvalidAllowList(item.clone()),
            // Unreachable: every other variant is duplicated above.
            _ => Self::Io(io::Error::new(self.kind(), self.to_string())),
        }
    }
}

/// Returns an I/O error with the same message and kind. An inner error of another type than
/// [`Error`] is replaced by its message.
#[cold]
pub(crate) fn duplicate_io(error: &io::Error) -> io::Error {
    if let Some(code) = error.raw_os_error() {
        return io::Error::from_raw_os_error(code);
    }
    match error.get_ref().map(|inner| inner.downcast_ref::<Error>()) {
        Some(Some(inner)) => inner.duplicate().into(),
        Some(None) => io::Error::new(error.kind(), error.to_string()),
        None => error.kind().into(),
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
    /// Returns the I/O error of [`Error::Io`], and any other error as the inner error of a new
    /// `io::Error`.
    fn from(error: Error) -> Self {
        match error {
            Error::Io(error) => error,
            error => Self::new(error.kind(), error),
        }
    }
}

impl From<io::Error> for Error {
    /// Returns the inner error if it is an `Error`, and otherwise [`Error::Io`].
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
