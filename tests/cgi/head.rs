//! Tests of `fcgi::cgi::{Head, HeadParser, ResponseHead}`: a valid head is parsed and an invalid
//! one refused, in whatever pieces it arrives, and a head that is written can be parsed.

use std::io::{self, BufReader, Write};
use std::mem::discriminant;
use std::time::Instant;

use fcgi::cgi::{canonical_reason, Head, HeadParser, ResponseHead};
use fcgi::{Error, Result};
use proptest::prelude::*;

/// Parses a response in pieces of `size` bytes. Returns its head and the rest.
fn parse_in_pieces(response: &[u8], size: usize) -> Result<(Head, &[u8])> {
    parse_with(HeadParser::new(), response, size)
}

fn parse_with(mut parser: HeadParser, response: &[u8], size: usize) -> Result<(Head, &[u8])> {
    for (number, piece) in response.chunks(size).enumerate() {
        if let Some(end) = parser.feed(piece)? {
            return Ok((parser.finish()?, &response[number * size + end..]));
        }
    }
    parser.finish().map(|head| (head, &response[response.len()..]))
}

/// Parses a valid response whole and in small pieces. Returns its head and body.
#[track_caller]
fn parse(response: &[u8]) -> (Head, &[u8]) {
    let (head, body) = Head::parse(response)
        .unwrap_or_else(|error| panic!("{}: {error}", response.escape_ascii()));
    for size in [1, 2, 3, 7] {
        let in_pieces = parse_in_pieces(response, size).expect("the same in pieces");
        assert_eq!(in_pieces, (head.clone(), body), "in pieces of {size}");
    }
    (head, body)
}

#[track_caller]
fn head(response: &[u8]) -> Head {
    parse(response).0
}

/// Asserts that a response is refused with an error of this variant, whole and in small pieces.
#[track_caller]
fn assert_refused(response: &[u8], expected: &Error) {
    for strict in [false, true] {
        assert_refused_by(&HeadParser::new().strict(strict), response, expected);
    }
}

/// Asserts that only a strict parser refuses a response. Returns the head.
#[track_caller]
fn assert_refused_if_strict(response: &[u8], expected: &Error) -> Head {
    assert_refused_by(&HeadParser::new().strict(true), response, expected);
    head(response)
}

#[track_caller]
fn assert_refused_by(parser: &HeadParser, response: &[u8], expected: &Error) {
    for size in [response.len().max(1), 1, 2, 3] {
        match parse_with(parser.clone(), response, size) {
            Ok((head, _)) => panic!("{} was parsed as {head:?}", response.escape_ascii()),
            Err(error) => {
                let text = response.escape_ascii();
                assert_eq!(
                    discriminant(&error),
                    discriminant(expected),
                    "{text} in pieces of {size}: {error}"
                );
            }
        }
    }
}

fn invalid_field() -> Error {
    Error::InvalidField(String::new())
}

fn fields(head: &Head) -> Vec<(&str, &str)> {
    head.fields().map(|(name, value)| (name, std::str::from_utf8(value).unwrap())).collect()
}

/// Rule H1.
#[test]
fn head_without_final_empty_line_is_incomplete() {
    let (head, body) = parse(b"Content-Type: text/plain\n\n");
    assert_eq!((head.content_type(), body), (Some("text/plain"), &b""[..]));
    for cut in [
        &b""[..],
        b"C",
        b"Content-Type: a/b",
        b"Content-Type: a/b\n",
        b"Content-Type: a/b\r\n\r",
        b"\r",
    ] {
        assert_refused(cut, &Error::IncompleteHead);
        assert!(matches!(Head::parse(cut), Err(Error::IncompleteHead)));
    }
}

/// PHP sends such a head if its setting `default_mimetype` is empty. Rule H1.
#[test]
fn head_without_content_type_location_or_status_has_status_200_unless_strict() {
    for missing in [
        &b"\n"[..],
        b"\r\n",
        b"\nbody",
        b"X-A: b\n\n",
        b"Content-Length: 1\r\n\r\nx",
        b"Content-Type:\n\n",
    ] {
        let head = assert_refused_if_strict(missing, &Error::MissingField);
        assert_eq!((head.status(), head.content_type()), (200, None), "nothing is invented");
    }
    for enough in [&b"Content-Type: a/b\n\n"[..], b"Status: 204\n\n", b"Location: /\n\n"] {
        parse(enough);
    }
}

/// Rule H2.
#[test]
fn lines_may_end_in_lf_or_crlf() {
    for ends in [["\n"; 4], ["\r\n"; 4], ["\r\n", "\n", "\r\n", "\n"], ["\n", "\r\n", "\n", "\r\n"]]
    {
        let [a, b, c, d] = ends;
        let response = format!("Status: 200{a}A: b{b}Content-Type: c/d{c}{d}\n\nbody");
        let (head, body) = parse(response.as_bytes());
        assert_eq!(fields(&head), [("Status", "200"), ("A", "b"), ("Content-Type", "c/d")]);
        assert_eq!(body, b"\n\nbody");
    }
}

