//! A relay between the gateway and the application, which notes the records that pass.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::Write;
use std::net::Shutdown;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use fcgi::net::{Address, Listener, Stream};
use fcgi::record::{read_record, Header, RecordType};
use fcgi::Params;

/// The maximum number of requests whose records are kept.
const MAX_REQUESTS: usize = 64;
/// The maximum number of records that are kept for a request.
const MAX_RECORDS: usize = 1000;
/// The time to wait before `accept` is called again after an error.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(50);

/// The records of recent requests.
#[derive(Default)]
pub(super) struct Records(Mutex<VecDeque<Arc<Mutex<RequestRecords>>>>);

/// The records of one request.
struct RequestRecords {
    start: Instant,
    params: Vec<u8>,
    /// The time, the direction and the header of each record.
    records: Vec<(Duration, &'static str, Header)>,
    /// The number of records that were not kept.
    omitted: usize,
}

/// The request that a connection serves.
type Current = Mutex<Option<Arc<Mutex<RequestRecords>>>>;

/// Accepts connections at `address` and connects each to the application.
pub(super) fn start(
    address: &Address,
    application: Address,
    records: Arc<Records>,
) -> fcgi::Result<Address> {
    let listener = Listener::bind(address)?;
    let address = listener.local_address()?;
    thread::Builder::new().spawn(move || loop {
        let Ok(Some(gateway)) = listener.accept() else {
            thread::sleep(ACCEPT_RETRY_DELAY);
            continue;
        };
        let (application, records) = (application.clone(), Arc::clone(&records));
        // An error ends the connection, which the gateway notices and logs.
        let _ = thread::Builder::new().spawn(move || -> fcgi::Result<()> {
            let application = Stream::connect(&application, None)?;
            let current = Current::default();
            thread::scope(|scope| {
                scope.spawn(|| records.copy(&gateway, &application, "sent", &current));
                records.copy(&application, &gateway, "received", &current);
            });
            Ok(())
        });
    })?;
    Ok(address)
}

impl Records {
    /// Copies the records of one direction, and then closes it.
    fn copy(&self, mut from: &Stream, mut to: &Stream, direction: &'static str, current: &Current) {
        let (mut content, mut record) = (Vec::new(), Vec::new());
        while let Ok(Some(header)) = read_record(&mut from, &mut content) {
            self.note(header, &content, direction, current);
            record.clear();
            record.extend_from_slice(&header.encode());
            record.extend_from_slice(&content);
            record.resize(record.len() + usize::from(header.padding_len), 0);
            if to.write_all(&record).is_err() {
                break;
            }
        }
        // If one side has closed the connection, so does the other.
        let _ = from.shutdown(Shutdown::Read);
        let _ = to.shutdown(Shutdown::Write);
    }

    fn note(&self, header: Header, content: &[u8], direction: &'static str, current: &Current) {
        let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
        if header.record_type == RecordType::BeginRequest {
            *current = Some(self.begin());
        }
        let Some(request) = &*current else { return };
        let mut request = request.lock().unwrap_or_else(PoisonError::into_inner);
        if header.record_type == RecordType::Params {
            request.params.extend_from_slice(content);
        }
        if request.records.len() < MAX_RECORDS {
            let time = request.start.elapsed();
            request.records.push((time, direction, header));
        } else {
            request.omitted += 1;
        }
    }

    fn begin(&self) -> Arc<Mutex<RequestRecords>> {
        let (params, records) = (Vec::new(), Vec::new());
        let request = RequestRecords { start: Instant::now(), params, records, omitted: 0 };
        let request = Arc::new(Mutex::new(request));
        let mut requests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        requests.push_back(Arc::clone(&request));
        if requests.len() > MAX_REQUESTS {
            requests.pop_front();
        }
        request
    }

    /// Describes the requests that have the header field `X-Try` with this value. The line of a
    /// request is followed by one for each record: time in milliseconds, direction, type, id,
    /// length and padding.
    pub(super) fn describe(&self, number: &str) -> String {
        let requests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let texts = requests.iter().filter_map(|request| {
            request.lock().unwrap_or_else(PoisonError::into_inner).describe(number)
        });
        texts.collect()
    }
}

impl RequestRecords {
    fn describe(&self, number: &str) -> Option<String> {
        let params = Params::parse(&self.params).ok()?;
        params.get("HTTP_X_TRY").filter(|value| *value == number)?;
        let get = |name| params.get(name).unwrap_or_default();
        let mut text = format!("{} {}\n", get("REQUEST_METHOD"), get("REQUEST_URI"));
        for (time, direction, header) in &self.records {
            let Header { record_type, request_id: id, content_len, padding_len } = header;
            let time = time.as_secs_f64() * 1000.0;
            let name = format!("{record_type:?}");
            // Writing to a string does not fail.
            let _ = write!(text, "{time:.2}\t{direction}\t{name}\t");
            let _ = writeln!(text, "{id}\t{content_len}\t{padding_len}");
        }
        if self.omitted > 0 {
            let _ = writeln!(text, "{} more records", self.omitted);
        }
        Some(text)
    }
}
