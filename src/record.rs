//! Records: the unit of everything that FastCGI sends (sections 3.3 to 5.5 and 8 of the
//! specification).
//!
//! A record is an 8-byte [`Header`], content of up to 65535 bytes and padding of up to 255. Headers
//! and the four bodies of fixed layout are small `Copy` values with `parse` and `encode`, which do
//! no I/O; the `read_` and `write_` functions move records over any [`Read`](std::io::Read) and
//! [`Write`](std::io::Write). They allocate nothing, [`read_record`] apart, which fills the
//! caller's vector.
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
//! For a connection, [`RecordReader`](crate::stream::RecordReader) and
//! [`StreamWriter`](crate::stream::StreamWriter) do the same with fewer system calls.

mod body;
mod io;

pub(crate) use self::body::fixed_record;
pub use self::body::{BeginRequest, EndRequest, ProtocolStatus, Role, UnknownType};
pub use self::io::{
    read_header, read_record, write_abort_request, write_begin_request, write_end_request,
    write_record, write_stream, write_unknown_type,
};
pub(crate) use self::io::{write_parts, MAX_SLICES};
use crate::error::{Error, Result};

/// The only version of the protocol (`FCGI_VERSION_1`).
pub const VERSION: u8 = 1;
/// The length of a [`Header`] in bytes (`FCGI_HEADER_LEN`).
pub const HEADER_LEN: usize = 8;
/// The most content that a record holds, in bytes (`FCGI_MAX_LENGTH`).
pub const MAX_CONTENT_LEN: usize = 65535;
/// The descriptor on which an application finds its listening socket (`FCGI_LISTENSOCK_FILENO`,
/// section 2.2).
pub const LISTENSOCK_FILENO: i32 = 0;
/// The request id of management records (`FCGI_NULL_REQUEST_ID`, section 3.3).
pub const NULL_REQUEST_ID: u16 = 0;
/// The flag of [`BeginRequest`] that asks for the connection to stay open (`FCGI_KEEP_CONN`,
/// section 5.1).
pub const KEEP_CONN: u8 = 1;

/// The variable that tells how many connections an application accepts at once (section 4.1).
pub const MAX_CONNS: &str = "FCGI_MAX_CONNS";
/// The variable that tells how many requests an application accepts at once (section 4.1).
pub const MAX_REQS: &str = "FCGI_MAX_REQS";
/// The variable that tells, as `0` or `1`, whether an application multiplexes connections (section
/// 4.1).
pub const MPXS_CONNS: &str = "FCGI_MPXS_CONNS";

/// The most content that can still be padded to 8 bytes while content and padding together stay
/// within 65535, which is the most that some peers add up. Data cut into records of this length
/// needs no padding.
pub(crate) const MAX_ALIGNED_LEN: usize = MAX_CONTENT_LEN & !7;

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
    /// Whether records of this type belong to the connection rather than to a request, so that
    /// their id is [`NULL_REQUEST_ID`]. An [`Unknown`](Self::Unknown) type is neither: its id
    /// decides.
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
    /// assert_eq!(
    ///     header,
    ///     Header {
    ///         record_type: RecordType::Params,
    ///         request_id: 258,
    ///         content_len: 3,
    ///         padding_len: 5
    ///     }
    /// );
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

/// The padding in bytes that brings a record with `content_len` bytes of content to a multiple of
/// 8, as section 3.3 recommends; 0 where content and padding together would pass 65535, which some
/// applications refuse.
///
/// ```
/// use fcgi::record::padding_len;
/// assert_eq!(
///     [padding_len(0), padding_len(1), padding_len(8), padding_len(65535)],
///     [0, 7, 0, 0]
/// );
/// ```
#[inline]
pub fn padding_len(content_len: u16) -> u8 {
    if usize::from(content_len) > MAX_ALIGNED_LEN {
        return 0;
    }
    // The two's complement of the length, in its lowest three bits.
    (content_len.wrapping_neg() & 7) as u8
}

/// Checks that a record of this type may carry this id (section 3.3).
pub(crate) fn check_id(record_type: RecordType, request_id: u16) -> Result<()> {
    if record_type.allows(request_id) {
        return Ok(());
    }
    Err(Error::InvalidRequestId { record_type, request_id })
}
