//! Files and names as a file system holds them: what programs see now, and what a loss of power leaves of it.
//!
//! What is not synced is never trusted: bytes of a file may be lost wholly, from some byte on, or page by page; the making of a name
//! may be lost, its removal and a rename undone. Names are finer than any one file system is: each change is kept or lost by itself,
//! unless it builds on another. Must never keep what POSIX does not promise; a rename is whole or undone, as on every file system with
//! a journal, unless the directory that the name has left is synced before the one that it came to: then it may be in neither.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use testkit::generate::Xorshift;

/// What a kernel writes back at once.
pub(crate) const PAGE_BYTES: usize = 4096;

pub(crate) const ENOENT: i32 = 2;
pub(crate) const EEXIST: i32 = 17;
pub(crate) const ENOTDIR: i32 = 20;
pub(crate) const EISDIR: i32 = 21;
pub(crate) const ENOTEMPTY: i32 = 39;

/// The number of a file or directory.
pub(crate) type Inode = u64;
const ROOT: Inode = 0;

#[derive(Clone, Debug)]
enum Node {
    File(Contents),
    Dir(Names),
}

#[derive(Clone, Debug, Default)]
struct Names {
    now: BTreeMap<String, Inode>,
    durable: BTreeMap<String, Inode>,
}

/// The bytes of a file: as they are read, and as they are on the platters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contents {
    now: Vec<u8>,
    durable: Vec<u8>,
    // Pages that differ from what is durable; a failed sync empties it and lies from then on.
    dirty: BTreeSet<usize>,
    /// Whether a sync of it has failed: syncing it again would be believed for nothing.
    pub(crate) has_failed: bool,
}

/// A change of names that no sync of its directories has made durable.
#[derive(Clone, Debug)]
struct NameChange {
    inode: Inode,
    unlinked: Option<(Inode, String)>,
    linked: Option<(Inode, String)>,
    unsynced: BTreeSet<Inode>,
}

impl NameChange {
    fn slots(&self) -> impl Iterator<Item = &(Inode, String)> {
        [&self.unlinked, &self.linked].into_iter().flatten()
    }

    /// Whether this cannot be durable without `earlier`.
    fn implies(&self, earlier: &Self) -> bool {
        self.inode == earlier.inode
            || self.slots().any(|slot| earlier.slots().any(|other| slot == other))
            // A directory goes after what was in it.
            || earlier.slots().any(|(dir, _)| *dir == self.inode)
    }

    /// Whether this is lost when `earlier` is. What is durable in a directory is lost with the name of that directory.
    fn builds_on(&self, earlier: &Self) -> bool {
        self.implies(earlier) || self.slots().any(|(dir, _)| *dir == earlier.inode)
    }
}

/// A whole file system.
#[derive(Clone, Debug)]
pub(crate) struct FileTree {
    nodes: BTreeMap<Inode, Node>,
    pending: Vec<NameChange>,
}

impl FileTree {
    pub(crate) fn new() -> Self {
        Self { nodes: BTreeMap::from([(ROOT, Node::Dir(Names::default()))]), pending: Vec::new() }
    }

    pub(crate) fn find(&self, path: &Path) -> Result<Inode, i32> {
        let mut inode = ROOT;
        for component in path.components() {
            match component {
                Component::RootDir | Component::CurDir => {}
                Component::Normal(name) => {
                    let name = name.to_str().unwrap();
                    inode = *self.names(inode)?.now.get(name).ok_or(ENOENT)?;
                }
                Component::Prefix(_) | Component::ParentDir => {
                    panic!("{}: not in this world", path.display())
                }
            }
        }
        Ok(inode)
    }

    /// Names in a directory, whether each is a directory, and its bytes.
    pub(crate) fn list(&self, dir: &Path) -> Result<Vec<(String, bool, u64)>, i32> {
        let names = self.names(self.find(dir)?)?;
        let entries = names.now.iter().map(|(name, inode)| match &self.nodes[inode] {
            Node::File(contents) => (name.clone(), false, contents.now.len() as u64),
            Node::Dir(_) => (name.clone(), true, 0),
        });
        Ok(entries.collect())
    }

    pub(crate) fn create_dir(&mut self, path: &Path) -> Result<(), i32> {
        match self.find(path) {
            Ok(inode) => return self.names(inode).map(|_| ()),
            Err(ENOENT) => {}
            Err(error) => return Err(error),
        }
        self.create_dir(path.parent().unwrap())?;
        self.link_new(path, Node::Dir(Names::default())).map(|_| ())
    }

