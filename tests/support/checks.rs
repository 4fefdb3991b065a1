//! What the property tests and the fuzz targets share. Each `check_` function takes any bytes, has
//! the crate read them whole and in pieces, and panics where the two differ, or where they differ
//! from a decoder of a few lines that is written to be obvious and for nothing else.
#![allow(dead_code, unreachable_pub)] // Each user takes a part of it.

use std::io::{self, BufRead, IoSlice, IoSliceMut, Read, Write};

use fcgi::cgi::HeadParser;
use fcgi::record::{self, Header};
use fcgi::stream::RecordReader;
use fcgi::{Error, Params};

/// Numbers that look like chance and are the same for the same seed (xorshift).
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// Rng whose seed is made of all of the bytes (FNV-1a).
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        Self::new(bytes.iter().fold(0xcbf2_9ce4_8422_2325, mix))
    }

    /// A number from 0 to `bound` - 1.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }

    /// A length from 1 to `max`: often a very small one.
    pub fn piece_len(&mut self, max: usize) -> usize {
        let most = [1, 9, 300, max][self.below(4)];
        1 + self.below(most.min(max))
    }
}

/// Cuts bytes into pieces, at most `count` of them and none empty.
pub fn random_pieces<'a>(bytes: &'a [u8], count: usize, rng: &mut Rng) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let len = if pieces.len() + 1 < count { rng.piece_len(rest.len()) } else { rest.len() };
        let (piece, behind) = rest.split_at(len);
        pieces.push(piece);
        rest = behind;
    }
    pieces
}

/// A reader that gives a few bytes at a time, and is interrupted and times out in between.
#[derive(Debug)]
pub struct UnreliableReader<'a> {
    bytes: &'a [u8],
    rng: Rng,
}

impl<'a> UnreliableReader<'a> {
    pub fn new(bytes: &'a [u8], rng: &Rng) -> Self {
        Self { bytes, rng: rng.clone() }
    }

    /// How many bytes the next read gives, of up to `max`.
    fn allot(&mut self, max: usize) -> io::Result<usize> {
        match self.rng.below(8) {
            0 => return Err(io::ErrorKind::Interrupted.into()),
            1 => return Err(Error::TimedOut("read").into()),
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
        let n = self.allot(out.len())?;
        self.bytes.read(&mut out[..n])
    }

    fn read_vectored(&mut self, out: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let n = self.allot(out.iter().map(|slice| slice.len()).sum())?;
        let mut left = n;
        for slice in out {
            let len = left.min(slice.len());
            self.bytes.read_exact(&mut slice[..len])?;
            left -= len;
        }
        Ok(n)
    }
}

/// A writer that takes at most so many bytes at a time; where that is few, it is interrupted in
/// between.
#[derive(Debug)]
pub struct ShortWriter {
    pub written: Vec<u8>,
    /// The calls that took something.
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

/// Calls again after a timeout.
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

    /// Its bytes, with a reserved one that is not zero.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![1, self.record_type];
        out.extend(self.id.to_be_bytes());
        out.extend((self.content.len() as u16).to_be_bytes());
        out.extend([self.padding_len, 0xa5]);
        out.extend(&self.content);
        out.extend(std::iter::repeat(1).take(self.padding_len.into()));
        out
    }
}

/// What an error says is cut where the input ends this many bytes into a record; none if there is
/// no byte of it.
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

/// The records whose content is whole, and how the input ends.
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

/// Reads records in every way there is, and compares them with [`decode_records`].
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
    // A record with its padding cut is not handed out by this function.
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

/// Reads each record whole, in part or not at all, as the rng have it.
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
                Ok(piece) => assert!(!piece.is_empty(), "content that is cut is not whole"),
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

/// Some content, by one of the ways to read it: of the large slice it may be more than `max` bytes.
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
    // A slice that is as large as the reader's buffer is read into directly.
    let mut out = if way == 1 { vec![0; rng.piece_len(max)] } else { vec![0; max.max(64 * 1024)] };
    let n = retry_on_timeout(|| reader.read_content(&mut out))?;
    out.truncate(n);
    Ok(out)
}

