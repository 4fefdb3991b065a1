use std::io;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::close_reason::CloseReason;
use super::config::Config;
use super::connection::{Connection, ConnectionBuffers};
use super::handler::{answer, notify, Handler};
use super::hooks::{Hooks, OnRequestEnd};
use super::pool::{Admission, Pool};
use super::report::Report;
use crate::error::{Error, Result};
use crate::net::{AllowList, Stream};

/// How long a thread waits after `accept` has failed for the first time. Each further pause is
/// longer.
const FIRST_ACCEPT_PAUSE: Duration = Duration::from_millis(10);
/// The longest of these pauses.
const MAX_ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// The idle timeout, the read timeout and the maximum drain time of a connection that is rejected.
const REJECTION_TIMEOUT: Duration = Duration::from_secs(1);
/// The shortest time between two reports of connections that are not allowed. A peer that connects
/// all the time must not fill a log.
const DISALLOWED_INTERVAL: Duration = Duration::from_secs(60);

/// The code that every thread of a server runs.
///
/// Every free thread blocks in `accept`, and the kernel wakes one of them for each connection. The
/// thread that accepts a connection serves it. If it was the last free thread, it first starts
/// another one. A thread whose connection has ended returns to `accept`, or ends if enough threads
/// are accepting. There is no queue, and a connection is not passed from one thread to another.
pub(super) struct Worker {
    pub(super) pool: Arc<Pool>,
    pub(super) config: Arc<Config>,
    pub(super) allowed: Option<AllowList>,
    pub(super) on_error: Box<OnError>,
    pub(super) hooks: Hooks,
    pub(super) handler: Box<Handler<'static>>,
    /// When the last connection from an address that is not allowed was reported.
    pub(super) last_disallowed_report: Mutex<Option<Instant>>,
}

