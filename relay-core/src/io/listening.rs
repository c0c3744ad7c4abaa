//! Listening sockets: bound here or inherited, and shared between a relay that goes and the one that takes its place. Must never
//! accept.

use std::fs::{File, Permissions};
use std::io;
use std::net::SocketAddr;
#[cfg(not(feature = "simulation"))]
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use socket2::{Domain, SockAddr, Type};

#[cfg(feature = "simulation")]
use super::simulation::{TcpListener, bind_tcp, keep_new_away};
use super::socket::abstract_path;
use crate::config::ListenAddress;
use crate::limits::ACCEPT_BACKLOG;

/// Who may use the file of a socket that is for one process alone: its user, and root.
const PRIVATE: u32 = 0o600;

/// A listening socket. Clones share it: connections that nobody has accepted yet belong to whoever accepts next, and what it is
/// bound to is given up when the last clone goes. So a relay can take over from another one of the process without a gap
/// ([`crate::RelayHandle::listeners`], [`crate::RelayBuilder::receiver_on`]).
#[derive(Clone, Debug)]
pub struct ListeningSocket(Arc<Listening>);

/// Does not keep a socket open.
#[derive(Clone, Debug, Default)]
pub(crate) struct WeakListening(Weak<Listening>);

#[derive(Debug)]
struct Listening {
    listener: Listener,
    address: ListenAddress,
    /// A path that goes with it.
    file: Option<SocketFile>,
    /// Whoever passed it to this process may hold it too, and pass it on.
    inherited: bool,
    /// Another process listened on the same address when this one was bound.
    shared: bool,
}

/// What a TCP address is bound for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To listen, beside others of the same user who want that too (SO_REUSEPORT).
    Share,
    /// To listen, or not at all.
    Alone,
    /// To see whether it can be: a sender must not find it.
    Look,
}

