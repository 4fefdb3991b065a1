//! Writes the seeds of all fuzz targets to `corpus`: `cargo run --bin seeds` in `tests/fuzz`.

#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::io;
use std::path::Path;

use support::*;

const POST_PARAMS: [(&str, &str); 3] =
    [("REQUEST_METHOD", "POST"), ("CONTENT_LENGTH", "5"), ("SCRIPT_FILENAME", "/a.php")];
const RESPONSE: &[u8] = b"Status: 404 Not Found\r\nContent-Type: text/plain\r\n\r\nno";

fn main() -> io::Result<()> {
    write_record_reader()?;
    write_params()?;
    write_response_head()?;
    write_server_connection()?;
    write_client_exchange()
}

fn write_record_reader() -> io::Result<()> {
    let record_of_type = |kind| padded_record(kind, 1, b"x", kind);
    write_seeds(
        "record_reader",
        &[
            ("one", record(STDIN, 1, b"hello")),
            (
                "padded",
                [padded_record(PARAMS, 258, b"abc", 5), padded_record(STDIN, 1, b"", 255)].concat(),
            ),
            ("every_type", (0..=255).step_by(17).flat_map(record_of_type).collect()),
            ("large", record(STDOUT, 1, &[b'x'; 9000])),
            ("truncated", record(STDOUT, 1, b"hello")[..11].to_vec()),
            ("version", [record(STDIN, 1, b"hello"), vec![2, 5, 0, 1, 0, 0, 0, 0]].concat()),
        ],
    )
}

fn write_params() -> io::Result<()> {
    write_seeds(
        "params",
        &[
            ("short", pair(b"QUERY_STRING", b"a=1")),
            ("empty", [pair(b"", b""), pair(b"A", b""), pair(b"", b"B")].concat()),
            ("long", long_pair()),
            ("long_form", b"\x80\0\0\x01\x80\0\0\x01AB".to_vec()),
            ("repeated", [pair(b"A", b"1"), pair(b"B", b"2"), pair(b"A", b"3")].concat()),
            ("huge", b"\xff\xff\xff\xff\xff\xff\xff\xff".to_vec()),
        ],
    )
}

fn write_response_head() -> io::Result<()> {
    let seeds: [(&str, &[u8]); 6] = [
        ("status", RESPONSE),
        ("redirect", b"Location: /login?from=a\n\n"),
        ("absolute", b"Location: http://example.org/\r\nContent-Length: 0\r\n\r\n"),
        (
            "cookies",
            b"Content-Type: a/b\nSet-Cookie: a=1\nSet-Cookie: b=2\nContent-Length: 2\n\nab",
        ),
        ("folded", b"Content-Type: a/b\n folded\n\n"),
        ("http", b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n\r\n"),
    ];
    write_seeds("response_head", &seeds.map(|(name, bytes)| (name, bytes.to_vec())))
}

fn write_server_connection() -> io::Result<()> {
    let (begin, params) = (begin(1, RESPONDER, 1), params(1, &POST_PARAMS));
    let post = request(1, RESPONDER, 1, &POST_PARAMS, b"hello");
    let get = request(1, RESPONDER, 0, &[("A", "B")], b"");
    let query = [pair(b"FCGI_MAX_CONNS", b""), pair(b"FCGI_MPXS_CONNS", b"")].concat();
    let query = record(GET_VALUES, 0, &query);
    let unknown_type = record(99, 0, b"?");
    let unknown_role = support::begin(7, 9, 1);
    let authorizer = request(1, AUTHORIZER, 1, &POST_PARAMS, b"");
    let data_params = [("FCGI_DATA_LENGTH", "4"), ("FCGI_DATA_LAST_MOD", "0")];
    let filter = request(1, FILTER, 1, &data_params, b"in");
    let data = [record(DATA, 1, b"file"), record(DATA, 1, b"")].concat();
    let abort = record(ABORT, 1, b"");
    let second_begin = support::begin(2, RESPONDER, 1);
    let large_params = [record(PARAMS, 1, &long_pair()), record(PARAMS, 1, b"")].concat();
    write_seeds(
        "server_connection",
        &[
            ("get", get.clone()),
            ("kept", [&post[..], &get].concat()),
            ("query", [&query[..], &begin, &query, &params, &unknown_type].concat()),
            ("roles", [unknown_role, authorizer].concat()),
            ("filter", [filter, data].concat()),
            ("abort", [&begin[..], &params, &abort, &get].concat()),
            ("second", [&begin[..], &second_begin, &params, &post].concat()),
            ("large_params", [begin, large_params].concat()),
        ],
    )
}

fn write_client_exchange() -> io::Result<()> {
    let stdout = record(STDOUT, 1, RESPONSE);
    let unknown_type = record(UNKNOWN_TYPE, 0, &[0; 8]);
    let late_stdout = record(STDOUT, 1, b"ghost");
    write_seeds(
        "client_exchange",
        &[
            ("whole", [stdout.clone(), record(STDOUT, 1, b""), end(1, 0, 0)].concat()),
            (
                "stderr",
                [padded_record(STDERR, 1, b"oops", 4), stdout.clone(), end(1, 1, 0)].concat(),
            ),
            ("refused", end(1, 0, 2)),
            ("truncated", stdout),
            ("other_id", [record(STDOUT, 2, RESPONSE), end(1, 0, 0)].concat()),
            ("trailing", [unknown_type, end(1, 938, 0), late_stdout].concat()),
        ],
    )
}

/// Returns a pair whose lengths take four bytes each.
fn long_pair() -> Vec<u8> {
    pair(&[b'N'; 128], &[b'V'; 300])
}

fn write_seeds(target: &str, seeds: &[(&str, Vec<u8>)]) -> io::Result<()> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&directory)?;
    seeds.iter().try_for_each(|(name, bytes)| fs::write(directory.join(name), bytes))
}
