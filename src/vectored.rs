//! Writes several slices with as few system calls as possible.

use std::io::{self, IoSlice, Write};

/// The maximum number of slices in one vectored write.
pub(crate) const MAX_SLICES: usize = 64;

/// Writes all parts in order.
///
/// Each part is advanced past the bytes that were written. After an error the parts hold the bytes
/// that were not written.
pub(crate) fn write_parts(writer: &mut impl Write, parts: &mut [&[u8]]) -> io::Result<()> {
    let mut written = 0;
    loop {
        // A write of empty slices alone returns 0, which must not be taken for `WriteZero`.
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
            Ok(n) => advance(parts, n),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Removes the first `n` bytes from the parts.
fn advance(parts: &mut [&[u8]], mut n: usize) {
    for part in parts {
        let used = n.min(part.len());
        *part = &part[used..];
        n -= used;
        if n == 0 {
            return;
        }
    }
}
