//! Applications that break the rules in a way that confuses clients.

use std::io::{self, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;

use fcgi::record::RecordType;
use fcgi::stream::RecordReader;
use fcgi::Params;

use crate::support::{end, record, STDOUT};

/// The socket of the application that closes each connection after its first response, although
/// the client asked to keep it open.
pub const CLOSING: &str = "closing.sock";
/// The socket of the application that sends a second response after each response.
pub const STRAY: &str = "stray.sock";

/// The body of the second response.
pub const STRAY_BODY: &[u8] = b"stray";

/// Starts both applications on sockets in this directory.
pub fn start(directory: &Path) {
    serve(&directory.join(CLOSING), answer_once);
    serve(&directory.join(STRAY), answer_twice);
}

/// Starts an application that calls `answer` for each connection, in a thread of its own.
fn serve(path: &Path, answer: fn(&UnixStream) -> fcgi::Result<()>) {
    let listener = UnixListener::bind(path).expect("a listening socket");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.expect("a connection");
            // An error means that the client has closed the connection.
            thread::spawn(move || drop(answer(&stream)));
        }
    });
}

fn answer_once(mut stream: &UnixStream) -> fcgi::Result<()> {
    if let Some((id, nonce)) = read_request(&mut RecordReader::new(stream))? {
        stream.write_all(&response(id, nonce.as_bytes()))?;
    }
    Ok(())
}

/// Sends the second response of every other request in a write of its own.
fn answer_twice(stream: &UnixStream) -> fcgi::Result<()> {
    let mut reader = RecordReader::new(stream);
    while let Some((id, nonce)) = read_request(&mut reader)? {
        let (expected, stray) = (response(id, nonce.as_bytes()), response(id, STRAY_BODY));
        write_responses(stream, &expected, &stray, nonce.ends_with('0'))?;
    }
    Ok(())
}

fn write_responses(
    mut stream: &UnixStream,
    expected: &[u8],
    stray: &[u8],
    in_one_write: bool,
) -> io::Result<()> {
    if in_one_write {
        return stream.write_all(&[expected, stray].concat());
    }
    stream.write_all(expected)?;
    stream.write_all(stray)
}

/// Reads a request. Returns its id and its param `NONCE`, or `None` at the end of input.
fn read_request(reader: &mut RecordReader<&UnixStream>) -> fcgi::Result<Option<(u16, String)>> {
    let mut params = Vec::new();
    while let Some(header) = reader.next_header()? {
        match header.record_type {
            RecordType::Params => read_content(reader, &mut params)?,
            RecordType::Stdin if header.content_len == 0 => {
                let params = Params::parse(&params)?;
                let nonce = params.get("NONCE").expect("a param").to_owned();
                return Ok(Some((header.request_id, nonce)));
            }
            _ => {}
        }
    }
    Ok(None)
}

/// Appends the content of a record to `bytes`.
fn read_content(reader: &mut RecordReader<&UnixStream>, bytes: &mut Vec<u8>) -> fcgi::Result<()> {
    while reader.content_left() > 0 {
        let content = reader.fill_content()?;
        let len = content.len();
        bytes.extend_from_slice(content);
        reader.consume(len);
    }
    Ok(())
}

fn response(id: u16, body: &[u8]) -> Vec<u8> {
    let stdout = [b"Content-Type: text/plain\r\n\r\n", body].concat();
    [record(STDOUT, id, &stdout), record(STDOUT, id, b""), end(id, 0, 0)].concat()
}
