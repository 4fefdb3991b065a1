//! Our client: `client-ours WORKLOAD ADDRESS [fetch]`, kept connections, with `send` or `fetch`.

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

    assert!(client.fetch(&params, &body)?.stdout == response, "another response from fetch");
    let mut stdout = Vec::new();
    client.send(&params, &body[..], |response| response.stdout.read_to_end(&mut stdout))?;
    assert!(stdout == response, "another response from send");

    if is_fetch {
        clock::measure(|| {
            assert_eq!(client.fetch(&params, &body).expect("a reply").stdout.len(), response.len())
        });
        return Ok(());
    }
    clock::measure(|| {
        let mut len = 0;
        let outcome = client.send(&params, &body[..], |response| loop {
            let piece = response.stdout.fill_buf()?.len();
            if piece == 0 {
                return Ok(());
            }
            len += piece;
            response.stdout.consume(piece);
        });
        outcome.expect("a response");
        assert_eq!(len, response.len());
    });
    Ok(())
}
