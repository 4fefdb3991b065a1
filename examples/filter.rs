//! A filter that numbers the lines of a file: `filter [ADDRESS]`.
//!
//! Without an address, it serves the listening socket on descriptor 0.
//!
//! ```sh
//! cargo run --example filter -- 127.0.0.1:9000
//! cargo run --example fetch -- 127.0.0.1:9000 --role filter --data README.md    # in another shell
//! ```
//!
//! `fetch` prints a response head and the lines of the file, each after its number. The filter
//! writes each line as soon as it has read it, so files of any size need little memory.
//!
//! Filters are defined in the [FastCGI specification], section 6.4. The web server sends the file
//! in DATA records, after the body of the request.
//!
//! [FastCGI specification]: https://fastcgi-archives.github.io/FastCGI_Specification.html

#[path = "support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::ExitCode;

use fcgi::record::Role;
use fcgi::server::{Config, HandlerResult, Request};

use self::support::cli::Program;
use self::support::serve;

const PROGRAM: Program = Program::new(
    "filter",
    "\
usage: filter [ADDRESS]

A filter that numbers the lines of a file. Without an address, or with `-`, it serves the listening
socket on descriptor 0.

Example:
  filter 127.0.0.1:9000
  fetch 127.0.0.1:9000 --role filter --data README.md
",
);

fn main() -> ExitCode {
    PROGRAM.main(|args| {
        let config = Config::new().roles(&[Role::Filter]);
        serve::bind_from(args)?.config(config).serve(number_lines)?;
        Ok(0)
    })
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
