//! Writes the seeds of every target to `corpus`: `cargo run --bin seeds` in `tests/fuzz`.

#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::path::Path;

use support::*;

fn main() -> std::io::Result<()> {
    let pairs =
        [("REQUEST_METHOD", "POST"), ("CONTENT_LENGTH", "5"), ("SCRIPT_FILENAME", "/a.php")];
    let post = request(1, RESPONDER, 1, &pairs, b"hello");
    let get = request(1, RESPONDER, 0, &[("A", "B")], b"");
    let query = record(
        GET_VALUES,
        0,
        &[pair(b"FCGI_MAX_CONNS", b""), pair(b"FCGI_MPXS_CONNS", b"")].concat(),
    );
    let long = pair(&[b'N'; 128], &[b'V'; 300]);
    let head = b"Status: 404 Not Found\r\nContent-Type: text/plain\r\n\r\nno";

    write_all(
        "record_reader",
        &[
            ("one", record(STDIN, 1, b"hello")),
            ("padded", [padded_record(PARAMS, 258, b"abc", 5), padded_record(STDIN, 1, b"", 255)].concat()),
            (
                "every_type",
                (0..=255).step_by(17).flat_map(|kind| padded_record(kind, 1, b"x", kind)).collect(),
            ),
            ("large", record(STDOUT, 1, &[b'x'; 9000])),
            ("cut", record(STDOUT, 1, b"hello")[..11].to_vec()),
            ("version", [record(STDIN, 1, b"hello"), vec![2, 5, 0, 1, 0, 0, 0, 0]].concat()),
        ],
    )?;
    write_all(
        "params",
        &[
            ("short", pair(b"QUERY_STRING", b"a=1")),
            ("empty", [pair(b"", b""), pair(b"A", b""), pair(b"", b"B")].concat()),
            ("long", long.clone()),
            ("long_form", b"\x80\0\0\x01\x80\0\0\x01AB".to_vec()),
            ("repeated", [pair(b"A", b"1"), pair(b"B", b"2"), pair(b"A", b"3")].concat()),
            ("huge", b"\xff\xff\xff\xff\xff\xff\xff\xff".to_vec()),
        ],
    )?;
    write_all(
        "response_head",
        &[
            ("status", head.to_vec()),
            ("redirect", b"Location: /login?from=a\n\n".to_vec()),
            ("absolute", b"Location: http://example.org/\r\nContent-Length: 0\r\n\r\n".to_vec()),
            (
                "cookies",
                b"Content-Type: a/b\nSet-Cookie: a=1\nSet-Cookie: b=2\nContent-Length: 2\n\nab"
                    .to_vec(),
            ),
            ("folded", b"Content-Type: a/b\n folded\n\n".to_vec()),
            ("http", b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n\r\n".to_vec()),
        ],
    )?;
    let data = [("FCGI_DATA_LENGTH", "4"), ("FCGI_DATA_LAST_MOD", "0")];
    write_all(
        "server_connection",
        &[
            ("get", get.clone()),
            ("kept", [post.clone(), get.clone()].concat()),
            (
                "query",
                [
                    query.clone(),
                    begin(1, RESPONDER, 1),
                    query,
                    params(1, &pairs),
                    record(99, 0, b"?"),
                ]
                .concat(),
            ),
            ("roles", [begin(7, 9, 1), request(1, AUTHORIZER, 1, &pairs, b"")].concat()),
            (
                "filter",
                [
                    request(1, FILTER, 1, &data, b"in"),
                    record(DATA, 1, b"file"),
                    record(DATA, 1, b""),
                ]
                .concat(),
            ),
            (
                "abort",
                [begin(1, RESPONDER, 1), params(1, &pairs), record(ABORT, 1, b""), get.clone()]
                    .concat(),
            ),
            (
                "second",
                [begin(1, RESPONDER, 1), begin(2, RESPONDER, 1), params(1, &pairs), post].concat(),
            ),
            (
                "large_params",
                [begin(1, RESPONDER, 1), record(PARAMS, 1, &long), record(PARAMS, 1, b"")].concat(),
            ),
        ],
    )?;
    write_all(
        "client_exchange",
        &[
            ("whole", [record(STDOUT, 1, head), record(STDOUT, 1, b""), end(1, 0, 0)].concat()),
            (
                "stderr",
                [padded_record(STDERR, 1, b"oops", 4), record(STDOUT, 1, head), end(1, 1, 0)].concat(),
            ),
            ("refused", end(1, 0, 2)),
            ("cut", record(STDOUT, 1, head)),
            ("foreign", [record(STDOUT, 2, head), end(1, 0, 0)].concat()),
            (
                "behind",
                [record(UNKNOWN_TYPE, 0, &[0; 8]), end(1, 938, 0), record(STDOUT, 1, b"ghost")]
                    .concat(),
            ),
        ],
    )
}

fn write_all(target: &str, seeds: &[(&str, Vec<u8>)]) -> std::io::Result<()> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&directory)?;
    seeds.iter().try_for_each(|(name, bytes)| fs::write(directory.join(name), bytes))
}
