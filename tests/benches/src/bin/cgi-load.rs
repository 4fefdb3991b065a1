//! Sends requests for a CGI program to a server that runs it: `cgi-load ADDRESS PROGRAM CONNECTIONS
//! SECONDS`. Each request has a connection of its own, which is the default of nginx. Prints the
//! number of requests per second.

use std::path::Path;
use std::time::{Duration, Instant};

use fcgi::{Client, Params};

fn main() -> fcgi::Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [address, program, connections, seconds] = &arguments[..] else {
        panic!("usage: cgi-load ADDRESS PROGRAM CONNECTIONS SECONDS")
    };
    let client = Client::new(address)?;
    let params = params(program)?;
    let expected = client.fetch(&params, b"")?.stdout;
    assert!(expected.starts_with(b"Content-Type: text/plain"), "an error response");

    let connections: u32 = connections.parse().expect("a number of connections");
    let end = Instant::now() + Duration::from_secs(seconds.parse().expect("a number of seconds"));
    let start = Instant::now();
    let count = || -> fcgi::Result<u32> {
        let mut count = 0;
        while Instant::now() < end {
            assert!(client.fetch(&params, b"")?.stdout == expected, "another response");
            count += 1;
        }
        Ok(count)
    };
    let total: u32 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..connections).map(|_| scope.spawn(count)).collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread")).sum::<fcgi::Result<_>>()
    })?;
    println!("{:.0}", f64::from(total) / start.elapsed().as_secs_f64());
    Ok(())
}

/// Returns the params that nginx sends with its file `fastcgi_params`.
fn params(program: &str) -> fcgi::Result<Params> {
    let root = Path::new(program).parent().and_then(Path::to_str).expect("an absolute path");
    Params::from_pairs([
        ("SCRIPT_FILENAME", program),
        ("DOCUMENT_ROOT", root),
        ("QUERY_STRING", ""),
        ("REQUEST_METHOD", "GET"),
        ("CONTENT_TYPE", ""),
        ("CONTENT_LENGTH", ""),
        ("SCRIPT_NAME", "/program.cgi"),
        ("REQUEST_URI", "/program.cgi"),
        ("DOCUMENT_URI", "/program.cgi"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("SERVER_SOFTWARE", "nginx/1.22.1"),
        ("REMOTE_ADDR", "192.0.2.7"),
        ("REMOTE_PORT", "50000"),
        ("SERVER_ADDR", "192.0.2.1"),
        ("SERVER_PORT", "80"),
        ("SERVER_NAME", "example.org"),
        ("REDIRECT_STATUS", "200"),
        ("HTTP_HOST", "example.org"),
        ("HTTP_USER_AGENT", "curl/7.88.1"),
        ("HTTP_ACCEPT", "*/*"),
    ])
}
