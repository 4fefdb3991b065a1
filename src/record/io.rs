//! Functions that read and write whole records.

use std::io::{self, Read, Write};

use super::body::{BeginRequest, EndRequest, UnknownType};
use super::header::{check_id, Header};
use crate::error::{Error, Result};
use crate::protocol::{RecordType, HEADER_LEN, MAX_ALIGNED_LEN, NULL_REQUEST_ID};
use crate::vectored::write_parts;

/// Reads a header. Returns `None` if the input ends before the first byte of the header.
///
/// The caller must then read [`content_len`](Header::content_len) bytes of content and skip
/// [`padding_len`](Header::padding_len) bytes. This function reads no byte after the header and
/// allocates no memory.
///
/// If the reader fails inside the header, the bytes that were read before are lost. A second call,
/// such as after a timeout, would begin to read in the middle of the header.
/// [`RecordReader`](crate::stream::RecordReader) keeps these bytes.
///
/// # Errors
/// - [`Error::UnexpectedEof`] if the input ends inside the header
/// - [`Error::UnsupportedVersion`] if the version is not 1
/// - [`Error::Io`] if the reader fails
///
/// ```
/// use fcgi::record::{self, RecordType};
/// use std::io::Read;
///
/// let mut input = &b"\x01\x05\0\x01\0\x05\x03\0hello\0\0\0"[..];
/// let header = record::read_header(&mut input)?.expect("a record");
/// assert_eq!(header.record_type, RecordType::Stdin);
///
/// let mut content = vec![0; usize::from(header.content_len)];
/// input.read_exact(&mut content)?;
/// assert_eq!(content, b"hello");
/// # Ok::<(), fcgi::Error>(())
/// ```
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

/// Reads a record and returns its header. Returns `None` if the input ends before the record.
///
/// The content replaces what was in `content`. The padding is skipped. `content` never grows beyond
/// 65535 bytes, and its memory is reused by the next call.
///
/// If the reader fails inside the record, the bytes that were read before are lost. A second call,
/// such as after a timeout, would begin to read in the middle of the record.
/// [`RecordReader`](crate::stream::RecordReader) keeps these bytes.
///
/// # Errors
/// - [`Error::UnexpectedEof`] if the input ends inside the record
/// - [`Error::UnsupportedVersion`] if the version is not 1
/// - [`Error::Io`] if the reader fails
///
/// ```
/// use fcgi::record;
///
/// let mut input = &b"\x01\x05\0\x01\0\x05\x03\0hello\0\0\0\x01\x05\0\x01\0\0\0\0"[..];
/// let (mut body, mut content) = (Vec::new(), Vec::new());
/// while let Some(header) = record::read_record(&mut input, &mut content)? {
///     assert_eq!(header.request_id, 1);
///     body.extend_from_slice(&content);
/// }
/// assert_eq!(body, b"hello");
/// # Ok::<(), fcgi::Error>(())
/// ```
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

/// Writes a record in one vectored write.
///
/// The record has the padding that [`padding_len`](super::padding_len) returns. A record with empty
/// content ends the stream of its type, so callers that write a stream must skip empty pieces of
/// data. [`write_stream`] writes data of any length.
///
/// # Errors
/// - [`Error::ContentTooLong`] if `content` has more than 65535 bytes
/// - [`Error::InvalidRequestId`] if `request_id` is 0 and `record_type` belongs to a request, or if
///   it is not 0 and the type [is a management type](RecordType::is_management)
/// - [`Error::Io`] if the writer fails
///
/// Only in the last case may bytes have been written.
///
/// ```
/// use fcgi::record::{write_record, RecordType};
/// use fcgi::Error;
///
/// let mut pipe = Vec::new();
/// write_record(&mut pipe, RecordType::Stdout, 1, b"hello")?;
/// assert_eq!(pipe, b"\x01\x06\0\x01\0\x05\x03\0hello\0\0\0");
///
/// let long = write_record(&mut pipe, RecordType::Stdout, 1, &[0; 65536]);
/// assert!(matches!(long, Err(Error::ContentTooLong(65536))));
/// let null = write_record(&mut pipe, RecordType::Stdout, 0, b"");
/// assert!(matches!(null, Err(Error::InvalidRequestId { request_id: 0, .. })));
/// # Ok::<(), Error>(())
/// ```
pub fn write_record(
    writer: &mut impl Write,
    record_type: RecordType,
    request_id: u16,
    content: &[u8],
) -> Result<()> {
    check_id(record_type, request_id)?;
    let content_len =
        u16::try_from(content.len()).map_err(|_| Error::ContentTooLong(content.len()))?;
    let header = Header::new(record_type, request_id, content_len);
    Ok(write_parts(writer, &mut [&header.encode(), content, header.padding()])?)
}

