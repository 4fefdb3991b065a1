//! Sends small requests on many kept connections, of which a tenth is active at a time:
//! `many ADDRESS CONNECTIONS [p99]`. Prints the requests per second, or the 99th percentile of the
//! time to a response in microseconds.
//!
//! Each thread has ten connections and uses one after the other.

use std::io::Write;

use fcgi_benches::net::Socket;
use fcgi_benches::wire::{self, Scanner};
use fcgi_benches::{clock, Workload};

/// The number of connections per thread.
const GROUP: usize = 10;

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let threads = arguments[1].parse::<usize>().expect("the number of connections") / GROUP;
    let request = &wire::request(Workload::Small, true)[..];

    let start = || {
        let connect = || Socket::connect_first(&arguments[0]).expect("the server listens");
        let mut sockets: Vec<_> = (0..GROUP).map(|_| connect()).collect();
        let (mut buffer, mut next) = (vec![0; 8 * 1024], 0);
        let mut exchange = move || {
            let socket = &mut sockets[next];
            socket.write_all(request).expect("a request");
            Scanner::default().read(socket, &mut buffer, |_| {}).expect("a response");
            next = (next + 1) % GROUP;
        };
        // Each connection is served once before the measurement.
        (0..GROUP).for_each(|_| exchange());
        exchange
    };
    match arguments.get(2) {
        Some(_) => clock::measure_p99(threads, start),
        None => clock::measure_all(threads, start),
    }
}
