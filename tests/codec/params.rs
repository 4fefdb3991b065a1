//! Name-value pairs are encoded and decoded as section 3.4 has them, and travel as a PARAMS stream
//! that every application can read. The numbers K5 to K24 are those of the rules of the protocol's
//! encoding that each test shows.

use crate::support::pair;
use crate::{checks, support};
use fcgi::{Error, Params};

/// Lengths, and how they are on the wire.
const LENGTHS: [(usize, &[u8]); 10] = [
    (0, &[0]),
    (1, &[1]),
    (126, &[126]),
    (127, &[0x7f]),
    (128, &[0x80, 0, 0, 0x80]),
    (129, &[0x80, 0, 0, 0x81]),
    (255, &[0x80, 0, 0, 0xff]),
    (256, &[0x80, 0, 1, 0]),
    (65535, &[0x80, 0, 0xff, 0xff]),
    (65536, &[0x80, 1, 0, 0]),
];

/// K11: all four layouts; "length 127 written in four bytes", "a wrong mask wrote 0 for every
/// length of 128 or more".
#[test]
fn lengths_up_to_127_take_one_byte_and_others_four() {
    for (name_len, name_bytes) in LENGTHS {
        for (value_len, value_bytes) in LENGTHS {
            let (name, value) = (vec![b'N'; name_len], vec![b'V'; value_len]);
            let encoded = [name_bytes, value_bytes, &name, &value].concat();
            let params = Params::from_pairs([(&name, &value)]).expect("a pair");
            assert!(params.as_bytes() == encoded, "{name_len} {value_len}");
            let parsed = Params::parse(&encoded).expect("a pair");
            assert!(parsed.iter().eq([(&name[..], &value[..])]), "{name_len} {value_len}");
            assert_eq!(parsed, params);
        }
    }
}

/// K11: each of the four bytes of a long length.
#[test]
fn lengths_of_24_bits_and_more() {
    for (len, bytes) in [(0x0001_0203, [0x80, 1, 2, 3]), (0x0100_0000, [0x81, 0, 0, 0])] {
        let params = Params::from_pairs([("", vec![0; len])]).expect("a pair");
        assert_eq!(params.as_bytes()[..5], [&[0], &bytes[..]].concat());
        assert_eq!(
            Params::parse(params.as_bytes())
                .expect("a pair")
                .iter()
                .map(|pair| pair.1.len())
                .next(),
            Some(len)
        );
    }
}

/// K12 for the encoder: no length has 32 bits. The memory is never touched, so it costs nothing.
#[cfg(target_pointer_width = "64")]
#[test]
fn a_name_or_value_of_2_gib_is_refused() {
    let long = vec![0; 0x8000_0000];
    let mut params = Params::from_pairs([("A", "B")]).expect("a pair");
    for outcome in [params.push(&long, ""), params.push("", &long), params.set("C", &long)] {
        assert!(matches!(outcome, Err(Error::ParamTooLong(0x8000_0000))), "{outcome:?}");
    }
    assert_eq!(params.as_bytes(), b"\x01\x01AB", "the pairs stay as they were");
}

/// K12 for the decoder, and "name length + value length + 2 wrapped around".
#[test]
fn lengths_beyond_the_data_are_an_error() {
    for encoded in [
        &b"\xff\xff\xff\xff\xff\xff\xff\xff"[..],
        b"\xff\xff\xff\xff\xff\xff\xff\xffNAMEVALUE",
        b"\xff\xff\xff\xff\x00",
        b"\x00\xff\xff\xff\xff",
        b"\xff\xff\xff\xff\x02",
        b"\x80\x00\x00\x01\xff\xff\xff\xffA",
        b"\x02\x00A",
        b"\x00\x02A",
        b"\x01\x01A",
    ] {
        let outcome = Params::parse(encoded);
        assert!(matches!(outcome, Err(Error::InvalidParams(0))), "{outcome:?}");
        let behind = [b"\x01\x01AB", encoded].concat();
        assert!(
            matches!(Params::parse(&behind), Err(Error::InvalidParams(4))),
            "the offset is that of the pair"
        );
    }
}

