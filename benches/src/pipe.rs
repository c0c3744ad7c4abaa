//! A TCP connection over loopback from this thread to itself: what the kernel's side of a vectored write costs, without a second
//! thread whose scheduling would be measured too.

use std::io::{IoSlice, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

/// Both ends. What is written must be read before the socket's buffer is full; [`Pipe::write`] does both.
#[derive(Debug)]
pub struct Pipe {
    near: TcpStream,
    far: TcpStream,
    scratch: Vec<u8>,
}

impl Pipe {
    /// Connects to itself. Panics where there is no loopback.
    #[must_use]
    pub fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
        let near = TcpStream::connect(listener.local_addr().expect("an address")).expect("loopback");
        let (far, _) = listener.accept().expect("loopback");
        near.set_nodelay(true).expect("a TCP socket");
        Self { near, far, scratch: vec![0; 64 << 10] }
    }

    /// One `writev`, then reads what came out at the other end; says how many bytes that was.
    pub fn write(&mut self, slices: &[IoSlice<'_>]) -> usize {
        let written = self.near.write_vectored(slices).expect("the pipe is open");
        let mut left = written;
        while left > 0 {
            let end = left.min(self.scratch.len());
            left -= self.far.read(&mut self.scratch[..end]).expect("the pipe is open");
        }
        written
    }
}

impl Default for Pipe {
    fn default() -> Self {
        Self::new()
    }
}
