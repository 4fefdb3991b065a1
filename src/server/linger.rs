use std::io::{self, Read};
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use super::config::Config;
use super::lifecycle::{CloseMode, ConnectionState};
use crate::error::Result;

/// How long to wait between two reads after the read half was shut down: such a read does not
/// block.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Waits until the connection can be closed without destroying the response.
///
/// If a socket is closed while it has unread input, or input arrives later, the system resets the
/// connection, and the peer drops what it has not read. So the write half is shut down first, and
/// input is read and dropped until the peer closes, for at most [`Config::drain_time`] and
/// [`Config::drain_bytes`].
pub(super) fn close_gracefully(
    state: &ConnectionState,
    mode: CloseMode,
    config: &Config,
) -> Result<()> {
    let since = match mode {
        CloseMode::AtOnce => return Ok(()),
        CloseMode::UnlessInputIsLeft if state.stream().is_ready_to_close().unwrap_or(false) => {
            return Ok(());
        }
        CloseMode::UnlessInputIsLeft => Instant::now(),
        CloseMode::AfterDraining(since) => since,
    };
    drain(state, since, config)
}

fn drain(state: &ConnectionState, since: Instant, config: &Config) -> Result<()> {
    let is_read_shut_down = state.is_read_shut_down();
    // With both halves shut down, the system resets the connection as soon as input arrives.
    if !is_read_shut_down {
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
            // The end of the input means nothing here, except that no input is buffered.
            Ok(0) if is_read_shut_down && state.stream().peer_ip().is_some() => {
                thread::sleep(POLL_INTERVAL);
            }
            Ok(0) => break,
            Ok(n) => drained += n as u64,
        }
    }
    Ok(())
}
