//! HTTP/2 frames by hand (RFC 9113, section 6), for peers that no library would be. Must never correct what
//! it is given.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::{BufMut, BytesMut};

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// A frame with any header and payload.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::with_capacity(9 + payload.len());
    out.put_uint(payload.len() as u64, 3);
    out.put_u8(kind);
    out.put_u8(flags);
    out.put_u32(stream);
    out.put_slice(payload);
    out.to_vec()
}

/// The header block of an Export call, by HPACK's static table and literals (RFC 7541, section 6.2.2).
pub(crate) fn export_headers() -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    for (index, value) in [(0x04, testkit::raw::EXPORT_PATH), (0x01, "localhost")] {
        block.push(index);
        block.push(u8::try_from(value.len()).unwrap());
        block.extend_from_slice(value.as_bytes());
    }
    block.extend(literal("content-type", "application/grpc"));
    block.extend(literal("te", "trailers"));
    block
}

/// A header field without indexing, name and value shorter than 127 bytes.
pub(crate) fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut out = vec![0];
    for text in [name, value] {
        out.push(u8::try_from(text.len()).ok().filter(|len| *len < 127).unwrap());
        out.extend_from_slice(text.as_bytes());
    }
    out
}

/// A connection that has said hello: the preface and empty settings.
pub(crate) fn connect(addr: SocketAddr) -> TcpStream {
    let mut stream = open(addr);
    stream.write_all(PREFACE).unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).unwrap();
    stream
}

/// A connection that has said nothing.
pub(crate) fn open(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// Reads until the peer has closed or reset the connection; false if it has not within the read timeout.
pub(crate) fn is_ended(stream: &mut TcpStream) -> bool {
    let mut sink = [0; 16 << 10];
    loop {
        match stream.read(&mut sink) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => {
                let timed_out = [std::io::ErrorKind::WouldBlock, std::io::ErrorKind::TimedOut];
                return !timed_out.contains(&error.kind());
            }
        }
    }
}

/// Sends `bytes` again and again, `times` times or until the peer has ended the connection; says whether it
/// has.
pub(crate) fn flood(mut stream: TcpStream, times: usize, mut bytes: impl FnMut(usize) -> Vec<u8>) -> bool {
    let mut reading = stream.try_clone().unwrap();
    // Somebody must read what comes back, or the peer would be right to stop reading.
    let reader = std::thread::spawn(move || is_ended(&mut reading));
    let refused = (0..times).any(|time| stream.write_all(&bytes(time)).is_err());
    if !refused {
        // FIN: a peer that took everything closes when it is done.
        stream.shutdown(std::net::Shutdown::Write).ok();
    }
    reader.join().unwrap() && refused
}