    pub(crate) fn create_file(&mut self, path: &Path) -> Result<Inode, i32> {
        if self.find(path).is_ok() {
            return Err(EEXIST);
        }
        self.link_new(path, Node::File(Contents::default()))
    }

    pub(crate) fn remove_dir(&mut self, path: &Path) -> Result<(), i32> {
        if !self.names(self.find(path)?)?.now.is_empty() {
            return Err(ENOTEMPTY);
        }
        self.unlink(path)
    }

    pub(crate) fn remove_file(&mut self, path: &Path) -> Result<(), i32> {
        self.contents(self.find(path)?)?;
        self.unlink(path)
    }

    pub(crate) fn rename(&mut self, from: &Path, to: &Path) -> Result<(), i32> {
        let inode = self.find(from)?;
        if let Ok(there) = self.find(to)
            && let Node::Dir(names) = &self.nodes[&there]
            && !names.now.is_empty()
        {
            return Err(ENOTEMPTY);
        }
        let (unlinked, linked) = (self.slot(from)?, self.slot(to)?);
        self.names_mut(unlinked.0).now.remove(&unlinked.1);
        self.names_mut(linked.0).now.insert(linked.1.clone(), inode);
        let unsynced = BTreeSet::from([unlinked.0, linked.0]);
        self.pending.push(NameChange { inode, unlinked: Some(unlinked), linked: Some(linked), unsynced });
        Ok(())
    }

    pub(crate) fn sync_dir(&mut self, dir: &Path) -> Result<(), i32> {
        let inode = self.find(dir)?;
        self.names(inode)?;
        for change in &mut self.pending {
            change.unsynced.remove(&inode);
        }
        // What a durable change implies is durable too.
        let mut durable: Vec<bool> = self.pending.iter().map(|change| change.unsynced.is_empty()).collect();
        for later in (0..self.pending.len()).rev() {
            for earlier in 0..later {
                durable[earlier] |= durable[later] && self.pending[later].implies(&self.pending[earlier]);
            }
        }
        let changes = std::mem::take(&mut self.pending);
        for (change, is_durable) in changes.into_iter().zip(durable) {
            if is_durable {
                self.make_durable(&change);
            } else {
                self.pending.push(change);
            }
        }
        Ok(())
    }

    pub(crate) fn contents(&self, inode: Inode) -> Result<&Contents, i32> {
        match &self.nodes[&inode] {
            Node::File(contents) => Ok(contents),
            Node::Dir(_) => Err(EISDIR),
        }
    }

    pub(crate) fn contents_mut(&mut self, inode: Inode) -> Result<&mut Contents, i32> {
        match self.nodes.get_mut(&inode).unwrap() {
            Node::File(contents) => Ok(contents),
            Node::Dir(_) => Err(EISDIR),
        }
    }

    /// All files below `dir`, by path.
    pub(crate) fn files(&self, dir: &Path) -> Vec<PathBuf> {
        let Ok(entries) = self.list(dir) else { return Vec::new() };
        let below = entries.into_iter().flat_map(|(name, is_dir, _)| {
            let path = dir.join(name);
            if is_dir { self.files(&path) } else { vec![path] }
        });
        below.collect()
    }

    /// Bytes of all files that have a name.
    pub(crate) fn bytes(&self) -> u64 {
        let mut bytes = 0;
        let mut pending = vec![ROOT];
        while let Some(inode) = pending.pop() {
            match &self.nodes[&inode] {
                Node::File(contents) => bytes += contents.now.len() as u64,
                Node::Dir(names) => pending.extend(names.now.values()),
            }
        }
        bytes
    }

