//! What the log needs of a file system, as traits: tests have file systems that fail. Whatever may be cut short or interrupted
//! is finished here; nothing here knows what a segment is.

use std::fmt;
use std::io::{self, IoSlice};
use std::path::Path;

use bytes::{Bytes, BytesMut};

use crate::limits::SPILL_WRITE_SLICES_MAX;

/// What stands in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name, without the directory.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Its length in bytes; of a directory nothing that matters.
    pub bytes: u64,
}

/// A file system.
pub trait Disk: fmt::Debug + Send + 'static {
    /// An open file.
    type File: DiskFile;
    /// What is held while a directory is owned; giving it up is dropping it.
    type Lock: fmt::Debug + Send;

    /// What is in `dir`. A name that is not UTF-8 may be left out: it is none of ours.
    ///
    /// # Errors
    /// `NotFound` where there is no such directory.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;

    /// Makes `dir` and its parents; that it is there is fine.
    ///
    /// # Errors
    /// What the file system says.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    ///
    /// # Errors
    /// What the file system says.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes a new file for writing and reading.
    ///
    /// # Errors
    /// `AlreadyExists`, or what the file system says.
    fn create(&self, path: &Path) -> io::Result<Self::File>;

    /// Opens a file for reading.
    ///
    /// # Errors
    /// What the file system says.
    fn open(&self, path: &Path) -> io::Result<Self::File>;

    /// Renames a file or directory.
    ///
    /// # Errors
    /// What the file system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the file system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes what was created, renamed and removed in `dir` survive a loss of power.
    ///
    /// # Errors
    /// What the file system says.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes the lock file at `path`, made if `create` says so. `None`: somebody else holds it, or what is locked is not in the
    /// directory any more.
    ///
    /// # Errors
    /// `NotFound` where there is none and none is made; what the file system says.
    fn try_lock(&self, path: &Path, create: bool) -> io::Result<Option<Self::Lock>>;

    /// Bytes that may still be written on the file system of `dir`.
    ///
    /// # Errors
    /// `NotFound` where there is no such directory; what the file system says.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;
}

/// An open file.
pub trait DiskFile: fmt::Debug + Send {
    /// Writes `pieces` one after the other from byte `at` on; how many bytes were written, which may be fewer.
    ///
    /// # Errors
    /// What the file system says.
    fn write_at(&self, at: u64, pieces: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Reads from byte `at` on; how many bytes were read, which may be fewer, and is 0 at the end.
    ///
    /// # Errors
    /// What the file system says.
    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Makes what was written survive a loss of power.
    ///
    /// # Errors
    /// What the file system says. What was written since the last success may be lost then, also if a later call succeeds.
    fn sync_data(&self) -> io::Result<()>;

    /// The length of the file.
    ///
    /// # Errors
    /// What the file system says.
    fn bytes(&self) -> io::Result<u64>;
}

/// Writes all of `pieces` from byte `at` on.
pub(super) fn write_all(file: &impl DiskFile, mut at: u64, pieces: &[&[u8]]) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> =
        pieces.iter().filter(|piece| !piece.is_empty()).map(|piece| IoSlice::new(piece)).collect();
    let mut rest = slices.as_mut_slice();
    while !rest.is_empty() {
        let now = rest.get(..SPILL_WRITE_SLICES_MAX.min(rest.len())).unwrap_or_default();
        let asked: usize = now.iter().map(|slice| slice.len()).sum();
        match file.write_at(at, now) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) if written > asked => {
                return Err(io::Error::other("more was written than there was"));
            }
            Ok(written) => {
                at += written as u64;
                IoSlice::advance_slices(&mut rest, written);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The `len` bytes from `at` on; fewer where the file ends.
pub(super) fn read_up_to(file: &impl DiskFile, at: u64, len: usize) -> io::Result<Bytes> {
    read_ahead(file, at, len, len)
}

/// The `len` bytes from `at` on; fewer where the file ends, or where what comes after the first `wanted` cannot be read.
pub(super) fn read_ahead(file: &impl DiskFile, at: u64, wanted: usize, len: usize) -> io::Result<Bytes> {
    let mut bytes = BytesMut::zeroed(len);
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(at + filled as u64, rest) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) if filled >= wanted => break,
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes.freeze())
}

/// A file that is read, for tests of what is in it.
#[cfg(test)]
impl DiskFile for Vec<u8> {
    fn write_at(&self, _: u64, _: &[IoSlice<'_>]) -> io::Result<usize> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(at).ok().and_then(|at| self.get(at..)).unwrap_or_default();
        let len = rest.len().min(into.len());
        into[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}
