//! When a request is sent again.
//!
//! The same rules apply to [`Client::fetch`], [`send`] and [`begin`]. A request may be repeated if
//! its method is idempotent, and its first write carries all of it.
//!
//! Before a request is sent on a kept connection, the connection is checked, and replaced by a new
//! one if the application has closed it. [`Retry::probe_wait`] decides how:
//!
//! | May be repeated | Idle for | Application | Check |
//! | --- | --- | --- | --- |
//! | yes | less than [`RECENT`] | any | none |
//! | yes | longer | any | check without waiting |
//! | no | any | known to keep connections open | check without waiting |
//! | no | any | not known | wait for the end of input until idle for [`SETTLED`] |
//!
//! The last row is necessary because an application that closes the connection after each response
//! may do so a moment after the client has received the response. The second request on a
//! connection shows that the application keeps connections open.
//!
//! `begin` checks the connection before its caller writes the body. It assumes that the first write
//! will carry the whole request if no body is announced.
//!
//! The application may close a kept connection after the check. [`Retry::after_write`] decides what
//! follows the first write:
//!
//! | Connection | May be repeated | Written | Action |
//! | --- | --- | --- | --- |
//! | new | either | anything | receive the response |
//! | kept | either | nothing | send again |
//! | kept | no | a part, or all | receive the response |
//! | kept | yes | a part, or all | wait for the response |
//!
//! [`AfterWrite::AwaitResponse`] waits for the first byte of the response:
//!
//! | Received | Action |
//! | --- | --- |
//! | a byte of the response | receive the response |
//! | end or error before the first byte | send again |
//! | nothing before the read timeout or the deadline | fail with `TimedOut` |
//!
//! A request is sent again on a new connection, and therefore only once. A write that times out
//! fails with `TimedOut` in every row.
//!
//! `Reserved::check` carries out the first table. `attempt::run` carries out the others for `fetch`
//! and `send`. For `begin`, the body sends the request again if nothing was written
//! (`SharedRequest::send_first`), and the response waits and sends it again otherwise
//! (`Pooled::start`).
//!
//! [`Client::fetch`]: crate::Client::fetch
//! [`send`]: crate::Client::send
//! [`begin`]: crate::Client::begin

use std::time::Duration;

use super::socket::Progress;
use crate::params::Params;

/// A request that may be repeated is sent without a check on a connection that has been idle for
/// less than this. Requests sent back to back then save three system calls.
const RECENT: Duration = Duration::from_millis(1);

/// After this time without a request, an application that closes the connection after each response
/// has closed it, even on a busy machine.
const SETTLED: Duration = Duration::from_millis(100);

/// When a request is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retry {
    /// Never, because the connection is new.
    Never,
    /// If nothing could be written, because the method is not idempotent.
    IfUnsent,
    /// Also if no byte of the response arrives, provided that the first write carries the whole
    /// request.
    IfUnanswered,
}

/// What follows the first write of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterWrite {
    /// Receive the response. The request is not sent again.
    Receive,
    /// Send the request again on a new connection.
    SendAgain,
    /// Wait for the first byte of the response, and send the request again if none arrives.
    AwaitResponse,
}

impl Retry {
    /// Creates the rule for a request with these params.
    #[inline]
    pub(super) fn new(is_kept: bool, params: &Params) -> Self {
        if !is_kept {
            Self::Never
        } else if is_idempotent(params) {
            Self::IfUnanswered
        } else {
            Self::IfUnsent
        }
    }

    /// Returns how long the check of a connection that has been idle for `idle_for` may wait, or
    /// `None` if there is no check. If `is_whole`, the first write carries the whole request.
    #[inline]
    pub(super) fn probe_wait(
        self,
        is_whole: bool,
        idle_for: Duration,
        application_keeps_open: bool,
    ) -> Option<Duration> {
        match self {
            Self::Never => None,
            Self::IfUnanswered if is_whole => (idle_for >= RECENT).then_some(Duration::ZERO),
            _ if application_keeps_open => Some(Duration::ZERO),
            _ => Some(SETTLED.saturating_sub(idle_for)),
        }
    }