/// What is bound, on no runtime.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl ListeningSocket {
    /// Binds `address` and listens. Port 0 takes a free one; see [`ListeningSocket::address`].
    ///
    /// A TCP address that another process of the same user listens on in the same way is shared with it: the kernel gives each new
    /// connection to one of both (SO_REUSEPORT). A unix socket with a path is taken over: senders meet the new one from then on.
    /// So a successor can start before this process ends.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn bind(address: &ListenAddress) -> io::Result<Self> {
        let socket = Self::prepare(address)?;
        socket.take_place()?;
        Ok(socket)
    }

    /// As [`ListeningSocket::bind`], but what is to be taken over stays as it is until [`ListeningSocket::take_place`]: a relay that
    /// cannot start must not have harmed the one that runs.
    pub(crate) fn prepare(address: &ListenAddress) -> io::Result<Self> {
        let (listener, bound, file, shared) = match address {
            ListenAddress::Tcp(tcp) => {
                let shared = is_taken(*tcp);
                let listener = bind_tcp(*tcp, Purpose::Share)?;
                let bound = listener.local_addr()?;
                (Listener::Tcp(listener), bound.into(), None, shared)
            }
            ListenAddress::Unix(path) => {
                let (listener, file, shared) = bind_path(path)?;
                (Listener::Unix(listener), address.clone(), Some(file), shared)
            }
            ListenAddress::Abstract(name) => {
                let listener = bind_unix(&abstract_path(name), None)?;
                (Listener::Unix(listener), address.clone(), None, false)
            }
        };
        Ok(Self::bound(listener, bound, file, shared))
    }

    /// Binds `address` for this process alone and listens: nothing is shared or taken over. The file of a unix socket is for its
    /// user only (mode 0600); one that a killed process has left is replaced.
    ///
    /// # Errors
    /// What the operating system says; [`io::ErrorKind::AddrInUse`] while another process listens there.
    pub fn bind_alone(address: &ListenAddress) -> io::Result<Self> {
        let (listener, bound, file) = match address {
            ListenAddress::Tcp(tcp) => {
                let listener = bind_tcp(*tcp, Purpose::Alone)?;
                let bound = listener.local_addr()?;
                (Listener::Tcp(listener), bound.into(), None)
            }
            ListenAddress::Unix(path) => {
                let Some((listener, file)) = bind_free_path(path, Some(PRIVATE))? else {
                    return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens on it"));
                };
                (Listener::Unix(listener), address.clone(), Some(file))
            }
            ListenAddress::Abstract(name) => {
                (Listener::Unix(bind_unix(&abstract_path(name), None)?), address.clone(), None)
            }
        };
        Ok(Self::bound(listener, bound, file, false))
    }

    fn bound(listener: Listener, address: ListenAddress, file: Option<SocketFile>, shared: bool) -> Self {
        Self(Arc::new(Listening { listener, address, file, inherited: false, shared }))
    }

    /// Puts a unix socket where it belongs, if there was another one.
    pub(crate) fn take_place(&self) -> io::Result<()> {
        self.0.file.as_ref().map_or(Ok(()), SocketFile::take_place)
    }

    /// A TCP listener that the process was started with (socket activation).
    ///
    /// # Errors
    /// What the operating system says: it has no address.
    pub fn inherited_tcp(listener: TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?.into();
        Ok(Self::inherited(Listener::Tcp(listener), address))
    }

    /// A unix listener that the process was started with. Its file stays when the process ends: it belongs to whoever made it.
    ///
    /// # Errors
    /// What the operating system says, or that it has no name.
    pub fn inherited_unix(listener: UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let bound = listener.local_addr()?;
        let address = match (bound.as_pathname(), bound.as_abstract_name()) {
            (Some(path), _) => ListenAddress::Unix(path.to_path_buf()),
            (None, Some(name)) => ListenAddress::Abstract(name.to_vec()),
            (None, None) => return Err(io::Error::other("the unix socket has no name")),
        };
        Ok(Self::inherited(Listener::Unix(listener), address))
    }

    fn inherited(listener: Listener, address: ListenAddress) -> Self {
        Self(Arc::new(Listening { listener, address, file: None, inherited: true, shared: false }))
    }

    /// Where it listens.
    pub fn address(&self) -> &ListenAddress {
        &self.0.address
    }

    /// Whether another process listened on the same address when this socket was bound.
    pub fn is_shared(&self) -> bool {
        self.0.shared
    }

    /// The same socket for the standard library, not blocking; `None` for a unix socket.
    ///
    /// # Errors
    /// What the operating system says: out of file descriptors.
    pub fn tcp(&self) -> io::Result<Option<TcpListener>> {
        match &self.0.listener {
            Listener::Tcp(listener) => listener.try_clone().map(Some),
            Listener::Unix(_) => Ok(None),
        }
    }

    /// The same for a unix socket; `None` for TCP.
    ///
    /// # Errors
    /// What the operating system says: out of file descriptors.
    pub fn unix(&self) -> io::Result<Option<UnixListener>> {
        match &self.0.listener {
            Listener::Tcp(_) => Ok(None),
            Listener::Unix(listener) => listener.try_clone().map(Some),
        }
    }

    /// A descriptor of its own for a runtime.
    pub(super) fn listener(&self) -> io::Result<Listener> {
        match &self.0.listener {
            Listener::Tcp(listener) => listener.try_clone().map(Listener::Tcp),
            Listener::Unix(listener) => listener.try_clone().map(Listener::Unix),
        }
    }

    pub(crate) fn downgrade(&self) -> WeakListening {
        WeakListening(Arc::downgrade(&self.0))
    }

    /// Whether nobody else will accept what waits in it.
    pub(super) fn is_last(&self) -> bool {
        !self.0.inherited && Arc::strong_count(&self.0) == 1
    }

    /// From now on no connection joins those that wait to be accepted, as far as that can be had: only for the last holder, and
    /// never undone.
    ///
    /// A listener that is closed resets what it has not accepted, and one that shares its port gets connections until then. A
    /// filter that drops SYN has senders knock again a second later (RFC 6298 section 2), when the successor alone listens, while
    /// handshakes that have begun still end.
    pub(super) fn refuse_new(&self) {
        match (&self.0.listener, &self.0.file) {
            (Listener::Tcp(listener), _) => {
                // Without it (another kernel) what is left is the moment between the last accept and the close.
                if let Err(error) = keep_new_away(listener) {
                    tracing::debug!(%error, "cannot filter new connections");
                }
            }
            (Listener::Unix(_), Some(file)) => file.remove(),
            (Listener::Unix(_), None) => {}
        }
    }
}

impl WeakListening {
    pub(crate) fn upgrade(&self) -> Option<ListeningSocket> {
        self.0.upgrade().map(ListeningSocket)
    }
}

#[cfg(not(feature = "simulation"))]
fn keep_new_away(listener: &TcpListener) -> io::Result<()> {
    socket2::SockRef::from(listener).attach_filter(&NO_SYN)
}

