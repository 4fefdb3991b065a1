//! The baseline for servers: `baseline WORKLOAD ADDRESS [new]`. It does little more than the system
//! calls. It finds the end of a request by the last bytes, and ignores all other bytes.
//!
//! Several threads block in `accept`. Each reuses its buffers for all connections. With `new`, a
//! connection is closed after its first request.

use std::io::{self, IoSlice, Read, Write};

use fcgi_benches::net::{Listener, Socket};
use fcgi_benches::{arguments, wire, Workload};

/// The number of threads. At most eight connections are open at once.
const THREADS: usize = 16;

fn main() -> io::Result<()> {
    let (workload, address) = arguments();
    let is_kept = std::env::args().nth(3).is_none();
    let (listener, parts) = (Listener::bind(&address)?, wire::response(workload));
    let buffer_len = if workload == Workload::Body { 256 * 1024 } else { 8 * 1024 };
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let mut buffer = vec![0; buffer_len];
                while let Ok(socket) = listener.accept() {
                    // Errors are ignored: the client has closed the connection.
                    let _ = serve(socket, &mut buffer, &parts, is_kept);
                }
            });
        }
    });
    Ok(())
}

fn serve(
    mut socket: Socket,
    buffer: &mut [u8],
    parts: &[Vec<u8>],
    is_kept: bool,
) -> io::Result<()> {
    let parts: Vec<&[u8]> = parts.iter().map(|part| &part[..]).collect();
    while read_request(&mut socket, buffer)? {
        match &parts[..] {
            [whole] => socket.write_all(whole)?,
            parts => write_all_vectored(&mut socket, parts)?,
        }
        if !is_kept {
            break;
        }
    }
    Ok(())
}

/// Reads until the last bytes are the end of a request. Returns `false` at the end of input.
fn read_request(socket: &mut Socket, buffer: &mut [u8]) -> io::Result<bool> {
    let mut last = [0; 8];
    loop {
        let n = socket.read(buffer)?;
        if n == 0 {
            return Ok(false);
        }
        if n >= 8 {
            last.copy_from_slice(&buffer[n - 8..n]);
        } else {
            last.copy_within(n.., 0);
            last[8 - n..].copy_from_slice(&buffer[..n]);
        }
        if last == wire::REQUEST_END {
            return Ok(true);
        }
    }
}

fn write_all_vectored(socket: &mut Socket, parts: &[&[u8]]) -> io::Result<()> {
    let mut slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
    let mut slices = &mut slices[..];
    while !slices.is_empty() {
        match socket.write_vectored(slices)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            n => IoSlice::advance_slices(&mut slices, n),
        }
    }
    Ok(())
}
