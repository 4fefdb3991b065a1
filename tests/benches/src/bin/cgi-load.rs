//! Sends requests for a CGI program to a server that runs it: `cgi-load ADDRESS CONNECTIONS
//! PROGRAM`. Each request has a connection of its own, which is the default of nginx.

use std::path::Path;

use fcgi::{Client, Params};
use fcgi_benches::clock;
use fcgi_benches::net::Socket;

fn main() -> fcgi::Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [address, connections, program] = &arguments[..] else {
        panic!("usage: cgi-load ADDRESS CONNECTIONS PROGRAM")
    };
    drop(Socket::connect_first(address)?);
    let client = Client::new(address)?;
    let params = params(program)?;
    let expected = client.fetch(&params, b"")?.stdout;
    assert!(expected.starts_with(b"Content-Type: text/plain"), "an error response");
    let connections = connections.parse().expect("a number of connections");
    clock::measure_all(connections, || {
        || assert!(client.fetch(&params, b"").expect("a response").stdout == expected)
    });
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
