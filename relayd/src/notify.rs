//! What a service manager is told (sd_notify(3)), if there is one (`NOTIFY_SOCKET`). Must never fail a run.

use sd_notify::NotifyState;

/// Connections are accepted, or a reload is over.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// A reload begins; [`ready`] follows, whatever becomes of it.
pub(crate) fn reloading() {
    // systemd tells by the time to which reload it belongs (Type=notify-reload).
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "no monotonic time"),
    }
}

/// The end begins.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot notify the service manager");
    }
}
