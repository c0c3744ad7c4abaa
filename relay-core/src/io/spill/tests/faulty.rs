//! The file system of the operating system, watched: what was done in which order, and what fails, stops or panics on demand.

use std::io::{self, ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::io::spill::{OsDisk, OsFile, OsLock};
use crate::spill::{Disk, DiskFile, Entry};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    Create,
    Lock,
    Open,
    Read,
    Rename,
    Sync,
    SyncDir,
    Write,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Watched {
    disk: OsDisk,
    plan: Arc<Mutex<Plan>>,
}

#[derive(Debug, Default)]
struct Plan {
    done: Vec<(Doing, PathBuf)>,
    // All that was asked for, also what has failed.
    tried: usize,
    fails: Vec<Doing>,
    error: Option<ErrorKind>,
    fails_once: Option<(Doing, ErrorKind)>,
    panics: Option<Doing>,
    held: Option<(Doing, Gate)>,
}

/// Where the disk stops until it is opened.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate(Arc<(Mutex<(bool, bool)>, Condvar)>);

impl Gate {
    pub(super) fn wait_until_reached(&self) {
        let (state, changed) = &*self.0;
        let waited =
            changed.wait_timeout_while(state.lock().unwrap(), Duration::from_secs(60), |state| !state.0);
        assert!(!waited.unwrap().1.timed_out(), "the disk was not asked");
    }

    pub(super) fn open(&self) {
        self.0.0.lock().unwrap().1 = true;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let (state, changed) = &*self.0;
        let mut here = state.lock().unwrap();
        here.0 = true;
        changed.notify_all();
        let waited = changed.wait_timeout_while(here, Duration::from_secs(60), |state| !state.1);
        assert!(!waited.unwrap().1.timed_out(), "the gate was not opened");
    }
}

impl Watched {
    pub(super) fn fail(&self, doing: &[Doing], error: Option<ErrorKind>) {
        let mut plan = self.plan.lock().unwrap();
        plan.fails = doing.to_vec();
        plan.error = error;
    }

    pub(super) fn fail_once(&self, doing: Doing, error: ErrorKind) {
        self.plan.lock().unwrap().fails_once = Some((doing, error));
    }

    pub(super) fn panic_at(&self, doing: Doing) {
        self.plan.lock().unwrap().panics = Some(doing);
    }

    /// The first of these stops until the gate is opened.
    pub(super) fn hold(&self, doing: Doing) -> Gate {
        let gate = Gate::default();
        self.plan.lock().unwrap().held = Some((doing, gate.clone()));
        gate
    }

    pub(super) fn done(&self) -> Vec<(Doing, PathBuf)> {
        self.plan.lock().unwrap().done.clone()
    }

    pub(super) fn count(&self, doing: Doing) -> usize {
        self.plan.lock().unwrap().done.iter().filter(|(did, _)| *did == doing).count()
    }

    pub(super) fn tried(&self) -> usize {
        self.plan.lock().unwrap().tried
    }

    fn file(&self, file: OsFile, path: &Path) -> WatchedFile {
        WatchedFile { file, path: path.to_owned(), watched: self.clone() }
    }

    /// Does it, unless it is to fail.
    fn with<T>(&self, doing: Doing, path: &Path, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let gate = {
            let mut plan = self.plan.lock().unwrap();
            plan.tried += 1;
            if plan.panics == Some(doing) {
                drop(plan);
                panic!("as it was asked to");
            }
            if let Some((_, error)) = plan.fails_once.take_if(|(fails, _)| *fails == doing) {
                return Err(error.into());
            }
            if let Some(error) = plan.error.filter(|_| plan.fails.contains(&doing)) {
                return Err(error.into());
            }
            plan.held.take_if(|(held, _)| *held == doing)
        };
        gate.iter().for_each(|(_, gate)| gate.pass());
        let did = act()?;
        self.plan.lock().unwrap().done.push((doing, path.to_owned()));
        Ok(did)
    }
}

impl Disk for Watched {
    type File = WatchedFile;
    type Lock = OsLock;

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.with(Doing::Create, dir, || self.disk.create_dir(dir))
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.remove_dir(dir)
    }

    fn create(&self, path: &Path) -> io::Result<WatchedFile> {
        self.with(Doing::Create, path, || self.disk.create(path)).map(|file| self.file(file, path))
    }

    fn open(&self, path: &Path) -> io::Result<WatchedFile> {
        self.with(Doing::Open, path, || self.disk.open(path)).map(|file| self.file(file, path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.with(Doing::Rename, to, || self.disk.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.with(Doing::SyncDir, dir, || self.disk.sync_dir(dir))
    }

    fn try_lock(&self, path: &Path, create: bool) -> io::Result<Option<OsLock>> {
        self.with(Doing::Lock, path, || self.disk.try_lock(path, create))
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.disk.free_bytes(dir)
    }
}

#[derive(Debug)]
pub(super) struct WatchedFile {
    file: OsFile,
    path: PathBuf,
    watched: Watched,
}

impl DiskFile for WatchedFile {
    fn write_at(&self, at: u64, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.watched.with(Doing::Write, &self.path, || self.file.write_at(at, pieces))
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        self.watched.with(Doing::Read, &self.path, || self.file.read_at(at, into))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.watched.with(Doing::Sync, &self.path, || self.file.sync_data())
    }

    fn bytes(&self) -> io::Result<u64> {
        self.file.bytes()
    }
}
