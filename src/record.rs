//! Records: the unit of everything that FastCGI sends (sections 3.3 to 5.5 and 8 of the specification).
//!
//! A record is an 8-byte [`Header`], content of up to 65535 bytes and padding of up to 255. Headers and the four bodies
//! of fixed layout are small `Copy` values with `parse` and `encode`, which do no I/O; the `read_` and `write_` functions
//! move records over any [`Read`] and [`Write`]. They allocate nothing, [`read_record`] apart, which fills the caller's
//! vector.
//!
//! ```
//! use fcgi::record::{self, Header, RecordType};
//!
//! let mut pipe = Vec::new();
//! record::write_record(&mut pipe, RecordType::Stdout, 1, b"hello")?;
//! assert_eq!(pipe, b"\x01\x06\x00\x01\x00\x05\x03\x00hello\0\0\0");
//!
//! let mut input = &pipe[..];
//! let mut content = Vec::new();
//! let header = record::read_record(&mut input, &mut content)?.expect("a record");
//! assert_eq!(header, Header::new(RecordType::Stdout, 1, 5));
//! assert_eq!(content, b"hello");
//! assert!(record::read_header(&mut input)?.is_none(), "a clean end");
//! # Ok::<(), fcgi::Error>(())
//! ```
//!
//! For a connection, [`RecordReader`](crate::stream::RecordReader) and [`StreamWriter`](crate::stream::StreamWriter) do the
//! same with fewer system calls.

use std::fmt;
use std::io::{self, IoSlice, Read, Write};

use crate::error::{Error, Result};

/// The only version of the protocol (`FCGI_VERSION_1`).
pub const VERSION: u8 = 1;
/// The length of a [`Header`] in bytes (`FCGI_HEADER_LEN`).
pub const HEADER_LEN: usize = 8;
/// The most content that a record holds, in bytes (`FCGI_MAX_LENGTH`).
pub const MAX_CONTENT_LEN: usize = 65535;
/// The descriptor on which an application finds its listening socket (`FCGI_LISTENSOCK_FILENO`, section 2.2).
pub const LISTENSOCK_FILENO: i32 = 0;
/// The request id of management records (`FCGI_NULL_REQUEST_ID`, section 3.3).
pub const NULL_REQUEST_ID: u16 = 0;
/// The flag of [`BeginRequest`] that asks for the connection to stay open (`FCGI_KEEP_CONN`, section 5.1).
pub const KEEP_CONN: u8 = 1;

/// The variable that tells how many connections an application accepts at once (section 4.1).
pub const MAX_CONNS: &str = "FCGI_MAX_CONNS";
/// The variable that tells how many requests an application accepts at once (section 4.1).
pub const MAX_REQS: &str = "FCGI_MAX_REQS";
/// The variable that tells, as `0` or `1`, whether an application multiplexes connections (section 4.1).
pub const MPXS_CONNS: &str = "FCGI_MPXS_CONNS";

/// The most content that can still be padded to 8 bytes while content and padding together stay within 65535, which is
/// the most that some peers add up. Data cut into records of this length needs no padding.
pub(crate) const MAX_ALIGNED_LEN: usize = MAX_CONTENT_LEN & !7;

/// What padding and reserved bytes hold.
const ZEROS: [u8; 8] = [0; 8];

/// The type of a record (section 8).
///
/// ```
/// use fcgi::record::RecordType;
/// assert_eq!(RecordType::from(4), RecordType::Params);
/// assert_eq!(RecordType::from(99), RecordType::Unknown(99));
/// assert_eq!(u8::from(RecordType::UnknownType), 11);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordType {
    /// Begins a request (1, section 5.1).
    BeginRequest,
    /// Asks for the end of a request (2, section 5.4).
    AbortRequest,
    /// Ends a request (3, section 5.5).
    EndRequest,
    /// A stream of name-value pairs for the application (4, section 5.2).
    Params,
    /// The stream of the request's body (5, section 5.3).
    Stdin,
    /// The stream of the response (6, section 5.3).
    Stdout,
    /// The stream of error messages (7, section 5.3).
    Stderr,
    /// The stream of the file that a filter works on (8, section 5.3).
    Data,
    /// Asks an application for variables (9, section 4.1).
    GetValues,
    /// Answers [`GetValues`](Self::GetValues) (10, section 4.1).
    GetValuesResult,
    /// Answers a management record of unknown type (11, section 4.2).
    UnknownType,
    /// A type that the specification does not define.
    Unknown(u8),
}

