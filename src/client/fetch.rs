//! Requests whose whole response is received in memory.

use super::attempt;
use super::body::Body;
use super::input::Input;
use super::pool::Pool;
use super::reply::Reply;
use crate::error::Result;
use crate::params::Params;
use crate::record::Role;
use crate::stream::StreamLength;

/// Sends a request with this body. If the length of the body is known, `CONTENT_LENGTH` is checked,
/// or added if there is none and the body is not empty.
///
/// # Errors
/// The errors of [`Client::fetch`](crate::Client::fetch).
pub(super) fn fetch(pool: &Pool, params: &Params, body: Body<'_>) -> Result<Reply> {
    let announced = params.content_length();
    match body.known_len() {
        Some(len) if announced.is_none() && len > 0 => {
            return fetch_with_length(pool, params, body, len);
        }
        Some(len) => StreamLength::announced("CONTENT_LENGTH", announced).check(len)?,
        None => {}
    }
    fetch_as(pool, Role::Responder, params, Input::new(body, || announced))
}

/// Adds the length of the body to the params, and sends the request.
#[inline(never)]
fn fetch_with_length(pool: &Pool, params: &Params, body: Body<'_>, len: u64) -> Result<Reply> {
    let mut params = params.clone();
    params.set("CONTENT_LENGTH", len.to_string())?;
    fetch_as(pool, Role::Responder, &params, Input::new(body, || Some(len)))
}

/// Sends a request to an application in this role.
///
/// # Errors
/// The errors of [`Client::fetch`](crate::Client::fetch), except those of the length of the body.
pub(super) fn fetch_as(
    pool: &Pool,
    role: Role,
    params: &Params,
    input: Input<'_>,
) -> Result<Reply> {
    let config = pool.config();
    let max = config.max_response;
    let (stdout, completion) =
        attempt::run(pool, role, params, input, |response| response.read_to_end(max))?;
    let is_head = params.get_bytes("REQUEST_METHOD") == Some(b"HEAD");
    Ok(Reply::received(stdout, completion, config, is_head))
}
