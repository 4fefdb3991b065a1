//! A relay between a web server and an application that reports each record.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use fcgi::error::Timeout;
use fcgi::net::{Address, Listener, Stream};
use fcgi::record::{Header, RecordType};
use fcgi::stream::RecordReader;
use fcgi::{Error, Result};

use super::stdio::{print, Stderr};

/// The direction of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    ToApplication,
    ToWebServer,
}

impl Direction {
    /// Returns the direction that records of this type have, if the specification defines it.
    pub fn of(record_type: RecordType) -> Option<Self> {
        match record_type {
            RecordType::EndRequest
            | RecordType::Stdout
            | RecordType::Stderr
            | RecordType::GetValuesResult
            | RecordType::UnknownType => Some(Self::ToWebServer),
            RecordType::Unknown(_) => None,
            _ => Some(Self::ToApplication),
        }
    }
}

/// Returns the line that describes a record.
pub fn describe(direction: Option<Direction>, header: Header) -> String {
    let arrow = match direction {
        Some(Direction::ToApplication) => '>',
        Some(Direction::ToWebServer) => '<',
        None => '?',
    };
    format!("{arrow} {header}")
}

/// Relays each connection to the application, in a thread of its own, and prints the records.
pub fn serve(listener: &Listener, application: &Address) -> Result<()> {
    while let Some(web_server) = listener.accept()? {
        let application = application.clone();
        thread::spawn(move || {
            let relayed = Stream::connect(&application, None).and_then(|application| {
                relay(&web_server, &application, &|direction, header| {
                    // The connection is relayed even if nothing can be printed.
                    let _ = print(&(describe(Some(direction), header) + "\n"));
                })
            });
            if let Err(error) = relayed {
                let _ = writeln!(Stderr, "dump: {application}: {error}");
            }
        });
    }
    Ok(())
}

/// Starts a relay to an application for one connection, and returns its address. The connection to
/// the application exists when this function returns.
pub fn start(
    application: &Address,
    timeout: Option<Duration>,
    report: impl Fn(Direction, Header) + Send + Sync + 'static,
) -> Result<Address> {
    let application = connect(application, timeout)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string().parse()?;
    thread::spawn(move || -> Result<()> {
        let (web_server, _) = listener.accept()?;
        relay(&web_server.into(), &application, &report)
    });
    Ok(address)
}

/// Connects to an application. Unlike [`Stream::connect`], limits the time for Unix sockets, too.
pub fn connect(address: &Address, timeout: Option<Duration>) -> Result<Stream> {
    let Some(max) = timeout else { return Stream::connect(address, None) };
    let (sender, connected) = mpsc::channel();
    let target = address.clone();
    thread::spawn(move || sender.send(Stream::connect(&target, timeout)));
    connected.recv_timeout(max).unwrap_or_else(|_| {
        let source = Error::TimedOut(Timeout::new("connect", max)).into();
        Err(Error::Connect { address: address.to_string().into(), source })
    })
}

/// Copies the bytes of a connection in both directions, unchanged, until both have ended. Reports a
/// record before its first byte is copied.
///
/// # Errors
/// The first error of a peer, or the error of the first invalid record. The bytes after an invalid
/// record are copied without being parsed.
pub fn relay(
    web_server: &Stream,
    application: &Stream,
    report: &(impl Fn(Direction, Header) + Sync),
) -> Result<()> {
    thread::scope(|scope| {
        let requests = scope.spawn(|| {
            copy(web_server, application, |header| report(Direction::ToApplication, header))
        });
        let responses =
            copy(application, web_server, |header| report(Direction::ToWebServer, header));
        requests.join().expect("the copying thread").and(responses)
    })
}

/// Copies one direction, then passes its end on.
fn copy(input: &Stream, output: &Stream, report: impl Fn(Header)) -> Result<()> {
    let mut reader = RecordReader::new(Tee { input, output, pending: Vec::new() });
    let outcome = report_records(&mut reader, report);
    let mut tee = reader.into_inner();
    let copied = io::copy(&mut tee, &mut io::sink());
    // If a peer has closed the connection, there is nothing to shut down.
    let _ = match copied {
        Ok(_) => output.shutdown(Shutdown::Write),
        Err(_) => input.shutdown(Shutdown::Both).and(output.shutdown(Shutdown::Both)),
    };
    outcome
}

fn report_records(reader: &mut RecordReader<impl Read>, report: impl Fn(Header)) -> Result<()> {
    while let Some(header) = reader.next_header()? {
        report(header);
    }
    Ok(())
}

/// Copies what is read from `input` to `output`. It does so at the next read, when the reader has
/// examined the bytes before.
struct Tee<'a> {
    input: &'a Stream,
    output: &'a Stream,
    /// The bytes that were read and not written yet.
    pending: Vec<u8>,
}

impl Read for Tee<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.output.write_all(&self.pending)?;
        self.pending.clear();
        let len = self.input.read(buffer)?;
        self.pending.extend_from_slice(&buffer[..len]);
        Ok(len)
    }
}