impl RecordType {
    /// Whether records of this type belong to the connection rather than to a request, so that their id is
    /// [`NULL_REQUEST_ID`]. An [`Unknown`](Self::Unknown) type is neither: its id decides.
    pub fn is_management(self) -> bool {
        matches!(self, Self::GetValues | Self::GetValuesResult | Self::UnknownType)
    }

    /// Whether a record of this type may carry this id (section 3.3).
    fn allows(self, request_id: u16) -> bool {
        matches!(self, Self::Unknown(_)) || self.is_management() == (request_id == NULL_REQUEST_ID)
    }
}

impl From<u8> for RecordType {
    fn from(byte: u8) -> Self {
        match byte {
            1 => Self::BeginRequest,
            2 => Self::AbortRequest,
            3 => Self::EndRequest,
            4 => Self::Params,
            5 => Self::Stdin,
            6 => Self::Stdout,
            7 => Self::Stderr,
            8 => Self::Data,
            9 => Self::GetValues,
            10 => Self::GetValuesResult,
            11 => Self::UnknownType,
            byte => Self::Unknown(byte),
        }
    }
}

impl From<RecordType> for u8 {
    fn from(record_type: RecordType) -> Self {
        match record_type {
            RecordType::BeginRequest => 1,
            RecordType::AbortRequest => 2,
            RecordType::EndRequest => 3,
            RecordType::Params => 4,
            RecordType::Stdin => 5,
            RecordType::Stdout => 6,
            RecordType::Stderr => 7,
            RecordType::Data => 8,
            RecordType::GetValues => 9,
            RecordType::GetValuesResult => 10,
            RecordType::UnknownType => 11,
            RecordType::Unknown(byte) => byte,
        }
    }
}

/// The header of a record (section 3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// What the record is.
    pub record_type: RecordType,
    /// The request that it belongs to; [`NULL_REQUEST_ID`] for a management record.
    pub request_id: u16,
    /// The length of its content in bytes.
    pub content_len: u16,
    /// The bytes between its content and the next record; what they hold has no meaning.
    pub padding_len: u8,
}

impl Header {
    /// A header with the padding that [aligns](padding_len) the next record.
    ///
    /// ```
    /// use fcgi::record::{Header, RecordType};
    /// assert_eq!(Header::new(RecordType::Stdin, 1, 13).padding_len, 3);
    /// ```
    pub fn new(record_type: RecordType, request_id: u16, content_len: u16) -> Self {
        Self { record_type, request_id, content_len, padding_len: padding_len(content_len) }
    }

    /// Reads a header from its bytes.
    ///
    /// # Errors
    /// [`Error::UnsupportedVersion`]: nothing that follows can be understood.
    ///
    /// ```
    /// use fcgi::record::{Header, RecordType};
    /// let header = Header::parse([1, 4, 1, 2, 0, 3, 5, 0])?;
    /// assert_eq!(header, Header { record_type: RecordType::Params, request_id: 258, content_len: 3, padding_len: 5 });
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    #[inline]
    pub fn parse(bytes: [u8; HEADER_LEN]) -> Result<Self> {
        Self::decode(bytes).ok_or_else(|| Error::UnsupportedVersion(bytes[0]))
    }

    /// Reads a header from its bytes; `None` if it has another version.
    #[inline]
    pub(crate) fn decode(bytes: [u8; HEADER_LEN]) -> Option<Self> {
        let [version, record_type, id1, id0, len1, len0, padding_len, _reserved] = bytes;
        (version == VERSION).then(|| Self {
            record_type: record_type.into(),
            request_id: u16::from_be_bytes([id1, id0]),
            content_len: u16::from_be_bytes([len1, len0]),
            padding_len,
        })
    }

