//! Sends one small request and prints the response: `once ADDRESS`. It is the baseline for programs
//! that do the same.

use std::io::Write;

use fcgi_benches::net::Socket;
use fcgi_benches::wire::{self, Scanner};
use fcgi_benches::Workload;

fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).expect("usage: once ADDRESS");
    let (mut buffer, mut stdout) = ([0; 8 * 1024], Vec::new());
    let mut socket = Socket::connect(&address)?;
    socket.write_all(&wire::request(Workload::Small, false))?;
    Scanner::default().read(&mut socket, &mut buffer, |content| stdout.extend(content))?;
    std::io::stdout().write_all(&stdout)
}