    /// Makes all that is there durable, as a disk that has been left alone.
    pub(crate) fn settle(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            self.make_durable(&change);
        }
        self.nodes.values_mut().for_each(|node| {
            if let Node::File(contents) = node {
                contents.sync();
            }
        });
    }

    /// What is there after a loss of power. One time in four nothing is kept that need not be, one time in four all is.
    #[must_use]
    pub(crate) fn after_power_loss(mut self, random: &mut Xorshift) -> Self {
        let mode = random.below(4);
        let mut lost: Vec<NameChange> = Vec::new();
        for change in std::mem::take(&mut self.pending) {
            let is_lost = mode == 0 || (mode > 1 && random.below(2) == 0);
            if is_lost || lost.iter().any(|earlier| change.builds_on(earlier)) {
                if let Some((dir, name)) =
                    change.unlinked.as_ref().filter(|(dir, _)| !change.unsynced.contains(dir))
                {
                    self.names_mut(*dir).durable.remove(name);
                }
                lost.push(change);
            } else {
                self.make_durable(&change);
            }
        }
        for node in self.nodes.values_mut() {
            match node {
                Node::File(contents) => contents.lose_power(mode, random),
                Node::Dir(names) => names.now = names.durable.clone(),
            }
        }
        self
    }

    fn names(&self, inode: Inode) -> Result<&Names, i32> {
        match &self.nodes[&inode] {
            Node::Dir(names) => Ok(names),
            Node::File(_) => Err(ENOTDIR),
        }
    }

    fn names_mut(&mut self, inode: Inode) -> &mut Names {
        match self.nodes.get_mut(&inode).unwrap() {
            Node::Dir(names) => names,
            Node::File(_) => panic!("{inode} is a file"),
        }
    }

    fn slot(&self, path: &Path) -> Result<(Inode, String), i32> {
        let dir = self.find(path.parent().unwrap())?;
        self.names(dir)?;
        Ok((dir, path.file_name().unwrap().to_str().unwrap().to_owned()))
    }

    fn link_new(&mut self, path: &Path, node: Node) -> Result<Inode, i32> {
        let linked = self.slot(path)?;
        let inode = self.nodes.last_key_value().map_or(0, |(last, _)| last + 1);
        self.nodes.insert(inode, node);
        self.names_mut(linked.0).now.insert(linked.1.clone(), inode);
        let unsynced = BTreeSet::from([linked.0]);
        self.pending.push(NameChange { inode, unlinked: None, linked: Some(linked), unsynced });
        Ok(inode)
    }

    fn unlink(&mut self, path: &Path) -> Result<(), i32> {
        let inode = self.find(path)?;
        let unlinked = self.slot(path)?;
        self.names_mut(unlinked.0).now.remove(&unlinked.1);
        let unsynced = BTreeSet::from([unlinked.0]);
        self.pending.push(NameChange { inode, unlinked: Some(unlinked), linked: None, unsynced });
        Ok(())
    }

    fn make_durable(&mut self, change: &NameChange) {
        if let Some((dir, name)) = &change.unlinked {
            self.names_mut(*dir).durable.remove(name);
        }
        if let Some((dir, name)) = &change.linked {
            self.names_mut(*dir).durable.insert(name.clone(), change.inode);
        }
    }
}

impl Contents {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.now
    }

    pub(crate) fn write(&mut self, at: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = at + bytes.len();
        // A gap before it is a hole of zeros, and as new as the rest.
        let from = at.min(self.now.len());
        self.now.resize(self.now.len().max(end), 0);
        self.now[at..end].copy_from_slice(bytes);
        self.dirty.extend(from / PAGE_BYTES..=(end - 1) / PAGE_BYTES);
    }

    pub(crate) fn sync(&mut self) {
        for page in std::mem::take(&mut self.dirty) {
            self.keep(self.page(page));
        }
    }

    /// Some pages may have come through; none of them is ever written again. What was in memory may be gone at once.
    pub(crate) fn fail_sync(&mut self, random: &mut Xorshift) {
        for page in std::mem::take(&mut self.dirty) {
            if random.below(2) == 0 {
                self.keep(self.page(page));
            }
        }
        self.has_failed = true;
        if random.below(2) == 0 {
            self.now = self.durable.clone();
        }
    }

    fn lose_power(&mut self, mode: usize, random: &mut Xorshift) {
        let (cut, by_page) = match mode {
            0 => (0, false),
            1 => (self.now.len(), false),
            _ => (random.below(self.now.len() + 1), random.below(2) == 0),
        };
        for page in std::mem::take(&mut self.dirty) {
            let range = self.page(page);
            if by_page && random.below(2) == 0 {
                self.keep(range);
            } else if !by_page && range.start < cut {
                self.keep(range.start..range.end.min(cut));
            }
        }
        // The length may reach the disk before the bytes do.
        if by_page && random.below(2) == 0 && self.durable.len() < self.now.len() {
            self.durable.resize(self.now.len(), 0);
        }
        self.now = self.durable.clone();
    }

    fn page(&self, page: usize) -> Range<usize> {
        page * PAGE_BYTES..((page + 1) * PAGE_BYTES).min(self.now.len())
    }

    fn keep(&mut self, range: Range<usize>) {
        if range.end > self.durable.len() {
            self.durable.resize(range.end, 0);
        }
        self.durable[range.clone()].copy_from_slice(&self.now[range]);
    }
}
