//! The load, which is also the floor of a client: raw sockets, ready bytes, and reads until
//! END_REQUEST.
//!
//! `load WORKLOAD ADDRESS [CONNECTIONS [new]]`: with `new` each request has a connection of its
//! own. Of the first answer on each connection every byte is compared; its head may have more
//! fields.

use std::io::Write;

use fcgi_benches::net::Socket;
use fcgi_benches::wire::{self, Scanner};
use fcgi_benches::{arguments, clock, HEAD};

/// What is read at a time, at most.
const BUFFER: usize = 256 * 1024;

fn main() {
    let (workload, address) = arguments();
    let connections =
        std::env::args().nth(3).map_or(1, |n| n.parse().expect("the number of connections"));
    let is_new = std::env::args().nth(4).is_some();
    let (request, response) = (&wire::request(workload, !is_new)[..], &workload.response()[..]);

    clock::measure_all(connections, || {
        let mut buffer = vec![0; BUFFER];
        let mut socket = Socket::connect_first(&address).expect("the server listens");
        let mut stdout = Vec::new();
        socket.write_all(request).expect("the first request is taken");
        let take = |piece: &[u8]| stdout.extend_from_slice(piece);
        Scanner::default().read(&mut socket, &mut buffer, take).expect("the first answer");
        check(&stdout, response);

        let address = &address;
        move || {
            if is_new {
                socket = Socket::connect(address).expect("a connection");
            }
            socket.write_all(request).expect("a request is taken");
            Scanner::default().read(&mut socket, &mut buffer, |_| {}).expect("an answer");
        }
    });
}

fn check(stdout: &[u8], response: &[u8]) {
    let start = String::from_utf8_lossy(&stdout[..stdout.len().min(300)]);
    let head_len = start.find("\r\n\r\n").expect("a head") + 4;
    assert!(start[..head_len].contains("Content-Type: text/plain\r\n"), "another head: {start}");
    assert!(stdout[head_len..] == response[HEAD.len()..], "another response: {start}");
}
