//! Connections: how they end, and what happens to their requests.

use std::io::{self, Read};

use super::{answer, Site};
use crate::support::{end, record, STDOUT};

/// Such a response ends with the connection, so only a reset tells the client that a part is
/// missing. A part that was sent may be lost.
#[test]
fn broken_response_without_a_length_resets_the_connection() {
    let part = record(STDOUT, 1, b"Content-Type: text/plain\n\npart");
    for (name, end, reason) in
        [("truncated", vec![], "input ended"), ("refused in the end", end(1, 0, 2), "overloaded")]
    {
        let site = Site::scripted(&[], [part.clone(), end].concat());
        let mut client = site.gateway.raw("GET /a.php HTTP/1.0\r\n\r\n");
        let error = client.read_to_end(&mut Vec::new()).expect_err(name);
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{name}");
        site.gateway.wait_for_log(reason);
    }
}

/// The end of such a response is the end of the connection.
#[test]
fn complete_response_without_a_length_closes_the_connection() {
    let site = Site::scripted(&[], answer(b"Content-Type: text/plain\n\nwhole"));
    let mut client = site.gateway.raw("GET /a.php HTTP/1.0\r\n\r\n");
    let mut response = String::new();
    client.read_to_string(&mut response).expect("the response");
    assert!(response.ends_with("\r\n\r\nwhole"), "{response}");
}
