//! One of the load's connections: its socket, and the session on it.
//!
//! Must never wait: whatever would block is taken up again when epoll says so.

use std::io::{self, ErrorKind, Read};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Instant;

use socket2::{Domain, Protocol, Socket, Type};

use super::super::poll::Poller;
use super::plan::Plan;
use super::seen::Seen;
use super::session::Session;

/// `connect` goes on while we do something else (connect(2)).
const EINPROGRESS: i32 = rustix::io::Errno::INPROGRESS.raw_os_error();

/// An open connection, or one that is being opened.
#[derive(Debug)]
pub(super) struct Connection {
    socket: TcpStream,
    pub(super) session: Session,
    /// The socket is connected, as far as is known.
    connected: bool,
    pub(super) opened: Instant,
    /// It stands in the list of connections that have calls to spare.
    pub(super) enlisted: bool,
}

/// The connection is lost, or has served its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lost;

impl Connection {
    /// Starts to connect; epoll tells of it as `number`.
    ///
    /// # Errors
    /// The socket's, where that is known at once.
    pub(super) fn open(
        address: SocketAddr,
        number: u64,
        poller: &Poller,
        plan: &Plan,
        now: Instant,
    ) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        let connected = match socket.connect(&address.into()) {
            Ok(()) => true,
            Err(error) if error.raw_os_error() == Some(EINPROGRESS) => false,
            Err(error) => return Err(error),
        };
        poller.add(&socket, number)?;
        let socket = TcpStream::from(socket);
        Ok(Self { socket, session: Session::new(plan), connected, opened: now, enlisted: false })
    }

    /// Reads all there is into `buffer`, piece by piece, and lets the session have it. `has_ended` is what epoll said.
    ///
    /// # Errors
    /// [`Lost`].
    pub(super) fn receive(
        &mut self,
        has_ended: bool,
        buffer: &mut [u8],
        plan: &Plan,
        seen: &mut Seen,
    ) -> Result<(), Lost> {
        if !self.connected {
            // Not connected and no error is a notice that comes too early.
            match (self.socket.take_error(), self.socket.peer_addr()) {
                (Ok(None), Ok(_)) => self.connected = true,
                (Ok(None), Err(_)) => return Ok(()),
                _ => return Err(Lost),
            }
        }
        self.session.note_connected();
        loop {
            match self.socket.read(buffer) {
                Ok(0) => return Err(Lost),
                Ok(len) => {
                    let received = self.session.handle_input(&buffer[..len], Instant::now(), plan, seen);
                    if received.is_err() {
                        return Err(Lost);
                    }
                    // A short read has emptied the socket; what comes later is a new edge (epoll(7)).
                    if len < buffer.len() && !has_ended {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(_) => return Err(Lost),
            }
        }
    }

    /// Writes what is queued and as much more of the bodies as is allowed, until the socket takes no more.
    ///
    /// # Errors
    /// [`Lost`].
    pub(super) fn flush(&mut self, plan: &Plan) -> Result<(), Lost> {
        if !self.connected {
            return Ok(());
        }
        loop {
            self.session.fill(plan);
            if self.session.output().is_empty() {
                return Ok(());
            }
            match self.session.output().write(&mut self.socket, &plan.bodies) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(_) => return Err(Lost),
            }
        }
    }

    /// Says goodbye and sends no more; the peer closes when it has read that.
    pub(super) fn end(&mut self, plan: &Plan) {
        self.session.say_goodbye();
        self.flush(plan).ok();
        self.socket.shutdown(Shutdown::Write).ok();
    }

    /// Whether the peer has closed, after [`Self::end`].
    pub(super) fn has_ended(&mut self, buffer: &mut [u8]) -> bool {
        loop {
            match self.socket.read(buffer) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return error.kind() != ErrorKind::WouldBlock,
            }
        }
    }
}
