//! When a tool that serves shall end: SIGTERM, ctrl-c, a time, the end of standard input.
//!
//! Must never end the process itself: the tool still has its counts to print.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

/// Waits for SIGTERM or ctrl-c, and for whichever of the others was asked for.
pub(super) async fn end(seconds: Option<f64>, until_stdin_closes: bool) -> io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let seconds = seconds.map(Duration::from_secs_f64);
    let stdin = until_stdin_closes.then(watch_stdin);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = async { tokio::time::sleep(seconds.unwrap_or_default()).await }, if seconds.is_some() => {}
        () = async { if let Some(closed) = stdin { closed.await.unwrap_or(()) } }, if until_stdin_closes => {}
    }
    Ok(())
}

/// Reads standard input to its end on a thread of its own, which may outlive the tool; then the receiver resolves.
fn watch_stdin() -> tokio::sync::oneshot::Receiver<()> {
    let (closed, watcher) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        io::copy(&mut io::stdin(), &mut io::sink()).ok();
        closed.send(()).ok();
    });
    watcher
}
