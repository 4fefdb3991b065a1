//! What the benchmarks share: requests and answers as ready bytes, sockets, and the clock.
//!
//! Nothing here uses the crate that is measured.

pub mod clock;
pub mod net;
pub mod wire;

use std::str::FromStr;

/// The length of a large response and of a large body.
pub const LARGE: usize = 1024 * 1024;

/// What a request asks for. Every server is started for one kind, so that none has to look which it
/// is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// 25 params, no body, a line as the response.
    Small,
    /// The same with a response of 1 MiB.
    Response,
    /// The same with a body of 1 MiB, and its length as the response.
    Body,
}

impl Workload {
    pub const ALL: [Self; 3] = [Self::Small, Self::Response, Self::Body];

    pub fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Response => "response",
            Self::Body => "body",
        }
    }

    /// The length of the request's body.
    pub fn body_len(self) -> usize {
        if self == Self::Body {
            LARGE
        } else {
            0
        }
    }

    /// The response that every server has to give: head and body.
    pub fn response(self) -> Vec<u8> {
        let mut response = HEAD.to_vec();
        match self {
            Self::Small => response.extend(b"Hello, 192.0.2.7.\n"),
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
            .ok_or(format!("no workload {name:?}"))
    }
}

/// The head of every response.
pub const HEAD: &[u8] = b"Content-Type: text/plain\r\n\r\n";
/// What large data consists of.
pub const FILLER: u8 = b'x';

/// The workload and the address that a server or a client was started with.
///
/// # Panics
/// If there are none: the programs here are started by one another.
pub fn arguments() -> (Workload, String) {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().expect("usage: WORKLOAD ADDRESS");
    (next().parse().expect("a workload"), next())
}
