//! `testkit tcp-relay`: bytes from one TCP connection to another and back, the floor of what any relay costs.
//!
//! Must never look at the bytes nor join connections: one upstream for each downstream, tokio's own copying between them.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::task::{LocalSet, spawn_local};

use super::ending;
use super::listening::listen_on;
use super::process::{cpu_seconds, raise_open_files};

/// Arguments of `testkit tcp-relay`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Address to listen on.
    #[arg(long)]
    pub listen: SocketAddr,
    /// Where each connection goes.
    #[arg(long)]
    pub upstream: SocketAddr,
    /// End when standard input closes (otherwise on SIGTERM or ctrl-c).
    #[arg(long)]
    pub until_stdin_closes: bool,
}

#[derive(Debug, Default)]
struct Counts {
    connections: Cell<u64>,
    failed: Cell<u64>,
    bytes: Cell<u64>,
}

fn add(counter: &Cell<u64>, more: u64) {
    counter.set(counter.get() + more);
}

/// Relays until it is told to end. Gives the JSON object (`bytes` are of connections that have ended, both ways) and `true`. Says on
/// standard error where it listens.
///
/// # Errors
/// An address it cannot listen on.
pub async fn run(args: &Args) -> io::Result<(Value, bool)> {
    raise_open_files();
    let listener = tokio::net::TcpListener::from_std(listen_on(args.listen)?)?;
    eprintln!("{}", json!({ "listening": listener.local_addr()?.to_string() }));
    let counts = Rc::new(Counts::default());
    let started = Instant::now();
    LocalSet::new()
        .run_until(async {
            tokio::select! {
                () = accept(&listener, args.upstream, &counts) => Ok(()),
                ended = ending::end(None, args.until_stdin_closes) => ended,
            }
        })
        .await?;
    let object = json!({
        "connections": counts.connections.get(), "failed": counts.failed.get(), "bytes": counts.bytes.get(),
        "seconds": started.elapsed().as_secs_f64(), "cpu_seconds": cpu_seconds(),
    });
    Ok((object, true))
}

async fn accept(listener: &tokio::net::TcpListener, upstream: SocketAddr, counts: &Rc<Counts>) {
    loop {
        // A connection that failed before it was accepted is the peer's affair.
        let Ok((downstream, _)) = listener.accept().await else { continue };
        add(&counts.connections, 1);
        let counts = Rc::clone(counts);
        spawn_local(async move {
            match relay(downstream, upstream).await {
                Ok(bytes) => add(&counts.bytes, bytes),
                Err(_) => add(&counts.failed, 1),
            }
        });
    }
}

/// Relays one connection to its end; gives the bytes of both directions.
async fn relay(mut downstream: TcpStream, upstream: SocketAddr) -> io::Result<u64> {
    downstream.set_nodelay(true)?;
    let mut upstream = TcpStream::connect(upstream).await?;
    upstream.set_nodelay(true)?;
    let (up, down) = copy_bidirectional(&mut downstream, &mut upstream).await?;
    Ok(up + down)
}
