//! The error type of the crate.
//!
//! Sections of the specification are those of the [FastCGI specification]. [RFC 3875] defines
//! CGI/1.1.
//!
//! [FastCGI specification]: https://fastcgi-archives.github.io/FastCGI_Specification.html
//! [RFC 3875]: https://www.rfc-editor.org/rfc/rfc3875

use std::convert::Infallible;
use std::process::ExitStatus;
use std::time::Duration;
use std::{env, fmt, io, result};

use crate::protocol::{ProtocolStatus, RecordType, MAX_CONTENT_LEN};

/// The end of the message of [`Error::NotListening`], with a hint for the user of the program.
const NOT_LISTENING: &str = "start the program from a web server, with spawn-fcgi or another \
                             process manager";
/// The end of that message if the program may have been started by systemd.
const LISTEN_FDS: &str = "LISTEN_FDS is set, so the socket may be on descriptor 3: set \
                          StandardInput=socket in the systemd service, or start the program with \
                          `<&3` in a shell";

/// The first byte of a TLS connection.
const TLS_HANDSHAKE: u8 = 22;

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

/// The operation that timed out, and its timeout.
///
/// ```
/// use fcgi::error::Timeout;
/// use fcgi::Error;
/// use std::time::Duration;
///
/// let error = Error::TimedOut(Timeout::new("read", Duration::from_secs(60)));
/// assert_eq!(error.to_string(), "read timed out after 60 s");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeout {
    /// The operation, for example `read`, `write` or `connect`.
    pub operation: &'static str,
    /// The timeout that expired.
    pub after: Duration,
}

impl Timeout {
    /// Creates the value for an operation that has exceeded its timeout.
    pub fn new(operation: &'static str, after: Duration) -> Self {
        Self { operation, after }
    }
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} timed out after {}", self.operation, Time(self.after))
    }
}

/// The error type of the crate. A guide lists the cause of each variant, and [what to
/// do](crate::guide::troubleshooting#errors).
///
/// Every variant that is about a wrong value carries that value. An `Error` converts to an
/// [`io::Error`] and back without loss, so `?` works in functions that return [`io::Result`].
///
/// # Messages and sources
///
/// The message is one line without a period at its end. It includes the message of the I/O error in
/// [`Io`](Self::Io), [`Connect`](Self::Connect) and [`Socket`](Self::Socket). `source` therefore
/// does not return that error, but its source, so that a program that prints an error and all of
/// its sources prints nothing twice. Match the variant to examine the I/O error itself.
///
/// # Which requests can be sent again
///
/// - [`Connect`](Self::Connect) means that nothing was sent, with the exception described there.
///   The same request can be sent again once the application is listening.
/// - If [`is_transient`](Self::is_transient) returns true, the application has refused the request
///   before it did anything. The same request can be sent again, later or on another connection.
/// - After [`TimedOut`](Self::TimedOut), [`UnexpectedEof`](Self::UnexpectedEof),
///   [`Socket`](Self::Socket) and [`Io`](Self::Io) the application may already have acted. Only
///   send a request again if it does no harm to serve it twice.
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
    /// A client could not get a connection to the application. No part of the request was sent.
    ///
    /// There is one exception: if the application closes a kept connection while the client waits
    /// for the response to an idempotent request, the client sends the request again. If it cannot
    /// connect then, the application may have received the request.
    Connect {
        /// The address of the application.
        address: Box<str>,
        /// The cause. It is [`TimedOut`](Self::TimedOut), inside an [`io::Error`], if
        /// [`client::Config::connect_timeout`](crate::client::Config::connect_timeout) or the
        /// deadline of the request has passed.
        source: io::Error,
    },
    /// An operation on a socket failed, other than connecting.
    Socket {
        /// The operation, such as `listen on`, `read from` or `set the mode of`.
        operation: &'static str,
        /// The address of the socket.
        address: Box<str>,
        /// The error of the system.
        source: io::Error,
    },
    /// An operation did not complete within its configured timeout.
    TimedOut(Timeout),
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
    /// The value is its length in bytes. The maximum is [`MAX_CONTENT_LEN`].
    ContentTooLong(usize),
    /// A record of a request has the null id, or a management record has another id (section 3.3 of
    /// the specification). Returned for records to be written, and for a received BEGIN_REQUEST.
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
    /// [`Request::respond`](crate::server::Request::respond) was called after a part of a response
    /// had been written.
    ResponseStarted,
    /// A stream of the request was used, or the request was ended again, after
    /// [`Request::finish_early`](crate::server::Request::finish_early).
    RequestEnded,
    /// A signal ended a CGI program, or it failed without a response.
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
    /// [`client::Config::max_head`](crate::client::Config::max_head). Interim heads before it
    /// count.
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
    /// 6.2). Returned when a head is written, or parsed by a
    /// [strict](crate::cgi::HeadParser::strict) parser.
    MissingField,
    /// A `Status` field does not consist of a status code from 100 to 999 and an optional reason
    /// phrase (RFC 3875, section 6.3.3).
    ///
    /// The value is the beginning of the field's value.
    InvalidStatus(String),
    /// A `Location` field contains a control byte. When a head is written, or [parsed
    /// strictly](crate::cgi::HeadParser::strict), also returned for a value that is neither an
    /// absolute URI nor a path (RFC 3875, section 6.3.2).
    ///
    /// The value is the beginning of the field's value.
    InvalidLocation(String),
    /// A `Content-Length` field is not a decimal number, or differs from an earlier one.
    ///
    /// The value is the beginning of the field's value.
    InvalidContentLength(String),

    /// A part of an HTTP request, or a CGI variable, is invalid.
    InvalidRequest {
        /// The invalid part: `method`, `target`, `path` or the name of a header field, for example.
        part: String,
        /// The beginning of its value.
        value: String,
    },
    /// A string is not an [`Address`](crate::net::Address).
    ///
    /// The value is that string.
    InvalidAddress(String),
    /// Descriptor 0 is not a listening socket (section 2.2 of the specification).
    ///
    /// The message explains how to start the program. See [`deployment`](crate::deployment).
    NotListening {
        /// What it is, for example `a pipe`.
        found: &'static str,
        /// Whether the variable `LISTEN_FDS` was set. The program may then have been started by
        /// systemd, with its socket on descriptor 3.
        has_listen_fds: bool,
    },
    /// An item of an [`AllowList`](crate::net::AllowList) is not an IP address (section 3.2 of the
    /// specification).
    ///
    /// The value is that item. It is empty if the list is empty, or contains an empty item.
    InvalidAllowList(String),
}