/// Classic BPF over a TCP segment (Linux, networking/filter.rst; RFC 9293 section 3.1: the flags are its byte 13): drops what
/// has SYN and not ACK, keeps everything else.
#[cfg(not(feature = "simulation"))]
const NO_SYN: [socket2::SockFilter; 5] = [
    // A = the flags.
    socket2::SockFilter::new(0x30, 0, 0, 13),
    // A &= SYN | ACK.
    socket2::SockFilter::new(0x54, 0, 0, 0x12),
    // SYN alone goes to the next but one.
    socket2::SockFilter::new(0x15, 1, 0, 0x02),
    // Keep all of it.
    socket2::SockFilter::new(0x06, 0, 0, u32::MAX),
    // Drop it.
    socket2::SockFilter::new(0x06, 0, 0, 0),
];

/// The file of a unix socket; dropping this removes it, if it is still the one that was made.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Where it was made, if something was at `path`.
    beside: Option<PathBuf>,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn new(path: &Path, beside: Option<PathBuf>) -> io::Result<Self> {
        let made = std::fs::symlink_metadata(beside.as_deref().unwrap_or(path))?;
        Ok(Self { path: path.to_path_buf(), beside, device: made.dev(), inode: made.ino() })
    }

    fn take_place(&self) -> io::Result<()> {
        // One step: no sender meets a path without a socket.
        self.beside.as_ref().map_or(Ok(()), |beside| std::fs::rename(beside, &self.path))
    }

    fn remove(&self) {
        for path in self.beside.iter().chain([&self.path]) {
            let found = std::fs::symlink_metadata(path);
            if found.is_ok_and(|found| (found.dev(), found.ino()) == (self.device, self.inode)) {
                // What cannot be removed is replaced by the next start.
                std::fs::remove_file(path).ok();
            }
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Whether somebody listens on `address` already: then it cannot be bound for one alone.
fn is_taken(address: SocketAddr) -> bool {
    let taken = |error: io::Error| error.kind() == io::ErrorKind::AddrInUse;
    address.port() != 0 && bind_tcp(address, Purpose::Look).is_err_and(taken)
}

#[cfg(not(feature = "simulation"))]
fn bind_tcp(address: SocketAddr, purpose: Purpose) -> io::Result<TcpListener> {
    let socket =
        socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(socket2::Protocol::TCP))?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        // All addresses are those of both families, whatever net.ipv6.bindv6only says.
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(purpose == Purpose::Share)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    if purpose != Purpose::Look {
        socket.listen(ACCEPT_BACKLOG)?;
    }
    Ok(socket.into())
}

/// `mode` is that of the file, less the umask; `None` for what the umask leaves.
fn bind_unix(path: &Path, mode: Option<u32>) -> io::Result<UnixListener> {
    let mut socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    if let Some(mode) = mode {
        // The file that bind makes has the mode of the socket (Linux, unix_bind_bsd): no moment at which others may connect.
        let file = File::from(OwnedFd::from(socket));
        file.set_permissions(Permissions::from_mode(mode))?;
        socket = OwnedFd::from(file).into();
    }
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(ACCEPT_BACKLOG)?;
    Ok(socket.into())
}

/// Binds a path, perhaps in place of a socket that a killed process has left; `None` if a process listens on it.
fn bind_free_path(path: &Path, mode: Option<u32>) -> io::Result<Option<(UnixListener, SocketFile)>> {
    match bind_unix(path, mode) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
        bound => return bound.and_then(|listener| Ok(Some((listener, SocketFile::new(path, None)?)))),
    }
    if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"));
    }
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    if !UnixStream::connect(path).is_err_and(refused) {
        return Ok(None);
    }
    std::fs::remove_file(path)?;
    Ok(Some((bind_unix(path, mode)?, SocketFile::new(path, None)?)))
}

/// Binds a path, or beside one that a process of the same user listens on. Says whether one does.
fn bind_path(path: &Path) -> io::Result<(UnixListener, SocketFile, bool)> {
    if let Some((listener, file)) = bind_free_path(path, None)? {
        return Ok((listener, file, false));
    }
    let found = std::fs::symlink_metadata(path)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(beside);
    let listener = bind_unix(&beside, None)?;
    let file = SocketFile::new(path, Some(beside.clone()))?;
    if std::fs::symlink_metadata(&beside)?.uid() != found.uid() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "a process of another user listens on it"));
    }
    Ok((listener, file, true))
}
