use std::io::{self, Read};
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use super::config::Config;
use super::connection_state::ConnectionState;
use super::lifecycle::CloseMode;
use crate::error::Result;
use crate::net::Stream;

/// How long to wait between two reads after the read half was shut down: such a read does not
/// block.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Waits until the connection can be closed without destroying the response.
///
/// If a socket is closed while it has unread input, or input arrives later, the system resets the
/// connection, and the peer drops what it has not read. So the write half is shut down first, and
/// input is read and dropped until the peer closes, for at most [`Config::drain_time`] and
/// [`Config::drain_bytes`].
pub(super) fn drain_before_close(
    state: &ConnectionState,
    mode: CloseMode,
    config: &Config,
) -> Result<()> {
    let since = match mode {
        CloseMode::AtOnce => return Ok(()),
        CloseMode::DrainIfInputIsLeft => {
            if !is_input_left(state.stream()) {
                return Ok(());
            }
            Instant::now()
        }
        CloseMode::AfterDraining(since) => since,
    };
    drain(state, since, config)
}

/// Returns whether a close would reset the connection, because input is left. Drops one byte of it.
///
/// Two system calls if no input is left. The socket is in non-blocking mode then, because it is
/// closed next. Otherwise it is blocking again.
fn is_input_left(stream: &Stream) -> bool {
    let is_left = || -> io::Result<bool> {
        stream.set_nonblocking(true)?;
        let is_left =
            stream.read_arrived(&mut [0]).map_or(true, |read| read.is_some_and(|n| n > 0));
        if is_left {
            stream.set_nonblocking(false)?;
        }
        Ok(is_left)
    };
    is_left().unwrap_or(true)
}

fn drain(state: &ConnectionState, since: Instant, config: &Config) -> Result<()> {
    // With both halves shut down, the system resets the connection as soon as input arrives.
    if !state.is_read_shut_down() {
        state.stream().shutdown(Shutdown::Write)?;
    }
    let mut scratch = [0; 8192];
    let mut drained = 0;
    while drained < config.drain_bytes {
        let left = config.drain_time.saturating_sub(since.elapsed());
        if left.is_zero() {
            break;
        }
        state.stream().set_read_timeout(Some(left))?;
        match state.stream().read(&mut scratch) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
            // After the read half was shut down, 0 only means that no input is buffered.
            Ok(0) if state.is_read_shut_down() && state.stream().is_connected_tcp() => {
                thread::sleep(POLL_INTERVAL);
            }
            Ok(0) => break,
            Ok(n) => drained += n as u64,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use super::*;
    use crate::server::lifecycle::{Lifecycle, RequestOutcome};

    /// Far above the duration of a test. A close that waits for it is noticed.
    const DRAIN_TIME: Duration = Duration::from_secs(10);

    /// A kept connection whose request was answered before all of its input was received.
    fn answered_early() -> (Arc<ConnectionState>, Lifecycle, Stream) {
        let (stream, peer) = Stream::pair().expect("two sockets");
        let state = Arc::new(ConnectionState::new(stream, None, Arc::default()));
        let mut lifecycle = Lifecycle::new(Arc::clone(&state));
        assert!(lifecycle.on_begin());
        lifecycle.on_params(true);
        let outcome = RequestOutcome::Finished { close_reason: None, has_whole_input: false };
        lifecycle.on_end(outcome, None).expect("an ended request");
        (state, lifecycle, peer)
    }

    #[track_caller]
    fn assert_closes_at_once(state: &ConnectionState, mode: CloseMode, drain_bytes: u64) {
        let start = Instant::now();
        let config = Config::new().drain(drain_bytes, DRAIN_TIME);
        drain_before_close(state, mode, &config).expect("a graceful close");
        assert!(start.elapsed() < DRAIN_TIME / 2, "{:?}", start.elapsed());
    }

    /// A read that does not block would end the draining.
    #[test]
    fn stream_is_blocking_if_input_is_left() {
        const TIMEOUT: Duration = Duration::from_millis(40);
        let (stream, mut peer) = Stream::pair().expect("two sockets");
        peer.write_all(b"xy").expect("input is sent");
        assert!(is_input_left(&stream));
        stream.set_read_timeout(Some(TIMEOUT)).expect("an open stream");
        let mut rest = [0; 9];
        assert_eq!((&stream).read(&mut rest).expect("input"), 1, "the first byte is dropped");
        let start = Instant::now();
        assert!((&stream).read(&mut rest).is_err());
        assert!(start.elapsed() > TIMEOUT / 2, "{:?}", start.elapsed());
        assert!(!is_input_left(&stream));
    }

    #[test]
    fn nothing_is_read_after_the_drain_bytes() {
        for bytes in [0, 1, 100] {
            let (state, lifecycle, mut peer) = answered_early();
            peer.write_all(&vec![b'x'; bytes]).expect("input is sent");
            assert_closes_at_once(&state, lifecycle.close_mode(), bytes as u64);
        }
    }

    /// The peer has closed its socket with unread input, which resets the connection.
    #[cfg(unix)]
    #[test]
    fn error_ends_the_close() {
        let (state, lifecycle, peer) = answered_early();
        state.output().write_all(b"response").expect("the response is sent");
        drop(peer);
        let error = drain_before_close(&state, lifecycle.close_mode(), &Config::new());
        assert_eq!(error.expect_err("a reset").kind(), io::ErrorKind::ConnectionReset);
    }

    /// Reads return 0 bytes, although the peer keeps the connection open. A Unix socket that is
    /// closed without unread input is never reset.
    #[cfg(unix)]
    #[test]
    fn unix_connection_whose_read_half_was_shut_down_is_closed_at_once() {
        let (state, lifecycle, _peer) = answered_early();
        state.stop();
        assert!(state.is_read_shut_down());
        assert_closes_at_once(&state, lifecycle.close_mode(), u64::MAX);
    }
}