impl Error {
    /// Creates the error of a connection that could not be made.
    #[cold]
    pub(crate) fn connect(address: impl fmt::Display, source: impl Into<io::Error>) -> Self {
        Self::Connect { address: address.to_string().into(), source: source.into() }
    }

    /// Creates the error of another operation on a socket.
    #[cold]
    pub(crate) fn socket(
        operation: &'static str,
        address: impl fmt::Display,
        source: io::Error,
    ) -> Self {
        Self::Socket { operation, address: address.to_string().into(), source }
    }

    /// Creates the error of an operation that has exceeded its timeout.
    #[cold]
    pub(crate) fn timed_out(operation: &'static str, after: Duration) -> Self {
        Self::TimedOut(Timeout::new(operation, after))
    }

    /// Creates the error for a descriptor 0 that is not a listening socket.
    #[cold]
    pub(crate) fn not_listening(found: &'static str) -> Self {
        Self::NotListening { found, has_listen_fds: env::var_os("LISTEN_FDS").is_some() }
    }

    /// Returns the I/O error that the error contains.
    pub(crate) fn io_error(&self) -> Option<&io::Error> {
        match self {
            Self::Io(source) | Self::Connect { source, .. } | Self::Socket { source, .. } => {
                Some(source)
            }
            _ => None,
        }
    }

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
    /// assert_eq!(fcgi::Error::Aborted.kind(), ErrorKind::ConnectionAborted);
    /// assert_eq!(fcgi::Error::InvalidParams(0).kind(), ErrorKind::InvalidData);
    /// ```
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Io(error) => error.kind(),
            Self::Connect { source, .. } | Self::Socket { source, .. } => source.kind(),
            Self::TimedOut(_) | Self::RequestTimedOut(_) => io::ErrorKind::TimedOut,
            Self::UnexpectedEof(_) | Self::StreamTooShort { .. } | Self::IncompleteHead => {
                io::ErrorKind::UnexpectedEof
            }
            Self::Aborted => io::ErrorKind::ConnectionAborted,
            Self::Refused(_) => io::ErrorKind::ConnectionRefused,
            Self::NoResponse | Self::ProgramFailed(_) => io::ErrorKind::Other,
            Self::ContentTooLong(_)
            | Self::InvalidRequestId { .. }
            | Self::ParamTooLong(_)
            | Self::ResponseStarted
            | Self::RequestEnded
            | Self::RequestNotFinished
            | Self::InvalidRequest { .. }
            | Self::InvalidAddress(_)
            | Self::NotListening { .. }
            | Self::InvalidAllowList(_) => io::ErrorKind::InvalidInput,
            Self::UnsupportedVersion(_)
            | Self::InvalidBodyLength { .. }
            | Self::UnexpectedRecord { .. }
            | Self::InvalidParams(_)
            | Self::ParamsTooLarge(_)
            | Self::BodyTooLarge(_)
            | Self::StreamTooLong { .. }
            | Self::ResponseTooLarge(_)
            | Self::HeadTooLarge(_)
            | Self::TooManyFields(_)
            | Self::InvalidField(_)
            | Self::DuplicateField(_)
            | Self::MissingField
            | Self::InvalidStatus(_)
            | Self::InvalidLocation(_)
            | Self::InvalidContentLength(_) => io::ErrorKind::InvalidData,
        }
    }
}