    /// The bytes of this header.
    #[inline]
    pub fn encode(self) -> [u8; HEADER_LEN] {
        let [id1, id0] = self.request_id.to_be_bytes();
        let [len1, len0] = self.content_len.to_be_bytes();
        [VERSION, self.record_type.into(), id1, id0, len1, len0, self.padding_len, 0]
    }

    /// The bytes of the record behind the header: content and padding.
    #[inline]
    pub fn body_len(self) -> usize {
        usize::from(self.content_len) + usize::from(self.padding_len)
    }
}

/// The padding in bytes that brings a record with `content_len` bytes of content to a multiple of 8, as section 3.3
/// recommends; 0 where content and padding together would pass 65535, which some applications refuse.
///
/// ```
/// use fcgi::record::padding_len;
/// assert_eq!([padding_len(0), padding_len(1), padding_len(8), padding_len(65535)], [0, 7, 0, 0]);
/// ```
#[inline]
pub fn padding_len(content_len: u16) -> u8 {
    if usize::from(content_len) > MAX_ALIGNED_LEN {
        return 0;
    }
    // The two's complement of the length, in its lowest three bits.
    (content_len.wrapping_neg() & 7) as u8
}

/// What an application is asked to be (section 6).
///
/// ```
/// use fcgi::record::Role;
/// assert_eq!(Role::from(3), Role::Filter);
/// assert_eq!(u16::from(Role::Unknown(9)), 9);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Role {
    /// Answers an HTTP request (1, section 6.2).
    #[default]
    Responder,
    /// Decides whether an HTTP request is allowed (2, section 6.3).
    Authorizer,
    /// Answers an HTTP request for a file that it is sent (3, section 6.4).
    Filter,
    /// A role that the specification does not define.
    Unknown(u16),
}

impl From<u16> for Role {
    fn from(number: u16) -> Self {
        match number {
            1 => Self::Responder,
            2 => Self::Authorizer,
            3 => Self::Filter,
            number => Self::Unknown(number),
        }
    }
}

impl From<Role> for u16 {
    fn from(role: Role) -> Self {
        match role {
            Role::Responder => 1,
            Role::Authorizer => 2,
            Role::Filter => 3,
            Role::Unknown(number) => number,
        }
    }
}

/// How the protocol's side of a request ended (section 5.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ProtocolStatus {
    /// The request was served (0).
    #[default]
    RequestComplete,
    /// Refused: the application serves one request at a time on a connection (1).
    CantMpxConn,
    /// Refused: the application is short of a resource (2).
    Overloaded,
    /// Refused: the application does not have this role (3).
    UnknownRole,
    /// A status that the specification does not define.
    Unknown(u8),
}

impl From<u8> for ProtocolStatus {
    fn from(byte: u8) -> Self {
        match byte {
            0 => Self::RequestComplete,
            1 => Self::CantMpxConn,
            2 => Self::Overloaded,
            3 => Self::UnknownRole,
            byte => Self::Unknown(byte),
        }
    }
}

impl From<ProtocolStatus> for u8 {
    fn from(status: ProtocolStatus) -> Self {
        match status {
            ProtocolStatus::RequestComplete => 0,
            ProtocolStatus::CantMpxConn => 1,
            ProtocolStatus::Overloaded => 2,
            ProtocolStatus::UnknownRole => 3,
            ProtocolStatus::Unknown(byte) => byte,
        }
    }
}

impl fmt::Display for ProtocolStatus {
    /// The specification's name for it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RequestComplete => f.write_str("REQUEST_COMPLETE"),
            Self::CantMpxConn => f.write_str("CANT_MPX_CONN"),
            Self::Overloaded => f.write_str("OVERLOADED"),
            Self::UnknownRole => f.write_str("UNKNOWN_ROLE"),
            Self::Unknown(byte) => write!(f, "protocol status {byte}"),
        }
    }
}

