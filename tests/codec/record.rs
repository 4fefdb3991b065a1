//! Tests of `fcgi::record`: every field and every boundary of a record, in both directions, and
//! input that ends at any byte.

use std::io::{self, Read, Write};

use crate::checks::{Rng, ShortWriter, UnreliableReader};
use crate::{checks, support};
use fcgi::record::*;
use fcgi::Error;

/// Headers as bytes, with the type, request id, content length and padding length they encode.
const HEADERS: [([u8; 8], RecordType, u16, u16, u8); 16] = [
    ([1, 1, 0, 1, 0, 8, 0, 0], RecordType::BeginRequest, 1, 8, 0),
    ([1, 2, 0, 255, 0, 0, 0, 0], RecordType::AbortRequest, 255, 0, 0),
    ([1, 3, 1, 0, 0, 8, 0, 0], RecordType::EndRequest, 256, 8, 0),
    ([1, 4, 1, 2, 0, 3, 5, 0], RecordType::Params, 258, 3, 5),
    ([1, 5, 255, 255, 0, 127, 1, 0], RecordType::Stdin, 65535, 127, 1),
    ([1, 6, 0, 1, 255, 255, 0, 0], RecordType::Stdout, 1, 65535, 0),
    ([1, 6, 0, 1, 255, 255, 255, 0], RecordType::Stdout, 1, 65535, 255),
    ([1, 6, 0, 1, 255, 248, 0, 0], RecordType::Stdout, 1, 65528, 0),
    ([1, 7, 0, 2, 0, 128, 0, 0], RecordType::Stderr, 2, 128, 0),
    ([1, 8, 0, 3, 1, 0, 0, 0], RecordType::Data, 3, 256, 0),
    ([1, 9, 0, 0, 0, 17, 7, 0], RecordType::GetValues, 0, 17, 7),
    ([1, 10, 0, 0, 0, 255, 1, 0], RecordType::GetValuesResult, 0, 255, 1),
    ([1, 11, 0, 0, 0, 8, 0, 0], RecordType::UnknownType, 0, 8, 0),
    ([1, 0, 0, 0, 0, 0, 0, 0], RecordType::Unknown(0), 0, 0, 0),
    ([1, 12, 0, 0, 0, 1, 0, 0], RecordType::Unknown(12), 0, 1, 0),
    ([1, 255, 2, 1, 4, 3, 5, 0], RecordType::Unknown(255), 513, 1027, 5),
];

/// A port that reads the type numbers as octal would fail here too. Rule K1.
#[test]
fn headers_are_encoded_and_parsed_in_big_endian() {
    for (bytes, record_type, request_id, content_len, padding_len) in HEADERS {
        let header = Header { record_type, request_id, content_len, padding_len };
        assert_eq!(Header::parse(bytes).expect("a header"), header);
        assert_eq!(header.encode(), bytes);
        assert_eq!(
            header.padded_content_len(),
            usize::from(content_len) + usize::from(padding_len)
        );
    }
}

/// Rule K1.
#[test]
fn next_record_starts_after_content_and_padding() {
    let mut input =
        &b"\x01\x04\x01\x02\x00\x03\x05\x00abcPADPA\x01\x05\x00\x01\x00\x00\x00\x00"[..];
    let mut content = Vec::new();
    let header = read_record(&mut input, &mut content).expect("a record").expect("not the end");
    assert_eq!(
        (header.record_type, header.request_id, header.padding_len),
        (RecordType::Params, 258, 5)
    );
    assert_eq!(content, b"abc");
    assert_eq!(input.len(), 8);
    let header = read_record(&mut input, &mut content).expect("a record").expect("not the end");
    assert_eq!((header.record_type, content.len()), (RecordType::Stdin, 0));
    assert!(read_record(&mut input, &mut content).expect("a clean end").is_none());
}

/// Rule K1.
#[test]
fn read_header_reads_exactly_eight_bytes() {
    let mut input = &b"\x01\x06\0\x01\0\x05\x03\0hello"[..];
    assert_eq!(
        read_header(&mut input).expect("a header"),
        Some(Header::new(RecordType::Stdout, 1, 5))
    );
    assert_eq!(input, b"hello");
}

