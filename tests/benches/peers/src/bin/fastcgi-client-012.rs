//! The asynchronous client of the crate `fastcgi-client` 0.12, with a kept connection:
//! `fastcgi-client-012 WORKLOAD ADDRESS`.

use fastcgi_client_012::{Client, Params, Request};
use fcgi_benches::net::Socket;
use fcgi_benches::{arguments, clock, wire, FILLER};
use tokio::net::UnixStream;

fn main() {
    let (workload, address) = arguments();
    drop(Socket::connect_first(&address));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let socket = runtime.block_on(UnixStream::connect(address)).expect("a connection");
    let mut client = Client::new_keep_alive_tokio(socket);
    let pairs = wire::pairs(workload);
    let mut params = Params::default();
    params.extend(pairs.iter().map(|(name, value)| ((*name).into(), (&value[..]).into())));
    let body = vec![FILLER; workload.body_len()];
    let response = workload.response();

    let mut fetch = || {
        let mut body = &body[..];
        let request = Request::new(params.clone(), fastcgi_client_012::io::Cursor::new(&mut body));
        let output = runtime.block_on(client.execute(request)).expect("a response");
        output.stdout.expect("a response")
    };
    assert!(fetch() == response, "a wrong response");
    clock::measure(|| assert_eq!(fetch().len(), response.len()));
}