/// Writes the same message as [`Display`](fmt::Display), so that a program whose `main` returns an
/// error prints a readable message.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Implements `Display` from a table of variants and their messages.
///
/// Written as a function, the `match` would be far longer than any other function of the crate.
/// Several functions could not be checked to cover every variant.
macro_rules! impl_display {
    ($($variant:pat => ($($message:tt)+),)+) => {
        impl fmt::Display for Error {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $($variant => write!(f, $($message)+),)+
                }
            }
        }
    };
}

impl_display! {
    Error::Io(error) => ("{error}"),
    Error::Connect { address, source } => ("cannot connect to {address}: {}", reason(source)),
    Error::Socket { operation, address, source } =>
        ("cannot {operation} {address}: {}", reason(source)),
    Error::TimedOut(timeout) => ("{timeout}"),
    Error::RequestTimedOut(limit) => ("request did not arrive within {}", Time(*limit)),
    Error::UnsupportedVersion(version) => ("{}", Version(*version)),
    Error::UnexpectedEof(what) => ("input ended before the end of {what}"),
    Error::ContentTooLong(len) =>
        ("content of {len} bytes exceeds the {MAX_CONTENT_LEN} bytes that a record can hold"),
    Error::InvalidRequestId { record_type, request_id } =>
        ("{record_type} record cannot have request id {request_id}"),
    Error::InvalidBodyLength { record_type, len } =>
        ("{record_type} record has a body of {len} bytes instead of 8"),
    Error::UnexpectedRecord { record_type, request_id } =>
        ("unexpected {record_type} record for request {request_id}"),
    Error::InvalidParams(offset) => ("name-value pair at offset {offset} is incomplete"),
    Error::ParamTooLong(len) => ("name-value data of {len} bytes is too long"),
    Error::ParamsTooLarge(limit) => ("params exceed the limit of {limit} bytes"),
    Error::BodyTooLarge(limit) => ("body exceeds the limit of {limit} bytes"),
    Error::Aborted => ("request aborted by the web server"),
    Error::StreamTooShort { variable, announced, received } =>
        ("stream ended after {received} of the {announced} bytes announced by {variable}"),
    Error::StreamTooLong { variable, announced } =>
        ("stream is longer than the {announced} bytes announced by {variable}"),
    Error::NoResponse => ("handler returned without a response"),
    Error::ResponseStarted => ("part of a response was already written"),
    Error::RequestEnded => ("request has already ended"),
    Error::ProgramFailed(status) => ("program ended with {status}"),
    Error::RequestNotFinished => ("previous request was dropped without being finished"),
    Error::Refused(status) => ("application refused the request: {status}"),
    Error::ResponseTooLarge(limit) => ("response exceeds the limit of {limit} bytes"),
    Error::HeadTooLarge(limit) => ("response head exceeds the limit of {limit} bytes"),
    Error::TooManyFields(limit) => ("response head exceeds the limit of {limit} fields"),
    Error::IncompleteHead => ("response ended before the end of its head"),
    Error::InvalidField(line) => ("invalid header field {line:?}"),
    Error::DuplicateField(name) => ("header field {name:?} occurs more than once"),
    Error::MissingField => ("response head has no Content-Type, Location or Status field"),
    Error::InvalidStatus(value) => ("invalid Status {value:?}"),
    Error::InvalidLocation(value) =>
        ("invalid Location {value:?}, expected an absolute URI or an absolute path"),
    Error::InvalidContentLength(value) => ("invalid Content-Length {value:?}"),
    Error::InvalidRequest { part, value } => ("invalid {part} {value:?}"),
    Error::InvalidAddress(text) =>
        ("invalid address {text:?}, expected HOST:PORT or unix:PATH"),
    Error::NotListening { found, has_listen_fds } =>
        ("descriptor 0 is {found}, not a listening socket: {}",
            if *has_listen_fds { LISTEN_FDS } else { NOT_LISTENING }),
    Error::InvalidAllowList(item) =>
        ("invalid item {item:?} in the list of allowed IP addresses"),
}