/// Writes data of any length as records of one stream.
///
/// Empty data writes nothing. The stream does not end: to end it, call [`write_record`] with empty
/// content.
///
/// # Errors
/// - [`Error::InvalidRequestId`] in the cases of [`write_record`]
/// - [`Error::Io`] if the writer fails
///
/// ```
/// use fcgi::record::{write_record, write_stream, RecordType};
///
/// let mut pipe = Vec::new();
/// write_stream(&mut pipe, RecordType::Stdout, 1, b"")?;
/// assert!(pipe.is_empty());
///
/// write_stream(&mut pipe, RecordType::Stdout, 1, &[b'x'; 65536])?;
/// assert_eq!(pipe.len(), (8 + 65528) + (8 + 8));
///
/// write_record(&mut pipe, RecordType::Stdout, 1, b"")?;
/// assert!(pipe.ends_with(b"\x01\x06\0\x01\0\0\0\0"));
/// # Ok::<(), fcgi::Error>(())
/// ```
pub fn write_stream(
    writer: &mut impl Write,
    record_type: RecordType,
    request_id: u16,
    data: &[u8],
) -> Result<()> {
    check_id(record_type, request_id)?;
    data.chunks(MAX_ALIGNED_LEN)
        .try_for_each(|content| write_record(writer, record_type, request_id, content))
}

/// Writes a [`RecordType::BeginRequest`] record.
///
/// # Errors
/// - [`Error::InvalidRequestId`] if `request_id` is 0
/// - [`Error::Io`] if the writer fails
///
/// ```
/// use fcgi::record::{self, BeginRequest, Role};
///
/// let mut pipe = Vec::new();
/// record::write_begin_request(&mut pipe, 1, BeginRequest::new(Role::Responder, true))?;
/// assert_eq!(pipe, b"\x01\x01\0\x01\0\x08\0\0\0\x01\x01\0\0\0\0\0");
/// # Ok::<(), fcgi::Error>(())
/// ```
pub fn write_begin_request(
    writer: &mut impl Write,
    request_id: u16,
    body: BeginRequest,
) -> Result<()> {
    write_record(writer, RecordType::BeginRequest, request_id, &body.encode())
}

/// Writes a [`RecordType::AbortRequest`] record.
///
/// # Errors
/// - [`Error::InvalidRequestId`] if `request_id` is 0
/// - [`Error::Io`] if the writer fails
///
/// ```
/// let mut pipe = Vec::new();
/// fcgi::record::write_abort_request(&mut pipe, 1)?;
/// assert_eq!(pipe, b"\x01\x02\0\x01\0\0\0\0");
/// # Ok::<(), fcgi::Error>(())
/// ```
pub fn write_abort_request(writer: &mut impl Write, request_id: u16) -> Result<()> {
    write_record(writer, RecordType::AbortRequest, request_id, &[])
}

/// Writes a [`RecordType::EndRequest`] record.
///
/// # Errors
/// - [`Error::InvalidRequestId`] if `request_id` is 0
/// - [`Error::Io`] if the writer fails
///
/// ```
/// use fcgi::record::{self, EndRequest};
///
/// let mut pipe = Vec::new();
/// record::write_end_request(&mut pipe, 1, EndRequest { app_status: 1, ..EndRequest::default() })?;
/// assert_eq!(pipe, b"\x01\x03\0\x01\0\x08\0\0\0\0\0\x01\0\0\0\0");
/// # Ok::<(), fcgi::Error>(())
/// ```
pub fn write_end_request(writer: &mut impl Write, request_id: u16, body: EndRequest) -> Result<()> {
    write_record(writer, RecordType::EndRequest, request_id, &body.encode())
}

/// Writes a [`RecordType::UnknownType`] record.
///
/// # Errors
/// [`Error::Io`] if the writer fails.
///
/// ```
/// use fcgi::record::{self, RecordType, UnknownType};
///
/// let mut pipe = Vec::new();
/// let body = UnknownType { record_type: RecordType::Unknown(99) };
/// record::write_unknown_type(&mut pipe, body)?;
/// assert_eq!(pipe, b"\x01\x0b\0\0\0\x08\0\0\x63\0\0\0\0\0\0\0");
/// # Ok::<(), fcgi::Error>(())
/// ```
pub fn write_unknown_type(writer: &mut impl Write, body: UnknownType) -> Result<()> {
    write_record(writer, RecordType::UnknownType, NULL_REQUEST_ID, &body.encode())
}

/// Fills `buffer` with bytes of a record.
fn read_all(reader: &mut impl Read, buffer: &mut [u8]) -> Result<()> {
    reader.read_exact(buffer).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::UnexpectedEof("a record"),
        _ => error.into(),
    })
}