/// K11, K12: each of the 31 bits counts.
#[test]
fn no_bit_of_a_length_is_dropped() {
    for bit in 0..31 {
        let len = (0x8000_0000 | 1_u32 << bit).to_be_bytes();
        for encoded in [[&len[..], &[0]].concat(), [&[0], &len[..]].concat(), [len, len].concat()] {
            assert!(matches!(Params::parse(&encoded), Err(Error::InvalidParams(0))), "bit {bit}");
        }
    }
}

/// K13
#[test]
fn the_long_form_of_a_short_length_is_read() {
    for encoded in
        [&b"\x80\0\0\x01\x80\0\0\x01AB"[..], b"\x01\x80\0\0\x01AB", b"\x80\0\0\x01\x01AB"]
    {
        let params = Params::parse(encoded).expect("a pair");
        assert_eq!(params.get("A"), Some("B"));
        assert_eq!(params.as_bytes(), encoded, "kept as it came");
        assert_eq!(
            Params::from_pairs(&params).expect("a pair").as_bytes(),
            b"\x01\x01AB",
            "written in the short form"
        );
    }
    assert!(Params::parse(b"\x80\0\0\0\x80\0\0\0")
        .expect("an empty pair")
        .iter()
        .eq([(&b""[..], &b""[..])]));
}

/// K14, K24 for the receiver: every byte, NUL too, and no name or value at all.
#[test]
fn names_and_values_are_any_bytes() {
    let all: Vec<u8> = (0..=255).collect();
    for (name, value) in [
        (&all[..], &all[..]),
        (b"", b""),
        (b"A", b""),
        (b"", b"B"),
        (b"A\0B", b"\0"),
        (b"\xff", b"\xfe"),
    ] {
        let params = Params::from_pairs([(name, value)]).expect("a pair");
        let parsed = Params::parse(params.as_bytes()).expect("a pair");
        assert!(parsed.iter().eq([(name, value)]));
        assert_eq!(parsed.get_bytes(name), Some(value));
        assert_eq!(parsed.get(name), std::str::from_utf8(value).ok());
    }
}

/// "A value that is not UTF-8 hid all params after it."
#[test]
fn a_value_that_is_no_text_hides_no_other() {
    let pairs = [(&b"A"[..], &b"\xff"[..]), (b"\xff", b"B"), (b"C", b"text")];
    let params = Params::from_pairs(pairs).expect("pairs");
    assert_eq!((params.get("A"), params.get_bytes("A")), (None, Some(&b"\xff"[..])));
    assert_eq!((params.get(b"\xff"), params.get("C")), (Some("B"), Some("text")));
    assert!(params.iter().eq(pairs));
}

/// "10,000 empty pairs overflowed the stack of a recursive parser."
#[test]
fn many_empty_pairs() {
    let params = Params::parse(&[0; 2 * 100_000]).expect("pairs");
    assert_eq!(params.len(), 100_000);
    assert!(params.iter().all(|pair| pair == (b"", b"")));
}

