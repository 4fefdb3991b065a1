//! The way from the floor to our server, in steps, each with all before it: what of a small
//! request's time goes where.
//!
//! `steps WORKLOAD ADDRESS STEP`, on a Unix socket.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use fcgi::record::RecordType;
use fcgi::stream::RecordReader;
use fcgi::Params;
use fcgi_benches::{arguments, wire, Workload};

/// As many as the floor has.
const THREADS: usize = 16;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The params are kept and indexed.
    Params,
    /// One of them is looked up.
    LookUp,
    /// The records are read, wherever they begin and end.
    Records,
}

fn main() -> fcgi::Result<()> {
    let (workload, address) = arguments();
    let step = match &*std::env::args().nth(3).expect("a step") {
        "params" => Step::Params,
        "look-up" => Step::LookUp,
        "records" => Step::Records,
        other => panic!("no step {other:?}"),
    };
    let (listener, answer) = (UnixListener::bind(address)?, wire::answer(workload).concat());
    std::thread::scope(|scope| {
        // System calls of a process with one thread take less time.
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Ok((socket, _)) = listener.accept() {
                    let _ended = match step {
                        Step::Records => serve_records(&socket, &answer),
                        _ => serve_blocks(&socket, &answer, step),
                    };
                }
            });
        }
    });
    Ok(())
}

/// With each request in one read, as the load sends it.
fn serve_blocks(mut socket: &UnixStream, answer: &[u8], step: Step) -> fcgi::Result<()> {
    // Behind BEGIN_REQUEST and the header of the params.
    const PARAMS: usize = 24;
    let params_len = wire::params(Workload::Small).len();
    let (mut buffer, mut params) = (vec![0; 8 * 1024], Params::new());
    while socket.read(&mut buffer)? > 0 {
        params.clear();
        params.push_encoded(&buffer[PARAMS..PARAMS + params_len])?;
        if step == Step::LookUp {
            look_up(&params);
        }
        socket.write_all(answer)?;
    }
    Ok(())
}

fn serve_records(mut socket: &UnixStream, answer: &[u8]) -> fcgi::Result<()> {
    let (mut reader, mut params) = (RecordReader::new(socket), Params::new());
    while let Some(header) = reader.next_header()? {
        match (header.record_type, header.content_len) {
            (RecordType::BeginRequest, _) => params.clear(),
            (RecordType::Params, 1..) => params.push_encoded(reader.fill_content()?)?,
            (RecordType::Stdin, 0) => {
                look_up(&params);
                socket.write_all(answer)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn look_up(params: &Params) {
    assert_eq!(params.get("REMOTE_ADDR"), Some("192.0.2.7"));
}
