//! The asynchronous client of the crate `cegla-fcgi`, with a kept connection:
//! `cegla-fcgi-client WORKLOAD ADDRESS`.

use cegla_fcgi::client::{handshake, CgiBuilder};
use fcgi_benches::net::Socket;
use fcgi_benches::{arguments, clock, wire, FILLER, HEAD};
use http_body_util::{BodyExt, Full};
use tokio::net::UnixStream;
use tokio_util::bytes::Bytes;

fn main() {
    let (workload, address) = arguments();
    drop(Socket::connect_first(&address));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let client = runtime.block_on(async {
        let socket = UnixStream::connect(address).await.expect("a connection");
        let (client, connection) = handshake(socket, true).await.expect("a connection");
        tokio::spawn(connection);
        client
    });
    let pairs = wire::pairs(workload);
    let method = if workload.name() == "small" { "GET" } else { "POST" };
    let body: Bytes = vec![FILLER; workload.body_len()].into();
    let response = &workload.response()[HEAD.len()..];

    let fetch = || {
        let variables = pairs.iter().fold(CgiBuilder::new(), |builder, (name, value)| {
            builder.var((*name).into(), value.clone())
        });
        let request = http::Request::builder().method(method).uri("/index.php");
        let request = request.body(Full::new(body.clone())).expect("a request");
        runtime.block_on(async {
            let sent = client.send_request(request, variables).await;
            let (response, _stderr) = sent.expect("a response");
            response.into_body().collect().await.expect("a body").to_bytes()
        })
    };
    assert!(fetch() == response, "a wrong response");
    clock::measure(|| assert_eq!(fetch().len(), response.len()));
}
