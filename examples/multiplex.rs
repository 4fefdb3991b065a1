//! Many requests at once on one connection: `multiplex ADDRESS [N [ABORTED]]`.
//!
//! Sends N requests (32 if left out) with a body of 100 KB each to an application that multiplexes,
//! such as one made with Go's `net/http/fcgi`, and aborts the one with the number ABORTED half-way.
//! What an application refuses to multiplex is sent one at a time. For each request a line says how
//! it ended, and shows the last line of its response.
//!
//! The library's `Client` has one request at a time on a connection; this shows how far its records
//! alone go. Each request has an id and an entry in a table. One thread writes: a record of each
//! request in turn. This one reads. Neither waits for the other, so nothing can block; and what is
//! held for a request is bounded.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use fcgi::net::{Address, Stream};
use fcgi::record::{self, BeginRequest, EndRequest, Header, ProtocolStatus, RecordType, Role};
use fcgi::stream::RecordReader;
use fcgi::{Client, Error, Params, Result};

/// The length of a request's body in bytes, and of the records that it is sent in.
const BODY: usize = 100_000;
const PIECE: usize = 8 * 1024;
/// The most bytes of a response that are held; a request with more is aborted.
const MAX_RESPONSE: usize = 1024 * 1024;
/// How long a read or a write may wait.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(30));

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let address = args.next().and_then(|address| address.parse().ok());
    let mut number =
        |default| args.next().map_or(Some(default), |number| number.parse::<u16>().ok());
    let (Some(address), Some(count), Some(aborted)) = (address, number(32), number(0)) else {
        eprintln!("usage: multiplex ADDRESS [N [ABORTED]]");
        return ExitCode::from(64);
    };
    match run(&address, count, aborted) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("multiplex: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(address: &Address, count: u16, aborted: u16) -> Result<()> {
    let client = Client::from(address.clone());
    let can_multiplex = client.get_values().is_ok_and(|values| values.mpxs_conns == Some(true));
    let mut responses = BTreeMap::new();
    if can_multiplex {
        responses = multiplex(address, count, aborted)?;
    } else {
        eprintln!("multiplex: the application does not multiplex: one request at a time");
    }
    for id in 1..=count {
        match responses.remove(&id) {
            Some(response) if response.end.protocol_status == ProtocolStatus::RequestComplete => {
                response.print(id)
            }
            _refused => send_alone(&client, id)?.print(id),
        }
    }
    Ok(())
}

/// What is known of a request.
#[derive(Default)]
struct Response {
    stdout: Vec<u8>,
    end: EndRequest,
    is_aborted: bool,
}

impl Response {
    fn print(&self, id: u16) {
        let text = String::from_utf8_lossy(&self.stdout);
        let last_line: String = text.lines().last().unwrap_or("").chars().take(60).collect();
        let aborted = if self.is_aborted { ", aborted" } else { "" };
        println!(
            "{id}: {} bytes, app status {}{aborted}: {last_line}",
            self.stdout.len(),
            self.end.app_status
        );
    }
}

/// Sends requests 1 to `count` at once on one connection.
fn multiplex(address: &Address, count: u16, aborted: u16) -> Result<BTreeMap<u16, Response>> {
    let stream = &Stream::connect(address, PATIENCE)?;
    stream.set_timeouts(PATIENCE, PATIENCE)?;
    let (abort, aborts) = mpsc::channel();
    thread::scope(|scope| {
        let writer = scope.spawn(move || write_requests(stream, count, aborted, aborts));
        let responses = read_responses(stream, (count, aborted), &abort);
        // The writer waits for more to abort.
        drop(abort);
        if responses.is_err() {
            // The writer may wait for an application that reads no more.
            stream.shutdown(std::net::Shutdown::Both)?;
        }
        let written = writer.join().expect("the writing thread");
        let responses = responses?;
        written.map(|()| responses)
    })
}

/// Writes the requests, a record of each in turn, and an ABORT_REQUEST for each id that comes from
/// the reader.
fn write_requests(
    mut stream: &Stream,
    count: u16,
    aborted: u16,
    aborts: Receiver<u16>,
) -> Result<()> {
    for id in 1..=count {
        // Kept: else an application closes the connection as soon as the first of them is answered
        // (section 5.1).
        record::write_begin_request(&mut stream, id, BeginRequest::new(Role::Responder, true))?;
        params(id)?.write_stream(&mut stream, id)?;
    }
    let mut open: Vec<u16> = (1..=count).collect();
    let body = vec![b'x'; BODY];
    for (round, piece) in body.chunks(PIECE).enumerate() {
        if round == BODY / PIECE / 2 && open.contains(&aborted) {
            record::write_abort_request(&mut stream, aborted)?;
            open.retain(|id| *id != aborted);
        }
        for id in &open {
            record::write_record(&mut stream, RecordType::Stdin, *id, piece)?;
        }
        for id in aborts.try_iter() {
            record::write_abort_request(&mut stream, id)?;
            open.retain(|other| *other != id);
        }
    }
    for id in &open {
        record::write_record(&mut stream, RecordType::Stdin, *id, b"")?;
    }
    // Until the reader has all that it waits for.
    aborts.into_iter().try_for_each(|id| record::write_abort_request(&mut stream, id))
}

/// Reads records until each of the requests has ended; ids whose responses are too long go to
/// `abort`.
fn read_responses(
    stream: &Stream,
    (count, aborted): (u16, u16),
    abort: &Sender<u16>,
) -> Result<BTreeMap<u16, Response>> {
    let mut reader = RecordReader::new(stream);
    let begun = |id| (id, Response { is_aborted: id == aborted, ..Response::default() });
    let mut running: BTreeMap<u16, Response> = (1..=count).map(begun).collect();
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

/// Holds the content of a record, or has the request aborted.
fn read_stdout(
    reader: &mut RecordReader<&Stream>,
    id: u16,
    response: &mut Response,
    abort: &Sender<u16>,
) -> Result<()> {
    if !response.is_aborted && response.stdout.len() + reader.content_left() > MAX_RESPONSE {
        response.is_aborted = true;
        // It fails only if the writer has failed, which ends the connection.
        let _ = abort.send(id);
    }
    while !response.is_aborted && reader.content_left() > 0 {
        let piece = reader.fill_content()?;
        let len = piece.len();
        response.stdout.extend_from_slice(piece);
        reader.consume(len);
    }
    Ok(())
}

/// Sends a request on a connection of its own.
fn send_alone(client: &Client, id: u16) -> Result<Response> {
    let reply = client.fetch(&params(id)?, &vec![b'x'; BODY])?;
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
        ("CONTENT_LENGTH", &BODY.to_string()),
    ])
}
