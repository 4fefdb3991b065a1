use std::io::{self, IoSlice, Read, Write};

use super::{
    check_id, BeginRequest, EndRequest, Header, RecordType, UnknownType, HEADER_LEN,
    MAX_ALIGNED_LEN, NULL_REQUEST_ID,
};
use crate::error::{Error, Result};

/// What padding and reserved bytes hold.
const ZEROS: [u8; 8] = [0; 8];

/// Reads a header; `None` where the input ends cleanly, before its first byte.
///
/// The caller then reads [`content_len`](Header::content_len) bytes of content and skips
/// [`padding_len`](Header::padding_len) bytes. Nothing is allocated, and not a byte behind the
/// header is read.
///
/// # Errors
/// [`Error::UnexpectedEof`] where the input ends inside the header, [`Error::UnsupportedVersion`],
/// and what the reader reports.
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

/// Reads a record: its content replaces what `content` held, its padding is skipped. `None` where
/// the input ends cleanly, before the record.
///
/// `content` never grows by more than the 65535 bytes of a record, and keeps its capacity from one
/// call to the next.
///
/// # Errors
/// [`Error::UnexpectedEof`] where the input ends inside the record, [`Error::UnsupportedVersion`],
/// and what the reader reports.
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

/// Writes a record, padded as [`padding_len`](super::padding_len) says, in one vectored write.
///
/// An empty record ends the stream of its type: this function writes one when told to, so a loop
/// over data must leave empty pieces out. For data of any length there is [`write_stream`].
///
/// # Errors
/// [`Error::ContentTooLong`] above 65535 bytes, [`Error::InvalidRequestId`] for an application
/// record with id 0 or a management record with another; then nothing was written. Else what the
/// writer reports.
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
    let padding = &ZEROS[..usize::from(header.padding_len)];
    Ok(write_parts(writer, &mut [&header.encode(), content, padding])?)
}

/// Writes data of any length as records of a stream: none for no data, and the empty record that
/// ends the stream only when [`write_record`] is told to.
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
/// [`Error::InvalidRequestId`] for id 0; else what the writer reports.
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

/// The most slices that leave in one system call.
pub(crate) const MAX_SLICES: usize = 64;

/// Writes all parts one after the other, however few bytes the writer takes at a time. The parts
/// are used up on the way: after an error they are what was not written.
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

fn read_all(reader: &mut impl Read, buffer: &mut [u8]) -> Result<()> {
    reader.read_exact(buffer).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::UnexpectedEof("a record"),
        _ => error.into(),
    })
}
