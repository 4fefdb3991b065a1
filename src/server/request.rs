use std::fmt;
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::output::Output;
use super::stdin::Stdin;
use crate::error::Result;
use crate::net::Stream;
use crate::params::Params;
use crate::record::{EndRequest, Header, ProtocolStatus, RecordType, Role, HEADER_LEN};
use crate::stream::{RecordBuffer, StreamWriter};

/// A request, and the answer to it; shaped like [`std::process::Child`].
///
/// Its streams are fields of their own, so that they can be used side by side:
///
/// ```
/// use fcgi::server::{HandlerResult, Request};
/// use std::io::{self, Write};
///
/// fn echo(request: &mut Request) -> HandlerResult {
///     request.stdout.write_all(b"Content-Type: application/octet-stream\r\n\r\n")?;
///     for (name, _value) in request.params {
///         request.stderr.write_all(name)?;
///     }
///     io::copy(&mut request.stdin, &mut request.stdout)?;
///     Ok(())
/// }
/// ```
///
/// A request ends with [`finish`](Self::finish) or [`fail`](Self::fail), which
/// [`Server`](super::Server) calls by itself. One that is dropped instead leaves the web server
/// with an answer that breaks off.
#[derive(Debug)]
pub struct Request<'a> {
    /// What the application is asked to be; one of those in
    /// [`Config::roles`](super::Config::roles).
    pub role: Role,
    /// The parameters: the CGI variables of the HTTP request, and those that the web server was
    /// configured to add.
    pub params: &'a Params,
    /// The body of the HTTP request. For a filter, the file follows in [`data`](Stdin::data).
    pub stdin: Stdin<'a>,
    /// The response: header fields as RFC 3875 section 6 has them, an empty line, the body. It is
    /// gathered in a buffer; `flush` sends what there is.
    pub stdout: StreamWriter<Output<'a>>,
    /// Messages for the web server's log. They are gathered too, and leave with `flush` or at the
    /// end of the request.
    pub stderr: StreamWriter<Output<'a>>,
    /// What END_REQUEST tells the web server, like the exit status of a CGI program. Default 0.
    pub app_status: u32,
    pub(super) id: u16,
    pub(super) ending: &'a mut Ending,
}

/// What a request leaves behind for its connection.
#[derive(Debug, Default)]
pub(super) struct Ending {
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
    pub(super) outcome: Outcome,
}

/// How the last request of a connection ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It has not.
    #[default]
    Unfinished,
    /// With END_REQUEST. Another request may follow if the input is in step; the web server owes
    /// nothing more if the whole input has come.
    Finished { is_in_step: bool, has_whole_input: bool },
    /// The connection failed.
    Failed,
}

impl Request<'_> {
    /// Whether the web server has aborted the request (section 5.4) or gone away, as far as that
    /// can be seen without waiting: a long answer may ask from time to time, and stop. (It
    /// cannot be seen behind more than 128 KiB of unread body.) Three system calls.
    ///
    /// An aborted request is ended like any other.
    pub fn is_aborted(&mut self) -> bool {
        self.stdin.is_aborted()
    }

    /// When the file that a filter works on was last changed (`FCGI_DATA_LAST_MOD`, section 6.4);
    /// `None` if that was not told.
    pub fn data_last_modified(&self) -> Option<SystemTime> {
        let seconds = self.params.decimal("FCGI_DATA_LAST_MOD")?;
        UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
    }

    /// Ends the request: what is left of both streams, their ends and END_REQUEST with
    /// [`app_status`](Self::app_status) leave in one write. Returns before the connection is
    /// closed, where it is to be.
    ///
    /// # Errors
    /// What the connection reports. It is then of no more use.
    pub fn finish(mut self) -> Result<()> {
        self.end()
    }

    /// [`finish`](Self::finish), for those who then drop the request.
    pub(super) fn end(&mut self) -> Result<()> {
        self.stdout.push_records(&self.last_records());
        if !self.stderr.is_unused() {
            self.stderr.end_stream();
        }
        let sent = self.stdout.send_after(self.stderr.complete_records());
        self.ending.outcome = match sent {
            Ok(()) => {
                let (is_in_step, has_whole_input) =
                    (self.stdin.is_reusable(), self.stdin.has_whole_input());
                Outcome::Finished { is_in_step, has_whole_input }
            }
            Err(_) => Outcome::Failed,
        };
        self.ending.stdout = self.stdout.take_memory();
        self.ending.stderr = self.stderr.take_memory();
        Ok(sent?)
    }

    /// The empty record that ends stdout, and END_REQUEST.
    fn last_records(&self) -> [u8; HEADER_LEN + 16] {
        let end = EndRequest {
            app_status: self.app_status,
            protocol_status: ProtocolStatus::RequestComplete,
        };
        let mut records = [0; HEADER_LEN + 16];
        records[..HEADER_LEN]
            .copy_from_slice(&Header::new(RecordType::Stdout, self.id, 0).encode());
        records[HEADER_LEN..].copy_from_slice(&end.record(self.id));
        records
    }

    /// Ends the request as failed: the reason goes to stderr, [`app_status`](Self::app_status)
    /// becomes 1 if it is 0, and where nothing of the response has left yet, it is replaced by
    /// a `Status: 500`. The client is not told the reason.
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    pub fn fail(mut self, reason: impl fmt::Display) -> Result<()> {
        self.end_failed(reason)
    }

    /// [`fail`](Self::fail), for those who then drop the request.
    pub(super) fn end_failed(&mut self, reason: impl fmt::Display) -> Result<()> {
        self.replace_response("500 Internal Server Error", "The application failed.")?;
        // The log of the web server is made of lines: a reason must not forge some of its own.
        let reason = reason.to_string().replace(|c: char| c.is_control(), " ");
        writeln!(self.stderr, "{reason}")?;
        self.app_status = self.app_status.max(1);
        self.end()
    }

    /// Answers with an error status and a line of text, unless something of the response has left
    /// already.
    pub(super) fn replace_response(&mut self, status: &str, text: &str) -> Result<()> {
        if self.stdout.has_sent() {
            return Ok(());
        }
        self.stdout.discard();
        Ok(write!(self.stdout, "Status: {status}\r\nContent-Type: text/plain\r\n\r\n{text}\n")?)
    }

    /// A request on its way, for a connection that has read its params.
    pub(super) fn new<'a>(
        (id, role): (u16, Role),
        params: &'a Params,
        stdin: Stdin<'a>,
        stream: &'a Stream,
        ending: &'a mut Ending,
    ) -> Request<'a> {
        ending.outcome = Outcome::Unfinished;
        let writer = |record_type, buffer: &mut Vec<u8>| {
            buffer.clear();
            {
                let buffer = RecordBuffer::new(record_type, id, std::mem::take(buffer));
                StreamWriter::with_buffer(Output(stream), buffer)
            }
        };
        let stdout = writer(RecordType::Stdout, &mut ending.stdout);
        let stderr = writer(RecordType::Stderr, &mut ending.stderr);
        Request { role, params, stdin, stdout, stderr, app_status: 0, id, ending }
    }
}
