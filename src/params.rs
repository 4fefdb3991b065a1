//! Name-value pairs (section 3.4): the parameters of a request, and the variables of a query.

use std::fmt;
use std::io::Write;

use crate::error::{Error, Result};
use crate::record::{check_id, Header, RecordType, MAX_ALIGNED_LEN, MAX_CONTENT_LEN};

/// The greatest length of a name or value that the protocol can express.
const MAX_LEN: usize = 0x7fff_ffff;

/// The memory that a connection keeps from one request to the next, in bytes: the params of nearly
/// all requests fit.
const KEPT_BYTES: usize = 32 * 1024;

/// Name-value pairs in the order in which they came, kept as they are on the wire.
///
/// The pairs are one run of encoded bytes and an index over it: sending them again is a copy, and
/// looking one up allocates nothing. Names and values are bytes, of any length and in any encoding
/// (the specification names none); [`get`](Self::get) is for those that are text, which is nearly
/// all. A name may come more than once: [`iter`](Self::iter) gives every pair, the look-ups give
/// the last of that name, as PHP and others do.
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
    /// The encoded pairs, one behind the other, at most `u32::MAX` bytes. While params are
    /// gathered from records the index may lag behind; it covers all of them whenever the
    /// owner sees the value.
    bytes: Vec<u8>,
    /// Where each pair is in `bytes`, in their order.
    pairs: Vec<Pair>,
}

/// Offsets in the encoded bytes; the pair's lengths begin where the pair before it ends.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Pair {
    name: u32,
    value: u32,
    end: u32,
}

impl Params {
    /// No pairs; allocates nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The pairs of an iterator, in its order.
    ///
    /// # Errors
    /// As [`push`](Self::push).
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

