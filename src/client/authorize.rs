use super::reply::Reply;
use crate::error::Result;
use crate::params::Params;

/// The decision of an authorizer about a request (FastCGI specification, section 6.3), returned by
/// [`Client::authorize`](crate::Client::authorize).
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a request must not be served unless it is allowed"]
pub enum Authorization {
    /// The request is allowed. Add these variables to the params of the request that follows, with
    /// [`cgi::set_variable`](crate::cgi::set_variable), which replaces a variable of the same name.
    Allowed(Params),
    /// The request is denied. Send this response to the HTTP client.
    Denied(Reply),
}

impl Authorization {
    pub(super) fn from_reply(reply: Reply) -> Result<Self> {
        // The length of the body is not compared with Content-Length: whether a body is there
        // depends on the request method, and matters only to the code that passes it on.
        if reply.status()? != 200 {
            return Ok(Self::Denied(reply));
        }
        Ok(Self::Allowed(Params::from_pairs(reply.head()?.variables())?))
    }
}
