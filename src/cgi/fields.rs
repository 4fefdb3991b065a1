//! The header fields of a response head: their bytes, and an index of them.

use std::fmt;
use std::mem::{replace, take};

use super::{status, syntax};
use crate::error::{Error, Result};

/// The header fields of a response head, while it is parsed or built and afterwards.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Fields {
    /// The lines of the head, as received or as they will be sent.
    pub(super) bytes: Vec<u8>,
    /// Describes the lines of `bytes` that were passed to [`add`](Self::add).
    index: Index,
}

/// The positions of the fields, and the values that a web server interprets.
#[derive(Clone, Default, PartialEq, Eq)]
struct Index {
    /// Invariant: in order of appearance. Every name is a token, and no value is empty.
    fields: Vec<Field>,
    /// The code of the `Status` field.
    status: Option<u16>,
    /// The number in the `Content-Length` field.
    content_length: Option<u64>,
    /// Whether there is a `Location` field.
    has_location: bool,
    /// Whether there is a `Content-Type` field.
    has_content_type: bool,
}

/// The offsets of one field in the bytes of the head. `HeadParser` and `ResponseHead` limit a head
/// to `u32::MAX` bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Field {
    name: u32,
    name_end: u32,
    value: u32,
    value_end: u32,
}

impl Fields {
    /// Returns the number of fields.
    pub(super) fn len(&self) -> usize {
        self.index.fields.len()
    }

    /// Returns the fields in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> + '_ {
        // Names are tokens and therefore ASCII.
        let name = |field| std::str::from_utf8(self.name(field)).unwrap_or_default();
        self.index.fields.iter().map(move |field| (name(field), self.value(field)))
    }

    /// Returns the value of the first field of this name, ignoring ASCII case.
    pub(super) fn get(&self, name: &str) -> Option<&[u8]> {
        let matches = |field: &&Field| self.name(field).eq_ignore_ascii_case(name.as_bytes());
        self.index.fields.iter().find(matches).map(|field| self.value(field))
    }

    /// Returns the code of the `Status` field.
    pub(super) fn status(&self) -> Option<u16> {
        self.index.status
    }

    /// Returns the number in the `Content-Length` field.
    pub(super) fn content_length(&self) -> Option<u64> {
        self.index.content_length
    }

    /// Returns whether there is a `Location` field.
    pub(super) fn has_location(&self) -> bool {
        self.index.has_location
    }

    /// Adds the line of `bytes` that starts at `start` to the index. Its colon is at `colon`, and
    /// its CR or LF is at `end`. The name must be a token, and the value must not contain a CR, LF
    /// or NUL. Returns `false` if the field is dropped because its value is empty or it repeats an
    /// earlier one.
    #[inline]
    pub(super) fn add(&mut self, start: usize, colon: usize, end: usize) -> Result<bool> {
        self.index.add(&self.bytes, start, colon, end)
    }

    /// Checks a rule that only a complete head can be tested for: one of `Content-Type`,
    /// `Location` and `Status` must be present (RFC 3875, section 6.2).
    pub(super) fn check_complete(&self) -> Result<()> {
        let Index { status, has_location, has_content_type, .. } = self.index;
        if has_content_type || has_location || status.is_some() {
            return Ok(());
        }
        Err(Error::MissingField)
    }

    /// Removes all fields. Keeps the memory for another head.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.index.clear();
    }

    #[inline]
    fn name(&self, field: &Field) -> &[u8] {
        &self.bytes[field.name as usize..field.name_end as usize]
    }

    #[inline]
    fn value(&self, field: &Field) -> &[u8] {
        &self.bytes[field.value as usize..field.value_end as usize]
    }
}

impl Index {
    #[inline]
    fn add(&mut self, bytes: &[u8], start: usize, colon: usize, end: usize) -> Result<bool> {
        let value = syntax::trim_range(bytes, colon + 1..end);
        if value.is_empty() || !self.interpret(&bytes[start..colon], &bytes[value.clone()])? {
            return Ok(false);
        }
        let [name, name_end, value, value_end] =
            [start, colon, value.start, value.end].map(|offset| offset as u32);
        self.fields.push(Field { name, name_end, value, value_end });
        Ok(true)
    }

    /// Checks and records a field that web servers interpret. Returns `false` if the field repeats
    /// an earlier one and must be dropped.
    #[inline]
    fn interpret(&mut self, name: &[u8], value: &[u8]) -> Result<bool> {
        if has_name(name, b"content-type") {
            check_first("Content-Type", replace(&mut self.has_content_type, true))?;
        } else if has_name(name, b"content-length") {
            return self.set_content_length(syntax::parse_length(value)?);
        } else if has_name(name, b"status") {
            let code = status::parse_code(value)?;
            check_first("Status", self.status.replace(code).is_some())?;
        } else if has_name(name, b"location") {
            syntax::check_location(value)?;
            check_first("Location", replace(&mut self.has_location, true))?;
        }
        Ok(true)
    }

    #[inline]
    fn set_content_length(&mut self, length: u64) -> Result<bool> {
        match self.content_length {
            Some(other) if other != length => Err(Error::InvalidContentLength(length.to_string())),
            other => {
                self.content_length = Some(length);
                Ok(other.is_none())
            }
        }
    }

    fn clear(&mut self) {
        self.fields.clear();
        *self = Self { fields: take(&mut self.fields), ..Self::default() };
    }
}

/// Returns whether a token is the name `lower`, which is in lower case, ignoring ASCII case.
///
/// Setting bit 5 turns upper-case letters into lower-case ones. No other byte of a token becomes a
/// letter.
#[inline]
fn has_name<const N: usize>(token: &[u8], lower: &[u8; N]) -> bool {
    let difference = |token: &[u8; N]| {
        (0..N).fold(0, |difference, i| difference | ((token[i] | 0x20) ^ lower[i]))
    };
    token.try_into().is_ok_and(|token| difference(token) == 0)
}

/// Checks that a field that may appear once does not appear again (RFC 3875, section 6.3).
#[inline]
fn check_first(name: &str, is_repeated: bool) -> Result<()> {
    if is_repeated {
        return Err(Error::DuplicateField(name.into()));
    }
    Ok(())
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |(name, value)| (name, String::from_utf8_lossy(value));
        f.debug_map().entries(self.iter().map(text)).finish()
    }
}
