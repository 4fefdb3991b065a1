//! Measures the memory of an idle kept connection in the server with the given process id:
//! `idle-memory ADDRESS PID`. Opens 1000 connections, sends a small request on each, and prints by
//! how many bytes per connection the resident memory of the server has grown.

use std::io::{self, Write};

use fcgi_benches::net::Socket;
use fcgi_benches::wire::{self, Scanner};
use fcgi_benches::Workload;

const CONNECTIONS: u64 = 1000;

fn main() -> io::Result<()> {
    let arguments: Vec<_> = std::env::args().collect();
    let (address, pid) = (&arguments[1], &arguments[2]);
    let request = wire::request(Workload::Small, true);
    let mut buffer = vec![0; 8192];
    let mut open = || -> io::Result<Socket> {
        let mut socket = Socket::connect_first(address)?;
        socket.write_all(&request)?;
        Scanner::default().read(&mut socket, &mut buffer, |_| {})?;
        Ok(socket)
    };
    // Excludes the memory that the server allocates once.
    let _first: Vec<_> = (0..10).map(|_| open()).collect::<io::Result<_>>()?;
    let before = resident(pid)?;
    let _connections: Vec<_> = (0..CONNECTIONS).map(|_| open()).collect::<io::Result<_>>()?;
    println!("{}", resident(pid)?.saturating_sub(before) / CONNECTIONS);
    Ok(())
}

/// Returns the resident memory of a process, in bytes.
fn resident(pid: &str) -> io::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the resident memory");
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024)
}
