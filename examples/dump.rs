//! Prints each FastCGI record of a capture, or of connections that it relays to an application.
//!
//! ```sh
//! cargo run --example dump -- --listen 127.0.0.1:9001 127.0.0.1:9000
//! cargo run --example fetch -- 127.0.0.1:9001    # in another shell
//! ```
//!
//! A line such as `> STDIN id=1 length=5 padding=3` has the direction (`>` to the application, `<`
//! to the web server), the type, the request id, and the lengths of content and padding.

#[path = "support/mod.rs"]
mod support;

use std::{fs::File, io, process::ExitCode};

use fcgi::{net::Listener, stream::RecordReader};

use self::support::relay::{self, describe, Direction};
use self::support::{cli::parse_address, cli::Program, exit::Exit, stdio::print};

const HELP: &str = "\
usage: dump FILE
       dump --listen ADDRESS APPLICATION

Prints each record of FILE (`-` is stdin), which has the bytes of a connection in one direction or
in both; or each record between the web servers that connect to ADDRESS and APPLICATION.

Example:
  dump --listen 127.0.0.1:9001 127.0.0.1:9000
";

fn main() -> ExitCode {
    Program::new("dump", HELP).main(|mut args| {
        let mut listen = None;
        while let Some(option) = args.next_option()? {
            if option != "--listen" {
                return Err(args.unknown_option());
            }
            listen = Some(args.address()?);
        }
        let source = args.next_positional().ok_or_else(|| Exit::usage("FILE is missing"))?;
        args.finish()?;
        match listen {
            Some(listen) => relay::serve(&Listener::bind(listen)?, &parse_address(&source)?)?,
            None if source == "-" => dump(io::stdin())?,
            None => dump(File::open(&source).map_err(|e| Exit::file(source.as_ref(), &e))?)?,
        }
        Ok(0)
    })
}

/// Prints the records of a capture. The type of a record determines its direction.
fn dump(input: impl io::Read) -> Result<(), Exit> {
    let mut reader = RecordReader::new(input);
    while let Some(header) = reader.next_header()? {
        print(&(describe(Direction::of(header.record_type), header) + "\n"))?;
    }
    Ok(())
}
