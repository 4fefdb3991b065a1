//! The baseline for servers: `baseline WORKLOAD ADDRESS [new]`. It does little more than the system
//! calls. It finds the end of a request by the last bytes, and ignores all other bytes.
//!
//! Several threads block in `accept`. Each reuses its buffers for all connections. With `new`, a
//! connection is closed after its first request.

use std::borrow::Cow;
use std::io::{self, IoSlice, Read, Write};

use fcgi_benches::net::{Listener, Socket};
use fcgi_benches::{arguments, wire, Workload};

/// The number of threads. At most eight connections are open at once.
const THREADS: usize = 16;
/// The ids that a client with one request at a time uses.
const IDS: [u8; 2] = [1, 2];

fn main() -> io::Result<()> {
    let (workload, address) = arguments();
    let is_kept = std::env::args().nth(3).is_none();
    let (listener, stdout) = (Listener::bind(&address)?, workload.response());
    let responses = IDS.map(|id| wire::response(&stdout, id));
    let buffer_len = if workload == Workload::Body { 256 * 1024 } else { 8 * 1024 };
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let mut buffer = vec![0; buffer_len];
                while let Ok(socket) = listener.accept() {
                    // Errors are ignored: the client has closed the connection.
                    let _ = serve(socket, &mut buffer, &responses, is_kept);
                }
            });
        }
    });
    Ok(())
}

fn serve(
    mut socket: Socket,
    buffer: &mut [u8],
    responses: &[Vec<Cow<'_, [u8]>>; IDS.len()],
    is_kept: bool,
) -> io::Result<()> {
    while let Some(id) = read_request(&mut socket, buffer)? {
        let index = IDS.iter().position(|known| *known == id).ok_or(io::ErrorKind::InvalidData)?;
        match &responses[index][..] {
            [whole] => socket.write_all(whole)?,
            parts => write_all_vectored(&mut socket, parts)?,
        }
        if !is_kept {
            break;
        }
    }
    Ok(())
}

/// Reads until the last bytes are the end of a request, and returns its id. Returns `None` at the
/// end of input.
fn read_request(socket: &mut Socket, buffer: &mut [u8]) -> io::Result<Option<u8>> {
    let mut last = [0; 8];
    loop {
        let n = socket.read(buffer)?;
        if n == 0 {
            return Ok(None);
        }
        if n >= 8 {
            last.copy_from_slice(&buffer[n - 8..n]);
        } else {
            last.copy_within(n.., 0);
            last[8 - n..].copy_from_slice(&buffer[..n]);
        }
        if let Some(id) = wire::request_end(last) {
            return Ok(Some(id));
        }
    }
}

fn write_all_vectored(socket: &mut Socket, parts: &[Cow<'_, [u8]>]) -> io::Result<()> {
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
