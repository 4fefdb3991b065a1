//! Asks a php-fpm pool whether it is alive, for a monitoring system. The example `fpm` also checks
//! the load of the pool.
//!
//! ```sh
//! cargo run --example health_check -- unix:/run/php/php8.2-fpm.sock
//! ```
//!
//! It prints one line. The exit status is 0 if the pool answers to `ping.path = /ping` within two
//! seconds, and 2 otherwise. The resolution of a host name may take longer. php-fpm compares
//! `SCRIPT_NAME` with the path, but only if there is a `SCRIPT_FILENAME`, which need not exist.

use std::ffi::OsStr;
use std::process::ExitCode;
use std::time::Duration;

use fcgi::client::Config;
use fcgi::{Client, Params};

fn main() -> ExitCode {
    let address = std::env::args_os().nth(1).unwrap_or_default();
    let problem = match ping(&address) {
        Ok(200) => {
            println!("OK");
            return ExitCode::SUCCESS;
        }
        Ok(status) => format!("status {status}"),
        Err(error) => error.to_string(),
    };
    println!("CRITICAL: {problem}");
    ExitCode::from(2)
}

fn ping(address: &OsStr) -> fcgi::Result<u16> {
    let config = Config::new().deadline(Some(Duration::from_secs(2)));
    let params = Params::from_pairs([
        ("REQUEST_METHOD", "GET"),
        ("SCRIPT_NAME", "/ping"),
        ("SCRIPT_FILENAME", "/ping"),
    ])?;
    Client::new(address)?.config(config).fetch(&params, b"")?.status()
}
