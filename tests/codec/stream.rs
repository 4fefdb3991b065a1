//! Streams are read and written in records, however the transport, the other side or the caller
//! cuts them: nothing is lost, nothing ends early, and large data is not copied. The numbers K1 to
//! K23 are those of the rules of the protocol's encoding that each test shows.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};

use crate::checks::{decode_records, retry_on_timeout, End, Rng, ShortWriter, UnreliableReader};
use crate::support::{padded_record, record, stream, STDIN, STDOUT};
use crate::{checks, support};
use fcgi::record::{BeginRequest, EndRequest, Header, ProtocolStatus, RecordType, Role};
use fcgi::stream::{RecordReader, StreamWriter};
use fcgi::Error;

/// Bytes that differ from their neighbours, so that none can be lost or change places.
fn data(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

/// The content of the current record, read with slices of this size.
#[track_caller]
fn content(reader: &mut RecordReader<impl Read>, slice: usize) -> Vec<u8> {
    let mut content = Vec::new();
    let mut out = vec![0; slice];
    loop {
        match retry_on_timeout(|| reader.read_content(&mut out)).expect("content") {
            0 => return content,
            n => content.extend_from_slice(&out[..n]),
        }
    }
}

#[track_caller]
fn next(reader: &mut RecordReader<impl Read>) -> Header {
    retry_on_timeout(|| reader.next_header()).expect("a header").expect("a record, not the end")
}

mod reader {
    use super::*;

    /// K1, K4, K10: "padding of empty records and of END_REQUEST not skipped"; all types have one
    /// way through the reader.
    #[test]
    fn padding_on_each_type_a_byte_at_a_time_then_a_second_record() {
        for record_type in 0..=255 {
            for padding in [0, 8, 255] {
                for body in [&b""[..], b"8 bytes."] {
                    let bytes = [
                        padded_record(record_type, 1, body, padding),
                        padded_record(STDIN, 258, b"next", 3),
                    ]
                    .concat();
                    let mut reader = RecordReader::new(Singly(&bytes));
                    let header = next(&mut reader);
                    assert_eq!(
                        (header.record_type, header.padding_len),
                        (record_type.into(), padding)
                    );
                    assert_eq!(content(&mut reader, 5), body);
                    let header = next(&mut reader);
                    assert_eq!((header.record_type, header.request_id), (RecordType::Stdin, 258));
                    assert_eq!(content(&mut reader, 5), b"next");
                    assert!(reader.next_header().expect("a clean end").is_none());
                }
            }
        }
    }

    /// K2: told each time, and not before the records in front of it were read.
    #[test]
    fn another_version_is_an_error() {
        for version in [0, 2, 255] {
            let bytes =
                [padded_record(STDOUT, 1, b"good", 4), vec![version, 6, 0, 1, 0, 0, 0, 0]].concat();
            let mut reader = RecordReader::new(&bytes[..]);
            next(&mut reader);
            assert_eq!(content(&mut reader, 100), b"good");
            for _ in 0..2 {
                let outcome = reader.next_header();
                assert!(
                    matches!(outcome, Err(Error::UnsupportedVersion(found)) if found == version),
                    "{outcome:?}"
                );
            }
        }
    }

    /// K8: the same bytes in records of any length are the same stream.
    #[test]
    fn how_a_stream_is_cut_has_no_meaning() {
        let value = data(70_000);
        for len in [1, 7, 8, 4096, 65535] {
            let mut bytes: Vec<u8> = value
                .chunks(len)
                .flat_map(|piece| padded_record(STDIN, 1, piece, len as u8))
                .collect();
            bytes.extend(record(STDIN, 1, b""));
            let mut reader = RecordReader::new(&bytes[..]);
            let mut found = Vec::new();
            while next(&mut reader).content_len > 0 {
                found.extend(content(&mut reader, 10_000));
            }
            assert_eq!(found, value, "{len} in a record");
        }
    }

    /// K10, K23: "the header cut at each of its 7 inner offsets", and content and padding too.
    #[test]
    fn a_cut_is_an_error_except_between_records() {
        let one = padded_record(STDOUT, 1, b"hello", 11);
        let bytes = [&one[..], &one].concat();
        for len in 0..=bytes.len() {
            for skips in [false, true] {
                let mut reader = RecordReader::new(&bytes[..len]);
                let outcome = loop {
                    let outcome = match reader.next_header() {
                        Ok(Some(_)) if skips => continue,
                        Ok(Some(_)) => read_to_end(&mut reader),
                        Ok(None) => break Ok(()),
                        Err(error) => Err(error),
                    };
                    if outcome.is_err() {
                        break outcome;
                    }
                };
                let cut = match outcome {
                    Ok(()) => None,
                    Err(Error::UnexpectedEof(what)) => Some(what),
                    Err(error) => panic!("{error} at {len}"),
                };
                assert_eq!(cut, checks::truncated_part(len % one.len()), "{len}");
            }
        }
    }

    fn read_to_end(reader: &mut RecordReader<impl Read>) -> fcgi::Result<()> {
        while reader.read_content(&mut [0; 3])? > 0 {}
        Ok(())
    }

    /// K10: a time-out at every offset, and interruptions; the call made again goes on where it
    /// was.
    #[test]
    fn nothing_is_lost_where_the_reader_fails() {
        let bytes = [
            padded_record(STDOUT, 1, b"hello", 11),
            padded_record(STDOUT, 2, b"", 3),
            padded_record(STDOUT, 3, b"world", 0),
        ]
        .concat();
        for at in 0..=bytes.len() {
            for kind in
                [io::ErrorKind::TimedOut, io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted]
            {
                let source = Pausing { bytes: &bytes, pause: Some(at), kind };
                let mut reader = RecordReader::new(source);
                let mut failures = 0;
                let mut found = Vec::new();
                while let Some(header) = again(&mut failures, || reader.next_header()) {
                    let mut content = Vec::new();
                    let mut out = [0; 3];
                    loop {
                        match again(&mut failures, || reader.read_content(&mut out)) {
                            0 => break,
                            n => content.extend_from_slice(&out[..n]),
                        }
                    }
                    found.push((header.request_id, content));
                }
                assert_eq!(
                    found,
                    [(1, b"hello".to_vec()), (2, b"".to_vec()), (3, b"world".to_vec())],
                    "{kind} at {at}"
                );
                assert_eq!(
                    failures,
                    usize::from(kind != io::ErrorKind::Interrupted),
                    "{kind} at {at}"
                );
            }
        }
    }

    /// Calls until there is no error, and counts those.
    fn again<T>(failures: &mut usize, mut call: impl FnMut() -> fcgi::Result<T>) -> T {
        loop {
            match call() {
                Ok(value) => return value,
                Err(Error::Io(_)) => *failures += 1,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Gives all that it has, but for a pause at one offset.
    struct Pausing<'a> {
        bytes: &'a [u8],
        pause: Option<usize>,
        kind: io::ErrorKind,
    }

    impl Read for Pausing<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            if self.pause == Some(0) {
                self.pause = None;
                return Err(self.kind.into());
            }
            let n = self.pause.unwrap_or(usize::MAX).min(out.len());
            let n = self.bytes.read(&mut out[..n])?;
            self.pause = self.pause.map(|left| left - n);
            Ok(n)
        }
    }

    /// Whoever goes to the next record has done with this one, though its padding should have to be
    /// waited for: what is left of it is not taken for content.
    #[test]
    fn a_record_that_was_left_has_no_more_content() {
        let bytes = [padded_record(STDOUT, 1, b"hello", 16), record(STDOUT, 2, b"next")].concat();
        for at in 8..8 + 5 + 16 {
            let source = Pausing { bytes: &bytes, pause: Some(at), kind: io::ErrorKind::TimedOut };
            let mut reader = RecordReader::new(source);
            next(&mut reader);
            assert!(matches!(reader.next_header(), Err(Error::Io(_))));
            assert_eq!(reader.content_left(), 0, "{at}");
            assert_eq!(reader.fill_content().expect("the end of the content"), b"", "{at}");
            assert_eq!(
                reader.read_content(&mut [0; 100]).expect("the end of the content"),
                0,
                "{at}"
            );
            assert_eq!(next(&mut reader).request_id, 2, "{at}");
            assert_eq!(content(&mut reader, 9), b"next", "{at}");
        }
    }

    /// K10: any pieces, with interruptions and time-outs in between, read in all ways.
    #[test]
    fn random_pieces_make_no_difference() {
        let mut bytes = Vec::new();
        for n in 0..60_u16 {
            bytes.extend(padded_record(n as u8, n, &data(usize::from(n) * 40), (n * 4) as u8));
        }
        bytes.extend(padded_record(STDOUT, 1, &data(65535), 255));
        bytes.extend(padded_record(STDOUT, 1, b"", 255));
        for seed in 0..30 {
            let mut rng = Rng::new(seed * 77 + 1);
            let mut reader = RecordReader::new(UnreliableReader::new(&bytes, &rng));
            for n in 0..60_u16 {
                assert_eq!(next(&mut reader).request_id, n);
                assert_eq!(content(&mut reader, rng.piece_len(100_000)), data(usize::from(n) * 40));
            }
            assert_eq!(next(&mut reader).body_len(), 65790);
            assert_eq!(content(&mut reader, rng.piece_len(100_000)), data(65535));
            assert_eq!(next(&mut reader).content_len, 0);
            assert!(retry_on_timeout(|| reader.next_header()).expect("a clean end").is_none());
        }
    }

    /// "A record whose header straddles the buffer's end taken for the end of input": contents of
    /// every length around the sizes that the buffer has.
    #[test]
    fn records_of_every_length_around_the_size_of_the_buffer() {
        let around = |size: usize| size - 24..size + 16;
        let value = data(65535);
        for len in around(8192).chain(around(65536 - 30)).filter(|len| *len <= 65535) {
            for (padding, slice) in [(0, 1000), (7, 8192), (255, 131_072), (0, 131_072)] {
                let first = padded_record(STDOUT, 1, &value[..len], padding);
                let bytes = [first, record(STDOUT, 2, b"next"), record(3, 3, &value[..8])].concat();
                let mut reader = RecordReader::new(&bytes[..]);
                assert_eq!(usize::from(next(&mut reader).content_len), len);
                assert!(content(&mut reader, slice) == value[..len], "{len} + {padding}");
                assert_eq!(next(&mut reader).request_id, 2);
                assert_eq!(content(&mut reader, slice), b"next");
                assert_eq!(next(&mut reader).request_id, 3);
                assert_eq!(content(&mut reader, slice), value[..8]);
                assert!(reader.next_header().expect("a clean end").is_none());
            }
        }
    }

    /// The same with many small records, whose headers are anywhere in the buffer.
    #[test]
    fn small_records_across_the_end_of_the_buffer() {
        for len in 0..26_usize {
            let bytes: Vec<u8> = (0..5000).flat_map(|n| record(STDOUT, n, &data(len))).collect();
            let mut reader = RecordReader::new(&bytes[..]);
            for n in 0..5000 {
                assert_eq!(next(&mut reader).request_id, n);
                assert_eq!(content(&mut reader, 64), data(len));
            }
            assert!(reader.next_header().expect("a clean end").is_none());
        }
    }

    /// Any part of a record may be left unread.
    #[test]
    fn the_rest_of_a_record_is_skipped() {
        let bytes: Vec<u8> =
            (0..50).flat_map(|n| padded_record(STDOUT, n, &data(500), 9)).collect();
        for used in [0, 1, 250, 499, 500] {
            let mut reader = RecordReader::new(Singly(&bytes));
            for n in 0..50 {
                assert_eq!(next(&mut reader).request_id, n);
                let mut left = used;
                while left > 0 {
                    let len = reader.fill_content().expect("content").len().min(left);
                    reader.consume(len);
                    left -= len;
                }
                assert_eq!(reader.content_left(), 500 - used);
            }
            assert!(reader.next_header().expect("a clean end").is_none());
        }
    }

    /// Content goes straight into a slice as large as the buffer, and what is read behind it into
    /// the buffer.
    #[test]
    fn a_large_slice_is_read_into_directly() {
        let value = data(60_000);
        let bytes = [padded_record(STDOUT, 1, &value, 4), record(STDOUT, 2, b"next")].concat();
        let mut reader = RecordReader::new(Recording { bytes: &bytes, slices: Vec::new() });
        // The header comes alone with the first bytes, up to the size of the buffer.
        next(&mut reader);
        let mut out = vec![0; 140_000];
        let buffered = reader.read_content(&mut out).expect("content");
        assert_eq!(buffered, 8184, "what the buffer has comes first");
        let rest = &mut out[buffered..];
        let range = rest.as_ptr_range();
        let n = reader.read_content(rest).expect("content");
        assert_eq!(n, 60_000 - buffered, "all that is left in one read");
        assert_eq!(out[..60_000], value);
        assert_eq!(
            reader.get_ref().slices.last(),
            Some(&(range.start as usize, n)),
            "not through the buffer"
        );

        let reads = reader.get_ref().slices.len();
        assert_eq!(next(&mut reader).request_id, 2);
        assert_eq!(reader.get_ref().slices.len(), reads, "the next header came with the same read");
        assert_eq!(content(&mut reader, 100_000), b"next");
    }

    /// A slice that is smaller than the buffer is not read into: what one read gives serves many of
    /// them.
    #[test]
    fn a_small_slice_is_read_through_the_buffer() {
        let value = data(20_000);
        let bytes: Vec<u8> = stream(STDOUT, 1, &value);
        let mut reader = RecordReader::new(Recording { bytes: &bytes, slices: Vec::new() });
        next(&mut reader);
        assert_eq!(content(&mut reader, 100), value);
        let lens: Vec<_> = reader.get_ref().slices.iter().map(|(_, len)| *len).collect();
        assert_eq!(lens, [8192, 20_008 - 8192]);
    }

    /// Remembers where reads have put their first bytes, and how many there.
    struct Recording<'a> {
        bytes: &'a [u8],
        slices: Vec<(usize, usize)>,
    }

    impl Read for Recording<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            self.read_vectored(&mut [IoSliceMut::new(out)])
        }

        fn read_vectored(&mut self, out: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
            let first = (out[0].as_ptr() as usize, out[0].len().min(self.bytes.len()));
            self.slices.push(first);
            out.iter_mut().map(|slice| self.bytes.read(slice)).sum()
        }
    }

    /// K23: content that is read directly may be cut too.
    #[test]
    fn a_cut_in_a_direct_read_is_an_error() {
        let bytes = stream(STDOUT, 1, &data(60_000));
        let mut reader = RecordReader::new(&bytes[..bytes.len() - 1]);
        next(&mut reader);
        let mut out = vec![0; 131_072];
        let mut len = 0;
        let error = loop {
            match reader.read_content(&mut out) {
                Ok(n) => len += n,
                Err(error) => break error,
            }
            assert!(len < 60_000);
        };
        assert!(matches!(error, Error::UnexpectedEof("a record")), "{error:?}");
        assert_eq!(len, 59_999, "what there was was given");
    }

    /// K18, K19: the bodies of fixed layout, a time-out at every offset; of a longer one the rest
    /// is skipped.
    #[test]
    fn bodies_of_fixed_layout() {
        let bytes = [
            padded_record(1, 1, &[0, 3, 1, 0, 0, 0, 0, 0], 3),
            padded_record(3, 1, &[0, 0, 3, 0xaa, 2, 0, 0, 0, 9, 9, 9], 5),
            padded_record(3, 1, &[0; 7], 1),
            padded_record(1, 2, &[], 8),
            record(STDIN, 3, b"next"),
        ]
        .concat();
        for at in 0..bytes.len() {
            let source = Pausing { bytes: &bytes, pause: Some(at), kind: io::ErrorKind::TimedOut };
            let mut reader = RecordReader::new(source);
            let mut failures = 0;
            again(&mut failures, || reader.next_header()).expect("a record");
            let begin = again(&mut failures, || reader.read_begin_request());
            assert_eq!(begin, BeginRequest::new(Role::Filter, true), "{at}");
            again(&mut failures, || reader.next_header()).expect("a record");
            let end = again(&mut failures, || reader.read_end_request());
            assert_eq!(
                end,
                EndRequest { app_status: 938, protocol_status: ProtocolStatus::Overloaded },
                "{at}"
            );
            assert_eq!(reader.content_left(), 3);
            for len in [7, 0] {
                again(&mut failures, || reader.next_header()).expect("a record");
                let outcome = match reader.read_end_request() {
                    Err(Error::Io(_)) => reader.read_end_request(),
                    outcome => outcome,
                };
                assert!(
                    matches!(outcome, Err(Error::InvalidBodyLength { len: found, .. }) if found == len),
                    "{outcome:?}"
                );
            }
            assert_eq!(
                again(&mut failures, || reader.next_header()).expect("a record").request_id,
                3,
                "{at}"
            );
        }
        let mut reader = RecordReader::new(&bytes[..12]);
        next(&mut reader);
        assert!(matches!(reader.read_begin_request(), Err(Error::UnexpectedEof("a record"))));
    }

    /// An empty slice takes nothing, and tells nothing about the end.
    #[test]
    fn an_empty_slice_takes_nothing() {
        let bytes = record(STDOUT, 1, b"hello");
        let mut reader = RecordReader::new(Singly(&bytes));
        next(&mut reader);
        assert_eq!(reader.read_content(&mut []).expect("nothing"), 0);
        assert_eq!(content(&mut reader, 2), b"hello");
    }

    #[test]
    fn content_is_lent_in_place() {
        let bytes = [padded_record(STDOUT, 1, b"hello", 8), record(STDOUT, 2, b"next")].concat();
        let mut reader = RecordReader::new(&bytes[..]);
        assert_eq!(reader.fill_content().expect("no record yet"), b"");
        next(&mut reader);
        assert_eq!(reader.fill_content().expect("content"), b"hello");
        reader.consume(2);
        assert_eq!(reader.fill_content().expect("content"), b"llo");
        assert_eq!(reader.content_left(), 3);
        assert_eq!(reader.buffer(), &bytes[10..], "the padding and the next record are there too");
        reader.consume(3);
        assert_eq!(reader.fill_content().expect("the end of the content"), b"");
        assert_eq!(next(&mut reader).request_id, 2);
        assert_eq!(reader.get_ref().len(), 0);
        *reader.get_mut() = b"more";
        assert_eq!(reader.into_inner(), b"more");
    }

    #[test]
    #[should_panic(expected = "consumed more content than there is")]
    fn no_more_content_can_be_used_than_there_is() {
        let bytes = padded_record(STDOUT, 1, b"hello", 8);
        let mut reader = RecordReader::new(&bytes[..]);
        next(&mut reader);
        reader.consume(6);
    }

    /// Gives one byte at a time, into whichever slice has room.
    struct Singly<'a>(&'a [u8]);

    impl Read for Singly<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let n = out.len().min(1);
            self.0.read(&mut out[..n])
        }
    }
}

