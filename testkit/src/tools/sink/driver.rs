//! The loop of the sink: accepts, reads, writes.
//!
//! Must never wait for one connection while another has something.

use std::io::{self, ErrorKind, Read};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use super::super::poll::{Poller, Waker};
use super::Rules;
use super::ledger::Ledger;
use super::session::Session;

/// epoll's numbers of what is no connection; connections come after them.
const LISTENER: u64 = 0;
const WAKER: u64 = 1;
const CONNECTIONS: u64 = 2;

/// Bytes read at a time, from all connections into the same buffer, which then stays in a core's second-level cache.
const BUFFER_BYTES: usize = 256 << 10;
/// Pause where no connection can be accepted for want of files or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

#[derive(Debug)]
struct Connection {
    socket: TcpStream,
    session: Session,
}

/// The sink's connections.
pub(super) struct Driver {
    poller: Poller,
    listener: TcpListener,
    connections: Vec<Option<Connection>>,
    /// Places without a connection.
    free: Vec<usize>,
    rules: Rules,
    ledger: Ledger,
    buffer: Vec<u8>,
}

impl Driver {
    /// Serves a listener that does not block until `waker` is used; gives the counts.
    ///
    /// # Errors
    /// epoll's.
    pub(super) fn run(
        listener: TcpListener,
        rules: Rules,
        ledger: Ledger,
        waker: &Waker,
    ) -> io::Result<Ledger> {
        let poller = Poller::new()?;
        poller.add_level(&listener, LISTENER)?;
        poller.add_level(waker, WAKER)?;
        let (connections, free, buffer) = (Vec::new(), Vec::new(), vec![0; BUFFER_BYTES]);
        Self { poller, listener, connections, free, rules, ledger, buffer }.serve_all()
    }

    fn serve_all(mut self) -> io::Result<Ledger> {
        loop {
            for place in 0..self.poller.wait(None)? {
                let event = self.poller.event(place);
                match event.source {
                    LISTENER => self.accept()?,
                    WAKER => return Ok(self.ledger),
                    number => self.serve((number - CONNECTIONS) as usize, event.has_ended),
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            match self.listener.accept() {
                Ok((socket, _)) => self.adopt(socket)?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // A connection that failed before it was accepted is the peer's affair.
                Err(error)
                    if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {}
                Err(_) => {
                    std::thread::sleep(ACCEPT_PAUSE);
                    return Ok(());
                }
            }
        }
    }

    fn adopt(&mut self, socket: TcpStream) -> io::Result<()> {
        self.ledger.connections += 1;
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true).ok();
        let place = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        self.poller.add(&socket, place as u64 + CONNECTIONS)?;
        self.connections[place] = Some(Connection { socket, session: Session::new() });
        Ok(())
    }

    fn serve(&mut self, place: usize, has_ended: bool) {
        let Some(connection) = &mut self.connections[place] else { return };
        let read = connection.receive(has_ended, &mut self.buffer, &self.rules, &mut self.ledger);
        let wrote = connection.session.output.write(&mut connection.socket, &[]);
        if read.is_err() || wrote.is_err() {
            self.connections[place] = None;
            self.free.push(place);
        }
    }
}

impl Connection {
    /// Reads all there is and lets the session have it. `has_ended` is what epoll said.
    ///
    /// # Errors
    /// The connection has ended, for whatever reason.
    fn receive(
        &mut self,
        has_ended: bool,
        buffer: &mut [u8],
        rules: &Rules,
        ledger: &mut Ledger,
    ) -> io::Result<()> {
        loop {
            match self.socket.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(len) => {
                    self.session.handle_input(&buffer[..len], rules, ledger).map_err(io::Error::other)?;
                    // A short read has emptied the socket; what comes later is a new edge (epoll(7)).
                    if len < buffer.len() && !has_ended {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}
