//! The collection of name-value pairs.

use std::{fmt, mem, str};

use super::decimal::parse_decimal;
use super::iter::Iter;
use super::pair::Pair;
use crate::error::Result;

/// Name-value pairs in their order of arrival, stored in their wire form.
///
/// The pairs are a sequence of encoded bytes and an index of it. Sending them again copies the
/// bytes, and a look-up allocates no memory.
///
/// Names and values are bytes of any length. The specification defines no encoding.
/// [`get`](Self::get) returns a value that is UTF-8, and [`get_bytes`](Self::get_bytes) any value.
///
/// A name may occur more than once. A look-up then returns the last value, as PHP does, while
/// [`iter`](Self::iter) returns every pair.
///
/// ```
/// use fcgi::Params;
///
/// let mut params = Params::new();
/// params.push("REQUEST_METHOD", "GET")?;
/// params.push("QUERY_STRING", "a=1")?;
/// assert_eq!(params.get("QUERY_STRING"), Some("a=1"));
/// assert_eq!(params.as_bytes(), b"\x0e\x03REQUEST_METHODGET\x0c\x03QUERY_STRINGa=1");
/// assert_eq!(Params::parse(params.as_bytes())?, params);
/// # Ok::<(), fcgi::Error>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Params {
    /// The encoded pairs without gaps, at most `u32::MAX` bytes.
    pub(super) bytes: Vec<u8>,
    /// The offsets in `bytes` of every pair, in order. The last pair ends where `bytes` ends.
    pub(super) pairs: Vec<Pair>,
}

impl Params {
    /// Creates an empty collection. It allocates no memory until a pair is added.
    ///
    /// ```
    /// assert!(fcgi::Params::new().is_empty());
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a collection of the pairs that the iterator returns, in that order.
    ///
    /// # Errors
    /// The errors of [`push`](Self::push).
    ///
    /// ```
    /// let params = fcgi::Params::from_pairs([("FCGI_MAX_CONNS", ""), ("FCGI_MPXS_CONNS", "")])?;
    /// assert_eq!(params.len(), 2);
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn from_pairs<N, V>(pairs: impl IntoIterator<Item = (N, V)>) -> Result<Self>
    where
        N: AsRef<[u8]>,
        V: AsRef<[u8]>,
    {
        let mut params = Self::new();
        pairs.into_iter().try_for_each(|(name, value)| params.push(name, value))?;
        Ok(params)
    }

