//! A disk in memory that fails as disks do, by order or by seed: short writes, EINTR, EIO, ENOSPC, read-only, a process that dies
//! in mid-call, a power cut. It counts every call, and never sleeps.
//!
//! A [`FaultDisk`] is one process's view of a machine. [`FaultDisk::another_process`] is a second one on the same machine;
//! [`FaultDisk::kill`] ends the process alone, whose writes stay in the kernel; [`FaultDisk::after_power_loss`] is another machine that
//! has what was safe.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use relay_core::spill::{Disk, DiskFile, Entry};
use testkit::generate::Xorshift;

use super::file_tree::{FileTree, Inode};

pub(crate) const EINTR: i32 = 4;
pub(crate) const EIO: i32 = 5;
pub(crate) const ENOSPC: i32 = 28;
pub(crate) const EROFS: i32 = 30;

/// Free space of a disk without a capacity.
const FREE_BYTES: u64 = 1 << 40;

/// What a process asks of a disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Call {
    List,
    CreateDir,
    RemoveDir,
    Create,
    Open,
    Rename,
    Remove,
    SyncDir,
    Lock,
    FreeBytes,
    Write,
    Read,
    Sync,
    Bytes,
}

impl Call {
    fn changes_the_disk(self) -> bool {
        !matches!(self, Self::List | Self::Open | Self::FreeBytes | Self::Read | Self::Bytes)
    }
}

/// Faults by chance: one in so many calls; 0 is never.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rates {
    pub(crate) short_write: usize,
    pub(crate) short_read: usize,
    /// EINTR of a read or write.
    pub(crate) interrupted: usize,
    pub(crate) write_eio: usize,
    pub(crate) sync_eio: usize,
    pub(crate) read_eio: usize,
    /// EIO of any call about names or directories.
    pub(crate) name_eio: usize,
}

/// What has been asked since the disk was made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls {
    counts: BTreeMap<Call, u64>,
    pub(crate) written_bytes: u64,
    pub(crate) read_bytes: u64,
    /// Syncs of a file whose sync had failed before: whoever asks believes what cannot be believed.
    pub(crate) syncs_after_failure: u64,
    /// Bytes written over others that were there.
    pub(crate) overwritten_bytes: u64,
}

impl Calls {
    pub(crate) fn of(&self, call: Call) -> u64 {
        self.counts.get(&call).copied().unwrap_or_default()
    }

