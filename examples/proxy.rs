//! A small reverse proxy, from HTTP to FastCGI: `proxy LISTEN APPLICATION`. The guide `php_fpm`
//! lists its limits, which the example `gateway` does not have.

use std::{env, error::Error, io, io::Seek, net::SocketAddr, thread};

use fcgi::cgi::{Environment, HttpRequest, Script};
use fcgi::{bridge::gateway_status, Client};
use tiny_http::{Header, Request, Response, Server};

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let args: Vec<_> = env::args().skip(1).collect();
    let [listen, application] = &args[..] else { return Err("usage: proxy LISTEN APP".into()) };
    let (server, client) = (Server::http(listen)?, Client::new(application)?.keep_alive(true));
    let local = server.server_addr().to_ip().ok_or("not a TCP address")?;
    println!("http://{local}/");
    let serve = || server.incoming_requests().for_each(|request| answer(&client, local, request));
    thread::scope(|scope| (0..16).for_each(|_| drop(scope.spawn(serve))));
    Ok(())
}

fn answer(client: &Client, local: SocketAddr, request: Request) {
    let name = format!("{} {}", request.method(), request.url());
    let mut waiting = Some(request);
    let Err(error) = forward(client, local, &mut waiting) else { return };
    eprintln!("proxy: {name}: {error}");
    // No request is waiting if its response has been started. The client may have left meanwhile.
    let _ = waiting.map(|request| request.respond(Response::empty(gateway_status(&error))));
}

fn forward(client: &Client, local: SocketAddr, waiting: &mut Option<Request>) -> fcgi::Result<()> {
    let Some(request) = waiting else { return Ok(()) };
    // The whole body is received first. The application may answer while it reads.
    let mut body = tempfile::spooled_tempfile(1024 * 1024);
    let length = io::copy(request.as_reader(), &mut body)?;
    body.rewind()?;
    let fields = request.headers().iter();
    let fields = fields.map(|field| (field.field.as_str().as_str(), field.value.as_bytes()));
    let http = HttpRequest {
        method: request.method().as_str(),
        target: request.url(),
        version: &format!("HTTP/{}", request.http_version()),
        headers: &fields.collect::<Vec<_>>(),
        remote: request.remote_addr().copied().unwrap_or(local),
        local,
        https: false,
        content_length: Some(length),
    };
    let params = Environment::new().params(&http, &Script::new("", http.path()?))?;
    client.send(&params, &mut body, |reply| {
        let head = reply.read_head()?;
        // `tiny_http` accepts ASCII only. A field with another byte is left out.
        let field = |(name, value): (&str, &[u8])| Header::from_bytes(name, value).ok();
        let fields = head.http_fields().filter_map(field).collect();
        let length = head.content_length().and_then(|length| length.try_into().ok());
        let response = Response::new(head.status().into(), fields, &mut reply.stdout, length, None);
        let response = response.with_chunked_threshold(usize::MAX);
        waiting.take().map_or(Ok(()), |request| request.respond(response))
    })?;
    Ok(())
}
