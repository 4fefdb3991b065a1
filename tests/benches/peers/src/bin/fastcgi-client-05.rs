//! The blocking client of the crate `fastcgi-client` 0.5, with a kept connection:
//! `fastcgi-client-05 WORKLOAD ADDRESS`.

use std::os::unix::net::UnixStream;

use fastcgi_client_05::{Client, Params};
use fcgi_benches::net::Socket;
use fcgi_benches::{arguments, clock, wire, FILLER};

fn main() {
    let (workload, address) = arguments();
    drop(Socket::connect_first(&address));
    let mut client = Client::new(UnixStream::connect(address).expect("a connection"), true);
    let pairs = wire::pairs(workload);
    let mut params = Params::new();
    params.extend(pairs.iter().map(|(name, value)| (*name, &value[..])));
    let body = vec![FILLER; workload.body_len()];
    let response = workload.response();

    let mut fetch = || {
        let output = client.do_request(&params, &mut &body[..]).expect("a response");
        output.get_stdout().expect("a response")
    };
    assert!(fetch() == response, "a wrong response");
    clock::measure(|| assert_eq!(fetch().len(), response.len()));
}
