//! Streams of records: reading records from a connection, and writing data as records.
//!
//! A stream is the concatenated content of the records of one type, and an empty record ends it
//! ([FastCGI specification], section 3.3). [`RecordReader`] reads records through one buffer.
//! [`StreamWriter`] is a [`Write`](std::io::Write) that splits data into records. Both work on
//! either side of a connection.
//!
//! ```
//! use fcgi::record::RecordType;
//! use fcgi::stream::{RecordReader, StreamWriter};
//! use std::io::Write;
//!
//! let mut writer = StreamWriter::new(Vec::new(), RecordType::Stdin, 1)?;
//! writer.write_all(b"name=ferris")?;
//! let sent = writer.finish()?;
//!
//! let mut reader = RecordReader::new(&sent[..]);
//! let mut received = Vec::new();
//! while reader.next_header()?.is_some_and(|header| header.content_len > 0) {
//!     received.extend_from_slice(reader.fill_content()?);
//! }
//! assert_eq!(received, b"name=ferris");
//! # Ok::<(), fcgi::Error>(())
//! ```
//!
//! [FastCGI specification]: https://fastcgi-archives.github.io/FastCGI_Specification.html

mod buffer;
mod framing;
mod input;
mod length;
mod reader;
mod state;
mod writer;

pub(crate) use self::buffer::RecordBuffer;
pub(crate) use self::framing::DIRECT_LEN;
pub(crate) use self::input::{StreamReader, StreamSource};
pub(crate) use self::length::StreamLength;
pub(crate) use self::reader::retry_interrupted;
pub use self::reader::RecordReader;
pub(crate) use self::state::StreamState;
pub use self::writer::StreamWriter;
