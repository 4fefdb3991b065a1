//! Proves that lengths declared by a peer allocate nothing, and that memory is reused, so that
//! nothing is allocated in steady state.
//!
//! This is a program of its own because its global allocator counts the allocations of each thread.

mod support;

use std::io::{self, Read, Write};

use allocation_counter::{measure, AllocationInfo};
use fcgi::record::{self, BeginRequest, EndRequest, RecordType, Role};
use fcgi::stream::{RecordReader, StreamWriter};
use fcgi::Params;

/// Two lengths of 2 GiB without data after them allocate nothing. Rules K12 and K17.
#[test]
fn declared_lengths_allocate_nothing() {
    for declared in
        [&[0xff; 8][..], b"\xff\xff\xff\xff\0", b"\0\xff\xff\xff\xff", b"\x80\x01\0\0\x80\x01\0\0"]
    {
        let info = measure(|| assert!(Params::parse(declared).is_err()));
        assert!(
            info.bytes_max <= 16,
            "{} bytes for the {} that came",
            info.bytes_max,
            declared.len()
        );
    }
    // The same after complete pairs.
    let encoded = [&b"\x01\x01AB".repeat(10)[..], &[0xff; 8]].concat();
    let info = measure(|| assert!(Params::parse(&encoded).is_err()));
    assert!(info.bytes_max < 1000, "{} bytes", info.bytes_max);
}

/// A record is read into a buffer of a fixed size or into the caller's memory, whatever its header
/// declares. Rule K17.
#[test]
fn declared_record_length_allocates_one_buffer() {
    let header = [1, 5, 0, 1, 255, 255, 255, 0];
    let mut out = vec![0; 70_000];
    let info = measure(|| {
        let mut reader = RecordReader::new(&header[..]);
        assert!(reader.next_header().is_ok());
        assert!(reader.read_content(&mut out).is_err());
    });
    assert_eq!((info.count_total, info.bytes_max), (1, 8192));

    let mut content = Vec::new();
    let info = measure(|| assert!(record::read_record(&mut &header[..], &mut content).is_err()));
    assert_eq!(info.bytes_max, 65535, "one record and no more");
}

/// Rule K17.
#[cfg(unix)]
#[test]
fn connection_that_declares_4_gib_allocates_only_its_buffer() {
    use support::{begin, record, PARAMS, RESPONDER};

    let bytes =
        [begin(1, RESPONDER, 0), record(PARAMS, 1, &[0xff; 8]), record(PARAMS, 1, b"")].concat();
    let info = measure(|| {
        for _ in 0..20 {
            let (mut ours, theirs) =
                std::os::unix::net::UnixStream::pair().expect("a pair of sockets");
            ours.write_all(&bytes).expect("room for it");
            let mut connection = fcgi::server::Connection::new(theirs).expect("a connection");
            assert!(matches!(connection.next_request(), Err(fcgi::Error::InvalidParams(0))));
        }
    });
    assert!(info.bytes_max < 20_000, "{} bytes", info.bytes_max);
}

#[test]
fn functions_of_record_allocate_nothing() {
    let mut out = Vec::with_capacity(300_000);
    let mut content = Vec::with_capacity(65535);
    let data = vec![b'x'; 100_000];
    assert_allocates_nothing(|| {
        out.clear();
        record::write_begin_request(&mut out, 1, BeginRequest::new(Role::Responder, true))
            .expect("room");
        record::write_stream(&mut out, RecordType::Stdout, 1, &data).expect("room");
        record::write_end_request(&mut out, 1, EndRequest::default()).expect("room");
        let mut input = &out[..];
        while record::read_record(&mut input, &mut content).expect("a record").is_some() {}
    });
}

/// It starts with a small buffer and replaces it once by a larger one.
#[test]
fn record_reader_allocates_only_its_buffer() {
    let bytes: Vec<u8> = (0..200)
        .flat_map(|n| support::padded_record(6, n, &vec![b'x'; usize::from(n) * 10], 7))
        .collect();
    let mut out = vec![0; 140_000];
    let mut reader = RecordReader::new(Endless { bytes: &bytes, at: 0 });
    let mut read = |reader: &mut RecordReader<_>, len: usize| {
        for _ in 0..200 {
            reader.next_header().expect("a record");
            while reader.read_content(&mut out[..len]).expect("content") > 0 {}
        }
    };
    let info = measure(|| read(&mut reader, 100));
    assert_eq!((info.count_total, info.bytes_total), (2, 8192 + 131_072));
    for len in [100, 140_000] {
        assert_allocates_nothing(|| read(&mut reader, len));
    }
}

/// A reader that repeats its bytes indefinitely.
struct Endless<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Read for Endless<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = out.len().min(self.bytes.len() - self.at);
        out[..n].copy_from_slice(&self.bytes[self.at..self.at + n]);
        self.at = (self.at + n) % self.bytes.len();
        Ok(n)
    }
}

