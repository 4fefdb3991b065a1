//! Server-sent events: a counter that a browser displays while it grows.
//!
//! ```sh
//! cargo run --example events -- 127.0.0.1:9000
//! curl -N http://localhost/events    # through a web server
//! ```
//!
//! Mount it at `/events`. In the query, `interval=MS` sets the time between two events, and
//! `count=N` ends the stream. Every `flush` sends an event. nginx holds events back unless
//! `X-Accel-Buffering` is `no`. The handler notices a browser that has left by `is_aborted`, or by
//! a `flush` that fails, and a server that stops by `is_shut_down`.

use std::collections::HashMap;
use std::io::Write;
use std::thread::sleep;
use std::time::Duration;

use fcgi::server::{Handle, HandlerResult, Request};
use fcgi::{ResponseHead, Server};

fn main() -> fcgi::Result<()> {
    let address = std::env::args_os().nth(1).unwrap_or("127.0.0.1:9000".into());
    let server = Server::bind(address)?;
    let handle = server.handle();
    server.serve(move |request| send_events(request, &handle))
}

fn send_events(request: &mut Request, server: &Handle) -> HandlerResult {
    let query: HashMap<_, _> = form_urlencoded::parse(request.query().as_bytes()).collect();
    let number = |key| query.get(key).and_then(|value| value.parse().ok());
    let interval = Duration::from_millis(number("interval").unwrap_or(1000));
    // A browser that reconnects sends the id of the last event that it has received.
    let last: u64 = request.header("Last-Event-ID").and_then(|id| id.parse().ok()).unwrap_or(0);
    let ids = (last.saturating_add(1)..).take(number("count").unwrap_or(u64::MAX) as usize);

    ResponseHead::event_stream().write_to(&mut request.stdout)?;
    // A browser reconnects after this time, in milliseconds.
    write!(request.stdout, "retry: 2000\n\n")?;
    for id in ids {
        write!(request.stdout, "id: {id}\ndata: {{\"count\": {id}}}\n\n")?;
        request.stdout.flush()?;
        sleep(interval);
        if request.is_aborted() || server.is_shut_down() {
            break;
        }
    }
    Ok(())
}
