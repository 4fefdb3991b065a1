//! The head of an HTTP request ([RFC 9112]).
//!
//! [RFC 9112]: https://www.rfc-editor.org/rfc/rfc9112

use std::net::SocketAddr;

use httparse::Status;

use crate::failure::Failure;

/// The maximum length of a head, in bytes.
const MAX_HEAD: usize = 64 * 1024;
const MAX_FIELDS: usize = 256;

/// A request without its body.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, Vec<u8>)>,
    /// Whether the version is 1.0 instead of 1.1.
    pub is_http10: bool,
    /// The address of the client.
    pub remote: SocketAddr,
    /// The local address of the connection.
    pub local: SocketAddr,
}

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyLength {
    Known(u64),
    Chunked,
}

impl Request {
    /// Parses the head at the start of `bytes`. Returns it with its length, or `None` if it is not
    /// complete.
    pub(super) fn parse(
        bytes: &[u8],
        (remote, local): (SocketAddr, SocketAddr),
    ) -> Result<Option<(Self, usize)>, Failure> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut head = httparse::Request::new(&mut fields);
        let len = match head.parse(bytes) {
            Ok(Status::Complete(len)) if len <= MAX_HEAD => len,
            Ok(Status::Partial) if bytes.len() < MAX_HEAD => return Ok(None),
            Ok(_) | Err(httparse::Error::TooManyHeaders) => {
                return Err(Failure::new(431, "the request head is too long"))
            }
            Err(error) => return Err(Failure::new(400, format!("invalid request: {error}"))),
        };
        let header = |field: &httparse::Header| (field.name.to_owned(), field.value.to_owned());
        let request = Self {
            method: head.method.unwrap_or_default().to_owned(),
            target: head.path.unwrap_or_default().to_owned(),
            headers: head.headers.iter().map(header).collect(),
            is_http10: head.version == Some(0),
            remote,
            local,
        };
        Ok(Some((request, len)))
    }

    /// Returns the value of a field, if there is exactly one of this name.
    pub fn header<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        let mut values = self.values(name);
        let value = values.next().filter(|_| values.next().is_none());
        value.and_then(|value| std::str::from_utf8(value).ok()).map(trim)
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let fields = self.headers.iter();
        fields.filter(move |field| field.0.eq_ignore_ascii_case(name)).map(|field| &*field.1)
    }

    /// Returns the items of the fields of this name, which are lists.
    fn items(&self, name: &str) -> Vec<String> {
        let text = |value| String::from_utf8_lossy(value).to_ascii_lowercase();
        let values: Vec<_> = self.values(name).map(text).collect();
        let items = values.iter().flat_map(|value| value.split(',')).map(trim);
        items.filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    pub fn version(&self) -> &'static str {
        if self.is_http10 {
            "HTTP/1.0"
        } else {
            "HTTP/1.1"
        }
    }

    /// Returns whether the connection may be kept open for another request of the client.
    pub(super) fn keeps_alive(&self) -> bool {
        let options = self.items("Connection");
        let has = |option: &str| options.iter().any(|item| item == option);
        !has("close") && (!self.is_http10 || has("keep-alive"))
    }

    /// Returns whether the client waits for `100 Continue` before it sends the body.
    pub(super) fn expects_continue(&self) -> bool {
        !self.is_http10 && self.items("Expect") == ["100-continue"]
    }

    /// Checks the fields that tell for which host a request is and where its body ends.
    pub(super) fn check(&self) -> Result<BodyLength, Failure> {
        if !self.is_http10 && self.values("Host").next().is_none() {
            return Err(Failure::new(400, "the request has no Host field"));
        }
        let lengths: Vec<_> = self.values("Content-Length").collect();
        if self.values("Transfer-Encoding").next().is_none() {
            return Ok(BodyLength::Known(parse_length(&lengths)?));
        }
        // Another server on the way could use the other of the two lengths.
        if !lengths.is_empty() || self.is_http10 {
            return Err(Failure::new(400, "the length of the body is ambiguous"));
        }
        self.check_transfer_coding()
    }

    /// Checks that `chunked` is the only transfer coding. A server answers with status 501 to a
    /// coding that it does not understand (RFC 9112, section 6.1).
    fn check_transfer_coding(&self) -> Result<BodyLength, Failure> {
        let codings = self.items("Transfer-Encoding");
        let is_chunked = |coding: &&String| *coding == "chunked";
        if codings.last().is_some_and(|last| last == "chunked") {
            match codings.iter().find(|coding| !is_chunked(coding)) {
                None if codings.len() == 1 => return Ok(BodyLength::Chunked),
                None => {}
                Some(coding) => {
                    let reason = format!("the transfer coding {coding:?} is not supported");
                    return Err(Failure::new(501, reason));
                }
            }
        }
        Err(Failure::new(400, format!("invalid transfer codings {codings:?}")))
    }
}

/// Removes the blanks around a value or an item. No other characters are blanks (RFC 9110, section
/// 5.6.3), so another server on the way does not remove them.
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// Parses the values of `Content-Length`. They must be equal.
fn parse_length(values: &[&[u8]]) -> Result<u64, Failure> {
    let Some(value) = values.first() else { return Ok(0) };
    let text = trim(std::str::from_utf8(value).unwrap_or_default());
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let length = text.parse().ok().filter(|_| is_number && values.iter().all(|v| v == value));
    length.ok_or_else(|| Failure::new(400, "invalid Content-Length"))
}
