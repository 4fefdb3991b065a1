//! Property tests: records, params and response heads have the same value however they are split;
//! what is written can be read back; no input makes either side of a connection panic, block, or
//! behave differently when it arrives in other pieces.

use std::io::Write;

use crate::checks::{self, decode_records, End, Record, ShortWriter};
use fcgi::record::RecordType;
use fcgi::stream::StreamWriter;
use fcgi::Params;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, Index};

fn config(cases: u32) -> ProptestConfig {
    // Failing input goes into a test of its own, not into a regression file.
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// A length up to `max`, often one at a boundary of the implementation.
fn length(max: usize) -> impl Strategy<Value = usize> {
    let edges: Vec<usize> = [
        0, 1, 7, 8, 127, 128, 255, 256, 8183, 8184, 8185, 16_383, 16_384, 65_527, 65_528, 65_529,
        65_535,
    ]
    .into_iter()
    .filter(|edge| *edge <= max)
    .collect();
    prop_oneof![0..=max.min(40), 0..=max, select(edges)]
}

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    (length(max), any::<u8>())
        .prop_map(|(len, first)| (0..len).map(|at| first.wrapping_add((at % 251) as u8)).collect())
}

fn record(max: usize) -> impl Strategy<Value = Record> {
    (any::<u8>(), any::<u16>(), bytes(max), any::<u8>()).prop_map(
        |(record_type, id, content, padding_len)| Record { record_type, id, content, padding_len },
    )
}

fn encode(records: &[Record]) -> Vec<u8> {
    records.iter().flat_map(Record::encode).collect()
}

proptest! {
    #![proptest_config(config(120))]

    /// The records are whole or truncated at any byte. Rules K8, K10 and K23.
    #[test]
    fn any_records_are_read_as_written(
        records in vec(record(65_535), 0..6),
        kept in any::<Index>(),
        is_truncated: bool,
    ) {
        let mut bytes = encode(&records);
        prop_assert_eq!(decode_records(&bytes), (records, End::Clean));
        if is_truncated {
            bytes.truncate(kept.index(bytes.len() + 1));
        }
        checks::check_records(&bytes);
    }

    #[test]
    fn many_small_records_are_read_as_written(records in vec(record(30), 0..200)) {
        checks::check_records(&encode(&records));
    }

    #[test]
    fn arbitrary_bytes_are_read_as_records_or_refused(
        start in vec(any::<u8>(), 0..200),
        after_version in vec(any::<u8>(), 0..200),
    ) {
        checks::check_records(&start);
        checks::check_records(&[&[1], &after_version[..]].concat());
    }

    /// Rules K11 and K14.
    #[test]
    fn any_pairs_are_read_as_written(pairs in vec((bytes(300), bytes(66_000)), 0..12)) {
        let params = Params::from_pairs(pairs.iter().map(|(name, value)| (name, value)));
        let params = params.expect("short pairs");
        prop_assert!(params.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).eq(pairs));
        checks::check_params(params.as_bytes());
    }

    /// Long-form lengths and truncated pairs are frequent in this input. Rules K12, K13 and K16.
    #[test]
    fn arbitrary_bytes_are_read_as_pairs_or_refused(parts in vec(prop_oneof![
        vec(any::<u8>(), 0..8),
        (0..9_u8).prop_map(|len| vec![0x80, 0, 0, len]),
        (0..31_u8, 0..9_u8).prop_map(|(bit, len)| {
            (0x8000_0000 | 1_u32 << bit | u32::from(len)).to_be_bytes().to_vec()
        }),
        Just(vec![1, 1, b'A', b'B']),
    ], 0..20)) {
        checks::check_params(&parts.concat());
    }

    /// The inner writer accepts any number of bytes at a time. Rules K3 and K9.
    #[test]
    fn any_writes_and_flushes_produce_one_whole_stream(
        steps in vec(prop_oneof![4 => bytes(140_000).prop_map(Some), 1 => Just(None)], 0..12),
        most in prop_oneof![Just(usize::MAX), 1000..100_000_usize],
    ) {
        let out = ShortWriter::new(most);
        let mut stdout = StreamWriter::new(out, RecordType::Stdout, 1).expect("a legal id");
        let mut written = Vec::new();
        for step in steps {
            if let Some(data) = step {
                stdout.write_all(&data).expect("written");
                written.extend(data);
                continue;
            }
            stdout.flush().expect("sent");
            let (records, end) = decode_records(&stdout.get_ref().written);
            prop_assert_eq!(end, End::Clean);
            let sent: usize = records.iter().map(|record| record.content.len()).sum();
            prop_assert_eq!(sent, written.len(), "flush sends everything that was written");
        }
        let (records, end) = decode_records(&stdout.finish().expect("sent").written);
        prop_assert_eq!(end, End::Clean);
        let empty = records.iter().filter(|record| record.content.is_empty()).count();
        prop_assert!(empty == 1 && records.last().is_some_and(|record| record.content.is_empty()));
        prop_assert!(records.iter().all(|record| (record.record_type, record.id) == (6, 1)));
        prop_assert!(records.into_iter().flat_map(|record| record.content).eq(written));
    }

    /// The lines are a mix of valid, unusual and invalid ones. Rule H16.
    #[test]
    fn any_lines_are_parsed_alike_in_any_pieces(parts in vec(prop_oneof![
        select(vec![
            "Status: 404 Not Found", "Status: 200", "Content-Type: text/html", "Location: /a",
            "Location: http://a/", "Content-Length: 5", "Set-Cookie: a=1", "X: ", ": x", " folded",
            "no field", "HTTP/1.1 200 OK", "A:b", "A :b",
        ]).prop_map(|line| line.as_bytes().to_vec()),
        select(vec!["\r\n", "\n", "\n\n", "\r\n\r\n", "\r", "\0"])
            .prop_map(|end| end.as_bytes().to_vec()),
        Just(b"\n".to_vec()),
        vec(any::<u8>(), 0..6),
        (0..2000_usize).prop_map(|len| vec![b'x'; len]),
    ], 0..16)) {
        checks::check_response_head(&parts.concat());
    }
}

