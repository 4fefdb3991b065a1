//! Decodes name-value pairs.

use std::mem;

use super::map::Params;
use super::pair::Pair;
use crate::error::{Error, Result};

/// The number of bytes above which the memory of earlier params is freed instead of kept for the
/// next request. The params of nearly all requests are smaller.
const MAX_REUSED_BYTES: usize = 32 * 1024;

/// The number of pairs above which the memory of earlier params is freed, however short the pairs
/// are. An index entry takes 12 bytes, although a pair may take only two.
const MAX_REUSED_PAIRS: usize = 1024;

/// The number of pairs that are appended to the index at once.
const BATCH: usize = 16;

/// A decoder of [`Params`] from chunks of bytes, which may end inside a pair.
///
/// This code is on the path of every request and avoids two costs:
///
/// - The first chunk is indexed in the caller's slice, not in the copy that [`push`](Self::push)
///   makes, because reading bytes that were written just before is slower. Most params arrive in
///   one chunk.
/// - Pairs are appended to the index in batches of 16. For single pairs the compiler would load and
///   store the length of the vector each time.
///
/// Check any change with `tests/benches/instructions`.
#[derive(Debug)]
pub(crate) struct ParamsDecoder {
    /// All bytes so far.
    bytes: Vec<u8>,
    /// The pairs in the first `indexed_len` bytes.
    pairs: Vec<Pair>,
    /// The end of the last pair in `pairs`.
    indexed_len: u32,
}

impl ParamsDecoder {
    /// Creates a decoder that reuses the memory of `reuse`, whose pairs are dropped.
    #[inline]
    pub(crate) fn new(reuse: Params) -> Self {
        let Params { mut bytes, mut pairs } = reuse;
        bytes.clear();
        pairs.clear();
        Self { bytes, pairs, indexed_len: 0 }
    }

    /// Creates a decoder that appends to `params`.
    fn append_to(params: Params) -> Self {
        let Params { bytes, pairs } = params;
        Self { indexed_len: bytes.len() as u32, bytes, pairs }
    }

    /// Appends encoded bytes, which may end inside a pair.
    #[inline]
    pub(crate) fn push(&mut self, encoded: &[u8]) {
        let is_first = self.bytes.is_empty();
        self.bytes.extend_from_slice(encoded);
        if is_first {
            self.indexed_len = index(encoded, 0, &mut self.pairs);
        }
    }

    /// Returns the number of bytes so far.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Returns the decoded pairs.
    ///
    /// # Errors
    /// - [`Error::InvalidParams`] if the last pair is incomplete
    /// - [`Error::ParamTooLong`] if there are more than 2³² − 1 bytes
    #[inline]
    pub(crate) fn finish(mut self) -> Result<Params> {
        if (self.indexed_len as usize) < self.bytes.len() {
            self.index_rest()?;
        }
        Ok(Params { bytes: self.bytes, pairs: self.pairs })
    }

    /// Returns the decoded pairs without the last one if that is incomplete.
    pub(crate) fn finish_whole_pairs(mut self) -> Params {
        let _incomplete = self.index_rest();
        self.bytes.truncate(self.indexed_len as usize);
        Params { bytes: self.bytes, pairs: self.pairs }
    }

    /// Indexes the bytes that are not yet in the index, and checks that they are whole pairs.
    #[cold]
    fn index_rest(&mut self) -> Result<()> {
        self.indexed_len = index(&self.bytes, self.indexed_len, &mut self.pairs);
        if self.indexed_len as usize == self.bytes.len() {
            return Ok(());
        }
        Err(match u32::try_from(self.bytes.len()) {
            Ok(_) => Error::InvalidParams(self.indexed_len as usize),
            Err(_) => Error::ParamTooLong(self.bytes.len()),
        })
    }
}

impl Params {
    /// Drops all pairs if they have taken more memory than most requests need, and frees it.
    #[inline]
    pub(crate) fn free_excess(&mut self) {
        if self.bytes.capacity() > MAX_REUSED_BYTES || self.pairs.capacity() > MAX_REUSED_PAIRS {
            self.free();
        }
    }

    #[cold]
    fn free(&mut self) {
        *self = Self::new();
    }

