use std::time::{Duration, Instant};

use super::config::Config;

/// The most connections of a client that keeps them, if the configuration does not limit them. A
/// server of this crate serves as many.
const MAX_KEPT: usize = 256;

/// The limit on the connections in use. `usize::MAX` means none.
#[derive(Debug)]
pub(super) struct Limit {
    configured: usize,
    /// The limit that the application has advertised in its answer to GET_VALUES.
    advertised: usize,
    /// A lower limit after an overload of the application, and when it expires.
    lowered: Option<(usize, Instant)>,
}

impl Default for Limit {
    fn default() -> Self {
        Self { configured: usize::MAX, advertised: usize::MAX, lowered: None }
    }
}

impl Limit {
    /// How long the limit stays lowered.
    pub(super) const RECOVERY: Duration = Duration::from_secs(10);

    pub(super) fn configure(&mut self, config: &Config) {
        let default = if config.keep_alive { MAX_KEPT } else { usize::MAX };
        self.configured = config.max_connections.unwrap_or(default).max(1);
    }

    pub(super) fn set_advertised(&mut self, max: Option<usize>) {
        self.advertised = max.map_or(usize::MAX, |max| max.max(1));
    }

    /// Lowers the limit to `max`, but not below 1, for [`RECOVERY`](Self::RECOVERY).
    pub(super) fn lower(&mut self, max: usize) {
        self.lowered = Some((max.max(1), Instant::now() + Self::RECOVERY));
    }

    /// Returns the limit, and forgets a lower one that has expired.
    #[inline]
    pub(super) fn get(&mut self) -> usize {
        let max = self.configured.min(self.advertised);
        self.lowered().map_or(max, |lowered| lowered.min(max))
    }

    #[inline]
    fn lowered(&mut self) -> Option<usize> {
        let (max, until) = self.lowered?;
        if Instant::now() < until {
            return Some(max);
        }
        self.lowered = None;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_limit_counts() {
        let mut limit = Limit::default();
        assert_eq!(limit.get(), usize::MAX);
        limit.configure(&Config::new().keep_alive(true));
        assert_eq!(limit.get(), 256);
        limit.configure(&Config::new().keep_alive(true).max_connections(Some(1000)));
        assert_eq!(limit.get(), 1000);
        limit.set_advertised(Some(7));
        assert_eq!(limit.get(), 7);
        limit.lower(8);
        assert_eq!(limit.get(), 7);
        limit.lower(0);
        assert_eq!(limit.get(), 1);
        limit.lowered = Some((1, Instant::now()));
        assert_eq!(limit.get(), 7);
        limit.set_advertised(None);
        limit.configure(&Config::new());
        assert_eq!(limit.get(), usize::MAX);
    }
}
