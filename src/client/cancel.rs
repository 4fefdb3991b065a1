use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::socket::{SharedSocket, WeakSocket};

/// A handle that cancels a request from another thread.
///
/// [`Stdout::cancel_handle`](super::Stdout::cancel_handle) creates one. A gateway uses it when the
/// browser disconnects while a thread waits for the application.
///
/// A clone cancels the same request. After the request has ended, [`cancel`](Self::cancel) does
/// nothing, so it cannot affect the next request on a kept connection.
///
/// ```
/// use fcgi::{client::CancelHandle, Client, Params};
/// use std::io;
///
/// /// `when_disconnected` keeps the handle and calls `cancel` when the browser disconnects.
/// fn copy_response(
///     client: &Client,
///     params: &Params,
///     when_disconnected: impl FnOnce(CancelHandle),
/// ) -> fcgi::Result<u64> {
///     let (copied, _completion) = client.send(params, io::empty(), |response| {
///         when_disconnected(response.stdout.cancel_handle());
///         io::copy(&mut response.stdout, &mut io::stdout())
///     })?;
///     Ok(copied)
/// }
/// ```
#[derive(Clone, Debug)]
pub struct CancelHandle {
    target: Arc<Mutex<Target>>,
}

#[derive(Debug)]
enum Target {
    /// The request uses this socket.
    Request(WeakSocket),
    /// The request has been canceled.
    Canceled,
    /// The request has ended with END_REQUEST.
    Ended,
}

impl CancelHandle {
    pub(super) fn new(socket: &SharedSocket) -> Self {
        Self { target: Arc::new(Mutex::new(Target::Request(socket.downgrade()))) }
    }

    /// Cancels the request: shuts down the connection to the application, so that a read of the
    /// response or a write of the body that is waiting returns an error. On systems other than Unix
    /// a write may wait until its timeout.
    pub fn cancel(&self) {
        // Holding the lock prevents the next request from starting between the check and the
        // shutdown.
        let mut target = self.lock();
        if let Target::Request(socket) = &*target {
            socket.cancel();
            *target = Target::Canceled;
        }
    }

    /// Returns whether the request has been canceled.
    pub(super) fn is_canceled(&self) -> bool {
        matches!(*self.lock(), Target::Canceled)
    }

    /// Makes every clone cancel the request on another connection, to which it is sent again.
    /// Returns false if the request has been canceled.
    pub(super) fn retarget(&self, socket: &SharedSocket) -> bool {
        let mut target = self.lock();
        let is_canceled = matches!(*target, Target::Canceled);
        if !is_canceled {
            *target = Target::Request(socket.downgrade());
        }
        !is_canceled
    }

    /// Makes every clone do nothing from now on, because the request has ended.
    pub(super) fn disarm(&self) {
        *self.lock() = Target::Ended;
    }

    fn lock(&self) -> MutexGuard<'_, Target> {
        self.target.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
