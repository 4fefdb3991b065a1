//! The smallest responder: `hello ADDRESS`, such as `hello 127.0.0.1:9000`; with no address it serves the listening socket
//! that a web server or process manager has left on descriptor 0.

use std::io::Write;

fn main() -> fcgi::Result<()> {
    let server = match std::env::args().nth(1) {
        Some(address) => fcgi::Server::bind(&address)?,
        None => fcgi::Server::from_stdin()?,
    };
    server.serve(|request| {
        let name = request.params.get("REMOTE_ADDR").unwrap_or("whoever you are");
        write!(request.stdout, "Content-Type: text/plain\r\n\r\nHello, {name}.\n")?;
        Ok(())
    })
}
