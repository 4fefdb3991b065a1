//! Checks shared by the property tests and the fuzz targets. Each `check_` function accepts any
//! bytes, passes them to the crate whole and in pieces, and panics if the results differ from each
//! other or from those of a minimal reference decoder.
#![allow(dead_code, unreachable_pub)] // Each program uses a part.

use std::io::{self, BufRead, IoSlice, IoSliceMut, Read, Write};
use std::time::Duration;

use fcgi::cgi::HeadParser;
use fcgi::error::Timeout;
use fcgi::record::{self, Header};
use fcgi::stream::RecordReader;
use fcgi::{Error, Params};

/// A deterministic pseudo-random number generator (xorshift).
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// Derives the seed from all of the bytes (FNV-1a).
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        Self::new(bytes.iter().fold(0xcbf2_9ce4_8422_2325, mix))
    }

    /// Returns a number from 0 to `bound` - 1.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }

    /// Returns a length from 1 to `max`, often a very small one.
    pub fn piece_len(&mut self, max: usize) -> usize {
        let most = [1, 9, 300, max][self.below(4)];
        1 + self.below(most.min(max))
    }
}

/// Splits bytes into at most `count` pieces, none of them empty.
pub fn random_pieces<'a>(bytes: &'a [u8], count: usize, rng: &mut Rng) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let len = if pieces.len() + 1 < count { rng.piece_len(rest.len()) } else { rest.len() };
        let piece;
        (piece, rest) = rest.split_at(len);
        pieces.push(piece);
    }
    pieces
}

/// A reader that returns a few bytes at a time, and is interrupted and times out between them.
#[derive(Debug)]
pub struct UnreliableReader<'a> {
    bytes: &'a [u8],
    rng: Rng,
}

impl<'a> UnreliableReader<'a> {
    pub fn new(bytes: &'a [u8], rng: &Rng) -> Self {
        Self { bytes, rng: rng.clone() }
    }

    /// Returns the length of the next read, at most `max`, or an error.
    fn next_len(&mut self, max: usize) -> io::Result<usize> {
        match self.rng.below(8) {
            0 => return Err(io::ErrorKind::Interrupted.into()),
            1 => return Err(Error::TimedOut(Timeout::new("read", Duration::ZERO)).into()),
            _ => {}
        }
        match self.bytes.len().min(max) {
            0 => Ok(0),
            most => Ok(self.rng.piece_len(most)),
        }
    }
}

impl Read for UnreliableReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.next_len(out.len())?;
        self.bytes.read(&mut out[..n])
    }

    fn read_vectored(&mut self, out: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let n = self.next_len(out.iter().map(|slice| slice.len()).sum())?;
        let mut left = n;
        for slice in out {
            let len = left.min(slice.len());
            self.bytes.read_exact(&mut slice[..len])?;
            left -= len;
        }
        Ok(n)
    }
}

/// A writer that accepts at most `most` bytes at a time. If that is less than 1000, every other
/// call is interrupted.
#[derive(Debug)]
pub struct ShortWriter {
    pub written: Vec<u8>,
    /// The number of calls that were not interrupted.
    pub writes: usize,
    most: usize,
    is_interrupted: bool,
}

impl ShortWriter {
    pub fn new(most: usize) -> Self {
        Self { written: Vec::new(), writes: 0, most, is_interrupted: false }
    }
}

impl Write for ShortWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(data)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.is_interrupted = !self.is_interrupted && self.most < 1000;
        if self.is_interrupted {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let before = self.written.len();
        let all = slices.iter().flat_map(|slice| slice.iter());
        self.written.extend(all.take(self.most));
        self.writes += 1;
        Ok(self.written.len() - before)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Retries a call while it times out.
pub fn retry_on_timeout<T>(mut call: impl FnMut() -> fcgi::Result<T>) -> fcgi::Result<T> {
    loop {
        match call() {
            Err(Error::TimedOut(_)) => {}
            outcome => return outcome,
        }
    }
}

/// A record that a peer may send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub record_type: u8,
    pub id: u16,
    pub content: Vec<u8>,
    pub padding_len: u8,
}

