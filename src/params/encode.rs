//! Encodes pairs as a PARAMS stream.

use std::io::Write;

use super::map::Params;
use crate::error::Result;
use crate::protocol::{RecordType, MAX_ALIGNED_LEN, MAX_CONTENT_LEN};
use crate::record::{check_id, Header};

impl Params {
    /// Appends the pairs to `out` as a whole PARAMS stream, including the empty record at its end
    /// (section 5.2 of the specification).
    ///
    /// A pair that fits into one record is never split, because some applications cannot read a
    /// split pair.
    ///
    /// # Errors
    /// [`Error::InvalidRequestId`](crate::Error::InvalidRequestId) if `request_id` is 0.
    ///
    /// ```
    /// let mut out = Vec::new();
    /// fcgi::Params::from_pairs([("A", "B")])?.encode_stream(1, &mut out)?;
    /// assert_eq!(out, b"\x01\x04\0\x01\0\x04\x04\0\x01\x01AB\0\0\0\0\x01\x04\0\x01\0\0\0\0");
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn encode_stream(&self, request_id: u16, out: &mut Vec<u8>) -> Result<()> {
        check_id(RecordType::Params, request_id)?;
        let mut start = 0;
        while start < self.bytes.len() {
            let end = self.find_record_end(start);
            encode_record(request_id, &self.bytes[start..end], out);
            start = end;
        }
        encode_record(request_id, &[], out);
        Ok(())
    }

    /// Writes the pairs as a whole PARAMS stream, in one write.
    ///
    /// # Errors
    /// - [`Error::InvalidRequestId`](crate::Error::InvalidRequestId) if `request_id` is 0
    /// - [`Error::Io`](crate::Error::Io) if the writer fails
    ///
    /// ```
    /// let mut pipe = Vec::new();
    /// fcgi::Params::new().write_stream(&mut pipe, 1)?;
    /// assert_eq!(pipe, b"\x01\x04\0\x01\0\0\0\0");
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn write_stream(&self, writer: &mut impl Write, request_id: u16) -> Result<()> {
        let mut out = Vec::with_capacity(self.bytes.len() + 64);
        self.encode_stream(request_id, &mut out)?;
        Ok(writer.write_all(&out)?)
    }

    /// Finds the end of the record whose content begins at `start`.
    ///
    /// The record contains as many whole pairs as fit, or a part of a pair that is too long for a
    /// record.
    fn find_record_end(&self, start: usize) -> usize {
        if self.bytes.len() - start <= MAX_ALIGNED_LEN {
            return self.bytes.len();
        }
        let next = self.pairs.partition_point(|pair| pair.end as usize <= start);
        let pairs = &self.pairs[next..];
        let first_end = pairs[0].end as usize;
        if first_end - start > MAX_CONTENT_LEN {
            return start + MAX_ALIGNED_LEN;
        }
        let fitting = pairs.partition_point(|pair| pair.end as usize - start <= MAX_ALIGNED_LEN);
        pairs[..fitting].last().map_or(first_end, |pair| pair.end as usize)
    }
}

/// Appends a PARAMS record to `out`.
fn encode_record(request_id: u16, content: &[u8], out: &mut Vec<u8>) {
    let header = Header::new(RecordType::Params, request_id, content.len() as u16);
    out.extend_from_slice(&header.encode());
    out.extend_from_slice(content);
    header.push_padding(out);
}