/// The body of a [`RecordType::BeginRequest`] record (section 5.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct BeginRequest {
    /// What the application is asked to be.
    pub role: Role,
    /// The flags as they are on the wire; all but [`KEEP_CONN`] are without meaning.
    pub flags: u8,
}

impl BeginRequest {
    /// A body for this role, with [`KEEP_CONN`] set or not.
    pub fn new(role: Role, keep_conn: bool) -> Self {
        Self { role, flags: if keep_conn { KEEP_CONN } else { 0 } }
    }

    /// Whether the connection is to stay open after the request.
    pub fn keep_conn(self) -> bool {
        self.flags & KEEP_CONN != 0
    }

    /// Reads the body from a record's content; bytes beyond its 8 are ignored.
    ///
    /// # Errors
    /// [`Error::InvalidBodyLength`] if there are fewer.
    ///
    /// ```
    /// use fcgi::record::{BeginRequest, Role};
    /// let body = BeginRequest::parse(&[0, 1, 1, 0, 0, 0, 0, 0])?;
    /// assert_eq!(body, BeginRequest::new(Role::Responder, true));
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn parse(content: &[u8]) -> Result<Self> {
        let [role1, role0, flags, ..] = fixed_body(RecordType::BeginRequest, content)?;
        Ok(Self { role: u16::from_be_bytes([role1, role0]).into(), flags })
    }

    /// The bytes of this body.
    pub fn encode(self) -> [u8; 8] {
        let [role1, role0] = u16::from(self.role).to_be_bytes();
        [role1, role0, self.flags, 0, 0, 0, 0, 0]
    }
}

/// The body of a [`RecordType::EndRequest`] record (section 5.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct EndRequest {
    /// The application's own status, like the exit status of a CGI program; 0 is success.
    pub app_status: u32,
    /// How the protocol's side ended.
    pub protocol_status: ProtocolStatus,
}

impl EndRequest {
    /// Reads the body from a record's content; bytes beyond its 8 are ignored.
    ///
    /// # Errors
    /// [`Error::InvalidBodyLength`] if there are fewer.
    ///
    /// ```
    /// use fcgi::record::{EndRequest, ProtocolStatus};
    /// let body = EndRequest::parse(&[0, 0, 3, 170, 0, 0, 0, 0])?;
    /// assert_eq!(body, EndRequest { app_status: 938, protocol_status: ProtocolStatus::RequestComplete });
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn parse(content: &[u8]) -> Result<Self> {
        let [a3, a2, a1, a0, status, ..] = fixed_body(RecordType::EndRequest, content)?;
        Ok(Self { app_status: u32::from_be_bytes([a3, a2, a1, a0]), protocol_status: status.into() })
    }

    /// The bytes of this body.
    pub fn encode(self) -> [u8; 8] {
        let [a3, a2, a1, a0] = self.app_status.to_be_bytes();
        [a3, a2, a1, a0, self.protocol_status.into(), 0, 0, 0]
    }

    /// The whole record, header included.
    pub(crate) fn record(self, request_id: u16) -> [u8; 16] {
        fixed_record(RecordType::EndRequest, request_id, self.encode())
    }
}

/// The body of a [`RecordType::UnknownType`] record (section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UnknownType {
    /// The type of the management record that was not understood.
    pub record_type: RecordType,
}

impl UnknownType {
    /// Reads the body from a record's content; bytes beyond its 8 are ignored.
    ///
    /// # Errors
    /// [`Error::InvalidBodyLength`] if there are fewer.
    pub fn parse(content: &[u8]) -> Result<Self> {
        let [record_type, ..] = fixed_body(RecordType::UnknownType, content)?;
        Ok(Self { record_type: record_type.into() })
    }