impl Record {
    fn new(header: Header, content: Vec<u8>) -> Self {
        let Header { record_type, request_id: id, padding_len, .. } = header;
        Self { record_type: record_type.into(), id, content, padding_len }
    }

    /// Returns the encoded record. Its reserved byte is not zero.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![1, self.record_type];
        out.extend(self.id.to_be_bytes());
        out.extend((self.content.len() as u16).to_be_bytes());
        out.extend([self.padding_len, 0xa5]);
        out.extend(&self.content);
        out.extend(std::iter::repeat_n(1, self.padding_len.into()));
        out
    }
}

/// Returns the part that `Error::UnexpectedEof` names if the input ends `at` bytes into a record,
/// or `None` if it ends between records.
pub fn truncated_part(at: usize) -> Option<&'static str> {
    match at {
        0 => None,
        1..=7 => Some("a record header"),
        _ => Some("a record"),
    }
}

/// How a sequence of records ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Clean,
    TruncatedHeader,
    TruncatedContent,
    TruncatedPadding,
    UnsupportedVersion(u8),
}

impl End {
    fn matches(self, error: &Error) -> bool {
        match (self, error) {
            (Self::TruncatedHeader, Error::UnexpectedEof(what)) => *what == "a record header",
            (Self::TruncatedContent | Self::TruncatedPadding, Error::UnexpectedEof(what)) => {
                *what == "a record"
            }
            (Self::UnsupportedVersion(version), Error::UnsupportedVersion(found)) => {
                version == *found
            }
            _ => false,
        }
    }
}

/// Decodes the records whose content is complete. Returns them and how the input ends.
pub fn decode_records(mut bytes: &[u8]) -> (Vec<Record>, End) {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        if bytes.len() < 8 {
            return (records, End::TruncatedHeader);
        }
        if bytes[0] != 1 {
            return (records, End::UnsupportedVersion(bytes[0]));
        }
        let (content_len, padding_len) =
            (usize::from(bytes[4]) * 256 + usize::from(bytes[5]), bytes[6]);
        let (record_type, id) = (bytes[1], u16::from(bytes[2]) * 256 + u16::from(bytes[3]));
        bytes = &bytes[8..];
        if bytes.len() < content_len {
            return (records, End::TruncatedContent);
        }
        records.push(Record {
            record_type,
            id,
            content: bytes[..content_len].to_vec(),
            padding_len,
        });
        bytes = &bytes[content_len..];
        if bytes.len() < usize::from(padding_len) {
            return (records, End::TruncatedPadding);
        }
        bytes = &bytes[usize::from(padding_len)..];
    }
    (records, End::Clean)
}

/// Reads records in every possible way and compares them with [`decode_records`].
pub fn check_records(bytes: &[u8]) {
    let (records, end) = decode_records(bytes);
    let rng = Rng::from_bytes(bytes);
    check_read_record(bytes, &records, end);
    check_record_reader(RecordReader::new(bytes), &mut Rng::new(1), &records, end);
    check_record_reader(RecordReader::new(bytes), &mut rng.clone(), &records, end);
    check_record_reader(
        RecordReader::new(UnreliableReader::new(bytes, &rng)),
        &mut rng.clone(),
        &records,
        end,
    );
}

fn check_read_record(mut bytes: &[u8], records: &[Record], end: End) {
    // `read_record` does not return a record whose padding is truncated.
    let whole = if end == End::TruncatedPadding { &records[..records.len() - 1] } else { records };
    let mut content = Vec::new();
    for record in whole {
        let header = record::read_record(&mut bytes, &mut content)
            .expect("a record")
            .expect("a record, not the end");
        assert_eq!(Record::new(header, content.clone()), *record);
    }
    match record::read_record(&mut bytes, &mut content) {
        Ok(None) => assert_eq!(end, End::Clean),
        Ok(Some(header)) => panic!("{header:?} instead of {end:?}"),
        Err(error) => assert!(end.matches(&error), "{error} instead of {end:?}"),
    }
}

