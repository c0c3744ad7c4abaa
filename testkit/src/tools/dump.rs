//! Files of messages, each preceded by its length as a varint: written by `sink` and `replay`, read by `compare`; with gzip around it,
//! the form of the recordings.
//!
//! Must never change a message.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use bytes::Bytes;

use crate::payloads::unpack;
use crate::wire::{put_varint, split_delimited};

/// A file that messages are appended to.
#[derive(Debug)]
pub struct Dump(BufWriter<File>);

impl Dump {
    /// Opens `path` for appending, creating it if need be.
    ///
    /// # Errors
    /// The file system's.
    pub fn append_to(path: &Path) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path).map_err(|error| at(path, &error))?;
        Ok(Self(BufWriter::with_capacity(1 << 20, file)))
    }

    /// Appends one message.
    ///
    /// # Errors
    /// The file system's.
    pub fn write(&mut self, message: &[u8]) -> io::Result<()> {
        let mut prefix = Vec::with_capacity(10);
        put_varint(&mut prefix, message.len() as u64);
        self.0.write_all(&prefix)?;
        self.0.write_all(message)
    }

    /// Hands everything to the operating system.
    ///
    /// # Errors
    /// The file system's.
    pub fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Reads all messages of a file, gzip or plain. gzip's magic bytes tell them apart: no dump of requests starts with them, because a first
/// message of 0x1f bytes cannot start with 0x8b, a tag of wire type 3.
///
/// # Errors
/// The file system's, `InvalidData` where the file is not such a file; both name the file.
pub fn read(path: &Path) -> io::Result<Vec<Bytes>> {
    let file = std::fs::read(path).map_err(|error| at(path, &error))?;
    let messages = if file.starts_with(&[0x1f, 0x8b]) {
        unpack(&file)
    } else {
        split_delimited(&file.into()).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    };
    messages.map_err(|error| at(path, &error))
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
