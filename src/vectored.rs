//! Writes several slices with as few system calls as possible.

use std::io::{self, IoSlice, Write};

/// The maximum number of slices in one vectored write. Systems accept more, such as 1024 on Linux,
/// but the array of the slices is on the stack and takes 16 bytes for each.
pub(crate) const MAX_SLICES: usize = 65;

/// Writes all parts in order.
///
/// Each part is advanced past the bytes that were written. After an error the parts hold the bytes
/// that were not written.
pub(crate) fn write_parts(writer: &mut impl Write, parts: &mut [&[u8]]) -> io::Result<()> {
    let mut done = 0;
    loop {
        // A write of empty slices alone returns 0, which must not become the error `WriteZero`.
        done += parts[done..].iter().take_while(|part| part.is_empty()).count();
        let rest = &mut parts[done..];
        if rest.is_empty() {
            return Ok(());
        }
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let count = rest.len().min(MAX_SLICES);
        for (slice, part) in slices.iter_mut().zip(&*rest) {
            *slice = IoSlice::new(part);
        }
        match writer.write_vectored(&slices[..count]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => advance(rest, n),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Accepts at most `max` bytes in each call, and fails with `Other` after `calls` calls.
    struct Limited {
        written: Vec<u8>,
        max: usize,
        calls: usize,
    }

    impl Write for Limited {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            self.write_vectored(&[IoSlice::new(data)])
        }

        fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            assert!(slices.len() <= MAX_SLICES);
            self.calls = self.calls.checked_sub(1).ok_or(io::ErrorKind::Other)?;
            let data: Vec<u8> = slices.iter().flat_map(|slice| &**slice).copied().collect();
            let len = data.len().min(self.max);
            self.written.extend_from_slice(&data[..len]);
            Ok(len)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn all_parts_are_written_in_order() {
        let many = [&b"ab"[..]; 2 * MAX_SLICES + 1];
        let lists: [&[&[u8]]; 4] = [&[], &[b""], &[b"", b"abc", b"", b"", b"d", b""], &many];
        for parts in lists {
            for max in [1, 2, 3, 1000] {
                let mut writer = Limited { written: Vec::new(), max, calls: usize::MAX };
                write_parts(&mut writer, &mut parts.to_vec()).unwrap();
                assert_eq!(writer.written, parts.concat(), "at most {max} bytes in each call");
            }
        }
    }

    #[test]
    fn parts_hold_the_rest_after_an_error() {
        let mut parts = [&b"abc"[..], b"", b"def", b"g"];
        let mut writer = Limited { written: Vec::new(), max: 2, calls: 2 };
        let error = write_parts(&mut writer, &mut parts).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Other);
        assert_eq!((&writer.written[..], &parts.concat()[..]), (&b"abcd"[..], &b"efg"[..]));
    }

    #[test]
    fn a_writer_that_accepts_nothing_is_an_error() {
        let mut writer = Limited { written: Vec::new(), max: 0, calls: 9 };
        let error = write_parts(&mut writer, &mut [b"", b"a"]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
    }
}
