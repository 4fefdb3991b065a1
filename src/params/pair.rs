//! One encoded name-value pair (section 3.4 of the FastCGI specification).

use crate::error::{Error, Result};

/// The maximum length of a name or value in bytes: 31 bits.
const MAX_LEN: usize = 0x7fff_ffff;
/// The flag of a length that is encoded in four bytes.
const LONG_FORM: u32 = 0x8000_0000;

/// The offsets of a pair in a sequence of encoded pairs.
///
/// The pair begins, with its two lengths, where the pair before it ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) name_start: u32,
    pub(super) value_start: u32,
    pub(super) end: u32,
}

impl Pair {
    /// Parses the pair that begins at `start`. Returns `None` if `bytes` ends inside the pair.
    ///
    /// `bytes` must not be longer than `u32::MAX`.
    #[inline]
    pub(super) fn parse(bytes: &[u8], start: usize) -> Option<Self> {
        // Nearly all pairs have two short lengths.
        let (name_len, value_len, name_start) =
            if let [name_len @ ..=0x7f, value_len @ ..=0x7f] = *bytes.get(start..start + 2)? {
                (usize::from(name_len), usize::from(value_len), start + 2)
            } else {
                let (name_len, at) = parse_len(bytes, start)?;
                let (value_len, at) = parse_len(bytes, at)?;
                (name_len, value_len, at)
            };
        let value_start = name_start.checked_add(name_len)?;
        let end = value_start.checked_add(value_len)?;
        (end <= bytes.len()).then_some(Self {
            name_start: name_start as u32,
            value_start: value_start as u32,
            end: end as u32,
        })
    }

    /// Appends a pair to `out` and returns its offsets. After an error `out` is unchanged.
    pub(super) fn encode(name: &[u8], value: &[u8], out: &mut Vec<u8>) -> Result<Self> {
        if let Some(len) = [name.len(), value.len()].into_iter().find(|&len| len > MAX_LEN) {
            return Err(Error::ParamTooLong(len));
        }
        let end = out.len() + encoded_len(name.len()) + encoded_len(value.len());
        let end = u32::try_from(end).map_err(|_| Error::ParamTooLong(end))?;

        encode_len(name.len(), out);
        encode_len(value.len(), out);
        out.extend_from_slice(name);
        out.extend_from_slice(value);
        let value_start = end - value.len() as u32;
        Ok(Self { name_start: value_start - name.len() as u32, value_start, end })
    }

    /// Returns the length of the name in bytes.
    pub(super) fn name_len(self) -> usize {
        (self.value_start - self.name_start) as usize
    }

    /// Returns the name.
    pub(super) fn name(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.name_start as usize..][..self.name_len()]
    }

    /// Returns the value.
    pub(super) fn value(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.value_start as usize..][..(self.end - self.value_start) as usize]
    }

    /// Returns the offsets of this pair after `distance` bytes before it were removed.
    pub(super) fn moved_back(self, distance: u32) -> Self {
        Self {
            name_start: self.name_start - distance,
            value_start: self.value_start - distance,
            end: self.end - distance,
        }
    }
}

/// Parses the length that begins at `start`. Returns it with the offset of the next byte.
#[inline]
fn parse_len(bytes: &[u8], start: usize) -> Option<(usize, usize)> {
    let first = *bytes.get(start)?;
    if first < 0x80 {
        return Some((usize::from(first), start + 1));
    }
    let four: [u8; 4] = bytes.get(start..start + 4)?.try_into().ok()?;
    Some(((u32::from_be_bytes(four) & !LONG_FORM) as usize, start + 4))
}

/// Appends a length in its shortest form.
fn encode_len(len: usize, out: &mut Vec<u8>) {
    match u8::try_from(len) {
        Ok(short @ 0..=0x7f) => out.push(short),
        _ => out.extend_from_slice(&(len as u32 | LONG_FORM).to_be_bytes()),
    }
}

/// Returns the number of bytes of an encoded name or value, including its length.
fn encoded_len(len: usize) -> usize {
    len + if len < 0x80 { 1 } else { 4 }
}
