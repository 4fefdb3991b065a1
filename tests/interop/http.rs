//! The browser's part.

use std::io::{Read, Write};
use std::net::TcpStream;

use ureq::http::Request;
use ureq::Agent;

use crate::process::PATIENCE;

/// A request. Without a body it has no length either, which is another thing than a body of 0
/// bytes.
#[derive(Clone, Debug)]
pub struct Ask {
    pub method: &'static str,
    /// Path and query.
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<Vec<u8>>,
}

/// The response to it.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Ask {
    pub fn get(target: impl Into<String>) -> Self {
        Self { method: "GET", target: target.into(), headers: Vec::new(), body: None }
    }

    pub fn head(target: impl Into<String>) -> Self {
        Self { method: "HEAD", ..Self::get(target) }
    }

    pub fn post(target: impl Into<String>, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { method: "POST", body: Some(body.into()), ..Self::get(target) }
            .header("Content-Type", content_type)
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    pub fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// Sends it to a server on a port of this machine, on a connection of its own.
    #[track_caller]
    pub fn send(&self, port: u16) -> Answer {
        let agent: Agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent("interop")
            .timeout_global(Some(PATIENCE))
            .build()
            .into();
        let mut request = Request::builder()
            .method(self.method)
            .uri(format!("http://127.0.0.1:{port}{}", self.target));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let response = match &self.body {
            None => agent.run(request.body(()).expect("a request")),
            Some(body) => agent.run(request.body(&body[..]).expect("a request")),
        };
        let mut response =
            response.unwrap_or_else(|error| panic!("{} {}: {error}", self.method, self.target));
        let body = response.body_mut().with_config().limit(u64::MAX).read_to_vec();
        let text = |(name, value): (_, &ureq::http::HeaderValue)| {
            let name: &ureq::http::HeaderName = name;
            (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        Answer {
            status: response.status().as_u16(),
            headers: response.headers().iter().map(text).collect(),
            body: body.unwrap_or_else(|error| {
                panic!("the body of {} {}: {error}", self.method, self.target)
            }),
        }
    }
}

impl Answer {
    /// Every value of a header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let fields = self.headers.iter().filter(|(header, _)| header.eq_ignore_ascii_case(name));
        fields.map(|(_, value)| value.as_str()).collect()
    }

    /// The value of a header that is there once.
    #[track_caller]
    pub fn one(&self, name: &str) -> &str {
        match self.all(name)[..] {
            [value] => value,
            _ => panic!("not one {name} in {:?}", self.headers),
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A request that is held back in the middle, by hand.
pub struct Held {
    stream: TcpStream,
    rest: Vec<u8>,
}

impl Held {
    /// Sends the head and half of the body.
    pub fn begin(port: u16, target: &str, body: &[u8]) -> Self {
        let mut stream =
            TcpStream::connect(("127.0.0.1", port)).expect("a connection to the web server");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let (half, rest) = body.split_at(body.len() / 2);
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: held\r\nConnection: close\r\nContent-Type: text/plain\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(half))
            .expect("half a request");
        Self { stream, rest: rest.to_vec() }
    }

    /// Sends the rest.
    pub fn release(&mut self) {
        self.stream.write_all(&self.rest).expect("the rest of a request");
    }

    /// Reads the whole response.
    #[track_caller]
    pub fn answer(mut self) -> Answer {
        let mut bytes = Vec::new();
        self.stream.read_to_end(&mut bytes).expect("a response");
        parse(&bytes)
    }
}

/// Takes a response to its parts.
#[track_caller]
fn parse(bytes: &[u8]) -> Answer {
    let end = bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .expect("the end of a response head");
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let status =
        lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    let answer =
        Answer { status: status.expect("a status"), headers, body: bytes[end + 4..].to_vec() };
    match answer.all("Transfer-Encoding")[..] {
        ["chunked"] => Answer { body: join_chunks(&answer.body), ..answer },
        _ => answer,
    }
}

#[track_caller]
fn join_chunks(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = rest.iter().position(|byte| *byte == b'\n').expect("the length of a chunk");
        let len = String::from_utf8_lossy(&rest[..end]);
        let len = usize::from_str_radix(len.trim(), 16).expect("the length of a chunk");
        rest = &rest[end + 1..];
        if len == 0 {
            return body;
        }
        body.extend_from_slice(&rest[..len]);
        rest = &rest[len + 2..];
    }
}

/// Whether a web server accepts connections.
pub fn is_up(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}
