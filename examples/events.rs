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
//! a `flush` that fails.

use std::io::Write;
use std::thread::sleep;
use std::time::Duration;

use fcgi::server::{HandlerResult, Request};
use fcgi::{ResponseHead, Server};

fn main() -> fcgi::Result<()> {
    let address = std::env::args_os().nth(1).unwrap_or("127.0.0.1:9000".into());
    Server::bind(&address.to_string_lossy())?.serve(send_events)
}

fn send_events(request: &mut Request) -> HandlerResult {
    let number = |key| {
        let mut pairs = form_urlencoded::parse(request.query().as_bytes());
        pairs.find_map(|(name, value)| (name == key).then(|| value.parse().ok())?)
    };
    let interval = Duration::from_millis(number("interval").unwrap_or(1000));
    // A browser that reconnects sends the id of the last event that it has received.
    let last: Option<u64> = request.header("Last-Event-ID").and_then(|id| id.parse().ok());
    let first = last.map_or(1, |id| id.saturating_add(1));
    let end = first.saturating_add(number("count").unwrap_or(u64::MAX));

    ResponseHead::new()
        .field("Content-Type", "text/event-stream")?
        .field("Cache-Control", "no-store")?
        .field("X-Accel-Buffering", "no")?
        .write_to(&mut request.stdout)?;
    for id in first..end {
        write!(request.stdout, "id: {id}\ndata: {{\"count\": {id}}}\n\n")?;
        request.stdout.flush()?;
        sleep(interval);
        if request.is_aborted() {
            break;
        }
    }
    Ok(())
}
