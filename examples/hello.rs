//! The smallest responder: it greets the client by its IP address.
//!
//! [`fcgi::run`] serves the listening socket on descriptor 0, where web servers and process
//! managers put it:
//!
//! ```sh
//! cargo build --examples
//! spawn-fcgi -n -a 127.0.0.1 -p 9000 -- target/debug/examples/hello
//! target/debug/examples/fetch 127.0.0.1:9000 --param REMOTE_ADDR=192.0.2.1    # in another shell
//! ```
//!
//! Started as a CGI program, it answers that one request:
//!
//! ```sh
//! GATEWAY_INTERFACE=CGI/1.1 REMOTE_ADDR=192.0.2.1 target/debug/examples/hello
//! ```
//!
//! Both print `Content-Type: text/plain`, an empty line, and `Hello, 192.0.2.1.` A web server
//! closes the stdout of a CGI program if it no longer needs the response. This is not an error.
//!
//! The program ignores its arguments: a web server may pass words of the query string (RFC 3875,
//! section 4.4).

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let outcome = fcgi::run(|request| {
        let name = request.params.get("REMOTE_ADDR").unwrap_or("stranger");
        write!(request.stdout, "Content-Type: text/plain\r\n\r\nHello, {name}.\n")?;
        Ok(())
    });
    match outcome {
        Ok(exit_code) => exit_code,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hello: {error}");
            ExitCode::FAILURE
        }
    }
}