/// K16: every cut of a sequence is told with the offset of the pair that it cuts.
#[test]
fn a_cut_pair_is_an_error() {
    let (first, second) = (pair(b"NAME", &[b'V'; 200]), pair(&[b'N'; 130], b"value"));
    let both = [&first[..], &second].concat();
    for len in 0..=both.len() {
        match Params::parse(&both[..len]) {
            Ok(params) => assert!(
                [(0, 0), (first.len(), 1), (both.len(), 2)].contains(&(len, params.len())),
                "{len}"
            ),
            Err(Error::InvalidParams(0)) => assert!((1..first.len()).contains(&len), "{len}"),
            Err(Error::InvalidParams(at)) => {
                assert!(at == first.len() && (at + 1..both.len()).contains(&len), "{len}");
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// K1, K5, K6, K9: a whole stream as it is sent, byte by byte.
#[test]
fn a_stream_is_its_records_and_an_empty_one() {
    let params = Params::from_pairs([("A", "B"), ("C", "")]).expect("pairs");
    let expected = b"\x01\x04\x01\x02\0\x07\x01\0\x01\x01AB\x01\0C\0\x01\x04\x01\x02\0\0\0\0";
    let mut out = b"before".to_vec();
    params.encode_stream(258, &mut out).expect("a stream");
    assert_eq!(out, [b"before", &expected[..]].concat());
    let mut out = checks::ShortWriter::new(usize::MAX);
    params.write_stream(&mut out, 258).expect("a stream");
    assert_eq!((&out.written[..], out.writes), (&expected[..], 1));

    let mut out = Vec::new();
    Params::new().encode_stream(1, &mut out).expect("a stream");
    assert_eq!(out, [1, 4, 0, 1, 0, 0, 0, 0], "without a pair it is its end");
}

/// K7
#[test]
fn a_stream_has_a_request() {
    let params = Params::from_pairs([("A", "B")]).expect("a pair");
    let mut out = Vec::new();
    assert!(matches!(
        params.encode_stream(0, &mut out),
        Err(Error::InvalidRequestId { request_id: 0, .. })
    ));
    assert!(matches!(
        params.write_stream(&mut out, 0),
        Err(Error::InvalidRequestId { request_id: 0, .. })
    ));
    assert!(out.is_empty());
}

/// "A 65535-byte PARAMS record as sent by us"; K3: one pair of every length around what fits a
/// record, alone, and before and behind others.
#[test]
fn a_pair_that_fits_a_record_is_not_split() {
    // Length bytes, name and value together.
    for len in [
        65520, 65527, 65528, 65529, 65530, 65531, 65532, 65533, 65534, 65535, 65536, 65537, 131_072,
    ] {
        let long = vec![b'V'; len - 6];
        for pairs in [
            vec![("L", &long[..])],
            vec![("A", b"before"), ("L", &long)],
            vec![("L", &long[..]), ("Z", b"behind")],
            vec![("A", b"before"), ("L", &long), ("M", &long), ("Z", b"behind")],
        ] {
            let params = Params::from_pairs(&pairs_of(&pairs)).expect("pairs");
            let records = records_of(&params);
            let mut bounds = vec![0];
            for record in &records {
                bounds.push(bounds[bounds.len() - 1] + record.content.len());
            }
            let mut start = 0;
            for (name, value) in &params {
                let end = start + pair(name, value).len();
                let is_split = bounds.iter().any(|bound| start < *bound && *bound < end);
                assert_eq!(
                    is_split,
                    end - start > 65535,
                    "a pair of {} bytes, records {bounds:?}",
                    end - start
                );
                start = end;
            }
        }
    }
    let params = Params::from_pairs([("L", vec![b'V'; 65535 - 6])]).expect("a pair");
    let records = records_of(&params);
    assert_eq!((records.len(), records[0].content.len(), records[0].padding.len()), (1, 65535, 0));
}

/// Small pairs fill records, and none is split at their end.
#[test]
fn many_pairs_fill_records() {
    for len in [1, 7, 100, 127, 128, 1000, 30_000] {
        let value = vec![b'V'; len];
        let count = 200_000 / (len + 5) + 1;
        let params = Params::from_pairs((0..count).map(|_| ("NAME", &value))).expect("pairs");
        let records = records_of(&params);
        let pair_len = pair(b"NAME", &value).len();
        assert!(
            records.iter().all(|record| record.content.len() % pair_len == 0),
            "{len}: whole pairs"
        );
        let full = records[0].content.len();
        assert!(full + pair_len > 65528, "{len}: as many as fit");
        let (last, others) = records.split_last().expect("a record");
        assert!(
            others.iter().all(|record| record.content.len() == full),
            "{len}: all but the last"
        );
        assert!(last.content.len() <= full, "{len}");
    }
}

fn pairs_of<'a>(pairs: &[(&'a str, &'a [u8])]) -> Params {
    Params::from_pairs(pairs.iter().copied()).expect("pairs")
}

/// The records of a PARAMS stream without the one that ends it, after the checks that hold for all.
#[track_caller]
fn records_of(params: &Params) -> Vec<support::Record> {
    let mut out = Vec::new();
    params.encode_stream(7, &mut out).expect("a stream");
    let mut input = &out[..];
    let mut records: Vec<_> = std::iter::from_fn(|| support::read_record(&mut input)).collect();
    let last = records.pop().expect("the end of the stream");
    assert_eq!((last.record_type, last.id, last.content.len()), (support::PARAMS, 7, 0));
    for record in &records {
        assert_eq!((record.record_type, record.id, record.reserved), (support::PARAMS, 7, 0));
        assert!(!record.content.is_empty(), "K9");
        assert!(record.content.len() + record.padding.len() <= 65535, "no sum beyond 16 bits");
        assert!(record.padding.iter().all(|byte| *byte == 0), "K6");
        assert!(
            (record.content.len() + record.padding.len()) % 8 == 0 || record.content.len() > 65528,
            "K5"
        );
    }
    assert!(records.iter().flat_map(|record| &record.content).eq(params.as_bytes()));
    records
}

#[test]
fn the_last_of_a_name_is_looked_up_and_all_are_listed() {
    let params =
        Params::from_pairs([("A", "1"), ("B", "2"), ("A", "3"), ("a", "4")]).expect("pairs");
    assert_eq!(
        (params.get("A"), params.get("a"), params.get("AA"), params.get("")),
        (Some("3"), Some("4"), None, None)
    );
    assert_eq!((params.len(), params.is_empty()), (4, false));
    let mut iter = params.iter();
    assert_eq!((iter.len(), iter.next()), (4, Some((&b"A"[..], &b"1"[..]))));
    assert_eq!(iter.len(), 3);
    assert_eq!(format!("{iter:?}"), "Iter { left: 3, .. }");
    assert_eq!(format!("{params:?}"), r#"{"A": "1", "B": "2", "A": "3", "a": "4"}"#);
}

#[test]
fn pairs_are_replaced_and_removed() {
    let mut params =
        Params::from_pairs([("A", "1"), ("B", &"2".repeat(200)), ("A", "3"), ("C", "")])
            .expect("pairs");
    params.remove("none");
    assert_eq!(params.len(), 4);
    params.set("A", "new").expect("a pair");
    assert_eq!(
        params,
        Params::from_pairs([("B", &*"2".repeat(200)), ("C", ""), ("A", "new")]).expect("pairs")
    );
    assert_eq!(params, Params::parse(params.as_bytes()).expect("what is left is whole"));
    params.remove("B");
    assert_eq!((params.get("B"), params.get("C"), params.get("A")), (None, Some(""), Some("new")));
    params.remove("C");
    params.remove("A");
    assert_eq!((params.is_empty(), params.as_bytes()), (true, &b""[..]));
    params.push("D", "again").expect("a pair");
    params.clear();
    assert_eq!(params, Params::default());
}

/// Encoded pairs join those that are there; of a sequence that is cut short, none does.
#[test]
fn encoded_pairs_are_appended_whole_or_not_at_all() {
    let mut params = Params::from_pairs([("A", "1")]).expect("a pair");
    params.push_encoded(b"").expect("no pairs");
    params.push_encoded(b"\x01\x01B2\x01\0C").expect("pairs");
    let expected = Params::from_pairs([("A", "1"), ("B", "2"), ("C", "")]).expect("pairs");
    assert_eq!(params, expected);
    assert_eq!(params.as_bytes(), expected.as_bytes());
    let outcome = params.push_encoded(b"\x01\x01D4\x01\x01E");
    assert!(matches!(outcome, Err(Error::InvalidParams(_))), "{outcome:?}");
    assert_eq!(params, expected);
    assert_eq!(params.as_bytes(), expected.as_bytes());
    params.push("F", "6").expect("a pair");
    assert_eq!((params.get("C"), params.get("F")), (Some(""), Some("6")));
}

#[test]
fn a_content_length_is_a_decimal_number() {
    for (value, expected) in [
        ("0", Some(0)),
        ("5", Some(5)),
        ("007", Some(7)),
        ("18446744073709551615", Some(u64::MAX)),
        ("18446744073709551616", None),
        ("", None),
        ("+5", None),
        ("-5", None),
        (" 5", None),
        ("5 ", None),
        ("5\0", None),
        ("0x5", None),
        ("5.0", None),
        ("٥", None),
    ] {
        let params = Params::from_pairs([("CONTENT_LENGTH", value)]).expect("a pair");
        assert_eq!(params.content_length(), expected, "{value:?}");
    }
    assert_eq!(Params::new().content_length(), None);
}

/// The same through an application's connection, where pairs come in records.
#[cfg(unix)]
mod received {
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    use super::*;
    use crate::support::{begin, padded_record, record, PARAMS, RESPONDER, STDIN, TEST_TIMEOUT};
    use fcgi::server::{Config, Connection};

    /// The params of a request that comes in these records.
    fn receive(records: &[u8]) -> fcgi::Result<Params> {
        let (mut ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        let records = records.to_vec();
        // More than a socket holds may come.
        let sending = std::thread::spawn(move || ours.write_all(&records).map(|()| ours));
        let config = Config::new().max_params(1 << 20).read_timeout(Some(TEST_TIMEOUT));
        let mut connection =
            Connection::with_config(theirs, Arc::new(config)).expect("a connection");
        let params =
            connection.next_request().map(|request| request.expect("a request").params.clone());
        drop(connection);
        let _ = sending.join().expect("no panic");
        params
    }

    fn in_records(records: &[&[u8]]) -> Vec<u8> {
        let mut bytes = begin(1, RESPONDER, 0);
        bytes.extend(
            records
                .iter()
                .flat_map(|content| padded_record(PARAMS, 1, content, content.len() as u8)),
        );
        bytes.extend([record(PARAMS, 1, b""), record(STDIN, 1, b"")].concat());
        bytes
    }

    /// K15: "a pair cut at every byte", in a length too, over two records; and every byte in one of
    /// its own.
    #[test]
    fn a_pair_may_be_cut_anywhere() {
        let expected =
            Params::from_pairs([("A", "1"), ("LONG", &"V".repeat(130)), ("", "")]).expect("pairs");
        // The long form wherever it is legal, so that there is more to cut.
        let tail = b"\x80\0\0\0\x80\0\0\0";
        let encoded = [&expected.as_bytes()[..expected.as_bytes().len() - 2], tail].concat();
        for at in 1..encoded.len() {
            let params = receive(&in_records(&[&encoded[..at], &encoded[at..]])).expect("params");
            assert!(params.iter().eq(&expected), "cut at {at}");
            assert_eq!(params.as_bytes(), encoded);
        }
        let singly: Vec<&[u8]> = encoded.chunks(1).collect();
        assert!(receive(&in_records(&singly)).expect("params").iter().eq(&expected));
    }

    /// K16: the end of the stream inside a pair is told at once.
    #[test]
    fn a_stream_that_ends_inside_a_pair_is_an_error() {
        for (encoded, at) in [
            (&b"\x05\x01NA"[..], 0),
            (b"\x01\x01AB\x05", 4),
            (b"\x80\0\0", 0),
            (b"\xff\xff\xff\xff\x01", 0),
        ] {
            let outcome = receive(&in_records(&[encoded]));
            assert!(
                matches!(outcome, Err(Error::InvalidParams(found)) if found == at),
                "{outcome:?}"
            );
        }
    }

    /// "One pair had to fit the read buffer: a 9000-byte cookie reset the connection."
    #[test]
    fn a_cookie_may_be_larger_than_any_buffer() {
        for len in [8192, 9000, 65536, 200_000] {
            let cookie: Vec<u8> = (b'a'..=b'z').cycle().take(len).collect();
            let encoded = [pair(b"HTTP_COOKIE", &cookie), pair(b"B", b"behind")].concat();
            for record_len in [1000, 8192, 65535] {
                let records: Vec<&[u8]> = encoded.chunks(record_len).collect();
                let params = receive(&in_records(&records)).expect("params");
                assert!(params.get_bytes("HTTP_COOKIE") == Some(&cookie), "{len} in {record_len}");
                assert_eq!(params.get("B"), Some("behind"));
            }
        }
    }
}