mod writer {
    use super::*;

    fn writer<W: Write>(inner: W) -> StreamWriter<W> {
        StreamWriter::new(inner, RecordType::Stdout, 1).expect("a legal id")
    }

    /// What a stream's records say: its data; after checks that hold for every stream that is sent.
    #[track_caller]
    fn joined(bytes: &[u8]) -> Vec<u8> {
        let (records, end) = decode_records(bytes);
        assert_eq!(end, End::Clean);
        let (last, records) = records.split_last().expect("the end of the stream");
        assert_eq!(
            (last.content.len(), last.padding_len),
            (0, 0),
            "K9: one empty record at the end"
        );
        for record in records {
            assert_eq!((record.record_type, record.id), (6, 1));
            assert!(!record.content.is_empty(), "K9: none before");
            let sum = record.content.len() + usize::from(record.padding_len);
            assert!(sum <= 65535 && sum % 8 == 0, "K5");
        }
        records.iter().flat_map(|record| record.content.clone()).collect()
    }

    /// K1, K5, K9
    #[test]
    fn golden_bytes() {
        let mut out = ShortWriter::new(usize::MAX);
        let mut stdout = writer(&mut out);
        stdout.write_all(b"hello").expect("gathered");
        stdout.flush().expect("sent");
        stdout.write_all(b"12345").expect("gathered");
        stdout.write_all(b"678").expect("gathered");
        stdout.finish().expect("sent");
        let expected: &[u8] = b"\x01\x06\0\x01\0\x05\x03\0hello\0\0\0\
            \x01\x06\0\x01\0\x08\0\0\
            12345678\
            \x01\x06\0\x01\0\0\0\0";
        assert_eq!(out.written, expected);
        assert_eq!(out.writes, 2, "what belongs together leaves together");
    }

