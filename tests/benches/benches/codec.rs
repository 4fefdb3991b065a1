//! Measures the codec in memory, compared with copying the same bytes.

use divan::{black_box, Bencher};
use fcgi::cgi::HeadParser;
use fcgi::record::{Header, RecordType};
use fcgi::Params;
use fcgi_benches::{wire, Workload};

fn main() {
    divan::main();
}

/// A response head with 8 fields.
const HEAD: &[u8] = b"Status: 200 OK\r\n\
    Content-Type: text/html; charset=UTF-8\r\n\
    Cache-Control: no-store, no-cache, must-revalidate\r\n\
    Expires: Thu, 19 Nov 1981 08:52:00 GMT\r\n\
    Set-Cookie: session=7f3c2a9e5b1d4860a7c3e9f2b8d6054c; path=/; HttpOnly\r\n\
    X-Frame-Options: SAMEORIGIN\r\n\
    Vary: Accept-Encoding\r\n\
    Content-Length: 5120\r\n\
    \r\n";

mod header {
    use super::*;

    const BYTES: [u8; 8] = [1, 4, 0, 1, 3, 238, 2, 0];

    #[divan::bench]
    fn memcpy() -> [u8; 8] {
        black_box(BYTES)
    }

    #[divan::bench]
    fn parse() -> Header {
        Header::parse(black_box(BYTES)).expect("a header")
    }

    #[divan::bench]
    fn encode() -> [u8; 8] {
        Header::new(RecordType::Params, black_box(1), black_box(1006)).encode()
    }
}

mod params_of_25_pairs {
    use super::*;

    #[divan::bench]
    fn memcpy(bencher: Bencher) {
        copy(bencher, &wire::params(Workload::Small));
    }

    /// Reuses allocated memory, as a server does.
    #[divan::bench]
    fn decode(bencher: Bencher) {
        let encoded = wire::params(Workload::Small);
        let mut params = Params::new();
        bencher.bench_local(|| {
            params.clear();
            params.push_encoded(black_box(&encoded)).expect("25 pairs");
            black_box(params.len())
        });
    }

    /// Allocates new memory.
    #[divan::bench]
    fn decode_and_allocate(bencher: Bencher) {
        let encoded = wire::params(Workload::Small);
        bencher.bench_local(|| Params::parse(black_box(&encoded)).expect("25 pairs"));
    }

    /// Encodes pairs as a PARAMS stream.
    #[divan::bench]
    fn encode(bencher: Bencher) {
        let (mut params, mut out) = (Params::new(), Vec::new());
        bencher.bench_local(|| {
            params.clear();
            for (name, value) in black_box(wire::PAIRS) {
                params.push(name, value).expect("a pair");
            }
            out.clear();
            params.encode_stream(1, &mut out).expect("a stream");
            black_box(out.len())
        });
    }

    /// Creates a PARAMS stream from encoded pairs.
    #[divan::bench]
    fn encode_stream(bencher: Bencher) {
        let params = Params::from_pairs(wire::PAIRS).expect("25 pairs");
        let mut out = Vec::new();
        bencher.bench_local(|| {
            out.clear();
            black_box(&params).encode_stream(1, &mut out).expect("a stream");
            black_box(out.len())
        });
    }

    #[divan::bench]
    fn look_up(bencher: Bencher) {
        let params = Params::from_pairs(wire::PAIRS).expect("25 pairs");
        bencher.bench_local(|| black_box(&params).get("REMOTE_ADDR").map(str::len));
    }
}

mod head_of_8_fields {
    use super::*;

    #[divan::bench]
    fn memcpy(bencher: Bencher) {
        copy(bencher, HEAD);
    }

    /// Checks Status, Location and Content-Length, and copies the bytes.
    #[divan::bench]
    fn parse(bencher: Bencher) {
        let mut parser = HeadParser::new();
        bencher.bench_local(|| {
            parser.clear();
            parser.feed(black_box(HEAD)).expect("a head")
        });
    }

    /// Finds names and values only, which are borrowed.
    #[divan::bench]
    fn httparse(bencher: Bencher) {
        bencher.bench_local(|| {
            let mut headers = [::httparse::EMPTY_HEADER; 8];
            let status = ::httparse::parse_headers(black_box(HEAD), &mut headers).expect("a head");
            let end = status.unwrap().0;
            black_box(&headers);
            end
        });
    }
}

/// Measures copying bytes to allocated memory.
fn copy(bencher: Bencher, bytes: &[u8]) {
    let mut copy = Vec::new();
    bencher.bench_local(|| {
        copy.clear();
        copy.extend_from_slice(black_box(bytes));
        black_box(copy.len())
    });
}
