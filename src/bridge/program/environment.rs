//! The environment of a CGI program, from the params of its request.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use crate::params::Params;

/// Sets the environment of a CGI program: the params, and the variables that were set on the
/// command before. The latter take precedence. No part of the environment of this process is
/// inherited.
pub(super) fn set_environment(command: &mut Command, params: &Params) {
    let own: Vec<(OsString, Option<OsString>)> = command
        .get_envs()
        .map(|(name, value)| (name.to_owned(), value.map(OsStr::to_owned)))
        .collect();
    command.env_clear();
    let variables = params.iter().filter(|(name, value)| is_variable(name, value));
    command
        .envs(variables.map(|(name, value)| (OsStr::from_bytes(name), OsStr::from_bytes(value))));
    for (name, value) in own {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
}

/// Returns whether a param can be a variable of the environment, and is not `HTTP_PROXY`.
///
/// A client can set `HTTP_PROXY` with the header field `Proxy`, and many programs send their own
/// requests through the proxy that this variable names (CVE-2016-5385).
fn is_variable(name: &[u8], value: &[u8]) -> bool {
    !name.is_empty()
        && !name.iter().any(|byte| matches!(byte, b'=' | b'\0'))
        && !value.contains(&b'\0')
        && !name.eq_ignore_ascii_case(b"HTTP_PROXY")
}