    /// K7
    #[test]
    fn the_id_must_be_one_that_the_type_can_have() {
        for (record_type, request_id, is_legal) in [
            (RecordType::Stdout, 0, false),
            (RecordType::Stdin, 0, false),
            (RecordType::Stdin, 65535, true),
            (RecordType::GetValues, 1, false),
            (RecordType::GetValues, 0, true),
        ] {
            let outcome = StreamWriter::new(Vec::new(), record_type, request_id);
            assert_eq!(outcome.is_ok(), is_legal, "{record_type:?} {request_id}");
        }
    }

    /// K9: "an empty write ended the stream early".
    #[test]
    fn empty_writes_and_flushes_send_nothing() {
        let mut out = ShortWriter::new(usize::MAX);
        let mut stdout = writer(&mut out);
        for _ in 0..3 {
            assert_eq!(stdout.write(b"").expect("nothing"), 0);
            stdout.flush().expect("nothing");
        }
        assert!(stdout.get_ref().written.is_empty());
        stdout.write_all(b"a").expect("gathered");
        stdout.write_all(b"").expect("nothing");
        stdout.flush().expect("sent");
        stdout.flush().expect("nothing");
        stdout.write_all(b"").expect("nothing");
        stdout.flush().expect("nothing");
        stdout.write_all(b"b").expect("gathered");
        stdout.finish().expect("sent");
        let lens: Vec<_> =
            decode_records(&out.written).0.iter().map(|record| record.content.len()).collect();
        assert_eq!(lens, [1, 1, 0]);
        assert_eq!(joined(&out.written), b"ab");
    }

