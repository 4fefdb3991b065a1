use super::{Client, Reply};
use crate::cgi::{self, Head};
use crate::error::Result;
use crate::params::Params;
use crate::record::Role;

/// What an authorizer has said of a request (section 6.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authorization {
    /// The request is allowed. These variables belong to the params of the request that is then
    /// made of it; each replaces one of the same name.
    Allowed(Params),
    /// The request is not allowed: this is what the HTTP client gets instead.
    Denied(Reply),
}

impl Client {
    /// Asks an authorizer whether a request is allowed. Of the params it gets those that it may
    /// have (section 6.3), and no body.
    ///
    /// # Errors
    /// As [`fetch`](Self::fetch), and those of a malformed head. Whatever they are, the request is
    /// not allowed.
    ///
    /// ```
    /// use fcgi::client::Authorization;
    /// use fcgi::{Client, Params};
    ///
    /// fn is_allowed(authorizer: &Client, params: &mut Params) -> fcgi::Result<bool> {
    ///     let Authorization::Allowed(variables) = authorizer.authorize(params)? else {
    ///         return Ok(false);
    ///     };
    ///     for (name, value) in &variables {
    ///         params.set(name, value)?;
    ///     }
    ///     Ok(true)
    /// }
    /// ```
    pub fn authorize(&self, params: &Params) -> Result<Authorization> {
        let params = cgi::for_authorizer(params.clone());
        let reply = self.fetch_as(Role::Authorizer, &params, b"")?;
        // Whether a body that it announces is there depends on the method, and matters only to who
        // sends it on.
        let (head, _) = Head::parse(&reply.stdout)?;
        if head.status() != 200 {
            return Ok(Authorization::Denied(reply));
        }
        Ok(Authorization::Allowed(Params::from_pairs(head.variables())?))
    }
}
