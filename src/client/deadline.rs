use std::time::{Duration, Instant};

/// When a request must end. `None` means no limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline(Option<Instant>);

impl Deadline {
    pub(super) const NONE: Self = Self(None);

    /// Creates the deadline of a request that began at `start` and may take `max`. There is none if
    /// it is not within the range of [`Instant`].
    #[inline]
    pub(super) fn new(start: Instant, max: Option<Duration>) -> Self {
        Self(max.and_then(|max| start.checked_add(max)))
    }

    /// Returns how much time is left, [`Duration::MAX`] without a deadline.
    pub(super) fn left(self) -> Duration {
        self.0.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()))
    }
}