pub(super) type OnError = dyn Fn(&Report<'_>) + Send + Sync;

impl Worker {
    /// Serves until the server is stopped.
    pub(super) fn run(self) -> Result<()> {
        let worker = Arc::new(self);
        worker.pool.start(&worker.config);
        worker.start_thread()?;
        worker.pool.wait_for_end(&worker.config, || worker.start_accepting_thread())
    }

    /// Starts a thread, which is already counted.
    fn start_thread(self: &Arc<Self>) -> io::Result<()> {
        let worker = Arc::clone(self);
        let started = self.thread_builder().spawn(move || worker.work());
        if started.is_err() {
            self.pool.thread_not_started();
        }
        started.map(drop)
    }

    fn thread_builder(&self) -> thread::Builder {
        let builder = thread::Builder::new().name("fcgi".into());
        match self.config.stack_size {
            Some(bytes) => builder.stack_size(bytes),
            None => builder,
        }
    }

    /// Starts a thread that accepts, which is already counted. If the system starts none, the next
    /// thread whose connection ends accepts.
    fn start_accepting_thread(self: &Arc<Self>) {
        if let Err(error) = self.start_thread() {
            self.report(&error.into(), None);
        }
    }

    fn work(self: &Arc<Self>) {
        let mut buffers = ConnectionBuffers::default();
        while let Some(stream) = self.accept() {
            let Some(admission) = self.pool.admit(&stream, &self.config) else {
                continue;
            };
            drop(stream);
            if admission.starts_thread {
                self.start_accepting_thread();
            }
            self.handle_connection(&admission, &mut buffers);
            if !self.pool.release(admission.state) {
                return;
            }
        }
        self.pool.remove_thread();
    }

    /// Accepts the next connection from an allowed address. Returns `None` if the server stops.
    fn accept(&self) -> Option<Stream> {
        let mut pause = FIRST_ACCEPT_PAUSE;
        loop {
            match self.pool.accept() {
                Ok(Some(stream)) if self.is_allowed(&stream) => return Some(stream),
                Ok(Some(stream)) => self.report_disallowed(&stream),
                Ok(None) => return None,
                Err(error) if is_fatal(&error) => {
                    self.pool.fail(error);
                    return None;
                }
                Err(error) => {
                    self.report(&error, None);
                    if !self.pool.wait_to_retry(pause) {
                        return None;
                    }
                    pause = MAX_ACCEPT_PAUSE.min(pause * 2);
                }
            }
        }
    }

    fn is_allowed(&self, stream: &Stream) -> bool {
        self.allowed.as_ref().is_none_or(|list| list.allows(stream))
    }

    /// Reports that a connection is closed because its address is not allowed, at most once in
    /// [`DISALLOWED_INTERVAL`].
    #[cold]
    fn report_disallowed(&self, stream: &Stream) {
        // A peer without an address has closed the connection already.
        let Some(ip) = stream.peer_ip() else { return };
        let mut last = self.last_disallowed_report.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| last.elapsed() < DISALLOWED_INTERVAL) {
            return;
        }
        *last = Some(Instant::now());
        drop(last);
        let message = format!("connection from {ip} refused: the address is not allowed");
        self.report(&io::Error::other(message).into(), None);
    }

    /// Serves or rejects a connection. If this panics, the thread continues.
    fn handle_connection(&self, admission: &Admission, buffers: &mut ConnectionBuffers) {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.serve_or_reject(admission, buffers)));
        // Panics of the application are caught elsewhere. Should one reach this point, the
        // connection is closed. The payload is leaked, because dropping it could panic again.
        if let Err(panic) = outcome {
            std::mem::forget(panic);
        }
    }

    /// Serves or rejects a connection to its end, and reports its error. Reuses the memory in
    /// `buffers`.
    fn serve_or_reject(&self, admission: &Admission, buffers: &mut ConnectionBuffers) {
        let state = Arc::clone(&admission.state);
        let config = if admission.has_slot {
            Arc::clone(&self.config)
        } else {
            Arc::new(self.rejection_config())
        };
        let mut connection = Connection::with_buffers(state, config, std::mem::take(buffers));
        if let Err(error) = self.answer_requests(&mut connection, admission.has_slot) {
            if let Some(on_end) = &self.hooks.on_request_end {
                notify_rejected(&connection, &error, on_end);
            }
            let reason = connection.on_failure(&error);
            self.report(&error, Some(reason));
        }
        *buffers = connection.into_buffers();
    }

    /// Returns the configuration of a connection that is rejected. Its timeouts are shorter.
    fn rejection_config(&self) -> Config {
        let mut config = Config::clone(&self.config).idle_timeout(Some(REJECTION_TIMEOUT));
        config.read_timeout = Some(REJECTION_TIMEOUT);
        config.drain_time = config.drain_time.min(REJECTION_TIMEOUT);
        config
    }

    /// Serves the requests of a connection, or refuses the first one if it has no slot.
    fn answer_requests(&self, connection: &mut Connection, has_slot: bool) -> Result<()> {
        connection.wait_for_input()?;
        if !has_slot {
            return connection.refuse_next();
        }
        while let Some(accepted) = connection.wait_for_request()? {
            let mut request = connection.request(accepted);
            if let Err(errors) = answer(&mut request, &*self.handler, &self.hooks) {
                errors.report(|error| self.report(error, None))?;
            }
        }
        Ok(())
    }

    /// Reports an error to the application. If the application panics, the thread continues.
    fn report(&self, error: &Error, close_reason: Option<CloseReason>) {
        let report = Report { error, close_reason };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (self.on_error)(&report))) {
            std::mem::forget(panic);
        }
    }
}

/// Calls the hook for a request that was rejected with this error, if there is one.
fn notify_rejected(connection: &Connection, error: &Error, on_end: &OnRequestEnd) {
    if let Some(ended) = connection.rejected(error) {
        notify(on_end, &ended);
    }
}

/// Returns whether `accept` will fail again: the descriptor is not a listening socket.
fn is_fatal(error: &Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}