/// A name and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// The pairs of an encoded sequence, and where it breaks off.
pub fn decode_params(bytes: &[u8]) -> (Vec<Pair>, Option<usize>) {
    let mut pairs = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let at = bytes.len() - rest.len();
        let mut lens = [0; 2];
        for len in &mut lens {
            match *rest {
                [short @ 0..=127, ref behind @ ..] => (*len, rest) = (u64::from(short), behind),
                [a, b, c, d, ref behind @ ..] => {
                    (*len, rest) = (u64::from(u32::from_be_bytes([a & 0x7f, b, c, d])), behind);
                }
                _ => return (pairs, Some(at)),
            }
        }
        if lens[0] + lens[1] > rest.len() as u64 {
            return (pairs, Some(at));
        }
        let (name, behind) = rest.split_at(lens[0] as usize);
        let (value, behind) = behind.split_at(lens[1] as usize);
        pairs.push((name.to_vec(), value.to_vec()));
        rest = behind;
    }
    (pairs, None)
}

/// Decodes params, compares them with [`decode_params`], and encodes them again.
pub fn check_params(bytes: &[u8]) {
    let params = match (Params::parse(bytes), decode_params(bytes)) {
        (Err(Error::InvalidParams(at)), (_, Some(expected))) => {
            assert_eq!(at, expected);
            assert!(Params::parse(&bytes[..at]).is_ok(), "the pairs before the cut one");
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
    assert!(again.as_bytes().len() <= bytes.len(), "the encoder's lengths are the shortest");
    check_params_stream(&params);
    check_params_stream(&again);
    check_look_ups(&again);
}

/// The stream of the params is their bytes in records, of which none splits a pair that fits one.
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

/// Where each pair begins and ends in the encoded bytes.
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

/// Looking up, setting and removing agree with a plain list of pairs.
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

/// Parses a response head whole, in pieces, and off a buffered reader.
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
            assert_eq!(rest(reader), &bytes[end..], "the body is left");
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

/// Where the head ends and what it says; of an error, which it is (its text shows as much of a line
/// as had come).
type Parsed = Result<(Option<usize>, String), std::mem::Discriminant<Error>>;

fn feed(mut parser: HeadParser, pieces: &[&[u8]]) -> Parsed {
    let mut before = 0;
    for piece in pieces {
        let end = parser.feed(piece).map_err(|error| std::mem::discriminant(&error))?;
        if let Some(end) = end {
            let head = parser.finish().expect("a complete head");
            let told = (head.status(), head.reason(), head.content_length(), head.local_redirect());
            return Ok((Some(before + end), format!("{head:?} {told:?}")));
        }
        before += piece.len();
    }
    assert!(matches!(parser.finish(), Err(Error::HeadCut)));
    Ok((None, String::new()))
}

/// Connections over a pair of sockets, of which this side is played by hand.
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

    /// Makes two sockets that are connected. Where they keep the bounds of messages, the pieces
    /// arrive as they were cut.
    pub type MakePair = fn() -> (UnixStream, UnixStream);

    /// So many pieces fit the memory that the system has for a socket.
    const MAX_PIECES: usize = 100;
    /// Nothing here waits for anything that will not come: a read that takes this long hangs.
    const READ_TIMEOUT: Option<Duration> = Some(Duration::from_secs(10));

    /// Has an application read any bytes, whole and in pieces, and compares what it did and
    /// answered.
    pub fn check_server_connection(make_pair: MakePair, bytes: &[u8]) {
        let whole = serve(UnixStream::pair().expect("a pair of sockets"), &[bytes]);
        check_answers(bytes, &whole.answers);
        assert!(!whole.log.contains("timed out"), "{}", whole.log);
        let pieces = random_pieces(bytes, MAX_PIECES, &mut Rng::from_bytes(bytes));
        assert_eq!(serve(make_pair(), &pieces), whole);
    }

    /// What an application did and answered.
    #[derive(Debug, PartialEq, Eq)]
    pub struct Served {
        pub log: String,
        pub answers: Vec<u8>,
    }

    /// Serves all requests that come in pieces. What the handler does depends on the params.
    pub fn serve((ours, theirs): (UnixStream, UnixStream), pieces: &[&[u8]]) -> Served {
        ours.set_read_timeout(READ_TIMEOUT).expect("a timeout");
        thread::scope(|scope| {
            let log = scope.spawn(|| handle_requests(theirs));
            write_pieces(&ours, pieces);
            let answers = read_to_end(&ours);
            Served { log: log.join().expect("no panic"), answers }
        })
    }

    fn write_pieces(mut stream: &UnixStream, pieces: &[&[u8]]) {
        for piece in pieces {
            if stream.write_all(piece).is_err() {
                return; // The other side has closed, as it may.
            }
            thread::yield_now();
        }
        let _ = stream.shutdown(Shutdown::Write);
    }

    /// Reads to the end, which may be a reset: the other side need not have read all.
    fn read_to_end(mut stream: &UnixStream) -> Vec<u8> {
        let mut all = Vec::new();
        // As large as any message.
        let mut buffer = vec![0; 128 * 1024];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return all,
                Ok(n) => all.extend_from_slice(&buffer[..n]),
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::ConnectionReset | ErrorKind::Interrupted
                    ) => {}
                Err(error) => panic!("{error} after {} bytes", all.len()),
            }
        }
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
                    match outcome {
                        Err(error) if request.params.len() % 2 == 0 => {
                            request.fail(error).expect("an answer");
                        }
                        _ => request.finish().expect("an answer"),
                    }
                    continue;
                }
                Ok(None) => "end".into(),
                Err(error) => error.to_string(),
            };
            log.push(ending);
            return log.join("\n");
        }
    }

    /// Reads the input whole, in part or not at all, and answers before, while or after that.
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

    /// An application's answers are whole records, of types that it may send; the answer to one
    /// request ends before that to another begins, only a request that is refused beside it
    /// ends meanwhile, and none ends that was not begun.
    fn check_answers(input: &[u8], answers: &[u8]) {
        // A request may be refused by its header; what is cut of the last record is made up.
        let mut begun = decode_records(&[input, &[0; 65535 + 255]].concat()).0;
        begun.retain(|record| record.record_type == 1);
        let (records, end) = decode_records(answers);
        assert_eq!(end, End::Clean);
        let mut active = None;
        for record in records {
            match (record.record_type, record.id) {
                (10 | 11, 0) => {}
                (6 | 7, id @ 1..) => {
                    assert_eq!(*active.get_or_insert(id), id, "two answers are mixed");
                }
                (3, id @ 1..) => {
                    let at = begun
                        .iter()
                        .position(|record| record.id == id)
                        .expect("a BEGIN for each END");
                    begun.remove(at);
                    match record.content[..] {
                        [0, 0, 0, 0, 1, 0, 0, 0] => {
                            assert_ne!(active, Some(id), "refused inside its answer");
                        }
                        [_, _, _, _, 0 | 3, 0, 0, 0] => {
                            assert_eq!(active.take().unwrap_or(id), id, "the wrong end");
                        }
                        _ => panic!("{record:?}"),
                    }
                }
                _ => panic!("{record:?} from an application"),
            }
        }
        assert_eq!(active, None, "an answer did not end");
    }

    /// Has a client read any bytes as the response, whole and in pieces, and compares what it made
    /// of them.
    pub fn check_client_exchange(make_pair: MakePair, bytes: &[u8]) {
        for way in [ReadMode::Read, ReadMode::Head, ReadMode::Finish] {
            let whole = exchange(UnixStream::pair().expect("a pair of sockets"), &[bytes], way);
            assert!(!whole.contains("timed out"), "{whole}");
            let pieces = random_pieces(bytes, MAX_PIECES, &mut Rng::from_bytes(bytes));
            assert_eq!(exchange(make_pair(), &pieces, way), whole);
        }
    }

    /// What is done with the response.
    #[derive(Clone, Copy, Debug)]
    pub enum ReadMode {
        Read,
        Head,
        Finish,
    }

    /// Sends a request and tells what came of it.
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
        thread::scope(|scope| {
            scope.spawn(|| write_pieces(&ours, pieces));
            let mut told = Vec::new();
            let mut is_read = !matches!(way, ReadMode::Finish);
            let mut exchange =
                connection.begin(Role::Responder, &params).expect("a new connection");
            exchange
                .stdin
                .write_all(b"body")
                .and_then(|()| exchange.stdin.finish())
                .expect("room for a small request");
            if matches!(way, ReadMode::Head) {
                let head = exchange.stdout.read_head();
                // How much was written of a head that is none depends on the pieces.
                is_read = head.is_ok();
                told.push(format!("{:?}", head.map_err(|error| std::mem::discriminant(&error))));
            }
            if is_read {
                let mut body = Vec::new();
                let outcome = exchange.stdout.read_to_end(&mut body);
                told.push(format!("{outcome:?} {body:?}"));
            }
            let completion = exchange.finish();
            told.push(format!("{completion:?}"));
            assert!(completion.is_ok() || !connection.is_reusable(), "{told:?}, and used again");
            told.join("\n")
        })
    }
}