    /// Parses encoded pairs, such as a whole PARAMS stream or the content of a GET_VALUES record.
    ///
    /// Memory is allocated for the bytes in `encoded`, never for a length that they declare.
    ///
    /// # Errors
    /// - [`Error::InvalidParams`] if `encoded` ends inside a pair
    /// - [`Error::ParamTooLong`] if `encoded` has more than 2³² − 1 bytes
    ///
    /// ```
    /// use fcgi::{Error, Params};
    ///
    /// let params = Params::parse(b"\x01\x01AB\x80\x00\x00\x01\x00C")?;
    /// assert_eq!(params.iter().collect::<Vec<_>>(), [(&b"A"[..], &b"B"[..]), (b"C", b"")]);
    ///
    /// assert!(matches!(Params::parse(b"\x05\x01NA"), Err(Error::InvalidParams(0))));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn parse(encoded: &[u8]) -> Result<Self> {
        let mut decoder = ParamsDecoder::new(Self::new());
        decoder.push(encoded);
        decoder.finish()
    }

    /// Parses encoded pairs and appends them.
    ///
    /// # Errors
    /// The errors of [`parse`](Self::parse), where the limit of 2³² − 1 bytes applies to all pairs
    /// together. The offset in [`Error::InvalidParams`] counts from the beginning of
    /// [`as_bytes`](Self::as_bytes). The collection is unchanged after an error.
    ///
    /// ```
    /// let mut params = fcgi::Params::from_pairs([("A", "1")])?;
    /// params.push_encoded(b"\x01\x01B2")?;
    /// assert_eq!(params.get("B"), Some("2"));
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn push_encoded(&mut self, encoded: &[u8]) -> Result<()> {
        let (bytes_len, pairs_len) = (self.bytes.len(), self.pairs.len());
        let mut decoder = ParamsDecoder::append_to(mem::take(self));
        decoder.push(encoded);
        let outcome = decoder.index_rest();
        (self.bytes, self.pairs) = (decoder.bytes, decoder.pairs);
        if outcome.is_err() {
            self.bytes.truncate(bytes_len);
            self.pairs.truncate(pairs_len);
        }
        outcome
    }
}

/// Appends the whole pairs of `bytes` from `start` on to `pairs`. Returns the end of the last one.
///
/// Does nothing if `bytes` is longer than `u32::MAX`.
fn index(bytes: &[u8], start: u32, pairs: &mut Vec<Pair>) -> u32 {
    if u32::try_from(bytes.len()).is_err() {
        return start;
    }
    // The compiler omits overflow checks, because the offset comes from a `u32` everywhere.
    let mut start = start as usize;
    let mut batch = [Pair::default(); BATCH];
    loop {
        for count in 0..BATCH {
            let Some(pair) = Pair::parse(bytes, start) else {
                pairs.extend_from_slice(&batch[..count]);
                return start as u32;
            };
            start = pair.end as usize;
            batch[count] = pair;
        }
        pairs.extend_from_slice(&batch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs with lengths of one and of four bytes, more than two batches in all.
    fn sample() -> Params {
        let long = "L".repeat(200);
        let mut params = Params::from_pairs([("A", "1"), ("EMPTY", ""), (&long, &long)]).unwrap();
        for _ in 0..2 * BATCH {
            params.push("", "").unwrap();
        }
        params
    }

    fn decoder_of(chunks: &[&[u8]]) -> ParamsDecoder {
        let mut decoder = ParamsDecoder::new(Params::new());
        for chunk in chunks {
            decoder.push(chunk);
        }
        decoder
    }

    #[test]
    fn pairs_survive_every_cut_into_two_chunks() {
        let expected = sample();
        for at in 0..=expected.as_bytes().len() {
            let (first, second) = expected.as_bytes().split_at(at);
            let decoder = decoder_of(&[first, second]);
            assert_eq!(decoder.len(), expected.as_bytes().len());
            assert_eq!(decoder.finish().unwrap(), expected, "cut at {at}");
        }
    }

    #[test]
    fn pairs_survive_chunks_of_one_byte() {
        let expected = sample();
        let chunks: Vec<&[u8]> = expected.as_bytes().chunks(1).collect();
        assert_eq!(decoder_of(&chunks).finish().unwrap(), expected);
    }

    #[test]
    fn an_incomplete_pair_is_an_error_or_is_dropped() {
        let all = sample();
        let mut ends: Vec<usize> = all.pairs.iter().map(|pair| pair.end as usize).collect();
        ends.insert(0, 0);
        for len in 0..all.bytes.len() {
            let whole = *ends.iter().rfind(|&&end| end <= len).unwrap();
            let (first, second) = all.bytes[..len].split_at(len / 2);
            match decoder_of(&[first, second]).finish() {
                Ok(params) => assert_eq!((params.bytes.len(), whole), (len, len)),
                Err(Error::InvalidParams(at)) => assert!(at == whole && at < len, "{at} of {len}"),
                Err(error) => panic!("{error}"),
            }
            let params = decoder_of(&[first, second]).finish_whole_pairs();
            assert_eq!(params, Params::parse(&all.bytes[..whole]).unwrap());
        }
    }

    #[test]
    fn memory_is_reused_up_to_a_limit() {
        for (bytes_len, pairs_len, is_kept) in [
            (MAX_REUSED_BYTES, MAX_REUSED_PAIRS, true),
            (MAX_REUSED_BYTES + 1, 10, false),
            (10, MAX_REUSED_PAIRS + 1, false),
        ] {
            let (bytes, pairs) = (Vec::with_capacity(bytes_len), Vec::with_capacity(pairs_len));
            let mut params = Params { bytes, pairs };
            params.free_excess();
            let decoder = ParamsDecoder::new(params);
            let capacities = (decoder.bytes.capacity(), decoder.pairs.capacity());
            assert_eq!(capacities, if is_kept { (bytes_len, pairs_len) } else { (0, 0) });
        }
    }

    #[test]
    fn pairs_of_reused_params_are_dropped() {
        let mut decoder = ParamsDecoder::new(sample());
        assert_eq!(decoder.len(), 0);
        decoder.push(b"\x01\x01B2");
        assert_eq!(decoder.finish().unwrap(), Params::from_pairs([("B", "2")]).unwrap());
    }
}
