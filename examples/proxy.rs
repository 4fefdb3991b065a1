//! A small reverse proxy, from HTTP to FastCGI: `proxy LISTEN APPLICATION`. Unlike `gateway`, it
//! sends the whole body before it reads the response.

use std::{env, error, thread};

use fcgi::cgi::{Environment, Head, HttpRequest, Script};
use fcgi::{bridge::gateway_status, client::Stdout, record::Role, Client};
use tiny_http::{Header, Request, Response, Server};

fn main() -> Result<(), Box<dyn error::Error + Send + Sync>> {
    let args: Vec<_> = env::args().skip(1).collect();
    let [listen, application] = &args[..] else { return Err("usage: proxy LISTEN APP".into()) };
    let (server, client) = (Server::http(listen)?, Client::new(application)?.keep_alive(true));
    println!("http://{}/", server.server_addr());
    let serve = || server.incoming_requests().for_each(|request| answer(&client, request));
    thread::scope(|scope| (0..16).for_each(|_| drop(scope.spawn(serve))));
    Ok(())
}

fn answer(client: &Client, mut request: Request) {
    let answered = match forward(client, &mut request) {
        Ok((head, body)) => {
            let field = |(name, value): (&str, &[u8])| Header::from_bytes(name, value).ok();
            let fields = head.http_fields().filter_map(field).collect();
            let length = head.content_length().and_then(|length| length.try_into().ok());
            // The connection goes back to the client's pool when the body has been read.
            request.respond(Response::new(head.status().into(), fields, body, length, None))
        }
        Err(error) => {
            eprintln!("proxy: {} {}: {error}", request.method(), request.url());
            request.respond(Response::empty(gateway_status(&error)))
        }
    };
    answered.unwrap_or_else(|error| eprintln!("proxy: {error}"));
}

fn forward(client: &Client, request: &mut Request) -> fcgi::Result<(Head, Stdout<'static>)> {
    let fields = request.headers().iter();
    let fields = fields.map(|field| (field.field.as_str().as_str(), field.value.as_bytes()));
    let fields: Vec<_> = fields.collect();
    let no_address = ([0, 0, 0, 0], 0).into();
    let http = HttpRequest {
        method: request.method().as_str(),
        target: request.url(),
        version: &format!("HTTP/{}", request.http_version()),
        headers: &fields,
        remote: request.remote_addr().copied().unwrap_or(no_address),
        local: no_address,
        https: false,
        content_length: request.body_length().map(|length| length as u64),
    };
    let params = Environment::new().params(&http, &Script::new("", http.path()?))?;
    let mut exchange = client.begin(Role::Responder, &params)?;
    exchange.send_body(request.as_reader())?;
    Ok((exchange.stdout.read_head()?, exchange.stdout))
}
