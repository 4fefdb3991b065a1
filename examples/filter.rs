//! A filter (section 6.4 of the specification): `filter [ADDRESS]`; with no address it serves the
//! listening socket on descriptor 0.
//!
//! It answers with the file that it is sent, each line with its number, as it comes.

use std::io::{BufRead, BufReader, Write};

use fcgi::record::Role;
use fcgi::server::{Config, HandlerResult, Request};
use fcgi::Server;

fn main() -> fcgi::Result<()> {
    let server = match std::env::args().nth(1) {
        Some(address) => Server::bind(&address)?,
        None => Server::from_stdin()?,
    };
    server.config(Config::new().roles(&[Role::Filter])).serve(number_lines)
}

fn number_lines(request: &mut Request) -> HandlerResult {
    write!(request.stdout, "Content-Type: text/plain\r\n\r\n")?;
    let mut file = BufReader::new(request.stdin.data()?);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if file.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        write!(request.stdout, "{number:>6}  ")?;
        request.stdout.write_all(&line)?;
    }
    Ok(())
}
