//! Code that all benchmark programs share: encoded requests and responses, sockets, and time
//! measurement.
//!
//! None of it uses the crate that is measured, so the programs of other crates can use it too.

pub mod clock;
pub mod net;
pub mod wire;

use std::str::FromStr;

/// The length of a large response and of a large body.
pub const LARGE: usize = 1024 * 1024;

/// A kind of request. A server process serves only one kind, so that it does not have to inspect
/// the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// 25 params, no body, and one line as the response.
    Small,
    /// The same with the method POST: the request may not be repeated.
    Post,
    /// 25 params, no body, and a response of 1 MiB.
    Response,
    /// 25 params, a body of 1 MiB, and its length as the response.
    Body,
}

impl Workload {
    pub const ALL: [Self; 4] = [Self::Small, Self::Post, Self::Response, Self::Body];

    pub fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Post => "post",
            Self::Response => "response",
            Self::Body => "body",
        }
    }

    /// Returns the length of the request's body.
    pub fn body_len(self) -> usize {
        if self == Self::Body {
            LARGE
        } else {
            0
        }
    }

    /// Returns the response that every server must send, head and body.
    pub fn response(self) -> Vec<u8> {
        let mut response = HEAD.to_vec();
        match self {
            Self::Small | Self::Post => response.extend(b"Hello, 192.0.2.7.\n"),
            Self::Response => response.resize(HEAD.len() + LARGE, FILLER),
            Self::Body => response.extend(format!("{LARGE}\n").bytes()),
        }
        response
    }
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|workload| workload.name() == name)
            .ok_or(format!("unknown workload {name:?}"))
    }
}

/// The head of every response.
pub const HEAD: &[u8] = b"Content-Type: text/plain\r\n\r\n";
/// The byte that fills large bodies and responses.
pub const FILLER: u8 = b'x';

/// Returns the workload and the address from the command line.
///
/// # Panics
/// If they are missing or invalid.
pub fn arguments() -> (Workload, String) {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().expect("usage: WORKLOAD ADDRESS");
    (next().parse().expect("a workload"), next())
}
