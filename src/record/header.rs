//! The header of a record.

use std::fmt;

use crate::error::{Error, Result};
use crate::protocol::{RecordType, HEADER_LEN, MAX_ALIGNED_LEN, VERSION};

/// The header of a record (section 3.3 of the specification).
///
/// ```
/// use fcgi::record::{Header, RecordType};
///
/// let header = Header::new(RecordType::Stdout, 1, 5);
/// assert_eq!(header.encode(), [1, 6, 0, 1, 0, 5, 3, 0]);
/// assert_eq!(Header::parse(header.encode())?, header);
/// assert_eq!(header.to_string(), "STDOUT id=1 length=5 padding=3");
/// # Ok::<(), fcgi::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// The type of the record.
    pub record_type: RecordType,
    /// The id of the request that the record belongs to, or
    /// [`NULL_REQUEST_ID`](super::NULL_REQUEST_ID) for a management record.
    pub request_id: u16,
    /// The length of the content in bytes.
    pub content_len: u16,
    /// The number of bytes between the content and the next record. Receivers ignore them.
    pub padding_len: u8,
}

impl Header {
    /// Creates a header with the padding that [`padding_len`] returns.
    ///
    /// ```
    /// use fcgi::record::{Header, RecordType};
    ///
    /// assert_eq!(Header::new(RecordType::Stdin, 1, 13).padding_len, 3);
    /// ```
    pub fn new(record_type: RecordType, request_id: u16, content_len: u16) -> Self {
        Self { record_type, request_id, content_len, padding_len: padding_len(content_len) }
    }

    /// Parses a header.
    ///
    /// # Errors
    /// [`Error::UnsupportedVersion`] if the version is not 1. The bytes that follow cannot be
    /// parsed then.
    ///
    /// ```
    /// use fcgi::record::{Header, RecordType};
    ///
    /// let header = Header::parse([1, 4, 1, 2, 0, 3, 5, 0])?;
    /// assert_eq!((header.record_type, header.request_id), (RecordType::Params, 258));
    /// assert_eq!((header.content_len, header.padding_len), (3, 5));
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    #[inline]
    pub fn parse(bytes: [u8; HEADER_LEN]) -> Result<Self> {
        Self::decode(bytes).ok_or_else(|| Error::UnsupportedVersion(bytes[0]))
    }

    /// Parses a header. Returns `None` if the version is not 1. The caller then creates the error,
    /// outside the code that reads every record.
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

    /// Encodes the header.
    ///
    /// ```
    /// use fcgi::record::{Header, RecordType};
    ///
    /// assert_eq!(Header::new(RecordType::Params, 258, 3).encode(), [1, 4, 1, 2, 0, 3, 5, 0]);
    /// ```
    #[inline]
    pub fn encode(self) -> [u8; HEADER_LEN] {
        let [id1, id0] = self.request_id.to_be_bytes();
        let [len1, len0] = self.content_len.to_be_bytes();
        [VERSION, self.record_type.into(), id1, id0, len1, len0, self.padding_len, 0]
    }

    /// Returns the padding of the record.
    pub(crate) fn padding(self) -> &'static [u8] {
        &[0; u8::MAX as usize][..usize::from(self.padding_len)]
    }

    /// Appends the padding of the record, which is less than 8 bytes.
    ///
    /// Appending 8 bytes and removing some avoids a call of `memcpy`, because the number 8 is
    /// constant. This saves 23 instructions of a small request, about 1 %.
    #[inline]
    pub(crate) fn push_padding(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[0; 8]);
        out.truncate(out.len() - 8 + usize::from(self.padding_len));
    }

    /// Creates the error for a record that is not allowed at this point.
    #[cold]
    pub(crate) fn unexpected(self) -> Error {
        Error::UnexpectedRecord { record_type: self.record_type, request_id: self.request_id }
    }

    /// Returns the length of content and padding together, in bytes. The next record begins that
    /// far after the header.
    ///
    /// ```
    /// use fcgi::record::{Header, RecordType};
    ///
    /// assert_eq!(Header::new(RecordType::Stdin, 1, 13).padded_content_len(), 16);
    /// ```
    #[inline]
    pub fn padded_content_len(self) -> usize {
        usize::from(self.content_len) + usize::from(self.padding_len)
    }
}

impl fmt::Display for Header {
    /// Writes the type of the record, the request id, and the lengths of content and padding.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { record_type, request_id, content_len, padding_len } = self;
        write!(f, "{record_type} id={request_id} length={content_len} padding={padding_len}")
    }
}

/// Returns the padding for a record, in bytes.
///
/// It extends `content_len` to a multiple of 8, as section 3.3 of the specification recommends. It
/// is 0 if content and padding together would exceed 65535 bytes, because some applications refuse
/// such a record.
///
/// ```
/// use fcgi::record::padding_len;
///
/// assert_eq!([0, 1, 8, 65528, 65529].map(padding_len), [0, 7, 0, 0, 0]);
/// ```
#[inline]
pub fn padding_len(content_len: u16) -> u8 {
    if usize::from(content_len) > MAX_ALIGNED_LEN {
        return 0;
    }
    // Modulo 8, the padding is the two's complement of the length.
    (content_len.wrapping_neg() & 7) as u8
}

/// Checks that a record of this type may have this request id (section 3.3 of the specification).
pub(crate) fn check_id(record_type: RecordType, request_id: u16) -> Result<()> {
    if record_type.allows_id(request_id) {
        return Ok(());
    }
    Err(Error::InvalidRequestId { record_type, request_id })
}
