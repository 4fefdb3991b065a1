//! Sends encoded requests to a server, and reads until END_REQUEST: `load WORKLOAD ADDRESS
//! [CONNECTIONS [new | hold]]`. It is also the baseline for clients.
//!
//! With `new`, each request has a connection of its own. With `hold`, each response is copied into
//! a new vector. The first response on each connection is compared with the expected one. It may
//! have additional header fields.

use std::io::Write;

use fcgi_benches::net::Socket;
use fcgi_benches::wire::{self, Scanner};
use fcgi_benches::{arguments, clock, HEAD};

/// The maximum number of bytes per read.
const BUFFER: usize = 256 * 1024;

fn main() {
    let (workload, address) = arguments();
    let connections =
        std::env::args().nth(3).map_or(1, |n| n.parse().expect("the number of connections"));
    let mode = std::env::args().nth(4);
    let (is_new, is_held) = (mode.as_deref() == Some("new"), mode.as_deref() == Some("hold"));
    let (request, response) = (&wire::request(workload, !is_new)[..], &workload.response()[..]);

    clock::measure_all(connections, || {
        let mut buffer = vec![0; BUFFER];
        let mut socket = Socket::connect_first(&address).expect("the server listens");
        let mut stdout = Vec::new();
        socket.write_all(request).expect("the first request");
        let on_stdout = |content: &[u8]| stdout.extend_from_slice(content);
        Scanner::default().read(&mut socket, &mut buffer, on_stdout).expect("the first response");
        check(&stdout, response);

        let address = &address;
        move || {
            if is_new {
                socket = Socket::connect(address).expect("a connection");
            }
            socket.write_all(request).expect("a request");
            let mut held = Vec::new();
            let on_stdout = |content: &[u8]| {
                if is_held {
                    held.extend_from_slice(content);
                }
            };
            Scanner::default().read(&mut socket, &mut buffer, on_stdout).expect("a response");
        }
    });
}

fn check(stdout: &[u8], response: &[u8]) {
    let start = String::from_utf8_lossy(&stdout[..stdout.len().min(300)]);
    let head_len = start.find("\r\n\r\n").expect("a head") + 4;
    let head = start[..head_len].to_ascii_lowercase();
    assert!(head.contains("content-type: text/plain\r\n"), "a wrong head: {start}");
    assert!(stdout[head_len..] == response[HEAD.len()..], "a wrong response: {start}");
}
