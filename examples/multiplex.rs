//! Sends many requests at once on one connection.
//!
//! The application must support multiplexing (see the [FastCGI specification], section 4.1), as
//! those that use Go's `net/http/fcgi` do. Requests that the application refuses to multiplex are
//! sent again, one at a time. The program first asks with GET_VALUES whether the application
//! supports it. Some applications exit when they receive that record: see `probe`.
//!
//! ```sh
//! cargo run --example echo -- 127.0.0.1:9000
//! cargo run --example multiplex -- 127.0.0.1:9000 3    # in another shell
//! ```
//!
//! prints a line for each request: its number, the length of its response, its app status, and the
//! first 60 characters of the last line of the response. `echo` does not multiplex, which is
//! reported on stderr.
//!
//! [`Client`] sends one request at a time on a connection. This example shows how to multiplex with
//! the record layer alone. Each request has an id and an entry in a table. One thread writes one
//! record of each request in turn, while the main thread reads the responses. Neither thread waits
//! for the other, so the exchange cannot deadlock. The memory for each response is bounded.
//!
//! [FastCGI specification]: https://fastcgi-archives.github.io/FastCGI_Specification.html

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use fcgi::net::{Address, Stream};
use fcgi::record::{self, BeginRequest, EndRequest, Header, ProtocolStatus, RecordType, Role};
use fcgi::stream::RecordReader;
use fcgi::{Client, Error, Params, Result};

use self::support::cli::{parse_number, Arguments, Program};
use self::support::exit::Exit;
use self::support::stdio::{print, Stderr};

const PROGRAM: Program = Program::new(
    "multiplex",
    "\
usage: multiplex ADDRESS [N [ABORTED]]

Sends N requests (default: 32) at once on one connection to the application at ADDRESS, each with a
body of 100 KB. Aborts the one with the number ABORTED after half of its body. Prints a line for
each request. Requests that the application refuses to multiplex are sent again, one at a time.

Example:
  multiplex 127.0.0.1:9000 3
",
);

/// The length of each request's body, in bytes.
const BODY_LEN: usize = 100_000;
/// The content length of a STDIN record.
const CHUNK_LEN: usize = 8 * 1024;
/// The maximum length of a response. A request with a longer response is aborted.
const MAX_RESPONSE: usize = 1024 * 1024;
/// The timeout for connecting, and for each read and write.
const TIMEOUT: Option<Duration> = Some(Duration::from_secs(30));

fn main() -> ExitCode {
    PROGRAM.main(|args| {
        let (address, count, aborted) = parse_args(args)?;
        run(&address, count, aborted).map(|()| 0)
    })
}

/// Returns ADDRESS, N and ABORTED.
fn parse_args(mut args: Arguments) -> std::result::Result<(Address, u16, u16), Exit> {
    if args.next_option()?.is_some() {
        return Err(args.unknown_option());
    }
    let address = args.required_address()?;
    let mut number = |default| {
        let text = args.next_positional();
        text.map_or(Ok(default), |text| parse_number(&text, "a number of requests"))
    };
    let (count, aborted) = (number(32)?, number(0)?);
    args.finish()?;
    Ok((address, count, aborted))
}

fn run(address: &Address, count: u16, aborted: u16) -> std::result::Result<(), Exit> {
    let client = Client::from(address.clone());
    let can_multiplex = client.get_values().is_ok_and(|values| values.mpxs_conns == Some(true));
    let mut responses = BTreeMap::new();
    if can_multiplex {
        responses = multiplex(address, count, aborted)?;
    } else {
        let reason = "the application does not multiplex; sending one request at a time";
        let _ = writeln!(Stderr, "multiplex: {reason}");
    }
    for id in 1..=count {
        let response = match responses.remove(&id) {
            Some(response) if response.end.protocol_status == ProtocolStatus::RequestComplete => {
                response
            }
            _refused => send_alone(&client, id)?,
        };
        print(&format!("{}\n", response.describe(id)))?;
    }
    Ok(())
}

/// The response to one request, as far as it has been received.
#[derive(Default)]
struct Response {
    stdout: Vec<u8>,
    end: EndRequest,
    is_aborted: bool,
}

impl Response {
    /// Returns the line that is printed for the request with this number.
    fn describe(&self, id: u16) -> String {
        let text = String::from_utf8_lossy(&self.stdout);
        let last_line: String = text.lines().last().unwrap_or("").chars().take(60).collect();
        let aborted = if self.is_aborted { ", aborted" } else { "" };
        let Self { stdout, end, .. } = self;
        format!("{id}: {} bytes, app status {}{aborted}: {last_line}", stdout.len(), end.app_status)
    }
}

