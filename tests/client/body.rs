//! Proves what a client sends for each type that can be a body, and the length that `fetch` adds.
#![cfg(unix)]

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use fcgi::client::Body;
use fcgi::{Error, Params};

use crate::request::received;
use crate::support::application::*;

/// Returns a file with this content and its position.
fn file(content: &[u8], position: u64) -> File {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(content).expect("the file is written");
    file.seek(SeekFrom::Start(position)).expect("a regular file");
    file
}

fn announced(request: &ReceivedRequest) -> Option<&[u8]> {
    request.param("CONTENT_LENGTH")
}

#[test]
fn each_type_of_body_is_sent_with_all_its_bytes() {
    let (vec, string, mut reader) = (b"body".to_vec(), String::from("body"), &b"body"[..]);
    let mut pipe = b"bo".chain(&b"dy"[..]);
    let requests = received(|client| {
        let bodies = [
            Body::from(&b"body"[..]),
            b"body".into(),
            "body".into(),
            (&vec).into(),
            vec.clone().into(),
            (&string).into(),
            string.clone().into(),
            file(b"body", 0).into(),
            file(b"the body", 4).into(),
            (&mut reader).into(),
            Body::from_reader(&mut pipe),
            io::empty().into(),
        ];
        for body in bodies {
            client.send(&post_params(), body, |_| fcgi::Result::Ok(())).unwrap();
        }
    });
    let (empty, others) = requests.split_last().expect("requests");
    assert_eq!(empty.stdin, b"");
    assert_eq!(others.len(), 11);
    for (number, request) in others.iter().enumerate() {
        assert_eq!(request.stdin, b"body", "body {number}");
        assert_eq!(announced(request), None, "`send` adds no length");
    }
}

#[test]
fn fetch_adds_the_length_of_a_body_in_memory_or_of_a_file() {
    let requests = received(|client| {
        client.fetch(&post_params(), "body").unwrap();
        client.fetch(&post_params(), file(b"the body", 4)).unwrap();
        client.fetch(&post_params(), &mut io::Cursor::new("read")).unwrap();
        client.fetch(&post_params(), io::empty()).unwrap();
    });
    let sent: Vec<_> = requests.iter().map(|request| &request.stdin[..]).collect();
    assert_eq!(sent, [&b"body"[..], b"body", b"read", b""]);
    let lengths: Vec<_> = requests.iter().map(announced).collect();
    assert_eq!(lengths, [Some(&b"4"[..]), Some(b"4"), None, None]);
}

#[test]
fn fetch_refuses_a_file_of_another_length() {
    let requests = received(|client| {
        let fetch = |announced| client.fetch(&upload_params(announced), file(b"the body", 4));
        assert!(matches!(fetch(5), Err(Error::StreamTooShort { .. })));
        assert!(matches!(fetch(3), Err(Error::StreamTooLong { .. })));
        fetch(4).unwrap();
    });
    assert_eq!(requests.len(), 1, "nothing was sent of the others");
}

/// The length that the system reports for such a file is 0.
#[test]
#[cfg(target_os = "linux")]
fn a_virtual_file_is_read_to_its_end() {
    // An emulator replaces most files of a process by regular ones, but not this one.
    let open = || File::open("/proc/version").expect("the version of the system");
    let content = std::fs::read("/proc/version").expect("the same file");
    let requests = received(|client| {
        client.fetch(&post_params(), open()).unwrap();
        client.send(&Params::new(), open(), |_| fcgi::Result::Ok(())).unwrap();
    });
    for request in &requests {
        assert_eq!((&request.stdin, announced(request)), (&content, None));
    }
}

#[test]
fn the_error_of_reading_a_file_is_returned() {
    let directory = tempfile::tempdir().expect("a directory");
    let requests = received(|client| {
        let file = File::open(directory.path()).expect("the directory opens");
        let error = client.send(&post_params(), file, |_| fcgi::Result::Ok(())).unwrap_err();
        assert!(matches!(error, Error::Io(_)), "{error:?}");
    });
    assert_eq!(requests.len(), 0);
}
