//! Echoes 64 MiB, as a FastCGI request or on a plain socket: `echo fcgi` or `echo baseline`.
//!
//! In both cases one thread writes the data, one reads the response, and one echoes.

use std::io::{self, BufRead, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fcgi::client::{Config, Connection};
use fcgi::record::Role;
use fcgi::Params;
use fcgi_benches::{clock, FILLER};

const LEN: usize = 64 * 1024 * 1024;
const BUFFER: usize = 128 * 1024;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::temp_dir().join(format!("fcgi-benches-echo-{}.sock", std::process::id()));
    let data = vec![FILLER; LEN];
    let outcome = if std::env::args().nth(1).as_deref() == Some("baseline") {
        run_baseline(&path, &data).map_err(Into::into)
    } else {
        run_fcgi(&path, &data).map_err(Into::into)
    };
    let _ = std::fs::remove_file(&path);
    outcome
}

fn run_fcgi(path: &Path, data: &[u8]) -> fcgi::Result<()> {
    let address = path.to_str().expect("a path in UTF-8");
    let server = fcgi::Server::bind(address)?;
    let handle = server.handle();
    let serving = std::thread::spawn(|| {
        server.serve(|request| loop {
            let received = request.stdin.fill_buf()?;
            if received.is_empty() {
                return Ok(());
            }
            request.stdout.write_all(received)?;
            let len = received.len();
            request.stdin.consume(len);
        })
    });
    let config = Arc::new(Config::new().keep_alive(true));
    let mut connection = Connection::connect(&address.parse()?, config)?;
    let params = Params::from_pairs([
        ("REQUEST_METHOD", "POST".to_string()),
        ("CONTENT_LENGTH", LEN.to_string()),
    ])?;
    clock::measure(|| exchange(&mut connection, &params, data).expect("the echo"));
    handle.shutdown();
    serving.join().expect("the server's thread")
}

fn exchange(connection: &mut Connection, params: &Params, data: &[u8]) -> fcgi::Result<()> {
    let mut exchange = connection.begin(Role::Responder, params)?;
    let (stdin, stdout) = (&mut exchange.stdin, &mut exchange.stdout);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            stdin.write_all(data).and_then(|()| stdin.finish()).expect("the data is written")
        });
        let mut len = 0;
        loop {
            let received = stdout.fill_buf()?;
            if received.is_empty() {
                assert_eq!(len, LEN);
                return Ok::<_, fcgi::Error>(());
            }
            assert_eq!(received[0], FILLER);
            let n = received.len();
            len += n;
            stdout.consume(n);
        }
    })?;
    exchange.finish().map(drop)
}

fn run_baseline(path: &PathBuf, data: &[u8]) -> io::Result<()> {
    let listener = UnixListener::bind(path)?;
    std::thread::spawn(move || echo(listener.accept()?.0));
    let socket = &UnixStream::connect(path)?;
    let mut buffer = vec![0; BUFFER];
    clock::measure(|| {
        std::thread::scope(|scope| {
            scope.spawn(|| { socket }.write_all(data).expect("the data is written"));
            let mut len = 0;
            while len < LEN {
                match { socket }.read(&mut buffer).expect("the data is read") {
                    0 => panic!("closed after {len} bytes"),
                    n => len += n,
                }
            }
        });
    });
    Ok(())
}

fn echo(mut socket: UnixStream) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match socket.read(&mut buffer)? {
            0 => return Ok(()),
            n => socket.write_all(&buffer[..n])?,
        }
    }
}