/// Reads the content of each record completely, partly or not at all, at random.
fn check_record_reader(
    mut reader: RecordReader<impl Read>,
    rng: &mut Rng,
    records: &[Record],
    end: End,
) {
    for record in records {
        let header = retry_on_timeout(|| reader.next_header())
            .expect("a header")
            .expect("a record, not the end");
        let len = usize::from(header.content_len);
        let wanted = if rng.below(4) == 0 { rng.below(len + 1) } else { len };
        let mut content = Vec::new();
        while content.len() < wanted {
            let piece = read_some(&mut reader, rng, wanted - content.len()).expect("content");
            assert!(
                !piece.is_empty(),
                "the content of {header:?} ended after {} bytes",
                content.len()
            );
            content.extend(piece);
            assert_eq!(reader.content_left(), len - content.len());
        }
        assert_eq!(len, record.content.len());
        let expected =
            Record { content: record.content[..content.len()].to_vec(), ..record.clone() };
        assert_eq!(Record::new(header, content), expected);
    }
    let mut outcome = retry_on_timeout(|| reader.next_header());
    if end == End::TruncatedContent {
        let header = outcome.expect("a header").expect("a record, not the end");
        outcome = loop {
            if rng.below(4) == 0 {
                break retry_on_timeout(|| reader.next_header());
            }
            match read_some(&mut reader, rng, header.content_len.into()) {
                Ok(piece) => {
                    assert!(!piece.is_empty(), "truncated content is not the end of the content");
                }
                Err(error) => break Err(error),
            }
        }
    }
    match outcome {
        Ok(None) => assert_eq!(end, End::Clean),
        Ok(Some(header)) => panic!("{header:?} instead of {end:?}"),
        Err(error) => assert!(end.matches(&error), "{error} instead of {end:?}"),
    }
}

/// Reads some content in one of the possible ways. A read into a large slice may return more than
/// `max` bytes.
fn read_some(
    reader: &mut RecordReader<impl Read>,
    rng: &mut Rng,
    max: usize,
) -> fcgi::Result<Vec<u8>> {
    let way = rng.below(3);
    if way == 0 {
        let n = retry_on_timeout(|| Ok(reader.fill_content()?.len()))?.min(max);
        let n = if n == 0 { 0 } else { rng.piece_len(n) };
        let piece = reader.fill_content()?[..n].to_vec();
        reader.consume(n);
        return Ok(piece);
    }
    // The reader reads directly into a slice as large as its buffer.
    let mut out = if way == 1 { vec![0; rng.piece_len(max)] } else { vec![0; max.max(64 * 1024)] };
    let n = retry_on_timeout(|| reader.read_content(&mut out))?;
    out.truncate(n);
    Ok(out)
}

/// A name and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Decodes the pairs of an encoded sequence. Also returns the offset of the first invalid one.
pub fn decode_params(bytes: &[u8]) -> (Vec<Pair>, Option<usize>) {
    let mut pairs = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let at = bytes.len() - rest.len();
        let mut lens = [0; 2];
        for len in &mut lens {
            match *rest {
                [short @ 0..=127, ref tail @ ..] => (*len, rest) = (u64::from(short), tail),
                [a, b, c, d, ref tail @ ..] => {
                    (*len, rest) = (u64::from(u32::from_be_bytes([a & 0x7f, b, c, d])), tail);
                }
                _ => return (pairs, Some(at)),
            }
        }
        if lens[0] + lens[1] > rest.len() as u64 {
            return (pairs, Some(at));
        }
        let (name, value);
        (name, rest) = rest.split_at(lens[0] as usize);
        (value, rest) = rest.split_at(lens[1] as usize);
        pairs.push((name.to_vec(), value.to_vec()));
    }
    (pairs, None)
}

