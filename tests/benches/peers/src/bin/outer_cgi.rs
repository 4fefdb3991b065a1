//! The server of the crate `outer_cgi`: `outer_cgi WORKLOAD ADDRESS`. The crate parses the command
//! line itself, so the program executes itself again with the arguments that the crate expects.

use std::collections::HashMap;
use std::os::unix::process::CommandExt;
use std::process::Command;

use fcgi_benches::net::is_unix;
use fcgi_benches::{arguments, FILLER, HEAD, LARGE};
use outer_cgi::IO;

/// The environment variable with the workload for the second execution.
const WORKLOAD: &str = "BENCH_WORKLOAD";

fn main() {
    match std::env::var(WORKLOAD).as_deref() {
        Ok("small") => outer_cgi::main(|_| {}, small),
        Ok("response") => outer_cgi::main(|_| {}, response),
        Ok("body") => outer_cgi::main(|_| {}, body),
        _ => execute_again(),
    }
}

fn execute_again() {
    let (workload, address) = arguments();
    let kind = if is_unix(&address) { "fcgi-unix" } else { "fcgi-tcp" };
    let program = std::env::current_exe().expect("this program");
    let error = Command::new(program)
        .args([kind, "--bind", &address, "--max-connections", "16"])
        .env(WORKLOAD, workload.name())
        .exec();
    panic!("cannot start: {error}");
}

type Env = HashMap<String, String>;

fn small(io: &mut dyn IO, env: Env) -> anyhow::Result<i32> {
    let name = env.get("REMOTE_ADDR").map_or("stranger", |name| name);
    write!(io, "Content-Type: text/plain\r\n\r\nHello, {name}.\n")?;
    drain(io)?;
    Ok(0)
}

fn response(io: &mut dyn IO, _: Env) -> anyhow::Result<i32> {
    static PAGE: [u8; LARGE] = [FILLER; LARGE];
    io.write_all(HEAD)?;
    io.write_all(&PAGE)?;
    drain(io)?;
    Ok(0)
}

fn body(io: &mut dyn IO, _: Env) -> anyhow::Result<i32> {
    let len = drain(io)?;
    write!(io, "Content-Type: text/plain\r\n\r\n{len}\n")?;
    Ok(0)
}

/// Reads stdin to its end. On a kept connection, the crate misreads the next request otherwise.
fn drain(io: &mut dyn IO) -> anyhow::Result<usize> {
    let (mut buffer, mut len) = (vec![0; 64 * 1024], 0);
    loop {
        match io.read(&mut buffer)? {
            0 => return Ok(len),
            n => len += n,
        }
    }
}