/// Rule K2.
#[test]
fn unsupported_version_is_an_error_that_names_it() {
    for version in (0..=255).filter(|version| *version != 1) {
        let bytes = [version, 6, 0, 1, 0, 1, 0, 0];
        let outcomes = [
            Header::parse(bytes).map(Some),
            read_header(&mut &bytes[..]),
            read_record(&mut &bytes[..], &mut Vec::new()),
        ];
        for outcome in outcomes {
            assert!(matches!(outcome, Err(Error::UnsupportedVersion(found)) if found == version));
        }
    }
}

/// A content length must never wrap at 16 bits, or the peer reads the rest of the data as records.
/// Rule K3.
#[test]
fn content_over_65535_bytes_is_an_error_and_a_stream_is_split() {
    for len in [65536, 65537, 99000, 131_072] {
        let mut out = Vec::new();
        let outcome = write_record(&mut out, RecordType::Stdout, 1, &vec![b'x'; len]);
        assert!(matches!(outcome, Err(Error::ContentTooLong(found)) if found == len));
        assert!(out.is_empty(), "nothing was written");
    }
    let lens: [(usize, &[usize]); 9] = [
        (0, &[]),
        (1, &[1]),
        (65527, &[65527]),
        (65528, &[65528]),
        (65529, &[65528, 1]),
        (65535, &[65528, 7]),
        (65536, &[65528, 8]),
        (99000, &[65528, 33472]),
        (131_072, &[65528, 65528, 16]),
    ];
    for (len, expected) in lens {
        let data: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
        let mut out = Vec::new();
        write_stream(&mut out, RecordType::Stdin, 1, &data).expect("a stream");
        let records = all_records(&out);
        assert_eq!(records.iter().map(|record| record.content.len()).collect::<Vec<_>>(), expected);
        assert_eq!(records.into_iter().flat_map(|record| record.content).collect::<Vec<_>>(), data);
    }
}

/// This holds for every type and for empty records too. Rule K4.
#[test]
fn padding_of_any_length_and_content_is_skipped() {
    for record_type in 0..=12 {
        for padding in 0..=255 {
            for content in [&b""[..], b"12345678"] {
                let bytes = [
                    support::padded_record(record_type, 1, content, padding),
                    support::record(5, 2, b"next"),
                ]
                .concat();
                let mut input = &bytes[..];
                let mut found = Vec::new();
                let header =
                    read_record(&mut input, &mut found).expect("a record").expect("not the end");
                assert_eq!((header.record_type, header.padding_len), (record_type.into(), padding));
                assert_eq!(found, content);
                let header =
                    read_record(&mut input, &mut found).expect("a record").expect("not the end");
                assert_eq!((header.request_id, &found[..]), (2, &b"next"[..]));
            }
        }
    }
}

/// The sum of content and padding needs more than 16 bits. Rule K4.
#[test]
fn body_length_of_largest_record_does_not_wrap() {
    let content: Vec<u8> = (0..65535_u32).map(|at| (at % 253) as u8).collect();
    let bytes =
        [support::padded_record(6, 1, &content, 255), support::record(3, 1, &[0; 8])].concat();
    let mut input = &bytes[..];
    let mut found = Vec::new();
    assert_eq!(
        read_record(&mut input, &mut found)
            .expect("a record")
            .expect("not the end")
            .padded_content_len(),
        65790
    );
    assert_eq!(found, content);
    let header = read_record(&mut input, &mut found).expect("a record").expect("not the end");
    assert_eq!(header.record_type, RecordType::EndRequest);
}

/// Padding and reserved bytes must not expose old memory. Rules K5 and K6.
#[test]
fn written_record_is_padded_with_zeros_to_eight_bytes() {
    for len in (0..=300).chain([65520, 65527, 65528]) {
        let content = vec![0xff; len];
        let mut out = Vec::new();
        write_record(&mut out, RecordType::Stdout, 1, &content).expect("a record");
        assert_eq!(out.len() % 8, 0, "{len}");
        assert!(usize::from(out[6]) < 8, "{len}");
        assert_eq!(out[7], 0, "{len}");
        assert_eq!(out[8..8 + len], content);
        assert!(out[8 + len..].iter().all(|byte| *byte == 0), "{len}");
        assert_eq!(out.len(), 8 + len + usize::from(padding_len(len as u16)), "{len}");
    }
}