    /// All calls.
    pub(crate) fn all(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Calls that change the disk.
    pub(crate) fn changes(&self) -> u64 {
        self.counts.iter().filter(|(call, _)| call.changes_the_disk()).map(|(_, count)| count).sum()
    }
}

#[derive(Debug)]
struct Machine {
    tree: FileTree,
    random: Xorshift,
    // Locked files, and the process and lock that has each.
    locks: BTreeMap<Inode, (u64, u64)>,
    living: BTreeSet<u64>,
    numbers: u64,
    rates: Rates,
    ordered: Vec<Ordered>,
    capacity_bytes: Option<u64>,
    is_read_only: bool,
    calls: Calls,
}

/// Which calls are counted until one of them fails.
#[derive(Clone, Copy, Debug)]
enum Meant {
    One(Call),
    Any,
    /// Those that change the disk.
    Changes,
}

#[derive(Debug)]
struct Ordered {
    meant: Meant,
    // Calls of its kind that go well before it.
    after: u64,
    // None: the process dies in it.
    error: Option<i32>,
}

/// One process's view of a machine's disk.
#[derive(Clone, Debug)]
pub(crate) struct FaultDisk {
    machine: Arc<Mutex<Machine>>,
    process: u64,
}

/// An open file of one process.
#[derive(Debug)]
pub(crate) struct FaultFile {
    disk: FaultDisk,
    inode: Inode,
}

/// A lock that one process holds.
#[derive(Debug)]
pub(crate) struct FaultLock {
    disk: FaultDisk,
    inode: Inode,
    number: u64,
}

/// How a call goes on that was not refused.
#[derive(PartialEq, Eq)]
enum Course {
    Whole,
    /// The process dies in it: something of it may be done, nobody hears of it.
    Dying,
}

fn os_error(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

impl Machine {
    fn begin(&mut self, process: u64, call: Call) -> io::Result<Course> {
        if !self.living.contains(&process) {
            return Err(os_error(EIO));
        }
        *self.calls.counts.entry(call).or_default() += 1;
        if self.is_read_only && call.changes_the_disk() && call != Call::Sync && call != Call::SyncDir {
            return Err(os_error(EROFS));
        }
        for index in 0..self.ordered.len() {
            let ordered = &mut self.ordered[index];
            let is_meant = match ordered.meant {
                Meant::One(one) => one == call,
                Meant::Any => true,
                Meant::Changes => call.changes_the_disk(),
            };
            if !is_meant {
                continue;
            }
            if ordered.after > 0 {
                ordered.after -= 1;
                continue;
            }
            match self.ordered.swap_remove(index).error {
                Some(error) => return Err(os_error(error)),
                None => return Ok(Course::Dying),
            }
        }
        let rates = self.rates;
        let rate = match call {
            Call::Write => rates.write_eio,
            Call::Read => rates.read_eio,
            Call::Sync => rates.sync_eio,
            Call::Bytes | Call::FreeBytes => 0,
            _ => rates.name_eio,
        };
        if self.happens(rate) {
            return Err(os_error(EIO));
        }
        if matches!(call, Call::Write | Call::Read) && self.happens(rates.interrupted) {
            return Err(os_error(EINTR));
        }
        Ok(Course::Whole)
    }

    fn happens(&mut self, one_in: usize) -> bool {
        one_in > 0 && self.random.below(one_in) == 0
    }

    fn end_process(&mut self, process: u64) {
        self.living.remove(&process);
        self.locks.retain(|_, (owner, _)| *owner != process);
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }
}

impl FaultDisk {
    /// An empty disk with one process, whose chances depend on `seed` alone.
    pub(crate) fn new(seed: u64) -> Self {
        Self::of(FileTree::new(), seed)
    }

    fn of(tree: FileTree, seed: u64) -> Self {
        let machine = Machine {
            tree,
            random: Xorshift::new(seed),
            locks: BTreeMap::new(),
            living: BTreeSet::from([0]),
            numbers: 0,
            rates: Rates::default(),
            ordered: Vec::new(),
            capacity_bytes: None,
            is_read_only: false,
            calls: Calls::default(),
        };
        Self { machine: Arc::new(Mutex::new(machine)), process: 0 }
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap()
    }

    pub(crate) fn another_process(&self) -> Self {
        let mut machine = self.machine();
        let process = machine.number();
        machine.living.insert(process);
        Self { machine: Arc::clone(&self.machine), process }
    }

    /// Ends this process as `kill -9` does: its locks are free, what it wrote is there.
    pub(crate) fn kill(&self) {
        self.machine().end_process(self.process);
    }

    pub(crate) fn is_living(&self) -> bool {
        self.machine().living.contains(&self.process)
    }

    /// What this machine would have after a loss of power now, and one process on it. This one goes on.
    pub(crate) fn after_power_loss(&self, seed: u64) -> Self {
        let tree = self.machine().tree.clone().after_power_loss(&mut Xorshift::new(seed));
        Self::of(tree, seed)
    }

    /// A copy of all that is there now, unsynced or not, with one process.
    pub(crate) fn copied(&self, seed: u64) -> Self {
        Self::of(self.machine().tree.clone(), seed)
    }

    /// Makes all that is there durable.
    pub(crate) fn settle(&self) {
        self.machine().tree.settle();
    }

    pub(crate) fn set_rates(&self, rates: Rates) {
        self.machine().rates = rates;
    }

    /// The `after`-th next call of this kind (0: the next) fails.
    pub(crate) fn fail(&self, call: Call, after: u64, error: i32) {
        self.machine().ordered.push(Ordered { meant: Meant::One(call), after, error: Some(error) });
    }

    /// The `after`-th next call of any kind fails.
    pub(crate) fn fail_any(&self, after: u64, error: i32) {
        self.machine().ordered.push(Ordered { meant: Meant::Any, after, error: Some(error) });
    }

    /// Whether a fault that was ordered is still to come.
    pub(crate) fn has_orders(&self) -> bool {
        !self.machine().ordered.is_empty()
    }

    /// The process dies in the `after`-th next call that changes the disk: a write is done in part, another call wholly or not.
    pub(crate) fn die_after(&self, after: u64) {
        self.machine().ordered.push(Ordered { meant: Meant::Changes, after, error: None });
    }

    /// Files may have so many bytes together. None: no bound.
    pub(crate) fn set_capacity(&self, bytes: Option<u64>) {
        self.machine().capacity_bytes = bytes;
    }

    pub(crate) fn set_read_only(&self, is_read_only: bool) {
        self.machine().is_read_only = is_read_only;
    }

    pub(crate) fn calls(&self) -> Calls {
        self.machine().calls.clone()
    }

    pub(crate) fn files(&self, dir: &Path) -> Vec<PathBuf> {
        self.machine().tree.files(dir)
    }

    pub(crate) fn get(&self, path: &Path) -> Vec<u8> {
        let machine = self.machine();
        let inode = machine.tree.find(path).unwrap();
        machine.tree.contents(inode).unwrap().bytes().to_vec()
    }

    /// Puts a file there, durably, in place of what has its name.
    pub(crate) fn put(&self, path: &Path, bytes: &[u8]) {
        let mut machine = self.machine();
        let tree = &mut machine.tree;
        tree.create_dir(path.parent().unwrap()).unwrap();
        if tree.find(path).is_ok() {
            tree.remove_file(path).unwrap();
        }
        let inode = tree.create_file(path).unwrap();
        tree.contents_mut(inode).unwrap().write(0, bytes);
        tree.settle();
    }

    /// A call about names: done wholly or not, or not heard of.
    fn names<T>(&self, call: Call, work: impl FnOnce(&mut FileTree) -> Result<T, i32>) -> io::Result<T> {
        let mut machine = self.machine();
        let course = machine.begin(self.process, call)?;
        if course == Course::Dying {
            if machine.happens(2) {
                work(&mut machine.tree).ok();
            }
            machine.end_process(self.process);
            return Err(os_error(EIO));
        }
        work(&mut machine.tree).map_err(os_error)
    }
}

impl Disk for FaultDisk {
    type File = FaultFile;
    type Lock = FaultLock;

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let entries = self.names(Call::List, |tree| tree.list(dir))?;
        Ok(entries.into_iter().map(|(name, is_dir, bytes)| Entry { name, is_dir, bytes }).collect())
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.names(Call::CreateDir, |tree| tree.create_dir(dir))
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.names(Call::RemoveDir, |tree| tree.remove_dir(dir))
    }

    fn create(&self, path: &Path) -> io::Result<FaultFile> {
        let inode = self.names(Call::Create, |tree| tree.create_file(path))?;
        Ok(FaultFile { disk: self.clone(), inode })
    }

    fn open(&self, path: &Path) -> io::Result<FaultFile> {
        let inode = self.names(Call::Open, |tree| {
            let inode = tree.find(path)?;
            tree.contents(inode).map(|_| inode)
        })?;
        Ok(FaultFile { disk: self.clone(), inode })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.names(Call::Rename, |tree| tree.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.names(Call::Remove, |tree| tree.remove_file(path))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.names(Call::SyncDir, |tree| tree.sync_dir(dir))
    }

    fn try_lock(&self, path: &Path, create: bool) -> io::Result<Option<FaultLock>> {
        let found = self.names(Call::Lock, |tree| match tree.find(path) {
            Ok(inode) => tree.contents(inode).map(|_| Some(inode)),
            Err(_) if create => tree.create_file(path).map(Some),
            Err(error) => Err(error),
        })?;
        let mut machine = self.machine();
        let Some(inode) = found.filter(|inode| !machine.locks.contains_key(inode)) else { return Ok(None) };
        let number = machine.number();
        machine.locks.insert(inode, (self.process, number));
        Ok(Some(FaultLock { disk: self.clone(), inode, number }))
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        let mut machine = self.machine();
        machine.begin(self.process, Call::FreeBytes)?;
        let used = machine.tree.bytes();
        Ok(machine.capacity_bytes.map_or(FREE_BYTES, |capacity| capacity.saturating_sub(used)))
    }
}

impl DiskFile for FaultFile {
    fn write_at(&self, at: u64, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut machine = self.disk.machine();
        let course = machine.begin(self.disk.process, Call::Write)?;
        let bytes: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
        let at = usize::try_from(at).unwrap();
        let len = machine.tree.contents(self.inode).map_err(os_error)?.bytes().len();
        let mut done = bytes.len();
        let rate = machine.rates.short_write;
        if course == Course::Dying || machine.happens(rate) {
            done = machine.random.below(done + 1).max(usize::from(course == Course::Whole && done > 0));
        }
        if let Some(capacity) = machine.capacity_bytes {
            let free = usize::try_from(capacity.saturating_sub(machine.tree.bytes())).unwrap();
            done = done.min((len + free).saturating_sub(at));
            if done == 0 && !bytes.is_empty() && course == Course::Whole {
                return Err(os_error(ENOSPC));
            }
        }
        machine.tree.contents_mut(self.inode).map_err(os_error)?.write(at, &bytes[..done]);
        machine.calls.written_bytes += done as u64;
        machine.calls.overwritten_bytes += len.saturating_sub(at).min(done) as u64;
        if course == Course::Dying {
            machine.end_process(self.disk.process);
            return Err(os_error(EIO));
        }
        Ok(done)
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut machine = self.disk.machine();
        machine.begin(self.disk.process, Call::Read)?;
        let rate = machine.rates.short_read;
        let is_short = machine.happens(rate);
        let wanted = if is_short { 1 + machine.random.below(into.len()) } else { into.len() };
        let bytes = machine.tree.contents(self.inode).map_err(os_error)?.bytes();
        let from = usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
        let done = wanted.min(into.len()).min(bytes.len() - from);
        into[..done].copy_from_slice(&bytes[from..from + done]);
        machine.calls.read_bytes += done as u64;
        Ok(done)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut guard = self.disk.machine();
        let machine = &mut *guard;
        let begun = machine.begin(self.disk.process, Call::Sync);
        if !machine.living.contains(&self.disk.process) {
            return begun.map(|_| ());
        }
        let contents = machine.tree.contents_mut(self.inode).map_err(os_error)?;
        machine.calls.syncs_after_failure += u64::from(contents.has_failed);
        match begun {
            Ok(Course::Whole) => {
                contents.sync();
                Ok(())
            }
            Ok(Course::Dying) => {
                if machine.random.below(2) == 0 {
                    contents.sync();
                }
                machine.end_process(self.disk.process);
                Err(os_error(EIO))
            }
            Err(error) => {
                contents.fail_sync(&mut machine.random);
                Err(error)
            }
        }
    }

    fn bytes(&self) -> io::Result<u64> {
        let mut machine = self.disk.machine();
        machine.begin(self.disk.process, Call::Bytes)?;
        machine.tree.contents(self.inode).map(|contents| contents.bytes().len() as u64).map_err(os_error)
    }
}

impl Drop for FaultLock {
    fn drop(&mut self) {
        let mut machine = self.disk.machine();
        if machine.locks.get(&self.inode).is_some_and(|(_, number)| *number == self.number) {
            machine.locks.remove(&self.inode);
        }
    }
}
