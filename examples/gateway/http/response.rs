//! The response to an HTTP request.

use std::fmt::Display;
use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::SystemTime;

use fcgi::cgi::canonical_reason;

use super::body::RequestBody;
use super::client::Client;
use super::head::Request;
use crate::failure::Failure;

/// The status and the fields of a response, without those that concern the connection.
pub struct ResponseHead {
    status: u16,
    bytes: Vec<u8>,
    has_date: bool,
}

/// The response to a request. It can be started once.
pub struct Reply {
    stream: Arc<TcpStream>,
    client: Arc<Client>,
    /// Whether the request is a HEAD request, whose response has no body.
    is_head: bool,
    is_http10: bool,
    keeps_alive: bool,
    /// The status that was sent, or 0.
    status: u16,
    progress: Arc<Progress>,
    /// The user that an authorizer has named, for the access log.
    pub user: Option<String>,
}

/// How much of a response has been sent.
#[derive(Default)]
struct Progress {
    /// The number of bytes of the body.
    bytes: AtomicU64,
    is_complete: AtomicBool,
}

/// Writes the body of a response. If it is dropped without [`finish`](Self::finish), the connection
/// is closed, so that the client detects that the response is incomplete.
pub struct ResponseWriter {
    stream: Arc<TcpStream>,
    progress: Arc<Progress>,
    framing: Framing,
    /// Bytes of the head that are sent with the first bytes of the body.
    pending: Vec<u8>,
}

/// How the client finds the end of a response.
enum Framing {
    /// The number of bytes that are left.
    Length(u64),
    Chunked,
    /// The connection is closed.
    Close,
}

impl ResponseHead {
    pub fn new(status: u16, reason: &str) -> Self {
        Self {
            status,
            bytes: format!("HTTP/1.1 {status} {reason}\r\n").into_bytes(),
            has_date: false,
        }
    }

    /// Adds a field. The value must not contain a line break.
    pub fn field(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.has_date |= name.eq_ignore_ascii_case("Date");
        for part in [name.as_bytes(), b": ", value.as_ref(), b"\r\n"] {
            self.bytes.extend_from_slice(part);
        }
        self
    }
}

impl Reply {
    pub(super) fn new(stream: &Arc<TcpStream>, client: &Arc<Client>, request: &Request) -> Self {
        Self {
            stream: Arc::clone(stream),
            client: Arc::clone(client),
            is_head: request.method == "HEAD",
            is_http10: request.is_http10,
            keeps_alive: request.keeps_alive(),
            status: 0,
            progress: Arc::default(),
            user: None,
        }
    }

    /// Creates the reply to a request that could not be parsed.
    pub(super) fn to_invalid_request(stream: &Arc<TcpStream>, client: &Arc<Client>) -> Self {
        let (stream, client) = (Arc::clone(stream), Arc::clone(client));
        Self {
            stream,
            client,
            is_head: false,
            is_http10: false,
            keeps_alive: false,
            status: 0,
            progress: Arc::default(),
            user: None,
        }
    }

    /// Runs `action` when the client disconnects, even after the request has ended.
    pub fn on_disconnect(&self, action: impl FnOnce() + Send + 'static) {
        self.client.on_disconnect(Box::new(action));
    }

    /// Returns whether the client disconnected before it received the whole response.
    pub fn is_disconnected(&self) -> bool {
        self.client.is_disconnected() && !self.progress.is_complete.load(Ordering::SeqCst)
    }

    /// Returns the status that was sent, or 0.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Returns the number of bytes of the body that were sent.
    pub fn bytes(&self) -> u64 {
        self.progress.bytes.load(Ordering::SeqCst)
    }

    /// Closes the connection after this response.
    pub(super) fn close_after(&mut self) {
        self.keeps_alive = false;
    }

    /// Closes the connection after this response if a part of the body has not been read.
    pub fn close_if_unread(&mut self, body: Option<&mut RequestBody<'_>>) {
        self.keeps_alive &= body.is_none_or(|body| body.is_ended());
    }

    /// Returns whether the client can send another request on this connection.
    pub(super) fn is_reusable(&self) -> bool {
        self.keeps_alive && self.progress.is_complete.load(Ordering::SeqCst)
    }