/// Some peers, PHP among them, close the connection if the sum is larger. Rule K5.
#[test]
fn content_plus_padding_never_exceeds_65535() {
    for len in 0..=u16::MAX {
        let padding = padding_len(len);
        let sum = u32::from(len) + u32::from(padding);
        assert!(sum <= 65535 && padding < 8, "{len} + {padding}");
        assert!(sum % 8 == 0 || len > 65528, "{len} + {padding}");
        assert_eq!(Header::new(RecordType::Params, 1, len).padding_len, padding);
    }
}

/// Rule K6.
#[test]
fn reserved_bytes_are_ignored_when_received() {
    let mut bytes = *b"\x01\x06\0\x01\0\x02\0\xffhi";
    let mut content = Vec::new();
    let header =
        read_record(&mut &bytes[..], &mut content).expect("a record").expect("not the end");
    assert_eq!(
        (header, &content[..]),
        (Header { padding_len: 0, ..Header::new(RecordType::Stdout, 1, 2) }, &b"hi"[..])
    );
    bytes[7] = 0x5a;
    assert_eq!(read_header(&mut &bytes[..]).expect("a header"), Some(header));

    let begin = BeginRequest::parse(&[0, 1, 1, 255, 255, 255, 255, 255]).expect("a body");
    assert_eq!(begin.encode(), [0, 1, 1, 0, 0, 0, 0, 0]);
    let end = EndRequest::parse(&[0, 0, 0, 1, 0, 255, 255, 255]).expect("a body");
    assert_eq!(end.encode(), [0, 0, 0, 1, 0, 0, 0, 0]);
    let unknown = UnknownType::parse(&[99, 255, 255, 255, 255, 255, 255, 255]).expect("a body");
    assert_eq!(unknown.encode(), [99, 0, 0, 0, 0, 0, 0, 0]);
}

/// Rule K7.
#[test]
fn only_management_records_may_use_request_id_0() {
    for byte in 0..=255 {
        let record_type = RecordType::from(byte);
        let is_management = (9..=11).contains(&byte);
        let is_known = (1..=11).contains(&byte);
        assert_eq!(record_type.is_management(), is_management);
        for request_id in [0, 1, 255, 256, 65535] {
            let is_legal = !is_known || is_management == (request_id == 0);
            let mut out = Vec::new();
            match write_record(&mut out, record_type, request_id, b"x") {
                Ok(()) => assert!(
                    is_legal && out[..4] == [1, byte, (request_id >> 8) as u8, request_id as u8]
                ),
                Err(Error::InvalidRequestId { record_type: found, request_id: id }) => {
                    assert!(
                        !is_legal && out.is_empty() && (found, id) == (record_type, request_id)
                    );
                }
                Err(error) => panic!("{error}"),
            }
            let outcome = write_stream(&mut Vec::new(), record_type, request_id, b"");
            assert_eq!(outcome.is_ok(), is_legal, "{record_type:?} {request_id}");
        }
    }
    for outcome in [
        write_begin_request(&mut Vec::new(), 0, BeginRequest::default()),
        write_abort_request(&mut Vec::new(), 0),
        write_end_request(&mut Vec::new(), 0, EndRequest::default()),
    ] {
        assert!(matches!(outcome, Err(Error::InvalidRequestId { request_id: 0, .. })));
    }
}

/// An empty record would end the stream. Rule K9.
#[test]
fn write_stream_writes_no_record_for_empty_data() {
    let mut out = Vec::new();
    write_stream(&mut out, RecordType::Stdout, 1, b"").expect("nothing");
    assert!(out.is_empty());
    write_record(&mut out, RecordType::Stdout, 1, b"").expect("the end of the stream");
    assert_eq!(out, [1, 6, 0, 1, 0, 0, 0, 0]);
}

