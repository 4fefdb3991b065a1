//! The server of the crate `fastcgi`: `fastcgi WORKLOAD ADDRESS`.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;

use fcgi_benches::net::is_unix;
use fcgi_benches::{arguments, Workload, FILLER, HEAD, LARGE};

fn main() {
    let (workload, address) = arguments();
    if is_unix(&address) {
        let listener = UnixListener::bind(address).expect("a listening socket");
        serve(workload, listener.as_raw_fd());
    } else {
        let listener = TcpListener::bind(address).expect("a listening socket");
        serve(workload, listener.as_raw_fd());
    }
}

fn serve(workload: Workload, listener: i32) {
    match workload {
        Workload::Small | Workload::Post => fastcgi::run_raw(small, listener),
        Workload::Body => fastcgi::run_raw(body, listener),
        Workload::Response => {
            let page = vec![FILLER; LARGE];
            fastcgi::run_raw(
                move |mut request| {
                    request
                        .stdout()
                        .write_all(HEAD)
                        .and_then(|()| request.stdout().write_all(&page))
                        .expect("a response");
                },
                listener,
            );
        }
    }
}

/// Writes the response at once, because the crate sends a record for each write.
fn small(mut request: fastcgi::Request) {
    let name = request.param("REMOTE_ADDR").unwrap_or_else(|| "stranger".into());
    let response = format!("Content-Type: text/plain\r\n\r\nHello, {name}.\n");
    request.stdout().write_all(response.as_bytes()).expect("a response");
}

fn body(mut request: fastcgi::Request) {
    let (mut buffer, mut len) = (vec![0; 64 * 1024], 0);
    loop {
        match request.stdin().read(&mut buffer).expect("a body") {
            0 => break,
            n => len += n,
        }
    }
    let response = format!("Content-Type: text/plain\r\n\r\n{len}\n");
    request.stdout().write_all(response.as_bytes()).expect("a response");
}
