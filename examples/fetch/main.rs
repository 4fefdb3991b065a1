//! Sends one request to an application and prints the response.
//!
//! For example, with the application `echo`:
//!
//! ```sh
//! cargo run --example echo -- 127.0.0.1:9000
//! cargo run --example fetch -- 127.0.0.1:9000 --param A=1    # in another shell
//! ```
//!
//! prints a response head, an empty line, the params `A=1` and `REQUEST_METHOD=GET`, and an empty
//! line. `fetch --help` lists the options and the exit statuses.
//!
//! The response, head and body, is copied to stdout while it arrives. What the application writes
//! to STDERR is copied to stderr. If the reader of stdout closes it, as in `fetch ADDRESS | head
//! -1`, the program stops reading the response and exits with status 0.

mod input;
mod options;
#[path = "../support/mod.rs"]
mod support;

use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use fcgi::client::Response;
use fcgi::net::Address;
use fcgi::record::Role;
use fcgi::{Client, Params};

use self::input::{open_body, open_data};
use self::options::{Options, HELP};
use self::support::cli::Program;
use self::support::exit::Exit;
use self::support::relay;
use self::support::stdio::{Stderr, Stdout};

fn main() -> ExitCode {
    Program::new("fetch", HELP).main(|args| {
        let (address, options) = Options::parse(args)?;
        let app_status = run(&address, &options)?;
        Ok(u8::try_from(app_status).unwrap_or(255))
    })
}

/// Sends the request and returns the application's status. Returns 0 if the reader of stdout has
/// closed it.
fn run(address: &Address, options: &Options) -> Result<u32, Exit> {
    let mut printer = Printer::new(options.head);
    let outcome = send(address, options, &mut printer);
    if options.timing {
        let _ = writeln!(Stderr, "{}", printer.describe());
    }
    match outcome {
        Err(_) if printer.stdout.is_closed => Ok(0),
        outcome => outcome,
    }
}

fn send(address: &Address, options: &Options, printer: &mut Printer) -> Result<u32, Exit> {
    let mut params = options.params.clone();
    let body = open_body(options.body.as_deref(), &mut params)?;
    let data = open_data(options.data.as_deref(), &mut params)?;
    set_default(&mut params, "REQUEST_METHOD", options.default_method())?;
    let client = client(address, options)?.config(options.config.clone());
    printer.start = Instant::now();
    let method = params.get("REQUEST_METHOD").unwrap_or_default();
    let receive = |response: &mut Response<'_>| printer.print(response, method);
    let ((), completion) = if options.role == Role::Filter {
        client.filter(&params, body, data, receive)
    } else {
        client.send_as(options.role, &params, body, receive)
    }?;
    Ok(completion.app_status)
}

/// Creates the client. With `--verbose`, it connects through a relay that prints the records.
fn client(address: &Address, options: &Options) -> Result<Client, Exit> {
    if !options.verbose {
        return Ok(address.clone().into());
    }
    let timeout = options.config.connect_timeout;
    let relay = relay::start(address, timeout, |direction, header| {
        let line = relay::describe(Some(direction), header);
        let _ = writeln!(Stderr, "{line}");
    })?;
    Ok(relay.into())
}

/// Sets a param unless it was given with `--param`.
fn set_default(params: &mut Params, name: &str, value: impl AsRef<[u8]>) -> Result<(), Exit> {
    if params.get_bytes(name).is_none() {
        params.set(name, value)?;
    }
    Ok(())
}

/// Prints the response while it arrives, and measures it.
struct Printer {
    stdout: Stdout,
    /// Whether the response head is printed, too.
    head: bool,
    start: Instant,
    /// The time until the first byte of the response arrived.
    first_byte: Option<Duration>,
    /// The number of bytes of the response that were printed.
    printed: u64,
}

impl Printer {
    fn new(head: bool) -> Self {
        Self {
            stdout: Stdout::default(),
            head,
            start: Instant::now(),
            first_byte: None,
            printed: 0,
        }
    }

    fn print(&mut self, response: &mut Response<'_>, method: &str) -> io::Result<()> {
        response.stdout.stderr_to(Stderr);
        response.stdout.fill_buf()?;
        self.first_byte = Some(self.start.elapsed());
        if self.head {
            return self.copy(response);
        }
        let head = response.read_head()?;
        self.copy(response)?;
        // A response without a body may have the `Content-Length` of another response.
        if head.has_body(method) {
            head.check_body(self.printed)?;
        }
        Ok(())
    }

    fn copy(&mut self, response: &mut Response<'_>) -> io::Result<()> {
        loop {
            let received = response.stdout.fill_buf()?;
            let len = received.len();
            if len == 0 {
                return Ok(());
            }
            self.stdout.write_all(received)?;
            self.stdout.flush()?;
            response.stdout.consume(len);
            self.printed += len as u64;
        }
    }

    /// Returns the line that `--timing` prints.
    fn describe(&self) -> String {
        let total = self.start.elapsed();
        let first = self.first_byte.map_or("none".into(), |first| format!("{first:.1?}"));
        format!("timing: first byte {first}, total {total:.1?}, {} bytes", self.printed)
    }
}
