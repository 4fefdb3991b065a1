//! An HTTP client for the tests.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use ureq::http;
use ureq::Agent;

use crate::process::TEST_TIMEOUT;

/// An HTTP request. A request without a body has no `Content-Length` field, unlike one with an
/// empty body.
#[derive(Clone, Debug)]
pub struct HttpRequest {
    pub method: &'static str,
    /// The path and the query string.
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<Vec<u8>>,
}

/// An HTTP response.
#[derive(Clone, Debug)]
pub struct HttpResponse {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl HttpRequest {
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

    /// Sends the request to a port of 127.0.0.1, on a connection of its own.
    ///
    /// # Panics
    /// If there is no valid response.
    #[track_caller]
    pub fn send(&self, port: u16) -> HttpResponse {
        self.try_send(port, TEST_TIMEOUT)
            .unwrap_or_else(|error| panic!("{} {}: {error}", self.method, self.target))
    }

    /// Sends the request as `send` does. Returns an error if there is no valid response in time.
    pub fn try_send(&self, port: u16, timeout: Duration) -> Result<HttpResponse, ureq::Error> {
        let agent: Agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent("interop")
            .timeout_global(Some(timeout))
            .build()
            .into();
        let mut request = http::Request::builder()
            .method(self.method)
            .uri(format!("http://127.0.0.1:{port}{}", self.target));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let mut response = match &self.body {
            None => agent.run(request.body(()).expect("a request"))?,
            Some(body) => agent.run(request.body(&body[..]).expect("a request"))?,
        };
        let text = |(name, value): (_, &http::HeaderValue)| {
            let name: &http::HeaderName = name;
            (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        Ok(HttpResponse {
            body: response.body_mut().with_config().limit(u64::MAX).read_to_vec()?,
            status: response.status().as_u16(),
            headers: response.headers().iter().map(text).collect(),
        })
    }
}

impl HttpResponse {
    /// Returns every value of a header field.
    pub fn header_values(&self, name: &str) -> Vec<&str> {
        let fields = self.headers.iter().filter(|(header, _)| header.eq_ignore_ascii_case(name));
        fields.map(|(_, value)| value.as_str()).collect()
    }

    /// Returns the value of a header field.
    ///
    /// # Panics
    /// If the response does not have exactly one such field.
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        match self.header_values(name)[..] {
            [value] => value,
            _ => panic!("not exactly one {name} in {:?}", self.headers),
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A POST request whose body has been sent in part.
pub struct PausedRequest {
    stream: TcpStream,
    rest: Vec<u8>,
}

impl PausedRequest {
    /// Sends the head and half of the body.
    pub fn start(port: u16, target: &str, body: &[u8]) -> Self {
        let mut stream =
            TcpStream::connect(("127.0.0.1", port)).expect("a connection to the web server");
        stream.set_read_timeout(Some(TEST_TIMEOUT)).expect("a timeout");
        let (half, rest) = body.split_at(body.len() / 2);
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(half))
            .expect("half a request");
        Self { stream, rest: rest.to_vec() }
    }

    /// Sends the rest of the body.
    pub fn finish(&mut self) {
        self.stream.write_all(&self.rest).expect("the rest of a request");
    }

    /// Reads the whole response.
    #[track_caller]
    pub fn read_response(mut self) -> HttpResponse {
        let mut bytes = Vec::new();
        self.stream.read_to_end(&mut bytes).expect("a response");
        parse_response(&bytes)
    }
}

/// Parses a response that ends with its connection.
#[track_caller]
pub fn parse_response(bytes: &[u8]) -> HttpResponse {
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
    let response = HttpResponse {
        status: status.expect("a status"),
        headers,
        body: bytes[end + 4..].to_vec(),
    };
    match response.header_values("Transfer-Encoding")[..] {
        ["chunked"] => HttpResponse { body: decode_chunks(&response.body), ..response },
        _ => response,
    }
}

#[track_caller]
fn decode_chunks(mut rest: &[u8]) -> Vec<u8> {
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

/// Returns whether a web server accepts connections.
pub fn is_listening(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}
