//! The client of this crate, with kept connections: `fcgi-client WORKLOAD ADDRESS [fetch]`. It uses
//! `Client::send`, or `Client::fetch` if that is the last argument.

use std::io::{BufRead, Read};

use fcgi::{Client, Params};
use fcgi_benches::net::Socket;
use fcgi_benches::{arguments, clock, wire, FILLER};

fn main() -> fcgi::Result<()> {
    let (workload, address) = arguments();
    let is_fetch = std::env::args().nth(3).is_some();
    drop(Socket::connect_first(&address)?);
    let client = Client::new(&address)?.keep_alive(true);
    let params = Params::from_pairs(wire::pairs(workload))?;
    let body = vec![FILLER; workload.body_len()];
    let response = workload.response();

    assert!(client.fetch(&params, &body)?.stdout == response, "a wrong response from fetch");
    let mut stdout = Vec::new();
    client.send(&params, &body[..], |response| response.stdout.read_to_end(&mut stdout))?;
    assert!(stdout == response, "a wrong response from send");

    if is_fetch {
        clock::measure(|| {
            assert_eq!(client.fetch(&params, &body).expect("a reply").stdout.len(), response.len())
        });
        return Ok(());
    }
    clock::measure(|| {
        let mut len = 0;
        let outcome = client.send(&params, &body[..], |response| loop {
            let received = response.stdout.fill_buf()?.len();
            if received == 0 {
                return fcgi::Result::Ok(());
            }
            len += received;
            response.stdout.consume(received);
        });
        outcome.expect("a response");
        assert_eq!(len, response.len());
    });
    Ok(())
}