/// It allocates a small buffer for little data, and a full one for more. A large write needs none.
#[test]
fn stream_writer_allocates_only_its_buffer() {
    let data = vec![b'x'; 300_000];
    let mut stdout = StreamWriter::new(io::sink(), RecordType::Stdout, 1).expect("a legal id");
    let info = measure(|| stdout.write_all(&data).expect("sent"));
    assert_eq!(info.count_total, 0, "large data is not copied");
    let info = measure(|| stdout.write_all(&data[..1000]).expect("buffered"));
    assert_eq!((info.count_total, info.bytes_total), (1, 8192));
    let info =
        measure(|| data.chunks(1000).for_each(|piece| stdout.write_all(piece).expect("buffered")));
    assert_eq!(info.count_total, 1);
    assert!(info.bytes_current < 66_000, "{} bytes", info.bytes_current);
    assert_allocates_nothing(|| {
        for len in [1, 5000, 16_384, 65_528, 300_000] {
            stdout.write_all(&data[..len]).expect("buffered or sent");
            stdout.flush().expect("sent");
        }
        data.chunks(999).for_each(|piece| stdout.write_all(piece).expect("buffered"));
    });
    assert_allocates_nothing(|| {
        StreamWriter::new(io::sink(), RecordType::Stdout, 1)
            .expect("a legal id")
            .flush()
            .expect("nothing");
    });
}

/// Reading params allocates nothing.
#[test]
fn params_reuse_their_memory() {
    assert_allocates_nothing(|| assert!(Params::new().is_empty()));
    let pairs: Vec<_> = (0..50).map(|n| (format!("NAME_{n}"), "V".repeat(n * 7))).collect();
    let mut params =
        Params::from_pairs(pairs.iter().map(|(name, value)| (name, value))).expect("pairs");
    let mut out = Vec::with_capacity(100_000);
    assert_allocates_nothing(|| {
        assert_eq!(params.get("NAME_0"), Some(""));
        assert!(params.get_bytes("NONE").is_none());
        assert_eq!(params.iter().map(|(_, value)| value.len()).sum::<usize>(), 7 * 49 * 50 / 2);
        assert_eq!(params.content_length(), None);
        out.clear();
        params.encode_stream(1, &mut out).expect("a stream");
        params.clear();
        pairs.iter().try_for_each(|(name, value)| params.push(name, value)).expect("pairs");
    });
}

/// The second request uses the memory of the first.
#[cfg(unix)]
#[test]
fn kept_server_connection_allocates_nothing() {
    use support::{request, RESPONDER};

    let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a pair of sockets");
    let pairs = [
        ("REQUEST_METHOD", "POST"),
        ("CONTENT_LENGTH", "5"),
        ("SCRIPT_FILENAME", "/srv/www/app.php"),
    ];
    let bytes = request(1, RESPONDER, 1, &pairs, b"hello");
    let mut connection = fcgi::server::Connection::new(theirs).expect("a connection");
    let mut answer = [0; 1000];
    let mut serve = || {
        ours.write_all(&bytes).expect("room for it");
        let mut request =
            connection.next_request().expect("a request").expect("a request, not the end");
        assert_eq!(request.params.get("REQUEST_METHOD"), Some("POST"));
        io::copy(&mut request.stdin, &mut request.stdout).expect("buffered");
        request.finish().expect("sent");
        assert_eq!(ours.read(&mut answer).expect("a response"), 40);
    };
    serve();
    assert_allocates_nothing(serve);
}

/// The params are empty pairs, whose index takes six times as much memory as the pairs.
#[cfg(unix)]
#[test]
fn idle_server_connection_does_not_keep_the_memory_of_many_params() {
    use support::{begin, record, stream, PARAMS, RESPONDER, STDIN};

    let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a pair of sockets");
    let end = [record(PARAMS, 1, b""), record(STDIN, 1, b"")].concat();
    let bytes = [begin(1, RESPONDER, 1), stream(PARAMS, 1, &[0; 250_000]), end].concat();
    let mut connection = fcgi::server::Connection::new(theirs).expect("a connection");
    let info = std::thread::scope(|scope| {
        scope.spawn(|| {
            ours.write_all(&bytes).expect("written");
            ours.shutdown(std::net::Shutdown::Write).expect("an open connection");
        });
        measure(|| {
            let request = connection.next_request().expect("a request").expect("not the end");
            assert_eq!(request.params.len(), 125_000);
            request.finish().expect("sent");
            assert!(connection.next_request().expect("the end").is_none());
        })
    });
    assert!(info.bytes_current < 200_000, "{} bytes", info.bytes_current);
}

/// Asserts that nothing is allocated and nothing is freed.
#[track_caller]
fn assert_allocates_nothing(mut run: impl FnMut()) {
    let AllocationInfo { count_total, count_current, .. } = measure(&mut run);
    assert_eq!((count_total, count_current), (0, 0), "allocations");
}
