//! The header fields of an HTTP request, as `HTTP_…` variables (RFC 3875, section 4.1.18).

use std::borrow::Cow;

use super::syntax::{self, invalid_request};
use super::variables::{add, canonical_name, check_value};
use crate::error::Result;
use crate::params::Params;

/// The name and the value of a header field.
type Header<'a> = (&'a str, &'a [u8]);

/// The fields that never become an `HTTP_…` variable here. `Host`, `Content-Length` and
/// `Content-Type` are passed in other ways. Programs use the variable `HTTP_PROXY` as their own
/// configuration (CVE-2016-5385).
const EXCLUDED: [&str; 4] = ["Host", "Content-Length", "Content-Type", "Proxy"];

/// Adds one variable for each name among the header fields.
pub(super) fn add_headers(
    params: &mut Params,
    headers: &[Header<'_>],
    pass_authorization: bool,
) -> Result<()> {
    let headers = sorted_headers(headers, pass_authorization)?;
    let mut variable = String::new();
    let mut rest = &headers[..];
    while let Some(&(name, _)) = rest.first() {
        let has_same_name = |(other, _): &&Header<'_>| other.eq_ignore_ascii_case(name);
        let (group, others) = rest.split_at(rest.iter().take_while(has_same_name).count());
        variable.clear();
        variable.push_str("HTTP_");
        variable.extend(canonical_name(name));
        add(params, &variable, join_values(group))?;
        rest = others;
    }
    Ok(())
}

/// Checks all header fields. Returns those that become variables, sorted by name.
fn sorted_headers<'a>(headers: &[Header<'a>], pass_authorization: bool) -> Result<Vec<Header<'a>>> {
    let mut passed = Vec::with_capacity(headers.len());
    for &(name, value) in headers {
        check_header(name, value)?;
        let value = syntax::trim(value);
        if !value.is_empty() && is_passed(name, pass_authorization) {
            passed.push((name, value));
        }
    }
    // The sort is stable, so fields of the same name keep their order.
    passed.sort_by(|(a, _), (b, _)| lower_case(a).cmp(lower_case(b)));
    Ok(passed)
}

fn check_header(name: &str, value: &[u8]) -> Result<()> {
    if !syntax::is_token(name.as_bytes()) {
        return Err(invalid_request("header", name.as_bytes()));
    }
    check_value(name, value)
}

/// Returns whether a header field becomes a variable.
fn is_passed(name: &str, pass_authorization: bool) -> bool {
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    // An underscore would make `X_Real_IP` and `X-Real-IP` the same variable.
    let has_allowed_bytes = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    has_allowed_bytes
        && !EXCLUDED.into_iter().any(is)
        && (pass_authorization || !is("Authorization"))
        && !syntax::is_hop_by_hop(name)
}

/// Joins the values of header fields of one name into one value of the same meaning. `Cookie` has a
/// separator of its own (RFC 9113, section 8.2.3).
fn join_values<'a>(headers: &[Header<'a>]) -> Cow<'a, [u8]> {
    if let [(_, value)] = headers {
        return Cow::Borrowed(value);
    }
    let is_cookie = headers.first().is_some_and(|(name, _)| name.eq_ignore_ascii_case("Cookie"));
    let separator: &[u8] = if is_cookie { b"; " } else { b", " };
    let values: Vec<&[u8]> = headers.iter().map(|&(_, value)| value).collect();
    values.join(separator).into()
}

fn lower_case(name: &str) -> impl Iterator<Item = u8> + '_ {
    name.bytes().map(|byte| byte.to_ascii_lowercase())
}