/// Decodes params, compares them with [`decode_params`] and encodes them again.
pub fn check_params(bytes: &[u8]) {
    let params = match (Params::parse(bytes), decode_params(bytes)) {
        (Err(Error::InvalidParams(at)), (_, Some(expected))) => {
            assert_eq!(at, expected);
            assert!(Params::parse(&bytes[..at]).is_ok(), "the pairs before the offset are whole");
            return;
        }
        (Ok(params), (pairs, None)) => {
            assert!(params.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).eq(pairs));
            params
        }
        (parsed, expected) => panic!("{parsed:?} instead of {expected:?}"),
    };
    assert_eq!(params.as_bytes(), bytes);
    assert_eq!(params.len(), params.iter().len());
    assert_eq!(params.is_empty(), bytes.is_empty());

    let again = Params::from_pairs(&params).expect("pairs that were decoded");
    assert!(again.iter().eq(params.iter()));
    assert!(again.as_bytes().len() <= bytes.len(), "the encoder uses the shortest lengths");
    check_params_stream(&params);
    check_params_stream(&again);
    check_look_ups(&again);
}

/// Checks that the PARAMS stream carries the encoded params, and that no record splits a pair that
/// fits into one record.
fn check_params_stream(params: &Params) {
    let mut stream = Vec::new();
    params.encode_stream(7, &mut stream).expect("a stream");
    let mut written = Vec::new();
    params.write_stream(&mut written, 7).expect("a stream");
    assert_eq!(written, stream);

    let (records, end) = decode_records(&stream);
    assert_eq!(end, End::Clean);
    let (last, records) = records.split_last().expect("the end of the stream");
    assert!(last.content.is_empty());
    let mut joined: Vec<u8> = Vec::new();
    for record in records {
        assert_eq!((record.record_type, record.id), (4, 7));
        assert!(!record.content.is_empty());
        assert!(record.content.len() + usize::from(record.padding_len) <= 65535);
        joined.extend(&record.content);
    }
    assert_eq!(joined, params.as_bytes());
    for (start, end) in pair_bounds(params) {
        let starts_before = |at: usize| at < start || at >= end;
        let mut at = 0;
        let is_split = records.iter().any(|record| {
            at += record.content.len();
            at > start && !starts_before(at)
        });
        assert!(!is_split || end - start > 65535, "the pair at {start}..{end} is split");
    }
}

/// Returns the offsets at which each encoded pair starts and ends.
fn pair_bounds(params: &Params) -> Vec<(usize, usize)> {
    let base = params.as_bytes().as_ptr() as usize;
    let mut start = 0;
    let mut bounds = Vec::new();
    for (_, value) in params {
        let end = value.as_ptr() as usize - base + value.len();
        bounds.push((start, end));
        start = end;
    }
    bounds
}

/// Checks that `get`, `set` and `remove` agree with a plain list of pairs.
fn check_look_ups(params: &Params) {
    let Some((name, _)) = params.iter().next() else { return };
    let mut pairs: Vec<_> = params.iter().collect();
    let last = pairs.iter().rfind(|pair| pair.0 == name).map(|pair| pair.1);
    assert_eq!(params.get_bytes(name), last);
    assert_eq!(params.get(name), last.and_then(|value| std::str::from_utf8(value).ok()));

    let mut changed = params.clone();
    changed.set(name, "new").expect("a short value");
    pairs.retain(|pair| pair.0 != name);
    assert!(changed.iter().eq(pairs.iter().copied().chain([(name, &b"new"[..])])));
    assert_eq!(Params::parse(changed.as_bytes()).expect("valid pairs"), changed);
    changed.remove(name);
    assert!(changed.iter().eq(pairs));
    assert_eq!(Params::parse(changed.as_bytes()).expect("valid pairs"), changed);
}