/// Rule H3.
#[test]
fn names_are_case_insensitive_and_values_are_trimmed() {
    let head = head(b"content-TYPE:text/html\nLOCATION:\t /x \t\nsTATUS:404\nX:  a  b  \n\n");
    assert_eq!(head.content_type(), Some("text/html"));
    assert_eq!(head.location(), Some("/x"));
    assert_eq!(head.status(), 404);
    assert_eq!((head.get("x"), head.get("X"), head.get("Y")), (Some("a  b"), Some("a  b"), None));
}

/// Two letters differ from those of `Status`, each by the same bit.
#[test]
fn name_that_resembles_a_cgi_field_is_another_field() {
    let head = head(b"Content-Type: text/plain\nRuatus: 404 Not Found\n\n");
    assert_eq!((head.status(), head.get("Ruatus")), (200, Some("404 Not Found")));
    assert!(head.get("Status").is_none());
}

#[test]
fn debug_output_of_a_head_shows_its_fields() {
    let text = format!("{:?}", head(b"Content-Type: text/plain\nX: 1\n\n"));
    assert!(text.contains(r#"{"Content-Type": "text/plain", "X": "1"}"#), "{text}");
}

/// Rule H3.
#[test]
fn line_that_is_not_a_field_is_refused() {
    let lines = [
        "Status : 200",           // blank before the colon
        "Status\t: 200",          //
        " Status: 200",           // leading blank
        "Content-Type",           // no colon
        ": x",                    // no name
        "X Y: x",                 // blank in the name
        "X( Y: x",                // not a token either
        "X\u{e9} : x",            //
        "X@\x7f: x",              // control byte
        "X(Y",                    // not a token, and no colon
        "{\"name\"}",             //
        "  ",                     // blanks only
        "Content-Type text/html", //
    ];
    for line in lines {
        assert_refused(format!("{line}\n\n").as_bytes(), &invalid_field());
        assert_refused(
            format!("A: b\r\n{line}\r\nContent-Type: a/b\r\n\r\n").as_bytes(),
            &invalid_field(),
        );
    }
    let outcome = Head::parse(b"A: b\nX Y: z\nC: d\n\n");
    assert!(matches!(outcome, Err(Error::InvalidField(line)) if line == "X Y: z"));
}

/// Rule H3.
#[test]
fn folded_line_is_refused() {
    for folded in
        ["Content-Type: a/b\n c\n\n", "Content-Type: a/b\r\n\tc\r\n\r\n", "Status: 200\n \n\n"]
    {
        assert_refused(folded.as_bytes(), &invalid_field());
    }
}

/// HTTP does not allow such a name, and programs that parse it differ. Rule H3.
#[test]
fn field_whose_name_is_not_a_token_is_dropped_unless_strict() {
    for byte in 0..=255_u8 {
        let line = [b"X".as_slice(), &[byte], b"Y: z\nContent-Type: a/b\n\n"].concat();
        let is_token = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if byte == b':' {
            assert_eq!(head(&line).get("X"), Some("Y: z"));
        } else if is_token {
            assert_eq!(head(&line).fields().count(), 2);
        } else if byte <= b' ' || byte == 0x7f {
            assert_refused(&line, &invalid_field());
        } else {
            let head = assert_refused_if_strict(&line, &invalid_field());
            assert_eq!(fields(&head), [("Content-Type", "a/b")], "{byte:#x}");
        }
    }
}

/// A dropped line follows the other rules. The line after it is parsed as usual. Rules H3 and H15.
#[test]
fn dropped_field_has_no_effect_on_other_lines() {
    let head = head(b"(Status: 404\n\xe9\xe9(: a\r\nStatus@: 1\nStatus: 201\n[]: \n\n");
    assert_eq!((head.status(), fields(&head)), (201, vec![("Status", "201")]));
    for line in ["(: a\rb", "(: a\0b", "(: a\n b", "(\r: a"] {
        assert_refused(format!("Status: 200\n{line}\n\n").as_bytes(), &invalid_field());
    }
    let many = format!("Status: 200\n{}\n", "(: a\n".repeat(5000));
    assert_eq!(Head::parse(many.as_bytes()).expect("a head").0.fields().count(), 1);
    let endless = "(: a\n".repeat(20_000);
    assert!(matches!(Head::parse(endless.as_bytes()), Err(Error::HeadTooLarge(65536))));
}

/// Rule H4.
#[test]
fn field_with_empty_value_is_ignored() {
    let head =
        head(b"Location:\nStatus: \t\nContent-Length:\r\nX-A: \nContent-Type: a/b\nLocation: \n\n");
    assert_eq!(fields(&head), [("Content-Type", "a/b")]);
    assert_eq!((head.status(), head.location(), head.local_redirect()), (200, None, None));
}

/// Rule H5.
#[test]
fn second_location_or_status_is_refused() {
    for field in ["Location: /", "Status: 200"] {
        let again = field.to_ascii_lowercase();
        assert_refused(
            format!("{field}\nX: y\n{again}\n\n").as_bytes(),
            &Error::DuplicateField(String::new()),
        );
    }
}

/// The last one counts, as in nginx, Apache and browsers. Rule H5.
#[test]
fn second_content_type_replaces_the_first_unless_strict() {
    let response = b"A: 1\nContent-Type: a/a\nB: 2\ncontent-type: c/c\nContent-Type: d/d\nE: 3\n\n";
    let head = assert_refused_if_strict(response, &Error::DuplicateField(String::new()));
    assert_eq!(fields(&head), [("A", "1"), ("B", "2"), ("Content-Type", "d/d"), ("E", "3")]);
    assert_eq!(head.content_type(), Some("d/d"));
}

/// Rule H5.
#[test]
fn other_fields_may_be_repeated() {
    let head = head(b"Set-Cookie: a=1\nContent-Type: a/b\nSet-Cookie: b=2\nset-cookie: a=1\n\n");
    let cookies = [
        ("Set-Cookie", "a=1"),
        ("Content-Type", "a/b"),
        ("Set-Cookie", "b=2"),
        ("set-cookie", "a=1"),
    ];
    assert_eq!(fields(&head), cookies);
    assert_eq!(head.get("Set-Cookie"), Some("a=1"), "the first value");
}

/// Rule H6.
#[test]
fn status_is_three_digits_and_an_optional_reason() {
    let valid = [
        ("404 Not Found", 404, "Not Found"),
        ("404", 404, "Not Found"),
        ("200 ", 200, "OK"),
        ("200\tFine", 200, "Fine"),
        ("101", 101, "Switching Protocols"),
        ("999", 999, ""),
        ("599  odd  reason ", 599, "odd  reason"),
    ];
    for (value, status, reason) in valid {
        let head = head(format!("Status: {value}\n\n").as_bytes());
        assert_eq!((head.status(), head.reason()), (status, reason), "{value}");
    }
    for value in [
        "abc", "20", "2000", "99", "1000", "099", "000", "200OK", "+20", "2 0", "-200", "20\u{b2}",
        "200,",
    ] {
        assert_refused(
            format!("Status: {value}\n\n").as_bytes(),
            &Error::InvalidStatus(String::new()),
        );
    }
}

/// Rule H6.
#[test]
fn reason_that_is_not_utf8_is_replaced() {
    assert_eq!(head(b"Status: 404 \xff\n\n").reason(), "Not Found");
}

/// Rule H7.
#[test]
fn status_defaults_to_200() {
    let head = head(b"Content-Type: a/b\n\n");
    assert_eq!((head.status(), head.reason(), head.location()), (200, "OK", None));
}

/// Rule H8.
#[test]
fn location_with_only_a_path_is_a_local_redirect() {
    let head = head(b"Location: /x?y\n\n");
    assert_eq!(
        (head.local_redirect(), head.location(), head.status()),
        (Some("/x?y"), Some("/x?y"), 302)
    );
}

/// Rule H8.
#[test]
fn location_with_other_fields_is_not_a_local_redirect() {
    let cases: [(&[u8], u16); 5] = [
        (b"Location: /x\nSet-Cookie: a=1\n\n", 302),
        (b"Location: /x\nContent-Type: a/b\n\n", 302),
        (b"Status: 302 Found\nLocation: /x\n\n", 302),
        (b"Status: 201\nLocation: /x\n\n", 201),
        (b"Location: /x#top\n\n", 302),
    ];
    for (response, status) in cases {
        let head = head(response);
        assert_eq!((head.local_redirect(), head.status()), (None, status));
        assert!(head.location().is_some_and(|location| location.starts_with("/x")));
    }
}

/// Rule H9.
#[test]
fn location_with_uri_defaults_to_302() {
    let head = head(b"Location: http://h/x\n\n");
    assert_eq!((head.status(), head.reason(), head.local_redirect()), (302, "Found", None));
    assert_eq!(head.location(), Some("http://h/x"));
}

/// Rule H10.
#[test]
fn redirect_keeps_its_status() {
    for status in [301, 302, 303, 307, 308] {
        let response = format!("Location: http://h/x\nStatus: {status}\nContent-Type: a/b\n\n");
        assert_eq!(head(response.as_bytes()).status(), status);
    }
}

/// Rule H11.
#[test]
fn location_may_be_any_reference_unless_strict() {
    for location in
        ["http://h/", "HTTPS://h", "a+b-c.d1:x", "mailto:a@b", "/", "/a?b", "/caf\u{e9}", "/a:b"]
    {
        let response = format!("Location: {location}\n\n");
        assert_eq!(head(response.as_bytes()).location(), Some(location));
        assert!(parse_with(HeadParser::new().strict(true), response.as_bytes(), 5).is_ok());
    }
    for location in [
        "info.php?x=1",
        "//h/x",
        "/\\h/x",
        "?m=done",
        "#a",
        "./x",
        "../x",
        "1a:b",
        ":x",
        "a_b:c",
        "http:",
        "a/b:c",
        "a b",
    ] {
        let response = format!("Location: {location}\n\n");
        let invalid = Error::InvalidLocation(String::new());
        let head = assert_refused_if_strict(response.as_bytes(), &invalid);
        assert_eq!((head.status(), head.location()), (302, Some(location)));
        assert_eq!(head.local_redirect(), None, "{location} is for the client");
    }
}

/// The client receives the bytes, because it may interpret them differently. Rule H11.
#[test]
fn location_that_is_not_utf8_redirects_the_client_unless_strict() {
    let invalid = Error::InvalidLocation(String::new());
    let head = assert_refused_if_strict(b"Location: /caf\xe9\n\n", &invalid);
    assert_eq!((head.status(), head.local_redirect()), (302, None));
    assert_eq!((head.location(), head.get_bytes("Location")), (None, Some(&b"/caf\xe9"[..])));
}

/// Browsers remove a tab, so `/\t/host` would lead to another host. Rule H11.
#[test]
fn control_byte_in_a_location_is_refused() {
    for location in ["/\t/host", "/a\x01b", "\x7f", "http://h/\x1b"] {
        let response = format!("Location: {location}\n\n");
        assert_refused(response.as_bytes(), &Error::InvalidLocation(String::new()));
    }
}

/// Rule H12.
#[test]
fn missing_content_type_is_not_invented() {
    let (head, body) = parse(b"Status: 200\n\n<html>");
    assert_eq!((head.content_type(), body), (None, &b"<html>"[..]));
    assert_eq!(head.http_fields().count(), 0);
}

/// Rules H13 and H14.
#[test]
fn http_fields_omit_hop_by_hop_and_cgi_fields() {
    let hop = [
        "Status: 200",
        "Connection: close",
        "keep-alive: 5",
        "Proxy-Authenticate: x",
        "Proxy-Authorization: x",
        "Proxy-Connection: x",
        "TE: trailers",
        "Trailer: X",
        "TRANSFER-ENCODING: chunked",
        "Upgrade: h2c",
        "X-CGI-Note: x",
    ];
    let response = format!(
        "{}\nContent-Type: a/b\nSet-Cookie: a\nTEA: b\nSet-Cookie: c\nX-CGI: d\n\n",
        hop.join("\n")
    );
    let head = head(response.as_bytes());
    let passed: Vec<_> = head.http_fields().map(|(name, _)| name).collect();
    assert_eq!(passed, ["Content-Type", "Set-Cookie", "TEA", "Set-Cookie", "X-CGI"]);
    assert_eq!(head.fields().count(), hop.len() + 5);
}

/// Rule H15.
#[test]
fn bare_cr_and_nul_are_refused() {
    let cases = [
        "X: a\rB: c",
        "X: a\r",
        "\rX: a",
        "X\r: a",
        "X: \r\r",
        "X: a\0b",
        "\0",
        "X\0: a",
        "X: long enough for words\0of eight",
        "X: long enough for words\rof eight",
    ];
    for line in cases {
        assert_refused(format!("Content-Type: a/b\r\n{line}\r\n\r\n").as_bytes(), &invalid_field());
    }
}

/// The scan for invalid bytes works on words of eight bytes, so each position is tried. Rule H15.
#[test]
fn every_other_byte_is_accepted_in_a_value_at_any_position() {
    for byte in (1..=255).filter(|byte| !b"\r\n".contains(byte)) {
        for at in 0..20 {
            let mut value = *b"0123456789abcdefghijk";
            value[at] = byte;
            let head = head(&[b"Content-Type: a/b\nX: (", &value[..], b")\r\n\n"].concat());
            assert_eq!(head.get_bytes("X"), Some(&[b"(", &value[..], b")"].concat()[..]));
        }
    }
}

/// Rule H15.
#[test]
fn bare_cr_or_nul_is_found_at_any_position() {
    for byte in [0, b'\r'] {
        for at in 0..20 {
            let mut value = [0xff; 20];
            value[at] = byte;
            assert_refused(
                &[b"Content-Type: a/b\nX: (", &value[..], b")\n\n"].concat(),
                &invalid_field(),
            );
        }
    }
}

/// A head of 9 KiB fits the default limit. Rule H16.
#[test]
fn head_may_be_as_long_as_the_limit() {
    let response = format!("Content-Type: a/b\nX: {}\n\nbody", "y".repeat(9 * 1024));
    let (head, body) = parse(response.as_bytes());
    assert_eq!((head.get("X").map(str::len), body), (Some(9 * 1024), &b"body"[..]));

    let end = response.len() - 4;
    for size in [1, 1000, 1024, 5000, response.len()] {
        let feed_all = |mut parser: HeadParser| {
            let ends = response
                .as_bytes()
                .chunks(size)
                .map(|piece| parser.feed(piece))
                .collect::<Result<Vec<_>>>();
            ends.map(|ends| ends.iter().any(Option::is_some))
        };
        assert!(feed_all(HeadParser::new().max_bytes(end)).unwrap());
        let error = feed_all(HeadParser::new().max_bytes(end - 1)).unwrap_err();
        assert!(matches!(error, Error::HeadTooLarge(limit) if limit == end - 1), "{error}");
    }
}

/// Rule H16.
#[test]
fn head_longer_than_the_limit_is_refused() {
    let mut parser = HeadParser::new().max_fields(usize::MAX);
    let mut fed = 0;
    let error = loop {
        match parser.feed(&b"X: y\r\n".repeat(100)) {
            Ok(end) => assert_eq!(end, None),
            Err(error) => break error,
        }
        fed += 600;
        assert!(fed <= 64 * 1024);
    };
    assert!(matches!(error, Error::HeadTooLarge(65536)), "{error}");
    assert!(
        matches!(HeadParser::new().feed(&vec![b'X'; 65537]), Err(Error::HeadTooLarge(_))),
        "a name that does not end"
    );
    assert!(matches!(HeadParser::new().feed(&vec![b'X'; 65536]), Ok(None)));
}

/// Rule H16.
#[test]
fn head_may_have_as_many_fields_as_the_limit() {
    let response =
        |count: usize| format!("Status: 200\n{}\n", "X: y\n".repeat(count - 1)).into_bytes();
    assert_eq!(head(&response(1024)).fields().count(), 1024);
    assert_refused(&response(1025), &Error::TooManyFields(1024));

    let mut parser = HeadParser::new().max_fields(2);
    assert!(matches!(parser.feed(&response(3)), Err(Error::TooManyFields(2))));
    parser.clear();
    assert!(matches!(parser.feed(&response(2)), Ok(Some(_))));
}

/// Rule H16.
#[test]
fn parsing_single_bytes_takes_linear_time() {
    // If each call rescanned the line from its start, this would take minutes.
    let name = "N".repeat(500_000);
    let value = "v".repeat(1_000_000);
    let response = format!("Content-Type: a/b\n{name}: {value}\n\n");
    let mut parser = HeadParser::new().max_bytes(usize::MAX);
    let start = Instant::now();
    for byte in response.as_bytes() {
        parser.feed(std::slice::from_ref(byte)).unwrap();
    }
    assert_eq!(parser.head().and_then(|head| head.get(&name)).map(str::len), Some(value.len()));
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
}

/// Rule H17.
#[test]
fn body_is_everything_after_the_empty_line() {
    let bodies: [&[u8]; 6] =
        [b"", b"\n", b"\n\n", b"\r\n\r\nX: y\r\n\r\n", b"\0\xff", b"Status: 500\n\n"];
    for body in bodies {
        for head in [&b"Content-Type: a/b\n\n"[..], b"Content-Type: a/b\r\n\r\n"] {
            assert_eq!(parse(&[head, body].concat()).1, body);
        }
    }
}

/// Rule H17.
#[test]
fn end_of_head_is_found_at_any_offset_of_a_large_piece() {
    for len in 980..1080 {
        let head = format!("Content-Type: a/b\r\nX: {}\r\n\r\n", "y".repeat(len));
        let response = [head.as_bytes(), &[b'\n'; 5000]].concat();
        assert_eq!(HeadParser::new().feed(&response).unwrap(), Some(head.len()));
    }
}

/// Rule H18.
#[test]
fn response_to_head_and_some_statuses_have_no_body() {
    let status = |status: &str| head(format!("Status: {status}\n\n").as_bytes());
    assert!(
        status("200").has_body("GET")
            && status("404").has_body("get")
            && status("500").has_body("head")
    );
    assert!(!status("200").has_body("HEAD"));
    for none in ["101", "204", "304"] {
        assert!(!status(none).has_body("GET"), "{none}");
    }
}

/// Rule H22.
#[test]
fn interim_head_is_dropped_unless_strict() {
    let response = b"Status: 103 Early Hints\nLink: </a.css>\nContent-Length: 5\n\n\
                     Status: 100\r\n\r\nContent-Type: a/b\nX: y\n\nbody";
    let (head, body) = parse(response);
    assert_eq!((head.status(), head.content_length(), body), (200, None, &b"body"[..]));
    assert_eq!(fields(&head), [("Content-Type", "a/b"), ("X", "y")]);
    assert_eq!(head.as_bytes(), b"Content-Type: a/b\nX: y\n\n");

    let mut strict = HeadParser::new().strict(true);
    strict.feed(response).expect("a head");
    let head = strict.finish().expect("a head");
    assert_eq!((head.status(), head.has_body("GET")), (103, false));
    assert!(head.as_bytes().ends_with(b"Content-Length: 5\n\n"));
}

/// Rules H16 and H22.
#[test]
fn interim_heads_count_for_the_size_of_the_head() {
    assert_refused_by(&HeadParser::new(), b"Status: 103\n\n", &Error::IncompleteHead);
    let endless = b"Status: 103\n\n".repeat(6000);
    assert_refused_by(&HeadParser::new(), &endless, &Error::HeadTooLarge(0));
    let mut parser = HeadParser::new();
    for response in [&b"Status: 103\n\nStatus: 404\n\n"[..], b"Status: 404\n\n"] {
        parser.feed(response).expect("a head");
        let bytes = parser.head().map(Head::as_bytes);
        assert_eq!(bytes, Some(&b"Status: 404\n\n"[..]));
        parser.clear();
    }
}

/// Rule H19.
#[test]
fn http_status_line_is_refused() {
    for line in ["HTTP/1.1 200 OK", "HTTP/1.0 200", "HTTP/2 200", "HTTP/1.1 200: OK"] {
        assert_refused(format!("{line}\r\nContent-Type: a/b\r\n\r\n").as_bytes(), &invalid_field());
    }
}

/// Rule H20.
#[test]
fn variables_returns_the_fields_with_prefix_variable() {
    let head = head(
        b"Status: 200 OK\r\n\
        Variable-AUTH_METHOD: database lookup\r\n\
        variable-Auth-User:  ferris \r\n\
        VARIABLE-X: \xff\r\n\
        Variable-: none\r\n\
        Variable-EMPTY:\r\n\
        Variables-Y: z\r\n\
        Content-Type: a/b\r\n\r\n",
    );
    let variables: Vec<_> = head.variables().collect();
    assert_eq!(
        variables,
        [("AUTH_METHOD", &b"database lookup"[..]), ("Auth-User", b"ferris"), ("X", b"\xff")]
    );
}

#[test]
fn content_length_is_one_decimal_number() {
    let response = |lines: &str| format!("Content-Type: a/b\n{lines}\n\n").into_bytes();
    for (lines, length) in [
        ("Content-Length: 5", 5),
        ("Content-Length: 0", 0),
        ("content-length: 5\nContent-Length: 5", 5),
        ("Content-Length: 005\nX: y\nContent-Length: 5", 5),
        ("Content-Length: 18446744073709551615", u64::MAX),
    ] {
        let head = head(&response(lines));
        assert_eq!(head.content_length(), Some(length), "{lines}");
        let passed =
            head.http_fields().filter(|(name, _)| name.eq_ignore_ascii_case("Content-Length"));
        assert_eq!(passed.count(), 1, "{lines}: an equal repetition is omitted");
    }
    assert_eq!(head(&response("X: y")).content_length(), None);
    for value in [
        "x5",
        "5x",
        "-1",
        "+5",
        "5 5",
        "5, 5",
        "0x5",
        "18446744073709551616",
        "99999999999999999999999",
    ] {
        assert_refused(
            &response(&format!("Content-Length: {value}")),
            &Error::InvalidContentLength(String::new()),
        );
    }
    assert_refused(
        &response("Content-Length: 5\nContent-Length: 6"),
        &Error::InvalidContentLength(String::new()),
    );
}

#[test]
fn check_body_compares_the_length_with_content_length() {
    let (head, _) = parse(b"Content-Type: a/b\nContent-Length: 5\n\n");
    assert!(head.check_body(5).is_ok());
    assert!(matches!(
        head.check_body(4),
        Err(Error::StreamTooShort { announced: 5, received: 4, .. })
    ));
    assert!(matches!(head.check_body(6), Err(Error::StreamTooLong { announced: 5, .. })));
    assert!(parse(b"Content-Type: a/b\n\n").0.check_body(6).is_ok());
}

#[test]
fn value_that_is_not_utf8_is_returned_as_bytes() {
    let head = head(b"Content-Type: a/b\nX: \xe9\n\n");
    assert_eq!((head.get("X"), head.get_bytes("X")), (None, Some(&b"\xe9"[..])));
}

#[test]
fn clear_makes_the_parser_reusable() {
    let mut parser = HeadParser::new();
    let responses: [(&[u8], u16); 3] = [
        (b"Location: http://h/\n\nx", 302),
        (b"Status: 404\n\n", 404),
        (b"Content-Type: a/b\n\n", 200),
    ];
    for (response, status) in responses {
        assert!(parser.head().is_none());
        assert!(parser.feed(response).unwrap().is_some());
        assert_eq!(parser.feed(b"Status: 500\n\n").unwrap(), Some(0), "the rest is the body");
        let head = parser.head().expect("a head");
        assert_eq!((head.status(), head.fields().count()), (status, 1));
        parser.clear();
    }
}

#[test]
fn parser_keeps_its_error_until_cleared() {
    let cases: [&[u8]; 6] = [
        b"X: a\0\n\n",
        b"Content-Length: 1\nContent-Length: 2\n",
        b"Status: abc\n",
        b"Location: /\nLocation: /\n",
        b"X Y: z\n",
        b"X: y\rz\n",
    ];
    let mut parser = HeadParser::new();
    for case in cases {
        assert!(parser.feed(case).is_err());
        assert!(parser.feed(b"Content-Type: a/b\n\n").is_err());
        assert!(parser.head().is_none());
        parser.clear();
        assert!(matches!(parser.feed(b"Content-Type: a/b\n\n"), Ok(Some(19))));
        parser.clear();
    }
}

#[test]
fn error_contains_only_the_start_of_a_long_line() {
    let Err(Error::InvalidField(line)) = Head::parse(&vec![b' '; 60_000]) else {
        panic!("the line is not a field")
    };
    assert!(line.len() < 1000);
}

#[test]
fn read_leaves_the_body_in_the_reader() {
    let response = b"Content-Type: a/b\r\nX: y\r\n\r\nbody";
    for capacity in 1..response.len() + 2 {
        let mut reader = BufReader::with_capacity(capacity, &response[..]);
        let mut parser = HeadParser::new();
        assert_eq!(parser.read(&mut reader).unwrap().get("X"), Some("y"));
        assert_eq!(io::read_to_string(reader).unwrap(), "body");
    }
    assert!(matches!(HeadParser::new().read(&mut &response[..20]), Err(Error::IncompleteHead)));
}

#[test]
fn standard_reasons_are_complete() {
    for (status, reason) in [
        (100, Some("Continue")),
        (200, Some("OK")),
        (302, Some("Found")),
        (418, None),
        (511, Some("Network Authentication Required")),
    ] {
        assert_eq!(canonical_reason(status), reason);
    }
    assert_eq!((0..=u16::MAX).filter_map(canonical_reason).count(), 60);
}

/// Records each write.
#[derive(Default)]
struct Writes(Vec<Vec<u8>>);

impl Write for Writes {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.push(data.to_vec());
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Rule H21.
#[test]
fn head_is_sent_in_one_write() {
    let mut writes = Writes::default();
    let head = ResponseHead::new().status(404).unwrap().field("X-Empty", "").unwrap();
    let head = head.field("Content-Type", " a/b\t").unwrap().field("Set-Cookie", b"\xff").unwrap();
    head.variable("A_B", "c").unwrap().write_to(&mut writes).unwrap();
    assert_eq!(
        writes.0,
        [b"Status: 404 Not Found\r\nContent-Type: a/b\r\n\
           Set-Cookie: \xff\r\nVariable-A_B: c\r\n\r\n"]
    );
}

/// Rule H21.
#[test]
fn invalid_name_value_or_status_is_refused_when_added() {
    let new = ResponseHead::new;
    for bad in ["a\rb", "a\nb", "a\r\nSet-Cookie: x", "a\0b"] {
        assert!(matches!(new().field("X", bad), Err(Error::InvalidField(_))), "{bad:?}");
        let status = format!("200 {bad}");
        assert!(matches!(new().field("Status", status), Err(Error::InvalidField(_))), "{bad:?}");
        assert!(matches!(new().variable("X", bad), Err(Error::InvalidField(_))), "{bad:?}");
    }
    for bad in ["", "a b", "a:", "a\r", "a\n", "a\0", "\u{e9}", " a"] {
        assert!(matches!(new().field(bad, "x"), Err(Error::InvalidField(_))), "{bad:?}");
        assert!(matches!(new().variable(bad, "x"), Err(Error::InvalidField(_))), "{bad:?}");
    }
    for bad in [0, 99, 1000, 65535] {
        assert!(matches!(new().status(bad), Err(Error::InvalidStatus(_))), "{bad}");
    }
}

/// Rule H21.
#[test]
fn writer_refuses_what_the_parser_refuses() {
    let html = || ResponseHead::new().field("Content-Type", "text/html").unwrap();
    assert!(matches!(html().field("content-type", "a/b"), Err(Error::DuplicateField(_))));
    for location in ["x", "//h/", "/\\h/"] {
        assert!(matches!(html().field("Location", location), Err(Error::InvalidLocation(_))));
        let redirect = ResponseHead::redirect(303, location);
        assert!(matches!(redirect, Err(Error::InvalidLocation(_))), "{location}");
    }
    for location in ["", " "] {
        let redirect = ResponseHead::redirect(303, location);
        assert!(matches!(redirect, Err(Error::InvalidLocation(_))), "{location:?}");
    }
    assert!(matches!(html().field("Content-Length", "x"), Err(Error::InvalidContentLength(_))));
    assert!(matches!(html().field("Status", "x"), Err(Error::InvalidStatus(_))));
    let missing = ResponseHead::new().field("X", "y").unwrap().field("Location", "").unwrap();
    assert!(matches!(missing.write_to(&mut Vec::new()), Err(Error::MissingField)));
}

/// HAProxy takes the status of the last of the two fields, wherever the application adds them.
#[test]
fn status_is_first_but_follows_location() {
    let write = |head: ResponseHead| {
        let mut written = Vec::new();
        head.write_to(&mut written).unwrap();
        String::from_utf8(written).unwrap()
    };
    let text = "Content-Type: text/plain; charset=utf-8\r\n";
    let status = "Status: 201 Created\r\n";
    let head = ResponseHead::text().status(201).unwrap().field("X", "y").unwrap();
    assert_eq!(write(head.clone()), format!("{status}{text}X: y\r\n\r\n"));
    let head = head.field("Location", "/x").unwrap().field("Z", "z").unwrap();
    assert_eq!(write(head), format!("{text}X: y\r\nLocation: /x\r\nZ: z\r\n{status}\r\n"));
    assert_eq!(write(ResponseHead::text()), format!("{text}\r\n"));
    let not_found = format!("Status: 404 Not Found\r\n{text}\r\n");
    assert_eq!(write(ResponseHead::not_found()), not_found);
}

#[test]
fn content_length_is_written_once() {
    let mut written = Vec::new();
    let head = ResponseHead::new().status(200).unwrap().field("Content-Length", "5").unwrap();
    let head = head.field("content-length", "05").unwrap().field("X", "y").unwrap();
    head.write_to(&mut written).unwrap();
    assert_eq!(written, b"Status: 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\n");
}

#[test]
fn written_fields_have_at_most_16_mib() {
    let head = ResponseHead::new().field("X", vec![b'x'; (16 << 20) - "X: \r\n".len()]).unwrap();
    let outcome = head.field("Y", "y");
    assert!(matches!(outcome, Err(Error::HeadTooLarge(limit)) if limit == 16 << 20));
}

proptest! {
    /// Rule H16.
    #[test]
    fn head_and_its_end_are_the_same_in_any_pieces(
        lines in prop::collection::vec(
            ("[!-9;-~]{0,3}[A-Za-z-]{1,20}", "[ -~\t]{0,30}", prop::bool::ANY),
            0..12,
        ),
        body in prop::collection::vec(any::<u8>(), 0..40),
        cuts in prop::collection::vec(1..60_usize, 1..60),
    ) {
        let mut response = b"Status: 200\n".to_vec();
        for (name, value, crlf) in &lines {
            response.extend(format!("{name}:{value}{}", if *crlf { "\r\n" } else { "\n" }).bytes());
        }
        response.extend(b"\r\n");
        response.extend(&body);

        let whole = Head::parse(&response);
        let mut parser = HeadParser::new();
        let (mut at, mut end) = (0, Ok(None));
        for cut in cuts.iter().cycle() {
            let next = response.len().min(at + cut);
            end = parser.feed(&response[at..next]).map(|end| end.map(|end| at + end));
            at = next;
            if !matches!(end, Ok(None)) || at == response.len() {
                break;
            }
        }
        match (whole, end) {
            (Ok((head, rest)), Ok(Some(end))) => {
                prop_assert_eq!(&head, parser.head().unwrap());
                prop_assert_eq!(rest, &response[end..]);
                prop_assert_eq!(rest, body);
            }
            (Err(whole), Err(pieces)) => {
                prop_assert_eq!(discriminant(&whole), discriminant(&pieces));
            }
            (whole, end) => prop_assert!(false, "{whole:?} but {end:?}"),
        }
    }

    #[test]
    fn arbitrary_bytes_are_parsed_alike_in_any_pieces(
        response in "([A-Z]: ?|Status: 200|Location:/|[ -~]|\r\n|\n|\r|\0|\u{e9}){0,40}",
        size in 1..9_usize,
    ) {
        let response = response.as_bytes();
        let whole = Head::parse(response).map_err(|error| discriminant(&error));
        let pieces = parse_in_pieces(response, size).map_err(|error| discriminant(&error));
        prop_assert_eq!(whole, pieces);
    }

    /// Rule H21.
    #[test]
    fn written_head_is_parsed_as_given(
        values in prop::collection::vec("[!-~]([ -~\t]{0,40}[!-~])?", 0..10),
        status in 200..=999_u16,
    ) {
        let value = format!("{status} Reason given");
        let mut head = ResponseHead::new().field("Status", value).unwrap();
        for value in &values {
            head = head.field("X-Value", value).unwrap();
        }
        let mut out = Vec::new();
        head.write_to(&mut out).unwrap();
        let (head, body) = Head::parse(&out).unwrap();
        prop_assert_eq!((head.status(), head.reason(), body.len()), (status, "Reason given", 0));
        let parsed = head.fields().skip(1).map(|(_, value)| value);
        prop_assert!(parsed.eq(values.iter().map(|value| value.as_bytes())));
    }
}

/// Interim heads are dropped, so nothing shows them.
#[test]
fn equality_of_heads_ignores_interim_heads() {
    let parse = |response| Head::parse(response).expect("a head").0;
    let plain = parse(b"Status: 200\n\n");
    assert_eq!(parse(b"Status: 103\n\nStatus: 200\n\n"), plain);
    assert_ne!(parse(b"Status: 201\n\n"), plain);
    assert_ne!(parse(b"Status: 200\r\n\r\n"), plain);
}