#[cfg(unix)]
mod connections {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::checks::connections::{check_client_exchange, check_server_connection};

    fn pair() -> (UnixStream, UnixStream) {
        UnixStream::pair().expect("a pair of sockets")
    }

    /// A record that is valid, or nearly so.
    fn likely_record() -> impl Strategy<Value = Record> {
        let content = prop_oneof![
            3 => Just(Vec::new()),
            2 => (0..5_u8, any::<u8>())
                .prop_map(|(role, flags)| vec![0, role, flags, 0, 0, 0, 0, 0]),
            1 => (0..4_u8, any::<u8>())
                .prop_map(|(status, app)| vec![0, 0, 0, app, status, 0, 0, 0]),
            2 => (0..9_u8).prop_map(|len| [b"\x0e\x01CONTENT_LENGTH", &[b'0' + len][..]].concat()),
            1 => Just(b"\x0e\0FCGI_MAX_CONNS\x0f\0FCGI_MPXS_CONNS".to_vec()),
            1 => Just(b"Status: 200\r\n\r\nbody".to_vec()),
            2 => vec(any::<u8>(), 0..20),
            1 => vec(any::<u8>(), 0..700),
        ];
        let padding = prop_oneof![3 => Just(0), 1 => any::<u8>()];
        (0..13_u8, prop_oneof![6 => Just(1), 1 => 0..4_u16], content, padding).prop_map(
            |(record_type, id, content, padding_len)| Record {
                record_type,
                id,
                content,
                padding_len,
            },
        )
    }

    fn truncated(mut bytes: Vec<u8>, kept: Option<Index>) -> Vec<u8> {
        if let Some(kept) = kept {
            bytes.truncate(kept.index(bytes.len() + 1));
        }
        bytes
    }

    /// BEGIN_REQUEST, PARAMS and STDIN of several requests, with other records between them.
    fn likely_requests() -> impl Strategy<Value = Vec<Record>> {
        let request = (0..5_u8, any::<u8>(), 0..9_u8, vec(any::<u8>(), 0..9)).prop_map(
            |(role, flags, len, body)| {
                let record =
                    |record_type, content| Record { record_type, id: 1, content, padding_len: len };
                vec![
                    record(1, vec![0, role, flags, 0, 0, 0, 0, 0]),
                    record(4, [b"\x0e\x01CONTENT_LENGTH", &[b'0' + len][..]].concat()),
                    record(4, Vec::new()),
                    record(5, body.clone()),
                    record(5, Vec::new()),
                    record(8, body),
                    record(8, Vec::new()),
                ]
            },
        );
        let part = prop_oneof![2 => request, 1 => vec(likely_record(), 0..4)];
        let others = vec((any::<Index>(), likely_record()), 0..3);
        (vec(part, 0..4), others).prop_map(|(parts, others)| {
            let mut records = parts.concat();
            for (at, other) in others {
                records.insert(at.index(records.len() + 1), other);
            }
            records
        })
    }

    proptest! {
        #![proptest_config(config(250))]

        #[test]
        fn application_side_is_independent_of_pieces(
            records in likely_requests(),
            kept in any::<Option<Index>>(),
        ) {
            check_server_connection(pair, &truncated(encode(&records), kept));
        }

        #[test]
        fn application_side_survives_arbitrary_bytes(
            start in vec(any::<u8>(), 0..100),
            after_version in vec(any::<u8>(), 0..100),
        ) {
            check_server_connection(pair, &start);
            check_server_connection(pair, &[&[1], &after_version[..]].concat());
        }

        #[test]
        fn web_server_side_is_independent_of_pieces(
            records in vec(likely_record(), 0..8),
            is_usual: bool,
            kept in any::<Option<Index>>(),
        ) {
            let mut records = records;
            if is_usual {
                for record in &mut records {
                    record.record_type = 6 + record.record_type % 2;
                }
                records.push(Record { record_type: 3, id: 1, content: vec![0; 8], padding_len: 1 });
            }
            check_client_exchange(pair, &truncated(encode(&records), kept));
        }

        #[test]
        fn web_server_side_survives_arbitrary_bytes(
            start in vec(any::<u8>(), 0..100),
            after_version in vec(any::<u8>(), 0..100),
        ) {
            check_client_exchange(pair, &start);
            check_client_exchange(pair, &[&[1], &after_version[..]].concat());
        }
    }
}