    /// "Empty STDIN missing, or sent twice": exactly one end, with nothing written too.
    #[test]
    fn a_stream_without_data_is_its_end() {
        let out = writer(Vec::new()).finish().expect("sent");
        assert_eq!(out, [1, 6, 0, 1, 0, 0, 0, 0]);
        let mut stdout = writer(Vec::new());
        stdout.flush().expect("nothing");
        assert_eq!(stdout.finish().expect("sent"), [1, 6, 0, 1, 0, 0, 0, 0]);
    }

    /// The end is never an accident.
    #[test]
    fn dropping_the_writer_sends_nothing() {
        let mut out = Vec::new();
        writer(&mut out).write_all(b"gathered").expect("gathered");
        assert!(out.is_empty());
    }

    /// K3, K8: "content length cut to 16 bits": all lengths where something changes, written in any
    /// way.
    #[test]
    fn data_of_any_length_written_in_any_way() {
        let value = data(131_072);
        for len in [
            1, 7, 8, 8191, 8192, 16383, 16384, 65527, 65528, 65529, 65535, 65536, 99_000, 131_056,
            131_072,
        ] {
            for piece in [1000, 8185, 16383, 16384, 65528, 65529, 65536, len] {
                let mut stdout = writer(Vec::new());
                value[..len]
                    .chunks(piece)
                    .for_each(|piece| stdout.write_all(piece).expect("taken"));
                let out = stdout.finish().expect("sent");
                assert!(joined(&out) == value[..len], "{len} in pieces of {piece}");
                assert!(
                    decode_records(&out).0.len() <= len / 16384 + 2,
                    "{len} in pieces of {piece}: full records"
                );
            }
        }
    }

