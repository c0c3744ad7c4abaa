//! The time of a simulated world: that of tokio's timers, which stands still while anything can run.

use std::time::{Duration, Instant, SystemTime};

use super::here::here;

/// 2026-01-01T00:00:00Z, when every simulated world begins.
const BEGINNING: Duration = Duration::from_secs(1_767_225_600);

/// The monotonic time.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The time of day.
pub(crate) fn wall() -> SystemTime {
    SystemTime::UNIX_EPOCH + BEGINNING + here().map_or(Duration::ZERO, |(network, _)| network.elapsed())
}