    /// The pairs of an encoded sequence, such as a whole PARAMS stream or the content of a
    /// GET_VALUES record.
    ///
    /// # Errors
    /// [`Error::InvalidParams`] if it ends inside a pair. No length in it is trusted: what is
    /// allocated follows the bytes that are there.
    ///
    /// ```
    /// use fcgi::{Error, Params};
    /// let params = Params::parse(b"\x01\x01AB\x80\x00\x00\x01\x00C")?;
    /// assert_eq!(params.iter().collect::<Vec<_>>(), [(&b"A"[..], &b"B"[..]), (b"C", b"")]);
    /// assert!(matches!(Params::parse(b"\x05\x01NA"), Err(Error::InvalidParams(0))));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn parse(encoded: &[u8]) -> Result<Self> {
        let mut params = Self::new();
        params.push_encoded(encoded)?;
        Ok(params)
    }

    /// Appends a pair.
    ///
    /// # Errors
    /// [`Error::ParamTooLong`] for a name or value of more than 2³¹ − 1 bytes, or where all pairs
    /// together would take more than 2³² − 1; the pairs stay as they were.
    pub fn push(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<()> {
        let (name, value) = (name.as_ref(), value.as_ref());
        let too_long = [name.len(), value.len()].into_iter().find(|&len| len > MAX_LEN);
        if let Some(len) = too_long {
            return Err(Error::ParamTooLong(len));
        }
        let end = self.bytes.len() + encoded_len(name.len()) + encoded_len(value.len());
        let end =
            u32::try_from(end).map_err(|_| Error::ParamTooLong(name.len().max(value.len())))?;

        encode_len(name.len(), &mut self.bytes);
        encode_len(value.len(), &mut self.bytes);
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(value);
        let value = end - value.len() as u32;
        self.pairs.push(Pair { name: value - name.len() as u32, value, end });
        Ok(())
    }

    /// Appends the pairs of an encoded sequence; as [`parse`](Self::parse), into memory that is
    /// there already.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), and [`Error::ParamTooLong`] where all pairs together would take
    /// more than 2³² − 1 bytes; the pairs stay as they were.
    ///
    /// ```
    /// let mut params = fcgi::Params::from_pairs([("A", "1")])?;
    /// params.push_encoded(b"\x01\x01B2")?;
    /// assert_eq!(params.get("B"), Some("2"));
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn push_encoded(&mut self, encoded: &[u8]) -> Result<()> {
        let (bytes, pairs) = (self.bytes.len(), self.pairs.len());
        self.gather(encoded);
        let indexed = self.index();
        if indexed.is_err() {
            self.bytes.truncate(bytes);
            self.pairs.truncate(pairs);
        }
        indexed
    }

    /// Replaces every pair of this name by one at the end.
    ///
    /// # Errors
    /// As [`push`](Self::push).
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

    /// Takes every pair of this name out.
    pub fn remove(&mut self, name: impl AsRef<[u8]>) {
        let name = name.as_ref();
        if self.get_bytes(name).is_none() {
            return;
        }
        let all = std::mem::take(self);
        let mut start = 0;
        for pair in &all.pairs {
            if all.name(*pair) != name {
                let shift = start - self.bytes.len() as u32;
                self.bytes.extend_from_slice(all.slice(start, pair.end));
                self.pairs.push(Pair {
                    name: pair.name - shift,
                    value: pair.value - shift,
                    end: pair.end - shift,
                });
            }
            start = pair.end;
        }
    }

    /// The last value of this name, if it is UTF-8.
    pub fn get(&self, name: impl AsRef<[u8]>) -> Option<&str> {
        std::str::from_utf8(self.get_bytes(name)?).ok()
    }

    /// The last value of this name.
    pub fn get_bytes(&self, name: impl AsRef<[u8]>) -> Option<&[u8]> {
        let name = name.as_ref();
        let (len, last) = (name.len(), name.last());
        // The length tells most pairs apart, and of the others the last letter: names begin alike
        // more often.
        let is_wanted = |pair: &&Pair| {
            let found = || self.name(**pair);
            (pair.value - pair.name) as usize == len && found().last() == last && found() == name
        };
        Some(self.value(*self.pairs.iter().rfind(is_wanted)?))
    }

    /// The length of the request's body in bytes, as `CONTENT_LENGTH` announces it; `None` if it is
    /// absent, empty or no decimal number.
    pub fn content_length(&self) -> Option<u64> {
        self.decimal("CONTENT_LENGTH")
    }

    /// The value of this name as a decimal number without a sign.
    pub(crate) fn decimal(&self, name: &str) -> Option<u64> {
        let value = self.get(name)?;
        value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse().ok())?
    }

    /// Every pair, in order.
    pub fn iter(&self) -> Iter<'_> {
        Iter { params: self, pairs: self.pairs.iter() }
    }

    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there is no pair.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Takes every pair out, and keeps the memory for others.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.pairs.clear();
    }

    /// The pairs as they are on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Appends the pairs to `out` as a whole PARAMS stream (section 5.2): its records and the empty
    /// one that ends it.
    ///
    /// A pair that fits one record is never split over two: some applications cannot read one that
    /// is.
    ///
    /// # Errors
    /// [`Error::InvalidRequestId`] for id 0.
    ///
    /// ```
    /// let mut out = Vec::new();
    /// fcgi::Params::from_pairs([("A", "B")])?.encode_stream(1, &mut out)?;
    /// assert_eq!(out, b"\x01\x04\0\x01\0\x04\x04\0\x01\x01AB\0\0\0\0\x01\x04\0\x01\0\0\0\0");
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn encode_stream(&self, request_id: u16, out: &mut Vec<u8>) -> Result<()> {
        check_id(RecordType::Params, request_id)?;
        let mut rest = &self.bytes[..];
        while !rest.is_empty() {
            let (content, behind) = rest.split_at(self.record_len(rest.len()));
            encode_record(request_id, content, out);
            rest = behind;
        }
        encode_record(request_id, &[], out);
        Ok(())
    }

    /// Writes the pairs as a whole PARAMS stream, as [`encode_stream`](Self::encode_stream) makes
    /// it, in one write.
    ///
    /// # Errors
    /// [`Error::InvalidRequestId`] for id 0; else what the writer reports.
    pub fn write_stream(&self, writer: &mut impl Write, request_id: u16) -> Result<()> {
        let mut out = Vec::with_capacity(self.bytes.len() + 64);
        self.encode_stream(request_id, &mut out)?;
        Ok(writer.write_all(&out)?)
    }

    /// The content of the next record when the last `rest` of the encoded bytes are still to be
    /// sent: as many whole pairs as fit, or what fits of a pair that is too long for any
    /// record.
    fn record_len(&self, rest: usize) -> usize {
        if rest <= MAX_ALIGNED_LEN {
            return rest;
        }
        let start = self.bytes.len() - rest;
        let next = self.pairs.partition_point(|pair| pair.end as usize <= start);
        let len_to = |pair: &Pair| pair.end as usize - start;
        let first = len_to(&self.pairs[next]);
        if first > MAX_ALIGNED_LEN {
            return if first <= MAX_CONTENT_LEN { first } else { MAX_ALIGNED_LEN };
        }
        let fitting = self.pairs[next..].partition_point(|pair| len_to(pair) <= MAX_ALIGNED_LEN);
        len_to(&self.pairs[next + fitting - 1])
    }

    /// Takes every pair out, and keeps as much memory as most requests need.
    pub(crate) fn recycle(&mut self) {
        self.clear();
        if self.bytes.capacity() > KEPT_BYTES {
            *self = Self::default();
        }
    }

    /// Appends encoded bytes, which may end inside a pair; [`index`](Self::index) tells whether the
    /// last did.
    pub(crate) fn gather(&mut self, encoded: &[u8]) {
        let is_first = self.bytes.is_empty();
        self.bytes.extend_from_slice(encoded);
        if is_first {
            // Not from the copy: to read bytes that are still on their way to memory takes longer.
            self.index_from(encoded);
        }
    }

    /// Indexes what is left of the pairs that were gathered.
    pub(crate) fn index(&mut self) -> Result<()> {
        if self.indexed() < self.bytes.len() {
            let bytes = std::mem::take(&mut self.bytes);
            self.index_from(&bytes);
            self.bytes = bytes;
        }
        if u32::try_from(self.bytes.len()).is_err() {
            return Err(Error::ParamTooLong(self.bytes.len()));
        }
        match self.indexed() {
            at if at < self.bytes.len() => Err(Error::InvalidParams(at)),
            _ => Ok(()),
        }
    }

    /// Where the first pair begins that is not in the index.
    fn indexed(&self) -> usize {
        self.pairs.last().map_or(0, |pair| pair.end as usize)
    }

    /// Indexes the whole pairs of `bytes`, from where the index ends.
    fn index_from(&mut self, bytes: &[u8]) {
        if u32::try_from(bytes.len()).is_err() {
            return;
        }
        // A few at a time: the compiler keeps the length of a vector in memory.
        let mut some = [Pair::default(); 16];
        let (mut at, mut count) = (self.indexed(), some.len());
        while count == some.len() {
            count = 0;
            while let (Some(place), Some(pair)) = (some.get_mut(count), parse_pair(bytes, at)) {
                at = pair.end as usize;
                *place = pair;
                count += 1;
            }
            self.pairs.extend_from_slice(&some[..count]);
        }
    }

    fn name(&self, pair: Pair) -> &[u8] {
        self.slice(pair.name, pair.value)
    }

    fn value(&self, pair: Pair) -> &[u8] {
        self.slice(pair.value, pair.end)
    }

    fn slice(&self, from: u32, to: u32) -> &[u8] {
        &self.bytes[from as usize..to as usize]
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

/// The pairs of [`Params`], in order; made by [`Params::iter`].
#[derive(Clone)]
pub struct Iter<'a> {
    params: &'a Params,
    pairs: std::slice::Iter<'a, Pair>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let pair = *self.pairs.next()?;
        Some((self.params.name(pair), self.params.value(pair)))
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

/// The pair whose lengths begin at `at`; `None` if `bytes`, at most `u32::MAX`, end before it does.
#[inline]
fn parse_pair(bytes: &[u8], at: usize) -> Option<Pair> {
    // Nearly all are short.
    let (name_len, value_len, name) =
        if let [name_len @ ..=0x7f, value_len @ ..=0x7f] = *bytes.get(at..at + 2)? {
            (usize::from(name_len), usize::from(value_len), at + 2)
        } else {
            let (name_len, at) = parse_len(bytes, at)?;
            let (value_len, at) = parse_len(bytes, at)?;
            (name_len, value_len, at)
        };
    let value = name.checked_add(name_len)?;
    let end = value.checked_add(value_len)?;
    (end <= bytes.len()).then_some(Pair { name: name as u32, value: value as u32, end: end as u32 })
}

/// The length that begins at `at`, and the offset behind it.
#[inline]
fn parse_len(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let first = *bytes.get(at)?;
    if first < 0x80 {
        return Some((usize::from(first), at + 1));
    }
    let four: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some((u32::from_be_bytes(four) as usize & MAX_LEN, at + 4))
}

/// Appends a length in its shortest form.
fn encode_len(len: usize, out: &mut Vec<u8>) {
    match u8::try_from(len) {
        Ok(short @ 0..=0x7f) => out.push(short),
        _ => out.extend_from_slice(&(len as u32 | 0x8000_0000).to_be_bytes()),
    }
}

/// The bytes that a name or value takes with its length.
fn encoded_len(len: usize) -> usize {
    len + if len < 0x80 { 1 } else { 4 }
}

fn encode_record(request_id: u16, content: &[u8], out: &mut Vec<u8>) {
    let header = Header::new(RecordType::Params, request_id, content.len() as u16);
    out.extend_from_slice(&header.encode());
    out.extend_from_slice(content);
    out.resize(out.len() + usize::from(header.padding_len), 0);
}
