//! Sends HTTP requests to a web server, on kept connections: `http-load ADDRESS CONNECTIONS`.
//!
//! The first response on each connection is compared with the expected one.

use std::io::{Read, Write};

use fcgi_benches::net::Socket;
use fcgi_benches::{clock, wire};

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [address, connections] = &arguments[..] else {
        panic!("usage: http-load ADDRESS CONNECTIONS")
    };
    let request = &request()[..];

    clock::measure_all(connections.parse().expect("the number of connections"), || {
        let mut socket = Socket::connect_first(address).expect("the web server listens");
        let (mut buffer, mut end) = (vec![0; 8 * 1024], None);
        socket.write_all(request).expect("the first request");
        let len = read_response(&mut socket, &mut buffer, &mut end);
        let first = String::from_utf8_lossy(&buffer[..len]);
        let is_expected = first.starts_with("HTTP/1.1 200 OK\r\n") && first.contains("Hello, ");
        assert!(is_expected, "a wrong response: {first}");

        move || {
            socket.write_all(request).expect("a request");
            read_response(&mut socket, &mut buffer, &mut end);
        }
    });
}

/// Reads a response and returns its length. The first one determines how all responses end.
fn read_response(socket: &mut Socket, buffer: &mut [u8], end: &mut Option<&'static [u8]>) -> usize {
    let mut len = 0;
    loop {
        match socket.read(&mut buffer[len..]).expect("a response") {
            0 => panic!("an incomplete response: {}", String::from_utf8_lossy(&buffer[..len])),
            n => len += n,
        }
        if buffer[..len].ends_with(end.get_or_insert_with(|| response_end(&buffer[..len]))) {
            return len;
        }
    }
}

/// Returns the last bytes of a response, from its head.
fn response_end(response: &[u8]) -> &'static [u8] {
    let text = String::from_utf8_lossy(response).to_ascii_lowercase();
    if text.contains("transfer-encoding: chunked") {
        b".\n\r\n0\r\n\r\n"
    } else {
        b".\n"
    }
}

/// Encodes a request with the header fields that `wire::PAIRS` contains as params.
fn request() -> Vec<u8> {
    let mut request = String::from("GET /index.php?page=2&sort=date&filter=open HTTP/1.1\r\n");
    for (name, value) in wire::PAIRS {
        if let Some(name) = name.strip_prefix("HTTP_") {
            request += &format!("{}: {value}\r\n", name.replace('_', "-"));
        }
    }
    (request + "\r\n").into_bytes()
}
