//! Streams of records: reading records from a connection, and writing data as records (sections 3.3
//! and 5.3).
//!
//! [`RecordReader`] reads through one buffer, which it uses again for ever; [`StreamWriter`] is a
//! [`Write`](io::Write) that cuts what it is given into records. Neither knows which side of the
//! protocol it is on.

mod reader;
mod writer;

use std::io;

pub use self::reader::RecordReader;
pub use self::writer::StreamWriter;
pub(crate) use self::writer::DIRECT_LEN;

/// The size of a buffer as long as nothing has needed more: a small request or response fits.
const SMALL_BUFFER: usize = 8 * 1024;

/// Calls again what a signal has interrupted.
pub(crate) fn retry(mut read: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match read() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}
