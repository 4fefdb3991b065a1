//! Server-sent events: a counter that a browser displays while it grows.
//!
//! ```sh
//! cargo run --example events -- 127.0.0.1:9000
//! curl -N http://localhost/events    # through a web server
//! ```
//!
//! Mount it at `/events`. In the query, `interval=MS` sets the time between two events, up to 30
//! seconds, and `count=N` ends the stream. Every `flush` sends an event. nginx buffers events
//! unless `X-Accel-Buffering` is `no`. If the browser leaves, `is_aborted` returns true or `flush`
//! fails. If the server stops, `is_shut_down` returns true. The handler checks both while it waits,
//! so that its thread is soon free for another request.

use std::collections::HashMap;
use std::io::Write;
use std::thread::sleep;
use std::time::{Duration, Instant};

use fcgi::server::{Handle, HandlerResult, Request};
use fcgi::{ResponseHead, Server};

/// The maximum time between two events. Web servers end a response that is silent for a minute.
const MAX_INTERVAL: Duration = Duration::from_secs(30);
/// The time between two checks whether the browser has left.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

fn main() -> fcgi::Result<()> {
    let address = std::env::args_os().nth(1).unwrap_or("127.0.0.1:9000".into());
    let server = Server::bind(address)?;
    let handle = server.handle();
    server.serve(move |request| send_events(request, &handle))
}

fn send_events(request: &mut Request, server: &Handle) -> HandlerResult {
    let query: HashMap<_, _> = form_urlencoded::parse(request.query().as_bytes()).collect();
    let number = |key| query.get(key).and_then(|value| value.parse().ok());
    let interval = Duration::from_millis(number("interval").unwrap_or(1000)).min(MAX_INTERVAL);
    // A browser that reconnects sends the id of the last event that it has received.
    let last: u64 = request.header("Last-Event-ID").and_then(|id| id.parse().ok()).unwrap_or(0);
    let ids = (last.saturating_add(1)..).take(number("count").unwrap_or(u64::MAX) as usize);

    ResponseHead::event_stream().write_to(&mut request.stdout)?;
    // A browser reconnects after this time, in milliseconds.
    write!(request.stdout, "retry: 2000\n\n")?;
    for id in ids {
        write!(request.stdout, "id: {id}\ndata: {{\"count\": {id}}}\n\n")?;
        request.stdout.flush()?;
        let next = Instant::now() + interval;
        while Instant::now() < next {
            if request.is_aborted() || server.is_shut_down() {
                return Ok(());
            }
            sleep(CHECK_INTERVAL.min(next.saturating_duration_since(Instant::now())));
        }
    }
    Ok(())
}
