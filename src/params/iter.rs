//! The iterator over the pairs.

use std::{fmt, slice};

use super::pair::Pair;

/// An iterator over the pairs of [`Params`](super::Params), in order.
///
/// [`Params::iter`](super::Params::iter) returns it.
///
/// ```
/// let params = fcgi::Params::from_pairs([("A", "1"), ("B", "2")])?;
/// let mut pairs = params.iter();
/// assert_eq!(pairs.len(), 2);
/// assert_eq!(pairs.next(), Some((&b"A"[..], &b"1"[..])));
/// # Ok::<(), fcgi::Error>(())
/// ```
#[derive(Clone)]
pub struct Iter<'a> {
    bytes: &'a [u8],
    pairs: slice::Iter<'a, Pair>,
}

impl<'a> Iter<'a> {
    /// Creates an iterator over pairs whose offsets refer to `bytes`.
    pub(super) fn new(bytes: &'a [u8], pairs: &'a [Pair]) -> Self {
        Self { bytes, pairs: pairs.iter() }
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let pair = self.pairs.next()?;
        Some((pair.name(self.bytes), pair.value(self.bytes)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.pairs.size_hint()
    }
}

impl ExactSizeIterator for Iter<'_> {}

impl fmt::Debug for Iter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter").field("left", &self.len()).finish_non_exhaustive()
    }
}
