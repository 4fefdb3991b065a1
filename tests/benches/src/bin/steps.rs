//! Intermediate programs between the baseline and the server of this crate: `steps WORKLOAD ADDRESS
//! STEP`, on a Unix socket. Each step adds one task to the previous step. The differences show what
//! the time of a small request is spent on.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use fcgi::record::RecordType;
use fcgi::stream::RecordReader;
use fcgi::Params;
use fcgi_benches::{arguments, wire, Workload};

/// The number of threads, as in the baseline.
const THREADS: usize = 16;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Stores and indexes the params.
    Params,
    /// Also looks up one param.
    LookUp,
    /// Also parses the records, wherever they are split.
    Records,
}

fn main() -> fcgi::Result<()> {
    let (workload, address) = arguments();
    let step = match &*std::env::args().nth(3).expect("a step") {
        "params" => Step::Params,
        "look-up" => Step::LookUp,
        "records" => Step::Records,
        other => panic!("unknown step {other:?}"),
    };
    let (listener, response) =
        (UnixListener::bind(address)?, wire::response(&workload.response(), 1).concat());
    std::thread::scope(|scope| {
        // Several threads, because system calls are faster in a process with only one.
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Ok((socket, _)) = listener.accept() {
                    let _ended = match step {
                        Step::Records => serve_records(&socket, &response),
                        _ => serve_unparsed(&socket, &response, step),
                    };
                }
            });
        }
    });
    Ok(())
}

/// Serves a connection without parsing records. Each read returns one request, as `load` sends it.
fn serve_unparsed(mut socket: &UnixStream, response: &[u8], step: Step) -> fcgi::Result<()> {
    // The params follow BEGIN_REQUEST and the header of the PARAMS record.
    const PARAMS: usize = 24;
    let params_len = wire::params(Workload::Small).len();
    let (mut buffer, mut params) = (vec![0; 8 * 1024], Params::new());
    while socket.read(&mut buffer)? > 0 {
        params.clear();
        params.push_encoded(&buffer[PARAMS..PARAMS + params_len])?;
        if step == Step::LookUp {
            look_up(&params);
        }
        socket.write_all(response)?;
    }
    Ok(())
}

fn serve_records(mut socket: &UnixStream, response: &[u8]) -> fcgi::Result<()> {
    let (mut reader, mut params) = (RecordReader::new(socket), Params::new());
    while let Some(header) = reader.next_header()? {
        match (header.record_type, header.content_len) {
            (RecordType::BeginRequest, _) => params.clear(),
            (RecordType::Params, 1..) => params.push_encoded(reader.fill_content()?)?,
            (RecordType::Stdin, 0) => {
                look_up(&params);
                socket.write_all(response)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn look_up(params: &Params) {
    assert_eq!(params.get("REMOTE_ADDR"), Some("192.0.2.7"));
}
