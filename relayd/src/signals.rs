//! What the outside asks for by signals. Must never act on it.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// End gracefully; the name of the signal.
    End(&'static str),
    /// Read the configuration again.
    Reload,
}

/// The signals that relayd listens to; from now on they do not kill.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Begins to listen. Needs a tokio runtime.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The next signal.
    pub(crate) async fn next(&mut self) -> Ask {
        tokio::select! {
            _ = self.terminate.recv() => Ask::End("SIGTERM"),
            _ = self.interrupt.recv() => Ask::End("SIGINT"),
            _ = self.hangup.recv() => Ask::Reload,
        }
    }
}