    #[test]
    fn data_written_a_byte_at_a_time_makes_full_records() {
        let value = data(140_000);
        let mut stdout = writer(Vec::new());
        value.iter().try_for_each(|byte| stdout.write_all(&[*byte])).expect("gathered");
        let out = stdout.finish().expect("sent");
        assert_eq!(joined(&out), value);
        let lens: Vec<_> =
            decode_records(&out).0.iter().map(|record| record.content.len()).collect();
        assert_eq!(lens, [65528, 65528, 8944, 0]);
    }

    /// K6: every byte of padding and reserved bytes is zero, though the buffer held others before.
    #[test]
    fn old_memory_is_not_sent() {
        let mut stdout = writer(Vec::new());
        for len in [9000, 100, 1, 20_000, 3] {
            stdout.write_all(&vec![0xff; len]).expect("gathered");
            stdout.flush().expect("sent");
        }
        let out = stdout.finish().expect("sent");
        let mut input = &out[..];
        while let Some(record) = support::read_record(&mut input) {
            assert_eq!(record.reserved, 0);
            assert!(record.padding.iter().all(|byte| *byte == 0));
            assert!(record.content.iter().all(|byte| *byte == 0xff));
        }
    }

    /// A write that is large leaves at once and is not copied, behind what was gathered, in one
    /// vectored write.
    #[test]
    fn a_large_write_is_not_copied() {
        let value = data(200_000);
        let mut stdout = writer(Offered::default());
        stdout.write_all(b"first").expect("gathered");
        assert_eq!(stdout.write(&value).expect("sent"), 200_000);
        let offered = stdout.get_ref();
        assert_eq!(offered.writes, 1);
        let at = value.as_ptr() as usize;
        assert_eq!(offered.places, [at, at + 65528, at + 2 * 65528, at + 3 * 65528]);
        let bytes = stdout.finish().expect("sent").written;
        assert_eq!(joined(&bytes), [&b"first"[..], &value].concat());
        let lens: Vec<_> =
            decode_records(&bytes).0.iter().map(|record| record.content.len()).collect();
        assert_eq!(lens, [5, 65528, 65528, 65528, 3416, 0]);
    }

