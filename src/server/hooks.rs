use std::fmt;
use std::time::{Duration, SystemTime};

use super::failure::{Failure, HandlerResult};
use super::request::Request;
use crate::error::Error;
use crate::params::Params;
use crate::record::Role;

/// A request that has ended, for [`Server::on_request_end`](super::Server::on_request_end).
///
/// The example `access_log` writes the combined log format from it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EndedRequest<'a> {
    /// The role that the web server requested.
    pub role: Role,
    /// The params. If the params exceeded the limit, this contains only those received before it.
    pub params: &'a Params,
    /// The status of the response, as its head contains it or implies it. `None` if the response
    /// has no valid head, or one of more than 16 KiB.
    pub status: Option<u16>,
    /// The number of bytes of the response after its head. The last write counts even if it has
    /// failed.
    pub body_bytes: u64,
    /// The app status in END_REQUEST.
    pub app_status: u32,
    /// When the handler was called, or when the request was rejected.
    pub started: SystemTime,
    /// How long the handler took, including the time to send the response. It is zero if the
    /// handler was not called.
    pub duration: Duration,
    /// How the request ended.
    pub outcome: Outcome<'a>,
}

/// How a request ended. Its [`Display`](fmt::Display) is a line of text for a log.
///
/// ```
/// use fcgi::server::Outcome;
///
/// let server = fcgi::Server::bind("127.0.0.1:0")?.on_request_end(|ended| {
///     if let Outcome::Failed(failure) = &ended.outcome {
///         eprintln!("{failure} after {:?}", ended.duration);
///     }
/// });
/// # Ok::<(), fcgi::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Outcome<'a> {
    /// The handler returned without an error or with a [`StatusError`](super::StatusError) below
    /// 500, and the response was sent.
    Finished,
    /// The handler has failed. If no part of its response had been sent, an error page was sent.
    Failed(Failure<'a>),
    /// The web server aborted the request or closed the connection, and the handler noticed it:
    /// reading the body failed, or [`Request::is_aborted`] or an
    /// [`AbortHandle`](super::AbortHandle) returned `true`. A close that only a write notices is
    /// [`NotSent`](Self::NotSent).
    ///
    /// This includes requests that the server aborts after
    /// [`Config::shutdown_timeout`](super::Config::shutdown_timeout).
    Aborted,
    /// The handler was not called, because the params exceeded
    /// [`Config::max_params`](super::Config::max_params), or `CONTENT_LENGTH` exceeded
    /// [`Config::max_body`](super::Config::max_body). The response with status 431 or 413 was sent.
    Rejected(&'a Error),
    /// The response could not be sent completely: after the handler had returned, by a call of
    /// [`finish_early`](Request::finish_early) whose error the handler ignored, or when the request
    /// was [rejected](Self::Rejected).
    NotSent(&'a Error),
}

impl fmt::Display for Outcome<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finished => f.write_str("finished"),
            Self::Failed(failure) => write!(f, "failed: {failure}"),
            Self::Aborted => f.write_str("aborted"),
            Self::Rejected(error) => write!(f, "rejected: {error}"),
            Self::NotSent(error) => write!(f, "response not sent: {error}"),
        }
    }
}

/// The functions that a server calls when a request ends.
#[derive(Default)]
pub(crate) struct Hooks {
    pub(super) on_request_end: Option<Box<OnRequestEnd>>,
    pub(super) error_page: Option<Box<ErrorPage>>,
}

pub(super) type OnRequestEnd = dyn Fn(&EndedRequest<'_>) + Send + Sync;
pub(super) type ErrorPage = dyn Fn(&mut Request<'_>, &Failure<'_>) -> HandlerResult + Send + Sync;
