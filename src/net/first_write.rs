use std::io::{self, Write};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use super::stream::Stream;
use crate::record::write_parts;

/// What is to be known before something is written.
#[derive(Debug, Default)]
pub(super) enum Writing {
    /// The time-out is set, or there is none.
    #[default]
    Ready,
    /// Nothing was written yet, and this is the time-out.
    First(Duration),
    /// One small write was made, and this is the time-out.
    Next(Duration),
}

/// What a new socket takes at once, however small its buffer.
const FIRST_WRITE: usize = 2 * 1024;

impl Stream {
    /// Sets how long [`write_whole`](Self::write_whole) may wait on a new connection. The system
    /// call for that is left out as long as nothing can wait: an answer that is small and the
    /// only one takes one less.
    pub(crate) fn set_first_write_timeout(&self, timeout: Option<Duration>) {
        *self.lock() = timeout.map_or(Writing::Ready, Writing::First);
    }

    /// Writes all parts; until it is done, others that write in this way wait.
    pub(crate) fn write_whole(&self, parts: &mut [&[u8]]) -> io::Result<()> {
        let mut writing = self.lock();
        match *writing {
            Writing::Ready => {}
            Writing::First(timeout)
                if parts.iter().map(|part| part.len()).sum::<usize>() <= FIRST_WRITE =>
            {
                *writing = Writing::Next(timeout);
            }
            Writing::First(timeout) | Writing::Next(timeout) => {
                self.set_write_timeout(Some(timeout))?;
                *writing = Writing::Ready;
            }
        }
        let mut stream = self;
        match parts {
            [part] => stream.write_all(part),
            parts => write_parts(&mut stream, parts),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Writing> {
        self.writing().lock().unwrap_or_else(PoisonError::into_inner)
    }
}
