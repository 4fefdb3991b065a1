use std::time::{Duration, Instant};

/// When a request must end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    /// `None` if the request may take any time.
    at: Option<Instant>,
    /// The time until then, as of the last look at the clock. [`Duration::MAX`] without a
    /// deadline.
    left: Duration,
}

impl Deadline {
    pub(super) const NONE: Self = Self { at: None, left: Duration::MAX };

    /// Creates the deadline of a request that began at `start` and may take `max`. There is none if
    /// it is not within the range of [`Instant`].
    pub(super) fn new(start: Instant, max: Option<Duration>) -> Self {
        let at = max.and_then(|max| Some((start.checked_add(max)?, max)));
        at.map_or(Self::NONE, |(at, left)| Self { at: Some(at), left })
    }

    /// Updates the remaining time.
    pub(super) fn update(&mut self) {
        if let Some(at) = self.at {
            self.left = at.saturating_duration_since(Instant::now());
        }
    }

    /// Returns how much time was left when the deadline was created or updated.
    pub(super) fn left(&self) -> Duration {
        self.left
    }
}
