//! The commands of the proxy and the thread that carries them out.
//!
//! A command is a value that connections watch. It must never take effect late: what a test does after a command sees its effect.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use super::forward::forward;

/// How long a command may take to be carried out.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// How a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// In order: FIN to both sides.
    Fin,
    /// As a crashed host's neighbour sees it: RST to both sides (`SO_LINGER` 0), unsent bytes are lost.
    Rst,
}

/// Which way nothing is read any more. Bytes then pile up in the sockets until their senders block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stall {
    /// Neither way.
    Both,
    /// From the connecting side.
    ToUpstream,
    /// From the upstream.
    ToClient,
}

/// What connections do now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Control {
    pub(super) upstream: SocketAddr,
    pub(super) listening: bool,
    pub(super) stall: Option<Stall>,
    /// Counts cuts: a connection dies when it changes.
    pub(super) cuts: u64,
    pub(super) cut: Cut,
    /// A connection is cut after this many bytes from its connecting side.
    pub(super) bytes_max: Option<u64>,
    pub(super) stopped: bool,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) accepted: AtomicU64,
    pub(super) open: AtomicU64,
    pub(super) bytes_to_upstream: AtomicU64,
    pub(super) bytes_to_client: AtomicU64,
    /// Whether the port listens now; the commands that change it wait for it.
    listening: Mutex<bool>,
    listening_changed: Condvar,
}

impl Counters {
    fn set_listening(&self, now: bool) {
        *self.listening.lock().unwrap_or_else(PoisonError::into_inner) = now;
        self.listening_changed.notify_all();
    }

    fn wait_for_listening(&self, wanted: bool) {
        let listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner);
        let waited =
            self.listening_changed.wait_timeout_while(listening, COMMAND_TIMEOUT, |now| *now != wanted);
        let (_listening, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(!waited.timed_out(), "the proxy's thread does not obey; its port may have been taken");
    }
}

/// A running proxy; dropping it cuts everything.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    control: watch::Sender<Control>,
    counters: Arc<Counters>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1 and forwards to `upstream`, which need not listen yet.
    #[must_use]
    pub fn start(upstream: SocketAddr) -> Self {
        let initial = Control {
            upstream,
            listening: true,
            stall: None,
            cuts: 0,
            cut: Cut::Fin,
            bytes_max: None,
            stopped: false,
        };
        let (control, watched) = watch::channel(initial);
        let counters = Arc::new(Counters::default());
        let (listening, listens) = std::sync::mpsc::sync_channel(1);
        let shared = Arc::clone(&counters);
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(listen(&listening, watched, shared));
        });
        let addr = listens.recv().expect("the proxy can listen");
        Self { addr, control, counters, thread: Some(thread) }
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where it listens, as a URL.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Cuts every connection that is open now; what is sent on it after this call gets nowhere. Later connections are forwarded.
    pub fn cut(&self, how: Cut) {
        self.control.send_modify(|control| {
            control.cuts += 1;
            control.cut = how;
        });
    }

    /// Cuts each connection, also those to come, once its connecting side has sent `bytes` (counted from its start). `None` ends that.
    pub fn cut_after(&self, bytes: Option<u64>, how: Cut) {
        self.control.send_modify(|control| {
            control.bytes_max = bytes;
            control.cut = how;
        });
    }

    /// Stops listening: from the return of this call on, connecting gets ECONNREFUSED. Open connections go on.
    pub fn refuse(&self) {
        self.control.send_modify(|control| control.listening = false);
        self.counters.wait_for_listening(false);
    }

    /// Listens again, on the same port.
    pub fn accept(&self) {
        self.control.send_modify(|control| control.listening = true);
        self.counters.wait_for_listening(true);
    }

    /// Stops forwarding; connections stay open and silent, and what is sent after this call waits for [`Proxy::resume`].
    pub fn stall(&self, way: Stall) {
        self.control.send_modify(|control| control.stall = Some(way));
    }

    /// Reads again.
    pub fn resume(&self) {
        self.control.send_modify(|control| control.stall = None);
    }

    /// Forwards connections to come to another address.
    pub fn set_upstream(&self, upstream: SocketAddr) {
        self.control.send_modify(|control| control.upstream = upstream);
    }

    /// How many connections were accepted so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.counters.accepted.load(Ordering::Relaxed)
    }

    /// How many connections are open now.
    #[must_use]
    pub fn open_connections(&self) -> u64 {
        self.counters.open.load(Ordering::Relaxed)
    }

    /// Bytes forwarded so far: (to the upstream, to the connecting sides).
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (load(&self.counters.bytes_to_upstream), load(&self.counters.bytes_to_client))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.control.send_modify(|control| control.stopped = true);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

async fn listen(
    listening: &std::sync::mpsc::SyncSender<SocketAddr>,
    mut control: watch::Receiver<Control>,
    counters: Arc<Counters>,
) {
    let mut addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    loop {
        let open = control.wait_for(|control| control.listening || control.stopped).await;
        if open.map_or(true, |control| control.stopped) {
            return;
        }
        let listener = crate::listener::listen(addr).await.expect("the port is free");
        addr = listener.local_addr().expect("a bound socket has an address");
        counters.set_listening(true);
        listening.try_send(addr).ok();
        loop {
            tokio::select! {
                () = refused(&mut control) => break,
                accepted = listener.accept() => if let Ok((client, _)) = accepted {
                    counters.accepted.fetch_add(1, Ordering::Relaxed);
                    tokio::spawn(forward(client, control.clone(), Arc::clone(&counters)));
                },
            }
        }
        drop(listener);
        counters.set_listening(false);
    }
}

async fn refused(control: &mut watch::Receiver<Control>) {
    control.wait_for(|control| !control.listening || control.stopped).await.ok();
}