    /// Once something has left, a write of 16 KiB is not copied though it would fit: a large answer
    /// comes in many of them.
    #[test]
    fn a_large_write_on_its_way_is_not_copied() {
        let value = data(16 * 1024);
        let mut stdout = writer(Offered::default());
        stdout.write_all(&value).expect("gathered");
        assert_eq!(stdout.get_ref().writes, 0, "it may leave with all the rest");
        stdout.flush().expect("sent");
        stdout.write_all(&value[1..]).expect("gathered");
        assert_eq!(stdout.get_ref().writes, 1, "a byte less is gathered");
        stdout.write_all(&value).expect("sent");
        assert_eq!(stdout.get_ref().places.last(), Some(&(value.as_ptr() as usize)));
        assert_eq!(
            joined(&stdout.finish().expect("sent").written),
            [&value, &value[1..], &value].concat()
        );
    }

    /// 31 records leave in one system call, behind what was gathered.
    #[test]
    fn many_records_leave_in_one_write() {
        let value = data(62 * 65528 + 1);
        for (len, writes) in
            [(31 * 65528 - 1, 1), (31 * 65528, 1), (31 * 65528 + 1, 2), (62 * 65528 + 1, 3)]
        {
            let mut stdout = writer(Offered::default());
            stdout.write_all(b"first").expect("gathered");
            stdout.write_all(&value[..len]).expect("sent");
            assert_eq!(stdout.get_ref().writes, writes, "{len}");
            assert!(
                joined(&stdout.finish().expect("sent").written)
                    == [b"first", &value[..len]].concat(),
                "{len}"
            );
        }
    }

