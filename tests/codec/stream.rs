//! Tests of `fcgi::stream`: `RecordReader` and `StreamWriter` transfer the same data whatever
//! pieces it arrives in, a stream ends only at its end, and large data is not copied.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::time::Duration;

use crate::checks::{decode_records, retry_on_timeout, End, Rng, ShortWriter, UnreliableReader};
use crate::support::{padded_record, record, stream, STDIN, STDOUT};
use crate::{checks, support};
use fcgi::error::Timeout;
use fcgi::record::{BeginRequest, EndRequest, Header, ProtocolStatus, RecordType, Role};
use fcgi::stream::{RecordReader, StreamWriter};
use fcgi::Error;

/// Returns bytes that differ from their neighbours, so that a lost or swapped byte is noticed.
fn data(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

/// Reads the content of the current record into slices of this size.
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

    /// One byte arrives at a time, and a second record follows. Rules K1, K4 and K10.
    #[test]
    fn padding_is_skipped_on_every_record_type() {
        for record_type in 0..=255 {
            for padding in [0, 8, 255] {
                for body in [&b""[..], b"8 bytes."] {
                    let bytes = [
                        padded_record(record_type, 1, body, padding),
                        padded_record(STDIN, 258, b"next", 3),
                    ]
                    .concat();
                    let mut reader = RecordReader::new(OneByteReader(&bytes));
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

    /// The error is returned again by every further call. Rule K2.
    #[test]
    fn unsupported_version_is_an_error_after_the_records_before_it() {
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

    /// Rule K8.
    #[test]
    fn stream_has_the_same_value_in_records_of_any_length() {
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

    /// The input ends after each possible number of bytes. Rules K10 and K23.
    #[test]
    fn input_that_ends_inside_a_record_is_an_error() {
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

    /// The inner reader fails at each offset. Rule K10.
    #[test]
    fn read_continues_after_a_failed_call() {
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
                let source = FailingOnce { bytes: &bytes, pause: Some(at), kind };
                let mut reader = RecordReader::new(source);
                let mut failures = 0;
                let mut found = Vec::new();
                while let Some(header) = retry(&mut failures, || reader.next_header()) {
                    let mut content = Vec::new();
                    let mut out = [0; 3];
                    loop {
                        match retry(&mut failures, || reader.read_content(&mut out)) {
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

    /// Retries until a call succeeds, and counts the failures.
    fn retry<T>(failures: &mut usize, mut call: impl FnMut() -> fcgi::Result<T>) -> T {
        loop {
            match call() {
                Ok(value) => return value,
                Err(Error::Io(_)) => *failures += 1,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Returns its bytes, with one error at the offset `pause`.
    struct FailingOnce<'a> {
        bytes: &'a [u8],
        pause: Option<usize>,
        kind: io::ErrorKind,
    }

    impl Read for FailingOnce<'_> {
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

    /// `next_header` discards the current record even if it then fails while it waits for the
    /// padding.
    #[test]
    fn record_has_no_content_after_next_header_was_called() {
        let bytes = [padded_record(STDOUT, 1, b"hello", 16), record(STDOUT, 2, b"next")].concat();
        for at in 8..8 + 5 + 16 {
            let source =
                FailingOnce { bytes: &bytes, pause: Some(at), kind: io::ErrorKind::TimedOut };
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

    /// Interruptions and timeouts occur between the pieces. Rule K10.
    #[test]
    fn records_are_read_from_random_pieces() {
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
            assert_eq!(next(&mut reader).padded_content_len(), 65790);
            assert_eq!(content(&mut reader, rng.piece_len(100_000)), data(65535));
            assert_eq!(next(&mut reader).content_len, 0);
            assert!(retry_on_timeout(|| reader.next_header()).expect("a clean end").is_none());
        }
    }

    /// A header that spans the end of the buffer must not be mistaken for the end of the input.
    #[test]
    fn record_may_end_anywhere_near_the_end_of_the_buffer() {
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

    /// Many small records place a header at every offset of the buffer.
    #[test]
    fn header_may_span_the_end_of_the_buffer() {
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

    #[test]
    fn unread_content_is_skipped() {
        let bytes: Vec<u8> =
            (0..50).flat_map(|n| padded_record(STDOUT, n, &data(500), 9)).collect();
        for used in [0, 1, 250, 499, 500] {
            let mut reader = RecordReader::new(OneByteReader(&bytes));
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

    /// The bytes after the content go into the buffer in the same read.
    #[test]
    fn large_slice_is_read_into_directly() {
        let value = data(60_000);
        let bytes = [padded_record(STDOUT, 1, &value, 4), record(STDOUT, 2, b"next")].concat();
        let mut reader = RecordReader::new(Recording { bytes: &bytes, slices: Vec::new() });
        // The first read fills the buffer.
        next(&mut reader);
        let mut out = vec![0; 140_000];
        let buffered = reader.read_content(&mut out).expect("content");
        assert_eq!(buffered, 8184, "the buffered content is returned first");
        let rest = &mut out[buffered..];
        let range = rest.as_ptr_range();
        let n = reader.read_content(rest).expect("content");
        assert_eq!(n, 60_000 - buffered, "the rest arrives in one read");
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

    /// The buffer has grown to 128 KiB, so a slice for one record is smaller than the buffer.
    #[test]
    fn slice_of_32_kib_is_read_into_directly_once_the_buffer_is_large() {
        let bytes = padded_record(STDOUT, 1, &data(60_000), 8).repeat(4);
        for (len, is_direct) in [(32 << 10, true), (65_536, true), ((32 << 10) - 1, false)] {
            let mut reader = RecordReader::new(Recording { bytes: &bytes, slices: Vec::new() });
            // Two records are read through the buffer. It grows and then ends inside the third.
            for _ in 0..2 {
                next(&mut reader);
                assert_eq!(content(&mut reader, 100).len(), 60_000);
            }
            next(&mut reader);
            let (buffered, mut out) = (reader.buffer().len(), vec![0; 65_536]);
            assert_eq!(reader.read_content(&mut out).expect("content"), buffered);
            let out = &mut out[..len];
            let address = out.as_ptr() as usize;
            let n = reader.read_content(out).expect("content");
            let (first, _) = *reader.get_ref().slices.last().expect("a read");
            assert_eq!(first == address, is_direct, "{n} bytes into {len}");
        }
    }

    /// The header arrives alone, so the buffer is empty and has its initial size of 8 KiB.
    #[test]
    fn slice_as_large_as_the_buffer_is_read_into_directly() {
        let bytes = record(STDOUT, 1, &data(5000));
        for (len, is_direct) in [(8192, true), (8191, false)] {
            let content = Recording { bytes: &bytes[8..], slices: Vec::new() };
            let mut reader = RecordReader::new(bytes[..8].chain(content));
            next(&mut reader);
            let mut out = vec![0; len];
            assert_eq!(reader.read_content(&mut out).expect("content"), 5000);
            let (_, recording) = reader.get_ref().get_ref();
            let (first, _) = recording.slices[0];
            assert_eq!(first == out.as_ptr() as usize, is_direct, "a slice of {len} bytes");
        }
    }

    /// One read of the inner reader serves many small slices.
    #[test]
    fn small_slice_is_read_through_the_buffer() {
        let value = data(20_000);
        let bytes: Vec<u8> = stream(STDOUT, 1, &value);
        let mut reader = RecordReader::new(Recording { bytes: &bytes, slices: Vec::new() });
        next(&mut reader);
        assert_eq!(content(&mut reader, 100), value);
        let lens: Vec<_> = reader.get_ref().slices.iter().map(|(_, len)| *len).collect();
        assert_eq!(lens, [8192, 20_008 - 8192]);
    }

    /// Records the address and length of the first slice of each read.
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

    /// Rule K23.
    #[test]
    fn direct_read_that_ends_early_is_an_error() {
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
        assert_eq!(len, 59_999, "the bytes before the end were returned");
    }

    /// The rest of a longer body is skipped. Rules K18 and K19.
    #[test]
    fn fixed_bodies_are_read_after_a_failure_at_any_offset() {
        let bytes = [
            padded_record(1, 1, &[0, 3, 1, 0, 0, 0, 0, 0], 3),
            padded_record(3, 1, &[0, 0, 3, 0xaa, 2, 0, 0, 0, 9, 9, 9], 5),
            padded_record(3, 1, &[0; 7], 1),
            padded_record(1, 2, &[], 8),
            record(STDIN, 3, b"next"),
        ]
        .concat();
        for at in 0..bytes.len() {
            let source =
                FailingOnce { bytes: &bytes, pause: Some(at), kind: io::ErrorKind::TimedOut };
            let mut reader = RecordReader::new(source);
            let mut failures = 0;
            retry(&mut failures, || reader.next_header()).expect("a record");
            let begin = retry(&mut failures, || reader.read_begin_request());
            assert_eq!(begin, BeginRequest::new(Role::Filter, true), "{at}");
            retry(&mut failures, || reader.next_header()).expect("a record");
            let end = retry(&mut failures, || reader.read_end_request());
            assert_eq!(
                end,
                EndRequest { app_status: 938, protocol_status: ProtocolStatus::Overloaded },
                "{at}"
            );
            assert_eq!(reader.content_left(), 3);
            for len in [7, 0] {
                retry(&mut failures, || reader.next_header()).expect("a record");
                let outcome = match reader.read_end_request() {
                    Err(Error::Io(_)) => reader.read_end_request(),
                    outcome => outcome,
                };
                match outcome {
                    Err(Error::InvalidBodyLength { len: found, .. }) => assert_eq!(found, len),
                    outcome => panic!("{outcome:?}"),
                }
            }
            assert_eq!(
                retry(&mut failures, || reader.next_header()).expect("a record").request_id,
                3,
                "{at}"
            );
        }
        let mut reader = RecordReader::new(&bytes[..12]);
        next(&mut reader);
        assert!(matches!(reader.read_begin_request(), Err(Error::UnexpectedEof("a record"))));
    }

    #[test]
    fn read_into_empty_slice_consumes_nothing() {
        let bytes = record(STDOUT, 1, b"hello");
        let mut reader = RecordReader::new(OneByteReader(&bytes));
        next(&mut reader);
        assert_eq!(reader.read_content(&mut []).expect("nothing"), 0);
        assert_eq!(content(&mut reader, 2), b"hello");
    }

    /// Otherwise it would block until the content arrives.
    #[test]
    fn read_into_empty_slice_does_not_read_from_the_connection() {
        let bytes = record(STDOUT, 1, b"hello");
        let mut reader = RecordReader::new(&bytes[..8]);
        next(&mut reader);
        assert_eq!(reader.read_content(&mut []).expect("nothing"), 0);
        assert!(matches!(reader.read_content(&mut [0]), Err(Error::UnexpectedEof("a record"))));
    }

    #[test]
    fn fill_content_returns_the_buffered_content() {
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
    #[should_panic(expected = "more than the buffered content")]
    fn consume_panics_beyond_the_content() {
        let bytes = padded_record(STDOUT, 1, b"hello", 8);
        let mut reader = RecordReader::new(&bytes[..]);
        next(&mut reader);
        reader.consume(6);
    }

    #[test]
    fn debug_output_shows_how_much_is_buffered() {
        let mut reader = RecordReader::new(io::Cursor::new(record(STDOUT, 1, b"hello")));
        next(&mut reader);
        reader.read_content(&mut [0; 2]).expect("content");
        let text = format!("{reader:?}");
        assert!(text.contains("inner: Cursor"), "{text}");
        assert!(text.contains("buffered: 3, content_left: 3"), "{text}");
    }

    /// Returns one byte per read.
    struct OneByteReader<'a>(&'a [u8]);

    impl Read for OneByteReader<'_> {
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

    /// Returns the data of the records of a stream. Checks what must hold for every stream that is
    /// sent.
    #[track_caller]
    fn joined(bytes: &[u8]) -> Vec<u8> {
        let (records, end) = decode_records(bytes);
        assert_eq!(end, End::Clean);
        let (last, records) = records.split_last().expect("the end of the stream");
        assert_eq!((last.content.len(), last.padding_len), (0, 0), "the last record is empty");
        for record in records {
            assert_eq!((record.record_type, record.id), (6, 1));
            assert!(!record.content.is_empty(), "no other record is empty");
            let sum = record.content.len() + usize::from(record.padding_len);
            assert!(sum <= 65535 && sum % 8 == 0, "records are aligned to eight bytes");
        }
        records.iter().flat_map(|record| record.content.clone()).collect()
    }

    /// Rules K1, K5 and K9.
    #[test]
    fn stream_is_encoded_as_specified() {
        let mut out = ShortWriter::new(usize::MAX);
        let mut stdout = writer(&mut out);
        stdout.write_all(b"hello").expect("buffered");
        stdout.flush().expect("sent");
        stdout.write_all(b"12345").expect("buffered");
        stdout.write_all(b"678").expect("buffered");
        stdout.finish().expect("sent");
        let expected: &[u8] = b"\x01\x06\0\x01\0\x05\x03\0hello\0\0\0\
            \x01\x06\0\x01\0\x08\0\0\
            12345678\
            \x01\x06\0\x01\0\0\0\0";
        assert_eq!(out.written, expected);
        assert_eq!(out.writes, 2, "one write for the flush and one for the end");
    }

    /// Rule K7.
    #[test]
    fn new_refuses_a_request_id_that_does_not_fit_the_type() {
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

    /// Rule K9.
    #[test]
    fn empty_write_does_not_end_the_stream() {
        let mut out = ShortWriter::new(usize::MAX);
        let mut stdout = writer(&mut out);
        for _ in 0..3 {
            assert_eq!(stdout.write(b"").expect("nothing"), 0);
            stdout.flush().expect("nothing");
        }
        assert!(stdout.get_ref().written.is_empty());
        stdout.write_all(b"a").expect("buffered");
        stdout.write_all(b"").expect("nothing");
        stdout.flush().expect("sent");
        stdout.flush().expect("nothing");
        stdout.write_all(b"").expect("nothing");
        stdout.flush().expect("nothing");
        stdout.write_all(b"b").expect("buffered");
        stdout.finish().expect("sent");
        let lens: Vec<_> =
            decode_records(&out.written).0.iter().map(|record| record.content.len()).collect();
        assert_eq!(lens, [1, 1, 0]);
        assert_eq!(joined(&out.written), b"ab");
    }

    /// Rule K9.
    #[test]
    fn finish_without_data_sends_exactly_one_empty_record() {
        let out = writer(Vec::new()).finish().expect("sent");
        assert_eq!(out, [1, 6, 0, 1, 0, 0, 0, 0]);
        let mut stdout = writer(Vec::new());
        stdout.flush().expect("nothing");
        assert_eq!(stdout.finish().expect("sent"), [1, 6, 0, 1, 0, 0, 0, 0]);
    }

    #[test]
    fn dropped_writer_does_not_end_the_stream() {
        let mut out = Vec::new();
        writer(&mut out).write_all(b"buffered").expect("buffered");
        assert!(out.is_empty());
    }

    /// The lengths are those at which the record layout changes. Rules K3 and K8.
    #[test]
    fn stream_is_whole_for_every_length_and_write_size() {
        let value = data(131_072);
        for len in [
            1, 7, 8, 8191, 8192, 16383, 16384, 65527, 65528, 65529, 65535, 65536, 99_000, 131_056,
            131_072,
        ] {
            for piece in [1000, 8185, 16383, 16384, 65528, 65529, 65536, len] {
                let mut stdout = writer(Vec::new());
                value[..len]
                    .chunks(piece)
                    .for_each(|piece| stdout.write_all(piece).expect("written"));
                let out = stdout.finish().expect("sent");
                assert!(joined(&out) == value[..len], "{len} in pieces of {piece}");
                assert!(
                    decode_records(&out).0.len() <= len / 16384 + 2,
                    "{len} in pieces of {piece}: too many records"
                );
            }
        }
    }

    #[test]
    fn single_byte_writes_fill_records() {
        let value = data(140_000);
        let mut stdout = writer(Vec::new());
        value.iter().try_for_each(|byte| stdout.write_all(&[*byte])).expect("buffered");
        let out = stdout.finish().expect("sent");
        assert_eq!(joined(&out), value);
        let lens: Vec<_> =
            decode_records(&out).0.iter().map(|record| record.content.len()).collect();
        assert_eq!(lens, [65528, 65528, 8944, 0]);
    }

    /// Rule K6.
    #[test]
    fn padding_is_zero_although_the_buffer_held_other_data() {
        let mut stdout = writer(Vec::new());
        for len in [9000, 100, 1, 20_000, 3] {
            stdout.write_all(&vec![0xff; len]).expect("buffered");
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

    /// The buffered data before it leaves in the same vectored write.
    #[test]
    fn large_write_is_sent_at_once_without_a_copy() {
        let value = data(200_000);
        let mut stdout = writer(SliceRecorder::default());
        stdout.write_all(b"first").expect("buffered");
        assert_eq!(stdout.write(&value).expect("sent"), 200_000);
        let offered = stdout.get_ref();
        assert_eq!(offered.writes, 1);
        let at = value.as_ptr() as usize;
        assert_eq!(offered.addresses, [at, at + 65528, at + 2 * 65528, at + 3 * 65528]);
        let bytes = stdout.finish().expect("sent").written;
        assert_eq!(joined(&bytes), [&b"first"[..], &value].concat());
        let lens: Vec<_> =
            decode_records(&bytes).0.iter().map(|record| record.content.len()).collect();
        assert_eq!(lens, [5, 65528, 65528, 65528, 3416, 0]);
    }

    /// A large response often arrives in writes of this size. Before the first flush they are
    /// buffered, so that a small response leaves in one write.
    #[test]
    fn write_of_16_kib_is_not_copied_once_data_was_sent() {
        let value = data(16 * 1024);
        let mut stdout = writer(SliceRecorder::default());
        stdout.write_all(&value).expect("buffered");
        assert_eq!(
            stdout.get_ref().writes,
            0,
            "buffered: the whole response may fit into one write"
        );
        stdout.flush().expect("sent");
        stdout.write_all(&value[1..]).expect("buffered");
        assert_eq!(stdout.get_ref().writes, 1, "a write of one byte less is buffered");
        stdout.write_all(&value).expect("sent");
        assert_eq!(stdout.get_ref().addresses.last(), Some(&(value.as_ptr() as usize)));
        assert_eq!(
            joined(&stdout.finish().expect("sent").written),
            [&value, &value[1..], &value].concat()
        );
    }

    /// The buffered data before them is sent in the same write.
    #[test]
    fn up_to_31_records_are_sent_in_one_write() {
        let value = data(62 * 65528 + 1);
        for (len, writes) in
            [(31 * 65528 - 1, 1), (31 * 65528, 1), (31 * 65528 + 1, 2), (62 * 65528 + 1, 3)]
        {
            let mut stdout = writer(SliceRecorder::default());
            stdout.write_all(b"first").expect("buffered");
            stdout.write_all(&value[..len]).expect("sent");
            assert_eq!(stdout.get_ref().writes, writes, "{len}");
            assert!(
                joined(&stdout.finish().expect("sent").written)
                    == [b"first", &value[..len]].concat(),
                "{len}"
            );
        }
    }

    /// Records the addresses of the large slices that it was passed.
    #[derive(Default)]
    struct SliceRecorder {
        written: Vec<u8>,
        writes: usize,
        addresses: Vec<usize>,
    }

    impl Write for SliceRecorder {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            self.write_vectored(&[IoSlice::new(data)])
        }

        fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            self.writes += 1;
            self.addresses.extend(
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

    #[test]
    fn stream_is_sent_whole_through_short_writes() {
        let value = data(150_000);
        let mut expected = Vec::new();
        for most in [usize::MAX, 1, 7, 8, 9, 999, 1000, 65528, 65536, 70_000] {
            let mut stdout = writer(ShortWriter::new(most));
            stdout.write_all(&value[..3]).expect("buffered");
            stdout.write_all(&value[3..140_000]).expect("sent");
            stdout.write_all(&value[140_000..]).expect("buffered");
            let out = stdout.finish().expect("sent").written;
            assert_eq!(joined(&out), value, "{most} at a time");
            if expected.is_empty() {
                expected.clone_from(&out);
            }
            assert_eq!(out, expected, "{most} at a time");
        }
    }

    /// The position inside the record is unknown after an error. If the writer went on, the peer
    /// could take the stream for whole.
    #[test]
    fn nothing_is_sent_after_a_failed_write() {
        for large in [false, true] {
            for accepted in [0, 5, 20_000] {
                let mut out = TimingOutOnce { written: Vec::new(), room: Some(accepted) };
                let mut stdout = writer(&mut out);
                let first = data(if large { 90_000 } else { 30_000 });
                let outcome = stdout.write_all(&first).and_then(|()| stdout.flush());
                let error = outcome.expect_err("a timeout");
                assert!(matches!(error.into(), Error::TimedOut(_)));
                // The inner writer would accept more.
                for more in [b"more".to_vec(), data(70_000)] {
                    let outcome = stdout.write_all(&more).and_then(|()| stdout.flush());
                    let error = outcome.expect_err("the first error again");
                    assert!(matches!(error.into(), Error::TimedOut(_)));
                }
                assert!(matches!(stdout.finish(), Err(Error::TimedOut(_))));
                assert_eq!(out.written.len(), accepted);
            }
        }
    }

    /// The buffer is empty after the failure. A success would hide that its data was lost.
    #[test]
    fn every_later_call_returns_the_error_of_a_failed_write() {
        let mut out = TimingOutOnce { written: Vec::new(), room: Some(0) };
        let mut stdout = writer(&mut out);
        stdout.write_all(b"data").expect("buffered");
        for _ in 0..2 {
            let error = stdout.flush().expect_err("a timeout");
            assert!(matches!(error.into(), Error::TimedOut(_)));
        }
        for len in [1, 100_000] {
            let error = stdout.write(&data(len)).expect_err("the first error again");
            assert!(matches!(error.into(), Error::TimedOut(_)));
        }
        assert!(matches!(stdout.finish(), Err(Error::TimedOut(_))));
        assert!(out.written.is_empty());
    }

    #[test]
    fn every_later_call_returns_the_error_of_a_failed_flush() {
        let mut stdout = writer(FailingFlush(vec![ErrorKind::StorageFull]));
        for _ in 0..2 {
            assert_eq!(stdout.flush().expect_err("a failure").kind(), ErrorKind::StorageFull);
        }
        let error = stdout.write(b"more").expect_err("the first error again");
        assert_eq!(error.kind(), ErrorKind::StorageFull);
    }

    /// Fails to flush with these errors, the last one first, and succeeds after that.
    struct FailingFlush(Vec<ErrorKind>);

    impl Write for FailingFlush {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            Ok(data.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            self.0.pop().map_or(Ok(()), |kind| Err(kind.into()))
        }
    }

    /// Accepts `room` bytes, then times out once, then accepts everything.
    struct TimingOutOnce {
        written: Vec<u8>,
        room: Option<usize>,
    }

    impl Write for TimingOutOnce {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            let n = self.room.unwrap_or(usize::MAX).min(data.len());
            if n == 0 {
                self.room = None;
                return Err(Error::TimedOut(Timeout::new("write", Duration::ZERO)).into());
            }
            self.written.extend_from_slice(&data[..n]);
            self.room = self.room.map(|room| room - n);
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn debug_output_shows_how_much_is_buffered() {
        let mut stdout = writer(Vec::<u8>::new());
        stdout.write_all(b"hello").expect("buffered");
        let text = format!("{stdout:?}");
        assert!(text.contains("inner: []"), "{text}");
        assert!(text.contains("identity: (Stdout, 1), buffered: 13"), "{text}");
    }

    #[test]
    fn flush_flushes_the_inner_writer() {
        let mut stdout = writer(io::BufWriter::with_capacity(1000, Vec::new()));
        stdout.write_all(b"hello").expect("buffered");
        stdout.flush().expect("sent");
        assert_eq!(stdout.get_ref().get_ref().len(), 16);
    }
}