    /// Returns whether only a reset of the connection may show the client that the response is
    /// incomplete: a response to an HTTP/1.0 client may end with the connection.
    pub(super) fn must_reset(&self) -> bool {
        let is_complete = self.progress.is_complete.load(Ordering::SeqCst);
        self.is_http10 && self.status != 0 && !is_complete
    }

    /// Starts the response. `length` is that of the body, if it is known. A response that has no
    /// body must still be finished.
    pub fn start(
        &mut self,
        mut head: ResponseHead,
        length: Option<u64>,
    ) -> Result<ResponseWriter, Failure> {
        if self.status != 0 {
            return Err(Failure::new(500, "the response has been started"));
        }
        self.status = head.status;
        if !head.has_date {
            head = head.field("Date", httpdate::fmt_http_date(SystemTime::now()));
        }
        let has_body = !matches!(head.status, 204 | 304);
        let framing = match length {
            _ if !has_body => Framing::Length(0),
            Some(length) => {
                head = head.field("Content-Length", length.to_string());
                Framing::Length(if self.is_head { 0 } else { length })
            }
            None if self.is_head => Framing::Length(0),
            None if self.is_http10 => Framing::Close,
            None => {
                head = head.field("Transfer-Encoding", "chunked");
                Framing::Chunked
            }
        };
        self.keeps_alive &= !matches!(framing, Framing::Close);
        if !self.keeps_alive {
            head = head.field("Connection", "close");
        } else if self.is_http10 {
            head = head.field("Connection", "keep-alive");
        }
        let pending = [&head.bytes[..], b"\r\n"].concat();
        let (stream, progress) = (Arc::clone(&self.stream), Arc::clone(&self.progress));
        Ok(ResponseWriter { stream, progress, framing, pending })
    }

    /// Sends a whole response.
    pub fn send(&mut self, head: ResponseHead, body: &[u8]) -> Result<(), Failure> {
        let is_head = self.is_head;
        let mut writer = self.start(head, Some(body.len() as u64))?;
        let written = if is_head { Ok(()) } else { writer.write_all(body) };
        written.and_then(|()| writer.finish()).map_err(disconnected)
    }

    /// Reports a failure to the client. If the response has been started, the connection is closed.
    pub fn fail(&mut self, failure: &Failure) {
        let reason = canonical_reason(failure.status).unwrap_or_default();
        let mut head =
            ResponseHead::new(failure.status, reason).field("Content-Type", "text/plain");
        if failure.status == 405 {
            head = head.field("Allow", "GET, HEAD");
        }
        // Sending fails if the response has been started or the client has disconnected.
        let _ = self.send(head, format!("{} {reason}\n", failure.status).as_bytes());
    }
}

impl ResponseWriter {
    /// Ends the response.
    pub fn finish(mut self) -> io::Result<()> {
        if let Framing::Chunked = self.framing {
            self.pending.extend_from_slice(b"0\r\n\r\n");
        }
        self.flush()?;
        let is_complete = !matches!(self.framing, Framing::Length(1..));
        self.progress.is_complete.store(is_complete, Ordering::SeqCst);
        Ok(())
    }
}

impl Write for ResponseWriter {
    /// Writes all of `data`, or as much as fits the announced length.
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let len = match self.framing {
            Framing::Length(left) => data.len().min(usize::try_from(left).unwrap_or(usize::MAX)),
            _ => data.len(),
        };
        if len == 0 {
            return Ok(0);
        }
        match &mut self.framing {
            Framing::Length(left) => *left -= len as u64,
            Framing::Chunked => self.pending.extend(format!("{len:x}\r\n").bytes()),
            Framing::Close => {}
        }
        self.pending.extend_from_slice(&data[..len]);
        if let Framing::Chunked = self.framing {
            self.pending.extend_from_slice(b"\r\n");
        }
        self.flush()?;
        self.progress.bytes.fetch_add(len as u64, Ordering::SeqCst);
        if let Framing::Length(0) = self.framing {
            self.progress.is_complete.store(true, Ordering::SeqCst);
        }
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self.stream).write_all(&self.pending)?;
        self.pending.clear();
        Ok(())
    }
}

/// Describes an error of writing to a client.
pub(super) fn disconnected(error: impl Display) -> Failure {
    Failure::new(499, format!("cannot write to the client: {error}"))
}