/// The input ends after each possible number of bytes. Rules K10 and K23.
#[test]
fn input_that_ends_inside_a_record_is_an_error() {
    let record = support::padded_record(6, 1, b"hello", 11);
    let bytes = [&record[..], &record].concat();
    let mut content = Vec::new();
    for len in 0..=bytes.len() {
        let mut input = &bytes[..len];
        for _ in 0..len / record.len() {
            assert!(read_record(&mut input, &mut content).expect("a record").is_some());
            assert_eq!(content, b"hello");
        }
        let cut = match read_record(&mut input, &mut content) {
            Ok(None) => None,
            Err(Error::UnexpectedEof(what)) => Some(what),
            outcome => panic!("{outcome:?} at {len}"),
        };
        assert_eq!(cut, checks::truncated_part(len % record.len()), "{len}");
        let outcome = read_header(&mut &record[..len.min(7)]);
        assert!(
            matches!(outcome, Ok(None)) == (len == 0) && !matches!(outcome, Ok(Some(_))),
            "{outcome:?}"
        );
    }
}

/// Rule K10.
#[test]
fn records_are_read_from_short_and_interrupted_reads() {
    let bytes: Vec<u8> = (0..40)
        .flat_map(|n| support::padded_record(6, n, &vec![b'x'; n.into()], n as u8))
        .collect();
    for seed in 0..50 {
        let mut input = RetryTimeouts(UnreliableReader::new(&bytes, &Rng::new(seed)));
        let mut content = Vec::new();
        for n in 0..40 {
            let header =
                read_record(&mut input, &mut content).expect("a record").expect("not the end");
            assert_eq!((header.request_id, content.len()), (n, n.into()));
        }
        assert!(read_record(&mut input, &mut content).expect("a clean end").is_none());
    }
}

/// Retries reads that time out. Interruptions are passed on.
struct RetryTimeouts<'a>(UnreliableReader<'a>);

impl Read for RetryTimeouts<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(out) {
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                outcome => return outcome,
            }
        }
    }
}

#[test]
fn error_from_the_reader_is_returned_unchanged() {
    for before in [0, 3, 8, 10, 14] {
        let bytes = support::padded_record(6, 1, b"hello", 11);
        let mut input = bytes[..before].chain(Failing(io::ErrorKind::ConnectionReset));
        let error = read_record(&mut input, &mut Vec::new()).expect_err("a reset");
        assert!(matches!(error, Error::Io(_)), "{error:?}");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}

struct Failing(io::ErrorKind);

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(self.0.into())
    }
}

