use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek};

/// The body of a request, for [`Client::send`](crate::Client::send) and
/// [`Client::fetch`](crate::Client::fetch).
///
/// Both accept any of these types:
///
/// | Type | Body |
/// | --- | --- |
/// | `&[u8]`, `&[u8; N]`, `&str`, `&Vec<u8>`, `&String` | bytes that the caller keeps |
/// | `Vec<u8>`, `String` | bytes that the request owns |
/// | [`io::Empty`] | no bytes |
/// | [`File`] | what follows the position of the file |
/// | [`io::Stdin`] | what is read from stdin |
/// | `&mut R`, where `R` is [`Read`] and [`Send`] | what is read from `R` |
///
/// [`Body::from_reader`] creates a body from any other reader.
///
/// Reading a body in memory or a regular file does not wait for another program. If such a body has
/// at most 2 MiB, the calling thread sends it, as long as the application keeps reading. Otherwise
/// the calling thread sends only the first part, and another thread sends the rest while the
/// response is received.
///
/// ```
/// use fcgi::client::Body;
/// use fcgi::{Client, Params};
/// use std::io::{self, Read};
///
/// fn upload(client: &Client, params: &Params, input: impl Read + Send) -> fcgi::Result<u32> {
///     let (_, completion) = client.send(params, Body::from_reader(input), |response| {
///         io::copy(&mut response.stdout, &mut io::stdout())
///     })?;
///     Ok(completion.app_status)
/// }
/// ```
pub struct Body<'a>(Kind<'a>);

enum Kind<'a> {
    Memory(Cursor<Cow<'a, [u8]>>),
    File(File),
    Borrowed(&'a mut (dyn Read + Send)),
    Owned(Box<dyn Read + Send + 'a>),
}

impl<'a> Body<'a> {
    /// Creates a body that is read from `reader`. Allocates memory for the reader, which a body
    /// from a `&mut` reference does not.
    pub fn from_reader(reader: impl Read + Send + 'a) -> Self {
        Self(Kind::Owned(Box::new(reader)))
    }

    fn from_bytes(bytes: impl Into<Cow<'a, [u8]>>) -> Self {
        Self(Kind::Memory(Cursor::new(bytes.into())))
    }

    /// Returns the number of bytes that are left of a body in memory. Returns `None` for others.
    #[inline]
    pub(super) fn len_in_memory(&self) -> Option<u64> {
        match &self.0 {
            Kind::Memory(bytes) => Some(bytes.get_ref().len() as u64 - bytes.position()),
            Kind::File(_) | Kind::Borrowed(_) | Kind::Owned(_) => None,
        }
    }

    /// Returns the number of bytes that are left of a body in memory or of a regular file. Returns
    /// `None` for other bodies, and for a file of length 0: it may be a virtual file, such as one
    /// in `/proc`.
    #[inline]
    pub(super) fn known_len(&self) -> Option<u64> {
        match &self.0 {
            Kind::File(file) => file_len(file),
            Kind::Memory(_) | Kind::Borrowed(_) | Kind::Owned(_) => self.len_in_memory(),
        }
    }

    /// Returns the next bytes, at most `max`, of a body in memory. Other bodies have none.
    pub(super) fn next_in_memory(&mut self, max: usize) -> &[u8] {
        let Kind::Memory(bytes) = &mut self.0 else { return &[] };
        let start = bytes.position() as usize;
        let end = bytes.get_ref().len().min(start.saturating_add(max));
        bytes.set_position(end as u64);
        &bytes.get_ref()[start..end]
    }
}

/// Returns the number of bytes after the position of a regular file, unless the file has none.
#[cold]
fn file_len(mut file: &File) -> Option<u64> {
    let metadata = file.metadata().ok().filter(|metadata| metadata.is_file())?;
    let position = file.stream_position().ok()?;
    Some(metadata.len().saturating_sub(position)).filter(|_| metadata.len() > 0)
}

impl Read for Body<'_> {
    #[inline]
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Kind::Memory(bytes) => bytes.read(out),
            Kind::File(file) => file.read(out),
            Kind::Borrowed(reader) => reader.read(out),
            Kind::Owned(reader) => reader.read(out),
        }
    }
}

impl fmt::Debug for Body<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("known_len", &self.known_len()).finish_non_exhaustive()
    }
}

impl<'a> From<&'a [u8]> for Body<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::from_bytes(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Body<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self::from_bytes(&bytes[..])
    }
}

impl<'a> From<&'a Vec<u8>> for Body<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Self::from_bytes(&bytes[..])
    }
}

impl<'a> From<&'a str> for Body<'a> {
    fn from(text: &'a str) -> Self {
        Self::from_bytes(text.as_bytes())
    }
}

impl<'a> From<&'a String> for Body<'a> {
    fn from(text: &'a String) -> Self {
        Self::from_bytes(text.as_bytes())
    }
}

impl From<Vec<u8>> for Body<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Self::from_bytes(bytes)
    }
}

impl From<String> for Body<'_> {
    fn from(text: String) -> Self {
        Self::from_bytes(text.into_bytes())
    }
}

impl From<io::Empty> for Body<'_> {
    fn from(_: io::Empty) -> Self {
        Self::from_bytes(&[][..])
    }
}

impl From<File> for Body<'_> {
    fn from(file: File) -> Self {
        Self(Kind::File(file))
    }
}

impl From<io::Stdin> for Body<'_> {
    fn from(stdin: io::Stdin) -> Self {
        Self::from_reader(stdin)
    }
}

impl<'a, R: Read + Send> From<&'a mut R> for Body<'a> {
    fn from(reader: &'a mut R) -> Self {
        Self(Kind::Borrowed(reader))
    }
}