/// Parses a response head whole, in pieces, and from a buffered reader.
pub fn check_response_head(bytes: &[u8]) {
    let mut rng = Rng::from_bytes(bytes);
    let tight = HeadParser::new().max_bytes(16 + rng.below(2048)).max_fields(1 + rng.below(6));
    for parser in [HeadParser::new(), tight] {
        let whole = feed(parser.clone(), &[bytes]);
        let singly: Vec<_> = bytes.chunks(1).collect();
        assert_eq!(feed(parser.clone(), &singly), whole, "a byte at a time");
        assert_eq!(
            feed(parser.clone(), &random_pieces(bytes, usize::MAX, &mut rng)),
            whole,
            "in pieces"
        );

        let mut reader =
            io::BufReader::with_capacity(1 + rng.below(100), UnreliableReader::new(bytes, &rng));
        let mut parser = parser;
        let outcome = retry_on_timeout(|| parser.read(&mut reader).map(drop));
        let expected = whole.as_ref().map(|(end, _)| *end).ok();
        assert_eq!(
            outcome.is_ok(),
            expected.is_some_and(|end| end.is_some()),
            "read from a reader"
        );
        if let Some(Some(end)) = expected {
            assert_eq!(rest(reader), &bytes[end..], "the body is not consumed");
        }
    }
}

