//! Listening: binds a receiver's address, accepts, and hands each connection to the core with the fewest.

use std::io;
#[cfg(not(feature = "simulation"))]
use std::net::SocketAddr;
#[cfg(not(feature = "simulation"))]
use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::Ordering;

use socket2::{Domain, SockAddr, Type};
#[cfg(not(feature = "simulation"))]
use tokio::net::TcpListener as AcceptingTcp;

use super::core::Core;
use super::sender::Phase;
use super::shared::Command;
#[cfg(feature = "simulation")]
use super::simulation::{TcpListener, TcpListener as AcceptingTcp, bind_tcp};
use super::socket::{Socket, abstract_path};
use crate::config::ListenAddress;
use crate::limits::{ACCEPT_BACKLOG, ACCEPT_PAUSE, CONNECTIONS_MAX};

/// A bound listener, not yet on a runtime.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    /// With its file, unless it is abstract.
    Unix(UnixListener, Option<SocketFile>),
}

/// The file of a unix socket; dropping this removes it, if it is still the one that was made.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        let found = std::fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_path_buf(), device: found.dev(), inode: found.ino() })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let found = std::fs::symlink_metadata(&self.path);
        if found.is_ok_and(|found| (found.dev(), found.ino()) == (self.device, self.inode)) {
            // What cannot be removed is replaced by the next start.
            std::fs::remove_file(&self.path).ok();
        }
    }
}

/// Binds and listens on `address`; says also which address it is, where it had port 0.
pub(crate) fn bind(address: &ListenAddress) -> io::Result<(Listener, ListenAddress)> {
    match address {
        ListenAddress::Tcp(tcp) => {
            let listener = bind_tcp(*tcp)?;
            let bound = listener.local_addr()?;
            Ok((Listener::Tcp(listener), bound.into()))
        }
        ListenAddress::Unix(path) => {
            let listener = bind_path(path)?;
            Ok((Listener::Unix(listener, Some(SocketFile::new(path)?)), address.clone()))
        }
        ListenAddress::Abstract(name) => {
            Ok((Listener::Unix(bind_unix(&abstract_path(name))?, None), address.clone()))
        }
    }
}

#[cfg(not(feature = "simulation"))]
fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let protocol = Some(socket2::Protocol::TCP);
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, protocol)?;
    socket.set_reuse_address(true)?;
    // A successor process may bind while this one drains, so that no sender meets a closed port.
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(ACCEPT_BACKLOG)?;
    Ok(socket.into())
}

fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(ACCEPT_BACKLOG)?;
    Ok(socket.into())
}

/// Replaces a socket that nobody listens on: the file that a killed process has left.
fn bind_path(path: &Path) -> io::Result<UnixListener> {
    match bind_unix(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
                return Err(io::Error::new(error.kind(), "there is a file that is no socket"));
            }
            match UnixStream::connect(path) {
                Err(refused) if refused.kind() == io::ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path)?;
                    bind_unix(path)
                }
                _ => Err(io::Error::new(error.kind(), "another process listens on it")),
            }
        }
        bound => bound,
    }
}

/// A listener on the runtime of the core that accepts.
enum Accepting {
    Tcp(AcceptingTcp),
    Unix(
        tokio::net::UnixListener,
        #[expect(dead_code, reason = "removes the file when it is dropped")] Option<SocketFile>,
    ),
}

impl Accepting {
    fn new(listener: Listener) -> io::Result<Self> {
        match listener {
            Listener::Tcp(listener) => AcceptingTcp::from_std(listener).map(Self::Tcp),
            Listener::Unix(listener, file) => {
                tokio::net::UnixListener::from_std(listener).map(|listener| Self::Unix(listener, file))
            }
        }
    }

    async fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| Socket::Tcp(stream)),
            Self::Unix(listener, _) => listener.accept().await.map(|(stream, _)| Socket::Unix(stream)),
        }
    }
}

/// Accepts until the drain. SO_REUSEPORT alone would hash a node's handful of long-lived connections onto few cores;
/// one acceptor that counts does not.
pub(crate) async fn accept(core: Rc<Core>, receiver: usize, listener: Listener) {
    let listener = match Accepting::new(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "cannot accept connections");
            return;
        }
    };
    let mut phase = core.phase.clone();
    loop {
        let accepted = tokio::select! {
            biased;
            // First: senders that come all the time must not keep the drain from being seen.
            _ = phase.wait_for(|phase| *phase != Phase::Running) => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(socket) => hand_over(&core, receiver, socket),
            Err(error) => {
                if let Some(left_out) = core.log_limit().allow(receiver, "accept") {
                    tracing::warn!(%error, left_out, "accept failed");
                }
                // Out of file descriptors: without a pause this would spin.
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn hand_over(core: &Rc<Core>, receiver: usize, socket: Socket) {
    let shared = &core.shared;
    if shared.connections() >= CONNECTIONS_MAX {
        if let Some(left_out) = core.log_limit().allow(receiver, "connections") {
            tracing::warn!(left_out, "more than {CONNECTIONS_MAX} connections; closing new ones");
        }
        return;
    }
    let number = shared.least_loaded();
    let Some(target) = shared.cores.get(number) else { return };
    // Counted here, so that the next choice sees it; the connection's task gives it back.
    target.connections.fetch_add(1, Ordering::Relaxed);
    if number == core.number {
        core.serve(socket, receiver);
        return;
    }
    let handed =
        socket.detach().ok().map(|socket| target.inbox.try_send(Command::Connection(socket, receiver)));
    if !matches!(handed, Some(Ok(()))) {
        target.connections.fetch_sub(1, Ordering::Relaxed);
        if let Some(left_out) = core.log_limit().allow(receiver, "hand_over") {
            tracing::warn!(left_out, "a core takes no more connections; closing new ones");
        }
    }
}
