//! The header fields of a response head: their bytes, and an index of them.

use std::fmt;
use std::mem::{replace, take};

use super::syntax::Rules;
use super::{status, syntax};
use crate::error::{Error, Result};

/// The header fields of a response head, while it is parsed or built and afterwards.
#[derive(Clone, Default)]
pub(super) struct Fields {
    /// The lines of the head, as received or as they will be sent. Interim heads come first.
    pub(super) bytes: Vec<u8>,
    /// The offset in `bytes` at which the head begins, after all interim heads.
    start: usize,
    /// Describes the lines of `bytes` that were passed to [`add`](Self::add).
    index: Index,
}

/// The positions of the fields, and the values that a web server interprets.
#[derive(Clone, Default)]
struct Index {
    rules: Rules,
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
#[derive(Clone, Copy)]
struct Field {
    name: u32,
    name_end: u32,
    value: u32,
    value_end: u32,
}

/// The offsets of a line that is a header field.
#[derive(Clone, Copy)]
pub(super) struct Line {
    pub(super) start: usize,
    pub(super) colon: usize,
    /// The offset of its CR or LF.
    pub(super) end: usize,
}

impl Fields {
    /// Sets the rules for the fields that are added later.
    pub(super) fn set_rules(&mut self, rules: Rules) {
        self.index.rules = rules;
    }

    pub(super) fn rules(&self) -> Rules {
        self.index.rules
    }

    /// Returns the lines of the head, without the interim heads before it.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Returns the number of fields.
    pub(super) fn len(&self) -> usize {
        self.index.fields.len()
    }

    /// Returns the fields in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> + '_ {
        // Names are tokens and therefore ASCII.
        let name = |field: &Field| std::str::from_utf8(field.name(&self.bytes)).unwrap_or_default();
        self.index.fields.iter().map(move |field| (name(field), field.value(&self.bytes)))
    }

    /// Returns the value of the first field of this name, ignoring ASCII case.
    pub(super) fn get(&self, name: &str) -> Option<&[u8]> {
        let matches =
            |field: &&Field| field.name(&self.bytes).eq_ignore_ascii_case(name.as_bytes());
        self.index.fields.iter().find(matches).map(|field| field.value(&self.bytes))
    }

    /// Returns the code of the `Status` field.
    pub(super) fn status(&self) -> Option<u16> {
        self.index.status
    }

    /// Returns the code of the `Status` field. Without one, returns 302 if there is a `Location`,
    /// and otherwise 200 (RFC 3875, sections 6.2.1 and 6.2.3).
    pub(super) fn status_or_default(&self) -> u16 {
        self.status().unwrap_or(if self.has_location() { 302 } else { 200 })
    }

    /// Returns the number in the `Content-Length` field.
    pub(super) fn content_length(&self) -> Option<u64> {
        self.index.content_length
    }

    /// Returns whether there is a `Location` field.
    pub(super) fn has_location(&self) -> bool {
        self.index.has_location
    }

    /// Adds a line of `bytes` to the index. The name must be a token, and the value must not
    /// contain a CR, LF or NUL. Returns `false` if the field is dropped because its value is empty
    /// or it repeats an earlier one.
    #[inline]
    pub(super) fn add(&mut self, line: Line) -> Result<bool> {
        self.index.add(&self.bytes, line)
    }

    /// Checks that a complete head has a `Content-Type`, `Location` or `Status` field (RFC 3875,
    /// section 6.2).
    pub(super) fn check_required_field(&self) -> Result<()> {
        let Index { status, has_location, has_content_type, .. } = self.index;
        if has_content_type || has_location || status.is_some() {
            return Ok(());
        }
        Err(Error::MissingField)
    }

    /// Returns whether the head is that of an interim response, which precedes another head. `101
    /// Switching Protocols` is not: it ends the exchange (RFC 9110, section 15.2).
    pub(super) fn is_interim(&self) -> bool {
        matches!(self.status(), Some(100 | 102..=199))
    }

    /// Removes the fields of an interim head that ends at this offset. Another head follows it.
    pub(super) fn drop_interim(&mut self, end: usize) {
        self.start = end;
        self.index.clear();
    }

    /// Removes all fields. Keeps the memory for another head.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.start = 0;
        self.index.clear();
    }
}

impl Field {
    #[inline]
    fn name<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.name as usize..self.name_end as usize]
    }

    #[inline]
    fn value<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.value as usize..self.value_end as usize]
    }
}

impl Index {
    #[inline]
    fn add(&mut self, bytes: &[u8], line: Line) -> Result<bool> {
        let Line { start, colon, end } = line;
        let value = syntax::trim_range(bytes, colon + 1..end);
        let [name, name_end, value, value_end] =
            [start, colon, value.start, value.end].map(|offset| offset as u32);
        let field = Field { name, name_end, value, value_end };
        if value == value_end || !self.interpret(bytes, field)? {
            return Ok(false);
        }
        self.fields.push(field);
        Ok(true)
    }

    /// Checks and records a field that web servers interpret. Returns `false` if the field repeats
    /// an earlier one and must be dropped.
    #[inline]
    fn interpret(&mut self, bytes: &[u8], field: Field) -> Result<bool> {
        let (name, value) = (field.name(bytes), field.value(bytes));
        if has_name(name, b"content-type") {
            if replace(&mut self.has_content_type, true) {
                self.remove_content_type(bytes)?;
            }
        } else if has_name(name, b"content-length") {
            return self.set_content_length(syntax::parse_length(value)?);
        } else if has_name(name, b"status") {
            let code = status::parse_code(value)?;
            check_first("Status", self.status.replace(code).is_some())?;
        } else if has_name(name, b"location") {
            syntax::check_location(value, self.rules)?;
            check_first("Location", replace(&mut self.has_location, true))?;
        }
        Ok(true)
    }

    /// Removes the earlier `Content-Type` when another one follows.
    #[cold]
    fn remove_content_type(&mut self, bytes: &[u8]) -> Result<()> {
        check_first("Content-Type", self.rules == Rules::Strict)?;
        self.fields.retain(|field| !has_name(field.name(bytes), b"content-type"));
        Ok(())
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
        *self = Self { rules: self.rules, fields: take(&mut self.fields), ..Self::default() };
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
