//! The file system of the operating system, as the log knows one. Must never decide anything, or try anything again.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FlockOperation, fdatasync, flock, statvfs};
use rustix::io::{Errno, pwritev, retry_on_intr};

use super::sync_times::SyncTimes;
use crate::io::clock;
use crate::limits::{SPILL_DIRECTORY_MODE, SPILL_FILE_MODE};
use crate::spill::{Disk, DiskFile, Entry};

/// The file system of the operating system.
#[derive(Clone, Debug, Default)]
pub struct OsDisk {
    syncs: Arc<SyncTimes>,
}

/// An open file.
#[derive(Debug)]
pub struct OsFile {
    file: File,
    syncs: Arc<SyncTimes>,
}

/// A file that is locked for as long as this lives; the kernel takes the lock back when the process ends, however it ends.
#[derive(Debug)]
pub struct OsLock {
    _locked: File,
}

impl OsDisk {
    /// How long the syncs of its files took.
    pub(super) fn syncs(&self) -> Arc<SyncTimes> {
        Arc::clone(&self.syncs)
    }

    fn file(&self, file: File) -> OsFile {
        OsFile { file, syncs: self.syncs() }
    }
}

impl Disk for OsDisk {
    type File = OsFile;
    type Lock = OsLock;

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let about = match entry.metadata() {
                Ok(about) => about,
                // Another process has just renamed or deleted it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            // A name that is no UTF-8 is none of ours.
            if let Ok(name) = entry.file_name().into_string() {
                entries.push(Entry { name, is_dir: about.is_dir(), bytes: about.len() });
            }
        }
        Ok(entries)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(SPILL_DIRECTORY_MODE).create(dir)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir(dir)
    }

    fn create(&self, path: &Path) -> io::Result<OsFile> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).mode(SPILL_FILE_MODE).open(path)?;
        Ok(self.file(file))
    }

    fn open(&self, path: &Path) -> io::Result<OsFile> {
        Ok(self.file(File::open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        match File::open(dir)?.sync_all() {
            // A file system that has no such thing (some network ones) says EINVAL: its entries are as safe as it makes them.
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => Ok(()),
            synced => synced,
        }
    }

    fn try_lock(&self, path: &Path, create: bool) -> io::Result<Option<OsLock>> {
        let mut options = OpenOptions::new();
        // Never truncated: it may be somebody's.
        options.read(true).write(true).create(create).truncate(false).mode(SPILL_FILE_MODE);
        let file = options.open(path)?;
        match retry_on_intr(|| flock(&file, FlockOperation::NonBlockingLockExclusive)) {
            Err(Errno::WOULDBLOCK) => return Ok(None),
            locked => locked?,
        }
        // Who held it before may have removed the file while it was waited for: that lock keeps nobody out.
        let (own, there) = (file.metadata()?, fs::metadata(path));
        match there {
            Ok(there) if (there.dev(), there.ino()) == (own.dev(), own.ino()) => {
                Ok(Some(OsLock { _locked: file }))
            }
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let about = statvfs(dir)?;
        // Blocks are counted in fragments; what is kept for root is not free to others.
        Ok(about.f_bavail.saturating_mul(about.f_frsize))
    }
}

impl DiskFile for OsFile {
    fn write_at(&self, at: u64, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        // More pieces than the kernel takes are left for the next call.
        Ok(pwritev(&self.file, pieces, at)?)
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        FileExt::read_at(&self.file, into, at)
    }

    fn sync_data(&self) -> io::Result<()> {
        let begun = clock::now();
        // Not tried again, also not when it was interrupted: pages that a failed sync has marked clean look synced the next time.
        let synced = fdatasync(&self.file);
        self.syncs.add(clock::now().saturating_duration_since(begun));
        Ok(synced?)
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::spill::tests::Scratch;

    #[test]
    fn files_are_written_in_pieces_at_a_place_and_read_back() {
        let (scratch, disk) = (Scratch::new("pieces"), OsDisk::default());
        let (dir, path) = (scratch.path().join("a/b"), scratch.path().join("a/b/file"));
        assert_eq!(disk.list(&dir).unwrap_err().kind(), io::ErrorKind::NotFound);
        disk.create_dir(&dir).unwrap();
        disk.create_dir(&dir).unwrap();
        let file = disk.create(&path).unwrap();
        assert_eq!(disk.create(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        let pieces: Vec<[u8; 2]> = (0..3000_u16).map(u16::to_be_bytes).collect();
        let (mut written, whole) = (0, pieces.concat());
        while written < whole.len() {
            let rest: Vec<IoSlice<'_>> = whole[written..].chunks(2).map(IoSlice::new).collect();
            let step = file.write_at(10 + written as u64, &rest).unwrap();
            assert!(step > 0, "a short write goes on, it does not stand still");
            written += step;
        }
        file.sync_data().unwrap();
        assert_eq!((file.bytes().unwrap(), disk.syncs().snapshot().count), (6010, 1));
        let (read, mut into) = (disk.open(&path).unwrap(), vec![1; 8000]);
        assert_eq!(read.read_at(0, &mut into).unwrap(), 6010);
        assert_eq!(into[..10], [0; 10]);
        assert_eq!(into[10..6010], whole);
        assert_eq!(read.read_at(6010, &mut into).unwrap(), 0, "the end");
        disk.sync_dir(&dir).unwrap();
        assert_eq!(disk.list(&dir).unwrap(), [Entry { name: "file".to_owned(), is_dir: false, bytes: 6010 }]);
        disk.rename(&path, &dir.join("other")).unwrap();
        assert_eq!(disk.open(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        disk.remove(&dir.join("other")).unwrap();
        disk.remove_dir(&dir).unwrap();
        assert_eq!(disk.free_bytes(&dir).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(disk.free_bytes(scratch.path()).unwrap() > 0);
    }

    #[test]
    fn one_holds_a_lock_until_it_is_dropped_and_only_while_its_file_is_there() {
        let (scratch, disk) = (Scratch::new("locks"), OsDisk::default());
        let path = scratch.path().join("lock");
        assert_eq!(disk.try_lock(&path, false).unwrap_err().kind(), io::ErrorKind::NotFound);
        let held = disk.try_lock(&path, true).unwrap().expect("nobody else");
        assert!(disk.try_lock(&path, false).unwrap().is_none(), "held, also by the same process");
        drop(held);
        let held = disk.try_lock(&path, false).unwrap().expect("given back");
        disk.remove(&path).unwrap();
        let other = disk.try_lock(&path, true).unwrap().expect("another file of the same name");
        drop((held, other));
    }

    /// Whoever waits for a lock may get that of a file which its owner has removed meanwhile.
    #[test]
    fn the_lock_of_a_removed_file_is_no_lock() {
        let (scratch, disk) = (Scratch::new("stale"), OsDisk::default());
        let path = scratch.path().join("lock");
        for _ in 0..200 {
            let held = disk.try_lock(&path, true).unwrap().expect("nobody else");
            let racer = {
                let (disk, path) = (disk.clone(), path.clone());
                std::thread::spawn(move || disk.try_lock(&path, false).ok().flatten())
            };
            disk.remove(&path).unwrap();
            drop(held);
            assert!(racer.join().unwrap().is_none(), "a lock on a file that is not there");
        }
    }
}