/// Implements [`Error::duplicate`] from a list of the variants whose fields can be cloned. All but
/// the variants with an I/O error can.
macro_rules! impl_duplicate {
    ($($unit:ident)+, $($tuple:ident(_))+, $($name:ident { $($field:ident),+ })+) => {
        impl Error {
            /// Returns an error with the same message and kind, for a caller that fails again for
            /// the same cause.
            #[cold]
            pub(crate) fn duplicate(&self) -> Self {
                match self {
                    Self::Io(error) => Self::Io(duplicate_io(error)),
                    Self::Connect { address, source } => {
                        Self::Connect { address: address.clone(), source: duplicate_io(source) }
                    }
                    Self::Socket { operation, address, source } => {
                        Self::socket(operation, address, duplicate_io(source))
                    }
                    $(Self::$unit => Self::$unit,)+
                    $(Self::$tuple(value) => Self::$tuple(value.to_owned()),)+
                    $(Self::$name { $($field),+ } => {
                        Self::$name { $($field: $field.to_owned()),+ }
                    })+
                }
            }
        }
    };
}

impl_duplicate! {
    Aborted NoResponse ResponseStarted RequestEnded RequestNotFinished IncompleteHead MissingField,
    TimedOut(_) RequestTimedOut(_) ProgramFailed(_) UnsupportedVersion(_) UnexpectedEof(_)
    ContentTooLong(_) InvalidParams(_) ParamTooLong(_) ParamsTooLarge(_) BodyTooLarge(_) Refused(_)
    ResponseTooLarge(_) HeadTooLarge(_) TooManyFields(_) InvalidField(_) DuplicateField(_)
    InvalidStatus(_) InvalidLocation(_) InvalidContentLength(_) InvalidAddress(_)
    InvalidAllowList(_),
    InvalidRequestId { record_type, request_id }
    InvalidBodyLength { record_type, len }
    UnexpectedRecord { record_type, request_id }
    StreamTooShort { variable, announced, received }
    StreamTooLong { variable, announced }
    InvalidRequest { part, value }
    NotListening { found, has_listen_fds }
}

impl std::error::Error for Error {
    /// Returns the source of the I/O error that the error contains. The message of the I/O error
    /// itself is part of [`Display`](fmt::Display).
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.io_error()?.source()
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

impl From<Infallible> for Error {
    /// Is never called. It allows functions that convert an argument with [`TryInto`] to accept a
    /// value that needs no conversion.
    fn from(never: Infallible) -> Self {
        match never {}
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

/// Returns the reason in the error of an operation on a socket, as a part of a sentence: in lower
/// case and without the number of the system's error.
fn reason(error: &io::Error) -> String {
    let mut text = error.to_string();
    if let Some(end) = text.find(" (os error ") {
        text.truncate(end);
    }
    let is_acronym = matches!(text.as_bytes(), [_, b'A'..=b'Z', ..]);
    if let Some(first) = text.get_mut(..1).filter(|_| !is_acronym) {
        first.make_ascii_lowercase();
    }
    text
}

/// A version in a record header, which this crate does not support.
struct Version(u8);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(version) = self;
        write!(f, "record has unsupported FastCGI version {version}")?;
        match *version {
            // The first letters of "HTTP" and of the common request methods.
            b'C' | b'D' | b'G' | b'H' | b'O' | b'P' | b'T' => {
                f.write_str(": the peer may be using HTTP")
            }
            TLS_HANDSHAKE => f.write_str(": the peer may be using TLS"),
            _ => Ok(()),
        }
    }
}

/// A time. It is displayed in seconds if it is a whole number of seconds, and otherwise in the
/// largest of the units ms, µs and ns in which it is at least 1.
struct Time(Duration);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(time) = self;
        match (time.subsec_nanos(), time.as_nanos()) {
            (0, _) => write!(f, "{} s", time.as_secs()),
            (_, 1_000_000..) => write!(f, "{} ms", time.as_millis()),
            (_, 1_000..) => write!(f, "{} µs", time.as_micros()),
            (_, nanos) => write!(f, "{nanos} ns"),
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
        None if error.to_string() == error.kind().to_string() => error.kind().into(),
        Some(None) | None => io::Error::new(error.kind(), error.to_string()),
    }
}