    /// The bytes of this body.
    ///
    /// ```
    /// use fcgi::record::{RecordType, UnknownType};
    /// assert_eq!(UnknownType { record_type: RecordType::Unknown(99) }.encode(), [99, 0, 0, 0, 0, 0, 0, 0]);
    /// ```
    pub fn encode(self) -> [u8; 8] {
        [self.record_type.into(), 0, 0, 0, 0, 0, 0, 0]
    }
}

/// Reads a header; `None` where the input ends cleanly, before its first byte.
///
/// The caller then reads [`content_len`](Header::content_len) bytes of content and skips
/// [`padding_len`](Header::padding_len) bytes. Nothing is allocated, and not a byte behind the header is read.
///
/// # Errors
/// [`Error::UnexpectedEof`] where the input ends inside the header, [`Error::UnsupportedVersion`], and what the reader
/// reports.
pub fn read_header(reader: &mut impl Read) -> Result<Option<Header>> {
    let mut bytes = [0; HEADER_LEN];
    let mut filled = 0;
    while filled < HEADER_LEN {
        match reader.read(&mut bytes[filled..]) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => return Err(Error::UnexpectedEof("a record header")),
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Header::parse(bytes).map(Some)
}

/// Reads a record: its content replaces what `content` held, its padding is skipped. `None` where the input ends cleanly,
/// before the record.
///
/// `content` never grows by more than the 65535 bytes of a record, and keeps its capacity from one call to the next.
///
/// # Errors
/// [`Error::UnexpectedEof`] where the input ends inside the record, [`Error::UnsupportedVersion`], and what the reader
/// reports.
pub fn read_record(reader: &mut impl Read, content: &mut Vec<u8>) -> Result<Option<Header>> {
    content.clear();
    let Some(header) = read_header(reader)? else {
        return Ok(None);
    };
    content.resize(usize::from(header.content_len), 0);
    read_all(reader, content)?;
    read_all(reader, &mut [0; u8::MAX as usize][..usize::from(header.padding_len)])?;
    Ok(Some(header))
}

/// Writes a record, padded as [`padding_len`] says, in one vectored write.
///
/// An empty record ends the stream of its type: this function writes one when told to, so a loop over data must leave
/// empty pieces out. For data of any length there is [`write_stream`].
///
/// # Errors
/// [`Error::ContentTooLong`] above 65535 bytes, [`Error::InvalidRequestId`] for an application record with id 0 or a
/// management record with another; then nothing was written. Else what the writer reports.
///
/// ```
/// use fcgi::record::{write_record, RecordType};
/// use fcgi::Error;
///
/// let long = write_record(&mut Vec::new(), RecordType::Stdout, 1, &[0; 65536]);
/// assert!(matches!(long, Err(Error::ContentTooLong(65536))));
/// let null = write_record(&mut Vec::new(), RecordType::Stdout, 0, b"");
/// assert!(matches!(null, Err(Error::InvalidRequestId { request_id: 0, .. })));
/// ```
pub fn write_record(writer: &mut impl Write, record_type: RecordType, request_id: u16, content: &[u8]) -> Result<()> {
    check_id(record_type, request_id)?;
    let content_len = u16::try_from(content.len()).map_err(|_| Error::ContentTooLong(content.len()))?;
    let header = Header::new(record_type, request_id, content_len);
    let padding = &ZEROS[..usize::from(header.padding_len)];
    Ok(write_parts(writer, &mut [&header.encode(), content, padding])?)
}

/// Writes data of any length as records of a stream: none for no data, and the empty record that ends the stream only when
/// [`write_record`] is told to.
///
/// # Errors
/// As [`write_record`].
///
/// ```
/// use fcgi::record::{write_record, write_stream, RecordType};
/// let mut pipe = Vec::new();
/// write_stream(&mut pipe, RecordType::Stdout, 1, b"")?;
/// assert!(pipe.is_empty());
/// write_stream(&mut pipe, RecordType::Stdout, 1, &[b'x'; 65536])?;
/// assert_eq!(pipe.len(), 8 + 65528 + 8 + 8);
/// # Ok::<(), fcgi::Error>(())
/// ```
pub fn write_stream(writer: &mut impl Write, record_type: RecordType, request_id: u16, data: &[u8]) -> Result<()> {
    check_id(record_type, request_id)?;
    data.chunks(MAX_ALIGNED_LEN).try_for_each(|content| write_record(writer, record_type, request_id, content))
}

/// Writes a [`RecordType::BeginRequest`] record.
///
/// # Errors
/// [`Error::InvalidRequestId`] for id 0; else what the writer reports.
pub fn write_begin_request(writer: &mut impl Write, request_id: u16, body: BeginRequest) -> Result<()> {
    write_record(writer, RecordType::BeginRequest, request_id, &body.encode())
}

/// Writes a [`RecordType::AbortRequest`] record.
///
/// # Errors
/// [`Error::InvalidRequestId`] for id 0; else what the writer reports.
pub fn write_abort_request(writer: &mut impl Write, request_id: u16) -> Result<()> {
    write_record(writer, RecordType::AbortRequest, request_id, &[])
}

/// Writes a [`RecordType::EndRequest`] record.
///
/// # Errors
/// [`Error::InvalidRequestId`] for id 0; else what the writer reports.
pub fn write_end_request(writer: &mut impl Write, request_id: u16, body: EndRequest) -> Result<()> {
    write_record(writer, RecordType::EndRequest, request_id, &body.encode())
}

/// Writes a [`RecordType::UnknownType`] record.
///
/// # Errors
/// What the writer reports.
pub fn write_unknown_type(writer: &mut impl Write, body: UnknownType) -> Result<()> {
    write_record(writer, RecordType::UnknownType, NULL_REQUEST_ID, &body.encode())
}

/// Checks that a record of this type may carry this id (section 3.3).
pub(crate) fn check_id(record_type: RecordType, request_id: u16) -> Result<()> {
    if record_type.allows(request_id) {
        return Ok(());
    }
    Err(Error::InvalidRequestId { record_type, request_id })
}

/// A whole record with a body of fixed layout.
pub(crate) fn fixed_record(record_type: RecordType, request_id: u16, body: [u8; 8]) -> [u8; 16] {
    let mut record = [0; 16];
    record[..HEADER_LEN].copy_from_slice(&Header::new(record_type, request_id, 8).encode());
    record[HEADER_LEN..].copy_from_slice(&body);
    record
}

/// The most slices that leave in one system call.
pub(crate) const MAX_SLICES: usize = 64;

/// Writes all parts one after the other, however few bytes the writer takes at a time. The parts are used up on the way:
/// after an error they are what was not written.
pub(crate) fn write_parts(writer: &mut impl Write, parts: &mut [&[u8]]) -> io::Result<()> {
    let mut written = 0;
    loop {
        // Empty parts would make a write of nothing look like a writer that takes nothing.
        written += parts[written..].iter().take_while(|part| part.is_empty()).count();
        let parts = &mut parts[written..];
        if parts.is_empty() {
            return Ok(());
        }
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let count = parts.len().min(MAX_SLICES);
        for (slice, part) in slices.iter_mut().zip(&*parts) {
            *slice = IoSlice::new(part);
        }
        match writer.write_vectored(&slices[..count]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => use_up(parts, n),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Takes the first `n` bytes off the parts.
fn use_up(parts: &mut [&[u8]], mut n: usize) {
    for part in parts {
        let used = n.min(part.len());
        *part = &part[used..];
        n -= used;
        if n == 0 {
            return;
        }
    }
}

fn fixed_body(record_type: RecordType, content: &[u8]) -> Result<[u8; 8]> {
    let body = content.get(..8).and_then(|body| body.try_into().ok());
    body.ok_or_else(|| Error::InvalidBodyLength { record_type, len: content.len() })
}

fn read_all(reader: &mut impl Read, buffer: &mut [u8]) -> Result<()> {
    reader.read_exact(buffer).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::UnexpectedEof("a record"),
        _ => error.into(),
    })
}
