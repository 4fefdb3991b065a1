//! The client of this crate, with kept connections:
//! `fcgi-client WORKLOAD ADDRESS [fetch | file | reader]`. It uses `Client::fetch`, or
//! `Client::send` with a body in memory, from a file or from another reader.

use std::fs::File;
use std::io::{BufRead, Read};

use fcgi::client::Body;
use fcgi::{Client, Params};
use fcgi_benches::net::Socket;
use fcgi_benches::{arguments, clock, wire, FILLER};

fn main() -> fcgi::Result<()> {
    let (workload, address) = arguments();
    let mode = std::env::args().nth(3).unwrap_or_default();
    drop(Socket::connect_first(&address)?);
    let client = Client::new(&address)?.keep_alive(true);
    let params = Params::from_pairs(wire::pairs(workload))?;
    let body = vec![FILLER; workload.body_len()];
    let response = workload.response();

    assert!(client.fetch(&params, &body)?.stdout == response, "a wrong response from fetch");
    let mut stdout = Vec::new();
    client.send(&params, &body[..], |response| response.stdout.read_to_end(&mut stdout))?;
    assert!(stdout == response, "a wrong response from send");

    if mode == "fetch" {
        clock::measure(|| {
            assert_eq!(client.fetch(&params, &body).expect("a reply").stdout.len(), response.len())
        });
        return Ok(());
    }
    let path = std::env::temp_dir().join(format!("fcgi-benches-{}.body", std::process::id()));
    if mode == "file" {
        std::fs::write(&path, &body)?;
    }
    clock::measure(|| {
        let mut len = 0;
        let body = match &*mode {
            "file" => File::open(&path).expect("the file").into(),
            "reader" => Body::from_reader(&body[..]),
            _ => Body::from(&body),
        };
        let outcome = client.send(&params, body, |response| loop {
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
    // There is a file only in one of the modes.
    let _ = std::fs::remove_file(&path);
    Ok(())
}
