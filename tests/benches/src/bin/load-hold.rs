use std::io::{Read, Write};
use fcgi_benches::net::Socket;
use fcgi_benches::wire;
use fcgi_benches::{arguments, clock};
fn main() {
    let (workload, address) = arguments();
    let mode = std::env::args().nth(3).unwrap();
    let request = wire::request(workload, true);
    let mut socket = Socket::connect_first(&address).unwrap();
    let total: usize = wire::response(&workload.response(), 1).iter().map(|p| p.len()).sum();
    let mut kept = vec![0u8; total]; let mut small = vec![0u8; 128 * 1024];
    clock::measure(|| {
        socket.write_all(&request).unwrap();
        let mut own: Vec<u8>;
        let buffer = match &*mode {
            "reuse" => &mut kept,
            "calloc" => { own = vec![0u8; total]; &mut own }
            _ => { own = Vec::with_capacity(total); &mut own }
        };
        let mut len = 0;
        if mode == "copy" {

            while len < total { let n = socket.read(&mut small).unwrap(); buffer.extend_from_slice(&small[..n]); len += n; }
            return;
        }
        while len < total {
            if mode == "step" && buffer.len() < len + 1 { buffer.resize((len + 65536).min(total), 0); }
            len += socket.read(&mut buffer[len..]).unwrap();
        }
    });
}
