use std::io::{self, IoSlice, Write};

use crate::net::Stream;
use crate::vectored::MAX_SLICES;

/// The writing side of an application's connection, which stdout, stderr and the answers to
/// management records share.
///
/// What is written at once is whole records, and leaves whole before anything else does, whichever
/// thread writes.
#[derive(Clone, Copy, Debug)]
pub struct Output<'a>(pub(super) &'a Stream);

impl Write for Output<'_> {
    fn write(&mut self, records: &[u8]) -> io::Result<usize> {
        self.write_all(records)?;
        Ok(records.len())
    }

    fn write_all(&mut self, records: &[u8]) -> io::Result<()> {
        self.0.write_whole(&mut [records])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut parts = [&[][..]; MAX_SLICES];
        let count = slices.len().min(MAX_SLICES);
        for (part, slice) in parts.iter_mut().zip(slices) {
            *part = slice;
        }
        let len = parts.iter().map(|part| part.len()).sum();
        self.0.write_whole(&mut parts[..count])?;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
