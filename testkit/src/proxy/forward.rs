//! One proxied connection.
//!
//! Must never hold more than one buffer of bytes per direction, so that a stall is felt by the sender.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;

use super::control::{Control, Counters, Cut, Stall};

/// How long a connection that was cut in order is still read, so that closing it does not turn into an RST.
const FIN_LINGER: Duration = Duration::from_millis(200);

/// Forwards both ways until both sides have closed, a side fails, or the connection is cut.
pub(super) async fn forward(
    mut client: TcpStream,
    mut control: watch::Receiver<Control>,
    counters: Arc<Counters>,
) {
    let (upstream_addr, cuts) = {
        let now = control.borrow_and_update();
        (now.upstream, now.cuts)
    };
    let Ok(mut upstream) = TcpStream::connect(upstream_addr).await else {
        client.set_zero_linger().ok();
        return;
    };
    client.set_nodelay(true).ok();
    upstream.set_nodelay(true).ok();
    counters.open.fetch_add(1, Ordering::Relaxed);
    let watched = control.clone();
    let cut = {
        let (client_read, client_write) = client.split();
        let (upstream_read, upstream_write) = upstream.split();
        let up = pump(
            client_read,
            upstream_write,
            Stall::ToUpstream,
            control.clone(),
            &counters.bytes_to_upstream,
        );
        let down =
            pump(upstream_read, client_write, Stall::ToClient, control.clone(), &counters.bytes_to_client);
        tokio::select! {
            // The cut is looked at first: nothing sent after it gets through.
            biased;
            cut = wait_for_cut(&mut control, cuts) => Some(cut),
            ended = async { tokio::try_join!(up, down) } => match ended {
                Ok(_) => None,
                // The budget of bytes is used up, or a side failed, which the other side shall notice.
                Err(_) => Some(watched.borrow().cut),
            },
        }
    };
    counters.open.fetch_sub(1, Ordering::Relaxed);
    match cut {
        None => {}
        Some(Cut::Rst) => {
            client.set_zero_linger().ok();
            upstream.set_zero_linger().ok();
        }
        Some(Cut::Fin) => {
            client.shutdown().await.ok();
            upstream.shutdown().await.ok();
            let drained = async { tokio::join!(drain(&mut client), drain(&mut upstream)) };
            tokio::time::timeout(FIN_LINGER, drained).await.ok();
        }
    }
}

async fn wait_for_cut(control: &mut watch::Receiver<Control>, cuts: u64) -> Cut {
    match control.wait_for(|control| control.cuts != cuts || control.stopped).await {
        Ok(control) => control.cut,
        Err(_) => Cut::Rst,
    }
}

async fn drain(stream: &mut TcpStream) {
    let mut sink = [0; 4096];
    while matches!(stream.read(&mut sink).await, Ok(len) if len > 0) {}
}

/// Copies one direction until its end, which is passed on. Fails when a socket does or the budget of bytes is used up.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    way: Stall,
    mut control: watch::Receiver<Control>,
    counter: &AtomicU64,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    let mut forwarded = 0_u64;
    loop {
        let flowing =
            |control: &Control| control.stall.is_none_or(|stall| stall != Stall::Both && stall != way);
        let now = *control.wait_for(flowing).await.map_err(io::Error::other)?;
        let budget = if way == Stall::ToUpstream { now.bytes_max } else { None };
        let left = budget.map_or(u64::MAX, |bytes_max| bytes_max.saturating_sub(forwarded));
        if left == 0 {
            return Err(io::Error::other("the connection's bytes are used up"));
        }
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let len = tokio::select! {
            // Something was commanded: look again before reading on.
            changed = control.changed() => match changed {
                Ok(()) => continue,
                Err(closed) => return Err(io::Error::other(closed)),
            },
            read = from.read(&mut buffer[..room]) => read?,
        };
        if len == 0 {
            return to.shutdown().await;
        }
        // A stall commanded while the read was waiting holds what it read.
        control.wait_for(flowing).await.map_err(io::Error::other)?;
        to.write_all(&buffer[..len]).await?;
        forwarded += len as u64;
        counter.fetch_add(len as u64, Ordering::Relaxed);
    }
}