    /// Appends a pair.
    ///
    /// # Errors
    /// [`Error::ParamTooLong`](crate::Error::ParamTooLong) if the name or the value has more than
    /// 2³¹ − 1 bytes, or if all encoded pairs together would exceed 2³² − 1 bytes. The collection
    /// is then unchanged.
    ///
    /// ```
    /// let mut params = fcgi::Params::new();
    /// params.push("HTTP_COOKIE", "a=1")?;
    /// params.push("EMPTY", "")?;
    /// assert_eq!(params.get("EMPTY"), Some(""));
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn push(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<()> {
        let pair = Pair::encode(name.as_ref(), value.as_ref(), &mut self.bytes)?;
        self.pairs.push(pair);
        Ok(())
    }

    /// Removes every pair with this name and appends one with the new value.
    ///
    /// # Errors
    /// The errors of [`push`](Self::push). The pairs with this name are removed even then.
    ///
    /// ```
    /// let mut params = fcgi::Params::from_pairs([("A", "1"), ("B", "2"), ("A", "3")])?;
    /// params.set("A", "4")?;
    /// assert_eq!(params, fcgi::Params::from_pairs([("B", "2"), ("A", "4")])?);
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn set(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<()> {
        let name = name.as_ref();
        self.remove(name);
        self.push(name, value)
    }

    /// Removes every pair with this name.
    ///
    /// ```
    /// let mut params = fcgi::Params::from_pairs([("A", "1"), ("B", "2"), ("A", "3")])?;
    /// params.remove("A");
    /// assert_eq!(params, fcgi::Params::from_pairs([("B", "2")])?);
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn remove(&mut self, name: impl AsRef<[u8]>) {
        let name = name.as_ref();
        if self.get_bytes(name).is_none() {
            return;
        }
        let all = mem::take(self);
        let mut start = 0;
        for pair in &all.pairs {
            if pair.name(&all.bytes) != name {
                self.pairs.push(pair.moved_back(start - self.bytes.len() as u32));
                self.bytes.extend_from_slice(&all.bytes[start as usize..pair.end as usize]);
            }
            start = pair.end;
        }
    }

    /// Returns the last value with this name. Returns `None` if there is none, or if it is not
    /// UTF-8.
    ///
    /// ```
    /// let params = fcgi::Params::from_pairs([("A", &b"1"[..]), ("A", b"2"), ("B", b"\xff")])?;
    /// assert_eq!(params.get("A"), Some("2"));
    /// assert_eq!(params.get("B"), None);
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn get(&self, name: impl AsRef<[u8]>) -> Option<&str> {
        str::from_utf8(self.get_bytes(name)?).ok()
    }

    /// Returns the last value with this name.
    ///
    /// ```
    /// let params = fcgi::Params::from_pairs([("B", b"\xff")])?;
    /// assert_eq!(params.get_bytes("B"), Some(&b"\xff"[..]));
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn get_bytes(&self, name: impl AsRef<[u8]>) -> Option<&[u8]> {
        let name = name.as_ref();
        let (len, last) = (name.len(), name.last());
        // The length distinguishes most names, and the last byte most of the others. Names with a
        // common prefix are more frequent than names with a common suffix.
        let has_name = |pair: &&Pair| {
            let found = || pair.name(&self.bytes);
            pair.name_len() == len && found().last() == last && found() == name
        };
        Some(self.pairs.iter().rfind(has_name)?.value(&self.bytes))
    }

    /// Returns the length of the request's body in bytes, which `CONTENT_LENGTH` announces.
    ///
    /// Returns `None` if the variable is absent, empty or not a decimal number below 2⁶⁴.
    ///
    /// ```
    /// let params = fcgi::Params::from_pairs([("CONTENT_LENGTH", "12")])?;
    /// assert_eq!(params.content_length(), Some(12));
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn content_length(&self) -> Option<u64> {
        self.decimal("CONTENT_LENGTH")
    }

    /// Returns the last value with this name as a decimal number without a sign.
    pub(crate) fn decimal(&self, name: &str) -> Option<u64> {
        parse_decimal(self.get_bytes(name)?)
    }

    /// Returns an iterator over all pairs, in order.
    ///
    /// ```
    /// let params = fcgi::Params::from_pairs([("A", "1"), ("A", "2")])?;
    /// let values: Vec<_> = params.iter().map(|(_name, value)| value).collect();
    /// assert_eq!(values, [b"1", b"2"]);
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn iter(&self) -> Iter<'_> {
        Iter::new(&self.bytes, &self.pairs)
    }

    /// Returns the number of pairs.
    ///
    /// ```
    /// let params = fcgi::Params::from_pairs([("A", "1"), ("A", "2")])?;
    /// assert_eq!(params.len(), 2);
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Returns whether there are no pairs.
    ///
    /// ```
    /// let params = fcgi::Params::from_pairs([("A", "1"), ("A", "2")])?;
    /// assert!(!params.is_empty());
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Removes all pairs and keeps the allocated memory.
    ///
    /// ```
    /// let mut params = fcgi::Params::from_pairs([("A", "1")])?;
    /// params.clear();
    /// assert!(params.is_empty());
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.pairs.clear();
    }

    /// Returns the encoded pairs.
    ///
    /// ```
    /// let params = fcgi::Params::from_pairs([("A", "1"), ("B", "")])?;
    /// assert_eq!(params.as_bytes(), b"\x01\x01A1\x01\x00B");
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |(name, value)| (String::from_utf8_lossy(name), String::from_utf8_lossy(value));
        f.debug_map().entries(self.iter().map(text)).finish()
    }
}

impl<'a> IntoIterator for &'a Params {
    type Item = (&'a [u8], &'a [u8]);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}