    /// Remembers where the large slices were that it was offered.
    #[derive(Default)]
    struct Offered {
        written: Vec<u8>,
        writes: usize,
        places: Vec<usize>,
    }

    impl Write for Offered {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            self.write_vectored(&[IoSlice::new(data)])
        }

        fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            self.writes += 1;
            self.places.extend(
                slices
                    .iter()
                    .filter(|slice| slice.len() > 1000)
                    .map(|slice| slice.as_ptr() as usize),
            );
            self.written.extend(slices.iter().flat_map(|slice| slice.iter()));
            Ok(slices.iter().map(|slice| slice.len()).sum())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The writer below may take any number of bytes, and be interrupted.
    #[test]
    fn a_writer_may_take_a_few_bytes_at_a_time() {
        let value = data(150_000);
        let mut expected = Vec::new();
        for most in [usize::MAX, 1, 7, 8, 9, 999, 1000, 65528, 65536, 70_000] {
            let mut stdout = writer(ShortWriter::new(most));
            stdout.write_all(&value[..3]).expect("gathered");
            stdout.write_all(&value[3..140_000]).expect("sent");
            stdout.write_all(&value[140_000..]).expect("gathered");
            let out = stdout.finish().expect("sent").written;
            assert_eq!(joined(&out), value, "{most} at a time");
            if expected.is_empty() {
                expected.clone_from(&out);
            }
            assert_eq!(out, expected, "{most} at a time");
        }
    }

