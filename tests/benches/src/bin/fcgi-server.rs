//! The server of this crate, with handlers as a user would write them:
//! `fcgi-server WORKLOAD ADDRESS [REQUESTS]`. It exits after REQUESTS requests.

use std::io::{BufRead, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use fcgi::server::{Config, HandlerResult, Request};
use fcgi_benches::{arguments, Workload, FILLER, HEAD, LARGE};

fn main() -> fcgi::Result<()> {
    let (workload, address) = arguments();
    let server = fcgi::Server::bind(&address)?.config(Config::new().max_connections(8192));
    if let Some(requests) = std::env::args().nth(3) {
        return serve_count(server, requests.parse().expect("the number of requests"));
    }
    match workload {
        Workload::Small | Workload::Post => server.serve(small),
        Workload::Body => server.serve(body),
        Workload::Response => {
            let page = vec![FILLER; LARGE];
            server.serve(move |request| {
                request.stdout.write_all(HEAD)?;
                request.stdout.write_all(&page)?;
                Ok(())
            })
        }
    }
}

fn small(request: &mut Request) -> HandlerResult {
    let name = request.params.get("REMOTE_ADDR").unwrap_or("stranger");
    write!(request.stdout, "Content-Type: text/plain\r\n\r\nHello, {name}.\n")?;
    Ok(())
}

fn body(request: &mut Request) -> HandlerResult {
    let mut len = 0;
    loop {
        match request.stdin.fill_buf()?.len() {
            0 => break,
            n => {
                request.stdin.consume(n);
                len += n;
            }
        }
    }
    write!(request.stdout, "Content-Type: text/plain\r\n\r\n{len}\n")?;
    Ok(())
}

/// Answers a number of requests. The response is prepared in advance, so that the instructions of
/// `write!` are not counted.
fn serve_count(server: fcgi::Server, requests: u64) -> fcgi::Result<()> {
    let (served, handle) = (AtomicU64::new(0), server.handle());
    let response = Workload::Small.response();
    server.serve(move |request| {
        if served.fetch_add(1, Ordering::Relaxed) + 1 == requests {
            handle.shutdown();
        }
        if request.params.get_bytes("REMOTE_ADDR") == Some(b"192.0.2.7") {
            request.stdout.write_all(&response)?;
        }
        Ok(())
    })
}