impl Write for Failing {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Header, content and padding each span several writes. Rule K10.
#[test]
fn record_is_written_whole_through_short_writes() {
    let data = [b'd'; 1003];
    let mut expected = Vec::new();
    write_record(&mut expected, RecordType::Data, 1, &data).expect("a record");
    assert_eq!(expected.len(), 8 + 1003 + 5);
    for most in [1, 2, 3, 7, 8, 9, 500, 1010, 1011, 1012] {
        let mut out = ShortWriter::new(most);
        write_record(&mut out, RecordType::Data, 1, &data).expect("a record");
        assert_eq!(out.written, expected, "{most} at a time");
    }
}

/// Separate writes for header and content stall over TCP while Nagle's algorithm is on.
#[test]
fn record_is_sent_in_one_write() {
    for content in [&b""[..], b"8 bytes.", b"five.", &[0; 65535]] {
        let mut out = ShortWriter::new(usize::MAX);
        write_record(&mut out, RecordType::Stdout, 1, content).expect("a record");
        assert_eq!(out.writes, 1);
    }
}

#[test]
fn error_from_the_writer_is_returned_unchanged() {
    let outcome =
        write_record(&mut Failing(io::ErrorKind::BrokenPipe), RecordType::Stdout, 1, b"x");
    assert!(matches!(outcome, Err(Error::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe));
    let outcome = write_record(&mut &mut [0; 10][..], RecordType::Stdout, 1, b"hello");
    assert!(matches!(outcome, Err(Error::Io(error)) if error.kind() == io::ErrorKind::WriteZero));
}

/// Rules K18, K21 and K22.
#[test]
fn begin_request_body_is_encoded_and_parsed() {
    let bodies: [([u8; 8], Role, bool); 8] = [
        ([0, 1, 0, 0, 0, 0, 0, 0], Role::Responder, false),
        ([0, 1, 1, 0, 0, 0, 0, 0], Role::Responder, true),
        ([0, 2, 0, 0, 0, 0, 0, 0], Role::Authorizer, false),
        ([0, 3, 1, 0, 0, 0, 0, 0], Role::Filter, true),
        ([0, 0, 0, 0, 0, 0, 0, 0], Role::Unknown(0), false),
        ([0, 4, 1, 0, 0, 0, 0, 0], Role::Unknown(4), true),
        ([1, 1, 0, 0, 0, 0, 0, 0], Role::Unknown(257), false),
        ([255, 255, 1, 0, 0, 0, 0, 0], Role::Unknown(65535), true),
    ];
    for (bytes, role, keep_conn) in bodies {
        let body = BeginRequest::new(role, keep_conn);
        assert_eq!(body.encode(), bytes);
        assert_eq!(BeginRequest::parse(&bytes).expect("a body"), body);
        assert_eq!(body.keep_conn(), keep_conn);
        let mut out = Vec::new();
        write_begin_request(&mut out, 256, body).expect("a record");
        assert_eq!(out, [&[1, 1, 1, 0, 0, 8, 0, 0], &bytes[..]].concat());
    }
    for (flags, keep_conn) in [(0xff, true), (0xfe, false), (0x01, true), (0x80, false)] {
        let body = BeginRequest::parse(&[0, 1, flags, 0, 0, 0, 0, 0]).expect("a body");
        assert_eq!((body.flags, body.keep_conn()), (flags, keep_conn));
        assert_eq!(body.encode()[2], flags);
    }
    assert_eq!(BeginRequest::default(), BeginRequest::new(Role::Responder, false));
}

/// Rules K19 and K22.
#[test]
fn end_request_body_is_encoded_and_parsed() {
    let bodies: [([u8; 8], u32, ProtocolStatus); 9] = [
        ([0, 0, 0, 0, 0, 0, 0, 0], 0, ProtocolStatus::RequestComplete),
        ([0, 0, 0, 1, 0, 0, 0, 0], 1, ProtocolStatus::RequestComplete),
        ([0, 0, 1, 0, 0, 0, 0, 0], 256, ProtocolStatus::RequestComplete),
        ([0, 0, 3, 0xaa, 0, 0, 0, 0], 938, ProtocolStatus::RequestComplete),
        ([1, 2, 3, 4, 1, 0, 0, 0], 0x0102_0304, ProtocolStatus::CantMpxConn),
        ([0, 0, 0, 0, 2, 0, 0, 0], 0, ProtocolStatus::Overloaded),
        ([0, 0, 0, 0, 3, 0, 0, 0], 0, ProtocolStatus::UnknownRole),
        ([0, 0, 0, 0, 4, 0, 0, 0], 0, ProtocolStatus::Unknown(4)),
        ([255, 255, 255, 255, 255, 0, 0, 0], u32::MAX, ProtocolStatus::Unknown(255)),
    ];
    for (bytes, app_status, protocol_status) in bodies {
        let body = EndRequest { app_status, protocol_status };
        assert_eq!(body.encode(), bytes);
        assert_eq!(EndRequest::parse(&bytes).expect("a body"), body);
        let mut out = Vec::new();
        write_end_request(&mut out, 65535, body).expect("a record");
        assert_eq!(out, [&[1, 3, 255, 255, 0, 8, 0, 0], &bytes[..]].concat());
    }
}

/// ABORT_REQUEST has no body. Rule K20.
#[test]
fn unknown_type_body_echoes_the_type() {
    for byte in 0..=255 {
        let body = UnknownType { record_type: byte.into() };
        assert_eq!(body.encode(), [byte, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(UnknownType::parse(&body.encode()).expect("a body"), body);
        let mut out = Vec::new();
        write_unknown_type(&mut out, body).expect("a record");
        assert_eq!(out, [1, 11, 0, 0, 0, 8, 0, 0, byte, 0, 0, 0, 0, 0, 0, 0]);
    }
    let mut out = Vec::new();
    write_abort_request(&mut out, 1).expect("a record");
    assert_eq!(out, [1, 2, 0, 1, 0, 0, 0, 0]);
}

/// Bytes after the eighth are ignored. Rules K18 and K19.
#[test]
fn body_shorter_than_eight_bytes_is_an_error() {
    let bytes = [0, 1, 1, 0, 0, 0, 0, 0, 0xff, 0xff];
    for len in 0..=bytes.len() {
        let outcomes = [
            (
                RecordType::BeginRequest,
                BeginRequest::parse(&bytes[..len]).map(BeginRequest::encode),
            ),
            (RecordType::EndRequest, EndRequest::parse(&bytes[..len]).map(EndRequest::encode)),
            (RecordType::UnknownType, UnknownType::parse(&bytes[..len]).map(UnknownType::encode)),
        ];
        for (record_type, outcome) in outcomes {
            match outcome {
                Ok(_) => assert!(len >= 8),
                Err(Error::InvalidBodyLength { record_type: found, len: found_len }) => {
                    assert!(len < 8 && (found, found_len) == (record_type, len));
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// The numbers are those of section 8 of the FastCGI specification. Rule K22.
#[test]
fn constants_match_the_specification() {
    assert_eq!((VERSION, HEADER_LEN, MAX_CONTENT_LEN), (1, 8, 65535));
    assert_eq!((LISTENSOCK_FILENO, NULL_REQUEST_ID, KEEP_CONN), (0, 0, 1));
    assert_eq!(
        [MAX_CONNS, MAX_REQS, MPXS_CONNS],
        ["FCGI_MAX_CONNS", "FCGI_MAX_REQS", "FCGI_MPXS_CONNS"]
    );

    let types = [
        RecordType::BeginRequest,
        RecordType::AbortRequest,
        RecordType::EndRequest,
        RecordType::Params,
        RecordType::Stdin,
        RecordType::Stdout,
        RecordType::Stderr,
        RecordType::Data,
        RecordType::GetValues,
        RecordType::GetValuesResult,
        RecordType::UnknownType,
    ];
    for byte in 0..=255 {
        let known = types.get(usize::from(byte).wrapping_sub(1)).copied();
        let record_type = RecordType::from(byte);
        assert_eq!(record_type, known.unwrap_or(RecordType::Unknown(byte)));
        assert_eq!(u8::from(record_type), byte);
        let statuses = ["REQUEST_COMPLETE", "CANT_MPX_CONN", "OVERLOADED", "UNKNOWN_ROLE"];
        let status = ProtocolStatus::from(byte);
        assert_eq!(u8::from(status), byte);
        let name = statuses
            .get(usize::from(byte))
            .map_or(format!("status-{byte}"), |name| (*name).to_string());
        assert_eq!(status.to_string(), name);
    }
    let roles = [Role::Responder, Role::Authorizer, Role::Filter];
    for number in 0..=u16::MAX {
        let known = roles.get(usize::from(number).wrapping_sub(1)).copied();
        let role = Role::from(number);
        assert_eq!(role, known.unwrap_or(Role::Unknown(number)));
        assert_eq!(u16::from(role), number);
    }
}

/// Reads all records with the tests' own decoder.
fn all_records(mut bytes: &[u8]) -> Vec<support::Record> {
    std::iter::from_fn(|| support::read_record(&mut bytes)).collect()
}

/// The names are those of the specification.
#[test]
fn types_roles_and_statuses_are_displayed_by_name() {
    let names = (1..=12).map(|number| RecordType::from(number).to_string()).collect::<Vec<_>>();
    assert_eq!(
        names.join(" "),
        "BEGIN_REQUEST ABORT_REQUEST END_REQUEST PARAMS STDIN STDOUT STDERR DATA GET_VALUES \
         GET_VALUES_RESULT UNKNOWN_TYPE type-12"
    );
    let roles = (1..=4).map(|number| Role::from(number).to_string()).collect::<Vec<_>>();
    assert_eq!(roles.join(" "), "RESPONDER AUTHORIZER FILTER role-4");
    assert_eq!(format!("{:>7}|{:<7}|", RecordType::Data, Role::Unknown(4)), "   DATA|role-4 |");
    let [known, unknown] = [2, 9].map(ProtocolStatus::from);
    assert_eq!(format!("{known:>12}|{unknown:<12}|"), "  OVERLOADED|status-9    |");
    let header = Header { padding_len: 255, ..Header::new(RecordType::Unknown(99), 65535, 65535) };
    assert_eq!(header.to_string(), "type-99 id=65535 length=65535 padding=255");
}