    /// Returns what follows the first write of a request. If `is_whole`, it carried the whole
    /// request, as far as `progress`.
    #[inline]
    pub(super) fn after_write(self, progress: Progress, is_whole: bool) -> AfterWrite {
        match (self, progress) {
            (Self::Never, _) => AfterWrite::Receive,
            (_, Progress::Nothing) => AfterWrite::SendAgain,
            (Self::IfUnanswered, _) if is_whole => AfterWrite::AwaitResponse,
            _ => AfterWrite::Receive,
        }
    }
}

/// Returns whether a request may reach the application twice (RFC 9110, section 9.2.2).
#[inline]
fn is_idempotent(params: &Params) -> bool {
    let method = params.get_bytes("REQUEST_METHOD").unwrap_or_default();
    [&b"GET"[..], b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"].contains(&method)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZERO: Duration = Duration::ZERO;

    #[test]
    fn method_and_connection_decide_when_a_request_is_sent_again() {
        let retry = |is_kept, method| {
            let params = Params::from_pairs([("REQUEST_METHOD", method)]).expect("params");
            Retry::new(is_kept, &params)
        };
        for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
            assert_eq!(retry(true, method), Retry::IfUnanswered, "{method}");
            assert_eq!(retry(false, method), Retry::Never, "{method}");
        }
        for method in ["POST", "PATCH", "CONNECT", "get", "", "GETX"] {
            assert_eq!(retry(true, method), Retry::IfUnsent, "{method}");
        }
        assert_eq!(Retry::new(true, &Params::new()), Retry::IfUnsent);
    }

    #[test]
    fn request_that_may_be_repeated_is_checked_unless_it_follows_another_one() {
        let just_before = RECENT.saturating_sub(Duration::from_nanos(1));
        for keeps_open in [false, true] {
            let wait = |idle_for| Retry::IfUnanswered.probe_wait(true, idle_for, keeps_open);
            assert_eq!([wait(ZERO), wait(just_before)], [None, None]);
            assert_eq!([wait(RECENT), wait(SETTLED)], [Some(ZERO), Some(ZERO)]);
        }
    }

    #[test]
    fn request_that_may_not_be_repeated_waits_until_the_connection_has_settled() {
        for (retry, is_whole) in
            [(Retry::IfUnsent, true), (Retry::IfUnsent, false), (Retry::IfUnanswered, false)]
        {
            let wait = |idle_for| retry.probe_wait(is_whole, idle_for, false);
            assert_eq!(wait(ZERO), Some(SETTLED));
            assert_eq!(wait(RECENT), SETTLED.checked_sub(RECENT));
            assert_eq!([wait(SETTLED), wait(SETTLED * 2)], [Some(ZERO), Some(ZERO)]);
            assert_eq!(retry.probe_wait(is_whole, ZERO, true), Some(ZERO));
        }
    }

    #[test]
    fn new_connection_is_not_checked() {
        for is_whole in [false, true] {
            assert_eq!(Retry::Never.probe_wait(is_whole, SETTLED, false), None);
        }
    }

    /// The rows of the table, for a request that is whole and for one that is not.
    #[test]
    fn first_write_decides_whether_a_request_is_sent_again() {
        use AfterWrite::{AwaitResponse, Receive, SendAgain};
        use Progress::{All, Nothing, Part};
        for (retry, progress, whole, not_whole) in [
            (Retry::Never, Nothing, Receive, Receive),
            (Retry::Never, Part, Receive, Receive),
            (Retry::Never, All, Receive, Receive),
            (Retry::IfUnsent, Nothing, SendAgain, SendAgain),
            (Retry::IfUnsent, Part, Receive, Receive),
            (Retry::IfUnsent, All, Receive, Receive),
            (Retry::IfUnanswered, Nothing, SendAgain, SendAgain),
            (Retry::IfUnanswered, Part, AwaitResponse, Receive),
            (Retry::IfUnanswered, All, AwaitResponse, Receive),
        ] {
            let after_write = [true, false].map(|is_whole| retry.after_write(progress, is_whole));
            assert_eq!(after_write, [whole, not_whole], "{retry:?} {progress:?}");
        }
    }
}