/// Sends the requests 1 to `count` at once on one connection.
fn multiplex(address: &Address, count: u16, aborted: u16) -> Result<BTreeMap<u16, Response>> {
    let stream = &Stream::connect(address, TIMEOUT)?;
    stream.set_timeouts(TIMEOUT, TIMEOUT)?;
    let (abort, aborts) = mpsc::channel();
    thread::scope(|scope| {
        let writer = scope.spawn(move || write_requests(stream, count, aborted, aborts));
        let responses = read_responses(stream, (count, aborted), &abort);
        // The writer returns when the channel is closed.
        drop(abort);
        if responses.is_err() {
            // The writer may be blocked because the application has stopped reading.
            stream.shutdown(std::net::Shutdown::Both)?;
        }
        let written = writer.join().expect("the writing thread");
        let responses = responses?;
        written.map(|()| responses)
    })
}

/// Writes the requests, one record of each in turn, and an ABORT_REQUEST for each id that is
/// received from `aborts`. Returns when that channel is closed.
fn write_requests(
    mut stream: &Stream,
    count: u16,
    aborted: u16,
    aborts: Receiver<u16>,
) -> Result<()> {
    for id in 1..=count {
        // Without KEEP_CONN the application would close the connection after the first response
        // (section 5.1 of the specification).
        record::write_begin_request(&mut stream, id, BeginRequest::new(Role::Responder, true))?;
        params(id)?.write_stream(&mut stream, id)?;
    }
    let mut open: Vec<u16> = (1..=count).collect();
    let body = vec![b'x'; BODY_LEN];
    for (round, chunk) in body.chunks(CHUNK_LEN).enumerate() {
        if round == BODY_LEN / CHUNK_LEN / 2 && open.contains(&aborted) {
            record::write_abort_request(&mut stream, aborted)?;
            open.retain(|id| *id != aborted);
        }
        for id in &open {
            record::write_record(&mut stream, RecordType::Stdin, *id, chunk)?;
        }
        for id in aborts.try_iter() {
            record::write_abort_request(&mut stream, id)?;
            open.retain(|other| *other != id);
        }
    }
    for id in &open {
        record::write_record(&mut stream, RecordType::Stdin, *id, b"")?;
    }
    aborts.into_iter().try_for_each(|id| record::write_abort_request(&mut stream, id))
}

/// Reads records until every request has ended. Sends the ids of requests whose response is too
/// long to `abort`.
fn read_responses(
    stream: &Stream,
    (count, aborted): (u16, u16),
    abort: &Sender<u16>,
) -> Result<BTreeMap<u16, Response>> {
    let mut reader = RecordReader::new(stream);
    let new_response = |id| (id, Response { is_aborted: id == aborted, ..Response::default() });
    let mut running: BTreeMap<u16, Response> = (1..=count).map(new_response).collect();
    let mut ended = BTreeMap::new();
    while !running.is_empty() {
        let header = reader.next_header()?.ok_or(Error::UnexpectedEof("the responses"))?;
        let Header { record_type, request_id, .. } = header;
        let Some(response) = running.get_mut(&request_id) else { continue };
        match record_type {
            RecordType::Stdout => read_stdout(&mut reader, request_id, response, abort)?,
            RecordType::EndRequest => {
                response.end = reader.read_end_request()?;
                ended.extend(running.remove_entry(&request_id));
            }
            RecordType::Stderr => {}
            _ => return Err(Error::UnexpectedRecord { record_type, request_id }),
        }
    }
    Ok(ended)
}

/// Appends the content of a STDOUT record to the response. Aborts the request if the response
/// becomes too long.
fn read_stdout(
    reader: &mut RecordReader<&Stream>,
    id: u16,
    response: &mut Response,
    abort: &Sender<u16>,
) -> Result<()> {
    if !response.is_aborted && response.stdout.len() + reader.content_left() > MAX_RESPONSE {
        response.is_aborted = true;
        // Sending fails only if the writer has failed, which also ends the connection.
        let _ = abort.send(id);
    }
    while !response.is_aborted && reader.content_left() > 0 {
        let received = reader.fill_content()?;
        let len = received.len();
        response.stdout.extend_from_slice(received);
        reader.consume(len);
    }
    Ok(())
}

/// Sends a request on a connection of its own.
fn send_alone(client: &Client, id: u16) -> Result<Response> {
    let reply = client.fetch(&params(id)?, vec![b'x'; BODY_LEN])?;
    let end = EndRequest { app_status: reply.completion.app_status, ..EndRequest::default() };
    Ok(Response { stdout: reply.stdout, end, is_aborted: false })
}

fn params(id: u16) -> Result<Params> {
    Params::from_pairs([
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("REQUEST_METHOD", "POST"),
        ("SCRIPT_NAME", "/"),
        ("REQUEST_URI", &format!("/?n={id}")),
        ("HTTP_HOST", "localhost"),
        ("QUERY_STRING", &format!("n={id}")),
        ("CONTENT_TYPE", "application/octet-stream"),
        ("CONTENT_LENGTH", &BODY_LEN.to_string()),
    ])
}