fn rest(mut reader: impl BufRead) -> Vec<u8> {
    let mut rest = Vec::new();
    while let Err(error) = reader.read_to_end(&mut rest) {
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
    rest
}

/// The end of the head and a description of it, or the variant of the error. The message of an
/// error depends on the pieces.
type Parsed = Result<(Option<usize>, String), std::mem::Discriminant<Error>>;

fn feed(mut parser: HeadParser, pieces: &[&[u8]]) -> Parsed {
    let mut before = 0;
    for piece in pieces {
        let end = parser.feed(piece).map_err(|error| std::mem::discriminant(&error))?;
        if let Some(end) = end {
            let head = parser.finish().expect("a complete head");
            let log = (head.status(), head.reason(), head.content_length(), head.local_redirect());
            return Ok((Some(before + end), format!("{head:?} {log:?}")));
        }
        before += piece.len();
    }
    assert!(matches!(parser.finish(), Err(Error::IncompleteHead)));
    Ok((None, String::new()))
}

/// Connections over a socket pair. The check plays the peer.
#[cfg(unix)]
pub mod connections {
    use std::io::ErrorKind;
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    use fcgi::record::Role;
    use fcgi::{client, server};

    use super::*;

    /// Creates two connected sockets. If they preserve message boundaries, the pieces arrive as
    /// they were written.
    pub type MakePair = fn() -> (UnixStream, UnixStream);

    /// This number of pieces fits into the buffer of a socket. The fuzzer's inputs are short.
    const MAX_PIECES: usize = 100;
    /// A read that takes this long will never return.
    const READ_TIMEOUT: Option<Duration> = Some(Duration::from_secs(10));

    /// Lets an application read any bytes, whole and in pieces, and compares its actions and its
    /// responses.
    pub fn check_server_connection(make_pair: MakePair, bytes: &[u8]) {
        let whole = serve(UnixStream::pair().expect("a pair of sockets"), &[bytes]);
        check_answers(bytes, &whole.answers);
        assert!(!whole.log.contains("timed out"), "{}", whole.log);
        let pieces = random_pieces(bytes, MAX_PIECES, &mut Rng::from_bytes(bytes));
        assert_eq!(serve(make_pair(), &pieces), whole);
    }

    /// What an application did and sent.
    #[derive(Debug, PartialEq, Eq)]
    pub struct Served {
        pub log: String,
        pub answers: Vec<u8>,
    }

    /// Serves the requests in these pieces. What the handler does depends on the params.
    pub fn serve((ours, theirs): (UnixStream, UnixStream), pieces: &[&[u8]]) -> Served {
        ours.set_read_timeout(READ_TIMEOUT).expect("a timeout");
        write_pieces(&ours, pieces);
        thread::scope(|scope| {
            let log = scope.spawn(|| handle_requests(theirs));
            let answers = read_to_end(&ours);
            Served { log: log.join().expect("no panic"), answers }
        })
    }

    /// Writes all pieces and shuts down the write half, before the peer reads anything.
    ///
    /// If the peer waited meanwhile, it could miss pieces: a read of a `SEQPACKET` socket that has
    /// found no message checks next whether the peer has shut down its write half, and Linux does
    /// not exclude that messages arrive in between. The read then returns the end of the input.
    fn write_pieces(mut stream: &UnixStream, pieces: &[&[u8]]) {
        stream.set_write_timeout(READ_TIMEOUT).expect("a timeout");
        for piece in pieces {
            stream.write_all(piece).expect("room for all pieces");
        }
        stream.shutdown(Shutdown::Write).expect("an open connection");
    }

    /// Reads to the end. The end may be a reset, because the peer need not read everything.
    fn read_to_end(mut stream: &UnixStream) -> Vec<u8> {
        let mut all = Vec::new();
        // A message longer than the buffer would be truncated.
        let mut buffer = vec![0; 128 * 1024];
        let mut ends = 0;
        // The first end may precede data, as `write_pieces` describes. The second does not.
        while ends < 2 {
            match stream.read(&mut buffer) {
                Ok(0) => ends += 1,
                Ok(n) => all.extend_from_slice(&buffer[..n]),
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::ConnectionReset | ErrorKind::Interrupted
                    ) => {}
                Err(error) => panic!("{error} after {} bytes", all.len()),
            }
        }
        all
    }

    fn handle_requests(stream: UnixStream) -> String {
        let config = server::Config::new()
            .roles(&[Role::Responder, Role::Authorizer, Role::Filter])
            .max_params(400)
            .max_requests(Some(40))
            .read_timeout(READ_TIMEOUT)
            .write_timeout(READ_TIMEOUT);
        let mut log = Vec::new();
        let mut connection =
            server::Connection::with_config(stream, Arc::new(config)).expect("a connection");
        loop {
            let ending = match connection.next_request() {
                Ok(Some(mut request)) => {
                    log.push(format!("{:?} {:?}", request.role, request.params));
                    let outcome = handle(&mut request);
                    log.push(format!("-> {outcome:?}"));
                    let ended = match outcome {
                        Err(error) if request.params.len() % 2 == 0 => request.fail(error),
                        _ => request.finish(),
                    };
                    // An error of stdin that ends the connection is returned again.
                    log.extend(ended.err().map(|error| error.to_string()));
                    continue;
                }
                Ok(None) => "end".into(),
                Err(error) => error.to_string(),
            };
            log.push(ending);
            return log.join("\n");
        }
    }

    /// Reads the input completely, partly or not at all, and writes before, during or after that.
    fn handle(request: &mut server::Request<'_>) -> io::Result<u64> {
        let way = request.params.iter().flat_map(|pair| pair.1).fold(0, |sum, byte| sum ^ byte);
        request.app_status = way.into();
        if way & 1 != 0 {
            request.stdout.write_all(b"Status: 200\n\n")?;
        }
        if way & 2 != 0 {
            request.stdout.flush()?;
            request.stderr.write_all(b"note")?;
        }
        match way >> 2 & 3 {
            0 => io::copy(&mut request.stdin, &mut request.stdout),
            1 => Ok(0),
            2 => request.stdin.read(&mut [0; 1]).map(|n| n as u64),
            _ => io::copy(&mut request.stdin.data()?, &mut request.stdout),
        }
    }

    /// Checks that an application sends whole records of legal types, and that responses do not
    /// overlap. Only a request refused with CANT_MPX_CONN may end during the response to another,
    /// and only requests that began may end.
    fn check_answers(input: &[u8], answers: &[u8]) {
        // A request may be refused as soon as its header has arrived, so the last record is
        // completed with zeros.
        let mut open_requests = decode_records(&[input, &[0; 65535 + 255]].concat()).0;
        open_requests.retain(|record| record.record_type == 1);
        let (records, end) = decode_records(answers);
        assert_eq!(end, End::Clean);
        let mut active = None;
        for record in records {
            match (record.record_type, record.id) {
                (10 | 11, 0) => {}
                (6 | 7, id @ 1..) => {
                    assert_eq!(*active.get_or_insert(id), id, "two responses are mixed");
                }
                (3, id @ 1..) => {
                    let at = open_requests
                        .iter()
                        .position(|record| record.id == id)
                        .expect("a BEGIN for each END");
                    open_requests.remove(at);
                    match record.content[..] {
                        [0, 0, 0, 0, 1, 0, 0, 0] => {
                            assert_ne!(active, Some(id), "refused after its response began");
                        }
                        [_, _, _, _, 0 | 3, 0, 0, 0] => {
                            assert_eq!(
                                active.take().unwrap_or(id),
                                id,
                                "END_REQUEST of another request"
                            );
                        }
                        _ => panic!("{record:?}"),
                    }
                }
                _ => panic!("{record:?} from an application"),
            }
        }
        assert_eq!(active, None, "a response did not end");
    }

    /// Lets a client read any bytes as a response, whole and in pieces, and compares the results.
    pub fn check_client_exchange(make_pair: MakePair, bytes: &[u8]) {
        for way in [ReadMode::Read, ReadMode::Head, ReadMode::Finish] {
            let whole = exchange(UnixStream::pair().expect("a pair of sockets"), &[bytes], way);
            assert!(!whole.contains("timed out"), "{whole}");
            let pieces = random_pieces(bytes, MAX_PIECES, &mut Rng::from_bytes(bytes));
            assert_eq!(exchange(make_pair(), &pieces, way), whole);
        }
    }

    /// What the client does with the response.
    #[derive(Clone, Copy, Debug)]
    pub enum ReadMode {
        Read,
        Head,
        Finish,
    }

    /// Sends a request and describes what happened.
    pub fn exchange(
        (ours, theirs): (UnixStream, UnixStream),
        pieces: &[&[u8]],
        way: ReadMode,
    ) -> String {
        let config =
            client::Config::new().keep_alive(true).max_head(300, 5).read_timeout(READ_TIMEOUT);
        let mut connection =
            client::Connection::new(theirs, Arc::new(config)).expect("a connection");
        let params = Params::from_pairs([("REQUEST_METHOD", "GET")]).expect("short params");
        write_pieces(&ours, pieces);
        let mut log = Vec::new();
        let mut is_read = !matches!(way, ReadMode::Finish);
        let mut exchange = connection.begin(Role::Responder, &params).expect("a new connection");
        exchange
            .stdin
            .write_all(b"body")
            .and_then(|()| exchange.stdin.finish())
            .expect("room for a small request");
        if matches!(way, ReadMode::Head) {
            let head = exchange.stdout.read_head();
            // The number of bytes read from an invalid head depends on the pieces.
            is_read = head.is_ok();
            log.push(format!("{:?}", head.map_err(|error| std::mem::discriminant(&error))));
        }
        if is_read {
            let mut body = Vec::new();
            let outcome = exchange.stdout.read_to_end(&mut body);
            log.push(format!("{outcome:?} {body:?}"));
        }
        let completion = exchange.finish();
        log.push(format!("{completion:?}"));
        assert!(
            completion.is_ok() || !connection.is_reusable(),
            "{log:?}: the connection would be reused"
        );
        log.join("\n")
    }
}