    /// After an error nobody knows where the next record would begin: nothing more is sent, so that
    /// the stream is cut and cannot be taken for whole.
    #[test]
    fn after_an_error_nothing_more_is_sent() {
        for large in [false, true] {
            for taken in [0, 5, 20_000] {
                let mut out = Expiring { written: Vec::new(), room: Some(taken) };
                let mut stdout = writer(&mut out);
                let first = data(if large { 90_000 } else { 30_000 });
                let outcome = stdout.write_all(&first).and_then(|()| stdout.flush());
                assert_eq!(outcome.expect_err("a time-out").kind(), io::ErrorKind::TimedOut);
                // The writer below would go on.
                for more in [b"more".to_vec(), data(70_000)] {
                    let outcome = stdout.write_all(&more).and_then(|()| stdout.flush());
                    let error = outcome.expect_err("cut");
                    assert_eq!(error.kind(), io::ErrorKind::TimedOut, "what came of the first");
                    assert_eq!(error.to_string(), "an earlier write of the stream has failed");
                }
                assert!(stdout.finish().is_err());
                assert_eq!(out.written.len(), taken);
            }
        }
    }

    /// Takes so many bytes, then times out once, then takes all.
    struct Expiring {
        written: Vec<u8>,
        room: Option<usize>,
    }

    impl Write for Expiring {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            let n = self.room.unwrap_or(usize::MAX).min(data.len());
            if n == 0 {
                self.room = None;
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.written.extend_from_slice(&data[..n]);
            self.room = self.room.map(|room| room - n);
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// `flush` is handed on to what is below.
    #[test]
    fn what_is_below_is_flushed() {
        let mut stdout = writer(io::BufWriter::with_capacity(1000, Vec::new()));
        stdout.write_all(b"hello").expect("gathered");
        stdout.flush().expect("sent");
        assert_eq!(stdout.get_ref().get_ref().len(), 16);
    }
}
