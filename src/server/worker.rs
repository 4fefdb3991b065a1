use std::any::Any;
use std::io;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::activity::Activity;
use super::connection::Buffers;
use super::pool::{Admission, Pool};
use super::{Config, Connection, HandlerResult, Report, Request};
use crate::error::{Error, Result};
use crate::net::{AllowList, Stream};

/// How long a thread waits after `accept` has failed: at first, and at most.
const ACCEPT_PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// How long a connection that is rejected may take to say what it wants.
const REJECTION_TIMEOUT: Duration = Duration::from_secs(1);

/// What every thread of a server does.
///
/// Every free thread waits in `accept`, and the kernel wakes one: no queue, no hand-over. The
/// thread that takes a connection serves it, and if it was the last free one it starts another
/// first; one that is done goes back to `accept`, or ends if enough are there. At the most,
/// `max_connections` are at work while one more holds a connection that waits.
pub(super) struct Worker {
    pub(super) pool: Arc<Pool>,
    pub(super) config: Arc<Config>,
    pub(super) allowed: Option<AllowList>,
    pub(super) report: Box<Report>,
    pub(super) handler: Box<dyn Fn(&mut Request<'_>) -> HandlerResult + Send + Sync>,
}

impl Worker {
    /// Serves until the server is stopped.
    pub(super) fn run(self) -> Result<()> {
        let (pool, shutdown_timeout) = (Arc::clone(&self.pool), self.config.shutdown_timeout);
        Arc::new(self).start_thread()?;
        pool.wait_for_end(shutdown_timeout)
    }

    fn start_thread(self: &Arc<Self>) -> io::Result<()> {
        let worker = Arc::clone(self);
        self.pool.thread_starts();
        let started = thread::Builder::new().name("fcgi".into()).spawn(move || worker.work());
        if started.is_err() {
            self.pool.thread_ends();
        }
        started.map(drop)
    }

    /// Sees to it that a thread waits in `accept`. If none can be started, the first that is done
    /// with its connection will, and one that waits for a connection's next request is done
    /// now.
    fn start_another(self: &Arc<Self>) {
        if let Err(error) = self.start_thread() {
            self.report(&error.into());
            self.pool.close_an_idle_one();
        }
    }

    fn work(self: &Arc<Self>) {
        let mut buffers = Buffers::default();
        while let Some(stream) = self.accept() {
            let Some(Admission { activity, has_room, is_last_thread }) =
                self.pool.admit(&stream, &self.config)
            else {
                continue;
            };
            if is_last_thread {
                self.start_another();
            }
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                if has_room {
                    self.serve(stream, &activity, &mut buffers)
                } else {
                    self.reject(stream, &activity)
                }
            }));
            match outcome {
                Ok(outcome) => self.report_failure(outcome),
                // An error of the handler's that cannot be displayed, say. It costs the connection,
                // and no thread; and its payload is not dropped, which might panic
                // again.
                Err(panic) => std::mem::forget(panic),
            }
            if !self.pool.release(activity) {
                return;
            }
        }
        self.pool.thread_ends();
    }

    /// The next connection that is allowed; `None` when the server stops.
    fn accept(&self) -> Option<Stream> {
        let (mut pause, longest_pause) = ACCEPT_PAUSES;
        loop {
            match self.pool.listener.accept() {
                Ok(Some(stream))
                    if self.allowed.as_ref().map_or(true, |list| list.allows(&stream)) =>
                {
                    return Some(stream);
                }
                Ok(Some(_not_allowed)) => {}
                Ok(None) => return None,
                Err(error) if is_fatal(&error) => self.pool.fail(error),
                Err(error) => {
                    self.report(&error);
                    self.pool.wait_for_an_end(pause);
                    pause = longest_pause.min(pause * 2);
                }
            }
        }
    }

    /// Serves a connection to its end, in this memory.
    fn serve(&self, stream: Stream, activity: &Arc<Activity>, buffers: &mut Buffers) -> Result<()> {
        stream.set_first_write_timeout(self.config.write_timeout);
        let (config, activity) = (Arc::clone(&self.config), Arc::clone(activity));
        let mut connection =
            Connection::with_buffers(stream, config, activity, std::mem::take(buffers));
        let outcome = self.serve_requests(&mut connection);
        *buffers = connection.into_buffers();
        outcome
    }

    fn serve_requests(&self, connection: &mut Connection) -> Result<()> {
        while let Some(begun) = connection.wait_for_request()? {
            answer(&mut connection.request(begun), &self.handler)?;
        }
        Ok(())
    }

    /// Refuses the request of a connection for which there is no room, without waiting long for it.
    fn reject(&self, stream: Stream, activity: &Arc<Activity>) -> Result<()> {
        let mut config = Config::clone(&self.config).idle_timeout(Some(REJECTION_TIMEOUT));
        config.read_timeout = Some(REJECTION_TIMEOUT);
        stream.set_first_write_timeout(config.write_timeout);
        Connection::with_buffers(stream, Arc::new(config), Arc::clone(activity), Buffers::default())
            .reject()
    }

    fn report_failure(&self, outcome: Result<()>) {
        if let Err(error) = outcome {
            self.report(&error);
        }
    }

    /// Tells the application of an error. Should that panic, it costs no thread.
    fn report(&self, error: &Error) {
        let _ = catch_unwind(AssertUnwindSafe(|| (self.report)(error)));
    }
}

/// Lets a handler answer a request, and ends it.
pub(crate) fn answer(
    request: &mut Request<'_>,
    handler: &(impl Fn(&mut Request<'_>) -> HandlerResult + ?Sized),
) -> Result<()> {
    match catch_unwind(AssertUnwindSafe(|| handler(request))) {
        Ok(Ok(())) => request.end(),
        Ok(Err(error)) => request.end_failed(error),
        Err(panic) => {
            request.end_failed(format_args!("handler panicked: {}", panic_message(&*panic)))
        }
    }
}

/// Whether `accept` will go on failing: the descriptor is no listening socket (any more).
fn is_fatal(error: &Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(message), _) => message,
        (_, Some(message)) => message,
        _ => "no message",
    }
}
