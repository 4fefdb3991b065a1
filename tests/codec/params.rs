//! Tests of `fcgi::Params`: name-value pairs are encoded and decoded as section 3.4 of the FastCGI
//! specification defines them, and the PARAMS stream that carries them can be read by every
//! application.

use crate::support::pair;
use crate::{checks, support};
use fcgi::{Error, Params};

/// Lengths and their encodings.
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

/// All four combinations of short and long lengths are covered. Rule K11.
#[test]
fn length_up_to_127_is_one_byte_and_longer_is_four() {
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

/// Each of the four bytes of a long length differs from the others. Rule K11.
#[test]
fn length_of_more_than_16_bits_round_trips() {
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

/// The memory is never touched, so the test uses no more than address space. Rule K12.
#[cfg(target_pointer_width = "64")]
#[test]
fn name_or_value_of_2_gib_is_an_error() {
    let long = vec![0; 0x8000_0000];
    let mut params = Params::from_pairs([("A", "B")]).expect("a pair");
    for outcome in [params.push(&long, ""), params.push("", &long), params.set("C", &long)] {
        assert!(matches!(outcome, Err(Error::ParamTooLong(0x8000_0000))), "{outcome:?}");
    }
    assert_eq!(params.as_bytes(), b"\x01\x01AB", "the pairs are unchanged");
}

/// The sum of two lengths must not wrap around. Rule K12.
#[test]
fn length_beyond_the_end_of_the_data_is_an_error() {
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
        let after_a_pair = [b"\x01\x01AB", encoded].concat();
        assert!(
            matches!(Params::parse(&after_a_pair), Err(Error::InvalidParams(4))),
            "the error has the offset of the pair"
        );
    }
}

/// Rules K11 and K12.
#[test]
fn every_bit_of_a_long_length_counts() {
    for bit in 0..31 {
        let len = (0x8000_0000 | 1_u32 << bit).to_be_bytes();
        for encoded in [[&len[..], &[0]].concat(), [&[0], &len[..]].concat(), [len, len].concat()] {
            assert!(matches!(Params::parse(&encoded), Err(Error::InvalidParams(0))), "bit {bit}");
        }
    }
}

/// Rule K13.
#[test]
fn short_length_in_four_byte_form_is_accepted() {
    for encoded in
        [&b"\x80\0\0\x01\x80\0\0\x01AB"[..], b"\x01\x80\0\0\x01AB", b"\x80\0\0\x01\x01AB"]
    {
        let params = Params::parse(encoded).expect("a pair");
        assert_eq!(params.get("A"), Some("B"));
        assert_eq!(params.as_bytes(), encoded, "the received bytes are kept");
        assert_eq!(
            Params::from_pairs(&params).expect("a pair").as_bytes(),
            b"\x01\x01AB",
            "the encoder uses the short form"
        );
    }
    assert!(Params::parse(b"\x80\0\0\0\x80\0\0\0")
        .expect("an empty pair")
        .iter()
        .eq([(&b""[..], &b""[..])]));
}

/// NUL is one of these bytes. Rules K14 and K24.
#[test]
fn names_and_values_may_be_empty_or_any_bytes() {
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

/// Rule K14.
#[test]
fn value_that_is_not_utf8_does_not_hide_other_params() {
    let pairs = [(&b"A"[..], &b"\xff"[..]), (b"\xff", b"B"), (b"C", b"text")];
    let params = Params::from_pairs(pairs).expect("pairs");
    assert_eq!((params.get("A"), params.get_bytes("A")), (None, Some(&b"\xff"[..])));
    assert_eq!((params.get(b"\xff"), params.get("C")), (Some("B"), Some("text")));
    assert!(params.iter().eq(pairs));
}

/// A recursive parser would overflow its stack.
#[test]
fn parse_handles_100000_empty_pairs() {
    let params = Params::parse(&[0; 2 * 100_000]).expect("pairs");
    assert_eq!(params.len(), 100_000);
    assert!(params.iter().all(|pair| pair == (b"", b"")));
}

/// The sequence ends at every possible byte. Rule K16.
#[test]
fn truncated_pair_is_an_error_with_its_offset() {
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

/// Rules K1, K5, K6 and K9.
#[test]
fn params_stream_is_its_records_and_an_empty_record() {
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
    assert_eq!(out, [1, 4, 0, 1, 0, 0, 0, 0], "no pairs: only the end of the stream");
}

/// Rule K7.
#[test]
fn params_stream_with_request_id_0_is_an_error() {
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

/// Some applications, php-cgi among them, cannot read a pair that spans two records. The pair has
/// each length near the limit of a record, alone and between other pairs. Rules K3 and K15.
#[test]
fn pair_that_fits_a_record_is_not_split() {
    // The length of the whole encoded pair.
    for len in [
        65520, 65527, 65528, 65529, 65530, 65531, 65532, 65533, 65534, 65535, 65536, 65537, 131_072,
    ] {
        let long = vec![b'V'; len - 6];
        for pairs in [
            vec![("L", &long[..])],
            vec![("A", b"before"), ("L", &long)],
            vec![("L", &long[..]), ("Z", b"after")],
            vec![("A", b"before"), ("L", &long), ("M", &long), ("Z", b"after")],
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

#[test]
fn pairs_fill_each_record_without_being_split() {
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
        assert!(full + pair_len > 65528, "{len}: the record has room for another pair");
        let (last, others) = records.split_last().expect("a record");
        assert!(
            others.iter().all(|record| record.content.len() == full),
            "{len}: every record but the last is full"
        );
        assert!(last.content.len() <= full, "{len}");
    }
}

fn pairs_of<'a>(pairs: &[(&'a str, &'a [u8])]) -> Params {
    Params::from_pairs(pairs.iter().copied()).expect("pairs")
}

/// Returns the records of a PARAMS stream without the final empty one. Checks what must hold for
/// every PARAMS stream.
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
        assert!(!record.content.is_empty(), "no record is empty");
        assert!(record.content.len() + record.padding.len() <= 65535, "the sum fits in 16 bits");
        assert!(record.padding.iter().all(|byte| *byte == 0), "padding is zero");
        assert!(
            (record.content.len() + record.padding.len()) % 8 == 0 || record.content.len() > 65528,
            "records are aligned to eight bytes"
        );
    }
    assert!(records.iter().flat_map(|record| &record.content).eq(params.as_bytes()));
    records
}

/// Rule S11.
#[test]
fn get_returns_the_last_value_and_iter_returns_all() {
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
fn set_replaces_and_remove_removes_every_pair_of_a_name() {
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
    assert_eq!(params, Params::parse(params.as_bytes()).expect("the remaining pairs are whole"));
    params.remove("B");
    assert_eq!((params.get("B"), params.get("C"), params.get("A")), (None, Some(""), Some("new")));
    params.remove("C");
    params.remove("A");
    assert_eq!((params.is_empty(), params.as_bytes()), (true, &b""[..]));
    params.push("D", "again").expect("a pair");
    params.clear();
    assert_eq!(params, Params::default());
}

#[test]
fn push_encoded_appends_all_pairs_or_none() {
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
fn content_length_accepts_only_decimal_digits() {
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

/// Params that a `server::Connection` receives in records.
#[cfg(unix)]
mod received {
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    use super::*;
    use crate::support::{begin, padded_record, record, PARAMS, RESPONDER, STDIN, TEST_TIMEOUT};
    use fcgi::server::{Config, Connection};

    /// Returns the params of a request with these records.
    fn receive(records: &[u8]) -> fcgi::Result<Params> {
        let (mut ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        let records = records.to_vec();
        // The records may exceed the capacity of the socket.
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

    /// Each split of the sequence into two records is tried, then one record for each byte.
    /// Rule K15.
    #[test]
    fn pair_may_be_split_across_records_at_any_byte() {
        let expected =
            Params::from_pairs([("A", "1"), ("LONG", &"V".repeat(130)), ("", "")]).expect("pairs");
        // Use the long form of the lengths, so that there are more places to split.
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

    /// Rule K16.
    #[test]
    fn params_stream_that_ends_inside_a_pair_is_an_error() {
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

    /// A cookie of 9000 bytes must not end the connection.
    #[test]
    fn pair_may_be_larger_than_the_read_buffer() {
        for len in [8192, 9000, 65536, 200_000] {
            let cookie: Vec<u8> = (b'a'..=b'z').cycle().take(len).collect();
            let encoded = [pair(b"HTTP_COOKIE", &cookie), pair(b"B", b"after")].concat();
            for record_len in [1000, 8192, 65535] {
                let records: Vec<&[u8]> = encoded.chunks(record_len).collect();
                let params = receive(&in_records(&records)).expect("params");
                assert!(params.get_bytes("HTTP_COOKIE") == Some(&cookie), "{len} in {record_len}");
                assert_eq!(params.get("B"), Some("after"));
            }
        }
    }
}
