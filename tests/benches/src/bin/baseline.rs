//! The baseline for servers: `baseline WORKLOAD ADDRESS [new | many]`. It does little more than the
//! system calls. It finds the end of a request by the last bytes, and ignores all other bytes.
//!
//! Several threads block in `accept`. Each reuses its buffers for all connections. With `new`, a
//! connection is closed after its first request. With `many`, each connection has a thread of its
//! own.

use std::borrow::Cow;
use std::io::{self, IoSlice, Read, Write};

use fcgi_benches::net::{Listener, Socket};
use fcgi_benches::{arguments, wire, Workload};

/// The number of threads. Without `many`, at most eight connections are open at once.
const THREADS: usize = 16;
/// The ids that a client with one request at a time uses. HAProxy counts further on a kept
/// connection, so the response is encoded again.
const IDS: [u16; 2] = [1, 2];

/// What all threads share.
struct Baseline {
    stdout: Vec<u8>,
    buffer_len: usize,
    is_kept: bool,
}

fn main() -> io::Result<()> {
    let (workload, address) = arguments();
    let mode = std::env::args().nth(3);
    let buffer_len = if workload == Workload::Body { 256 * 1024 } else { 8 * 1024 };
    let is_kept = mode.as_deref() != Some("new");
    let baseline = &Baseline { stdout: workload.response(), buffer_len, is_kept };
    let listener = &Listener::bind(&address)?;
    std::thread::scope(|scope| {
        if mode.as_deref() == Some("many") {
            while let Ok(socket) = listener.accept() {
                scope.spawn(move || baseline.serve([socket]));
            }
            return;
        }
        for _ in 0..THREADS {
            scope.spawn(move || baseline.serve(std::iter::from_fn(|| listener.accept().ok())));
        }
    });
    Ok(())
}

impl Baseline {
    /// Serves one connection after the other.
    fn serve(&self, sockets: impl IntoIterator<Item = Socket>) {
        let mut buffer = vec![0; self.buffer_len];
        let responses = IDS.map(|id| wire::response(&self.stdout, id));
        for mut socket in sockets {
            // Errors are ignored: the client has closed the connection.
            let _ = self.serve_connection(&mut socket, &mut buffer, &responses);
        }
    }

    fn serve_connection(
        &self,
        socket: &mut Socket,
        buffer: &mut [u8],
        responses: &[Vec<Cow<'_, [u8]>>; IDS.len()],
    ) -> io::Result<()> {
        while let Some(id) = read_request(socket, buffer)? {
            match IDS.iter().position(|known| *known == id) {
                Some(index) => respond(socket, &responses[index])?,
                None => respond(socket, &wire::response(&self.stdout, id))?,
            }
            if !self.is_kept {
                break;
            }
        }
        Ok(())
    }
}

/// Reads until the last bytes are the end of a request, and returns its id. Returns `None` at the
/// end of input.
fn read_request(socket: &mut Socket, buffer: &mut [u8]) -> io::Result<Option<u16>> {
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

fn respond(socket: &mut Socket, parts: &[Cow<'_, [u8]>]) -> io::Result<()> {
    if let [whole] = parts {
        return socket.write_all(whole);
    }
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
