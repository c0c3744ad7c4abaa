//! `testkit dns`: the scripted DNS server with records of a file, which is read again when it changes.
//!
//! Must never end by itself: SIGTERM does.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use crate::dns::{DnsServer, Records};

/// How often the file is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Arguments of `testkit dns`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Where to listen, UDP and TCP.
    #[arg(long)]
    pub listen: SocketAddr,
    /// Records, as `testkit::dns` has them. A file that is wrong leaves the records as they are.
    #[arg(long)]
    pub records: PathBuf,
}

/// Serves until SIGTERM. Gives `{"listen": …, "changes": …}` and `true`.
///
/// # Errors
/// The port cannot be bound, or the file is wrong at the start.
pub async fn run(args: &Args) -> io::Result<(Value, bool)> {
    let read = || fs::read_to_string(&args.records);
    let parse = |text: &str| text.parse::<Records>().map_err(io::Error::other);
    let mut known = read()?;
    let server = DnsServer::start(args.listen, parse(&known)?)?;
    eprintln!("dns: listening on {}", server.address());
    let mut changes = 0_u64;
    let mut ended = signal(SignalKind::terminate())?;
    loop {
        tokio::select! {
            _ = ended.recv() => break,
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
        }
        let Ok(text) = read() else { continue };
        if text == known {
            continue;
        }
        match parse(&text) {
            Ok(records) => {
                server.replace(records);
                changes += 1;
            }
            Err(error) => eprintln!("dns: {error}; the records stay as they are"),
        }
        known = text;
    }
    Ok((json!({ "listen": server.address().to_string(), "changes": changes }), true))
}
