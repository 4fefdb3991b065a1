//! Streams of records: reading records from a connection, and writing data as records.
//!
//! A stream is the concatenated content of the records of one type, and an empty record ends it
//! ([FastCGI specification], section 3.3). [`RecordReader`] reads records through one buffer.
//! [`StreamWriter`] is a [`Write`](std::io::Write) that splits data into records. Both work on
//! either side of a connection.
//!
//! [FastCGI specification]: https://fastcgi-archives.github.io/FastCGI_Specification.html

mod buffer;
mod framing;
mod input;
mod length;
mod reader;
mod writer;

pub(crate) use self::buffer::RecordBuffer;
pub(crate) use self::framing::DIRECT_LEN;
pub(crate) use self::input::{StreamReader, StreamSource, StreamState};
pub(crate) use self::length::StreamLength;
pub(crate) use self::reader::retry;
pub use self::reader::RecordReader;
pub use self::writer::StreamWriter;
