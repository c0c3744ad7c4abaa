//! A file system in memory that fails when it is told to. It keeps no second copy of what is synced: it stands for a process that is
//! killed, not for a machine that loses power.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::super::super::disk::{Disk, DiskFile, Entry};

/// What goes wrong.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// Bytes that may still be written.
    pub(super) room: Option<u64>,
    /// Syncs that fail from now on.
    pub(super) syncs: usize,
    /// Most bytes of one call.
    pub(super) chunk: Option<usize>,
    /// Every other call is interrupted.
    pub(super) interrupts: bool,
    /// Bytes of files that cannot be read, from the first to the second.
    pub(super) unreadable: Option<(u64, u64)>,
    pub(super) free: Option<u64>,
    calls: usize,
}

#[derive(Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    is_locked: bool,
}

type File = Arc<Mutex<Content>>;

#[derive(Debug, Default)]
struct Tree {
    // A directory has no content.
    nodes: BTreeMap<PathBuf, Option<File>>,
    calls: Vec<String>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    tree: Arc<Mutex<Tree>>,
    faults: Arc<Mutex<Faults>>,
}

#[derive(Debug)]
pub(super) struct OpenFile {
    content: File,
    faults: Arc<Mutex<Faults>>,
}

#[derive(Debug)]
pub(super) struct Locked(File);

impl Drop for Locked {
    fn drop(&mut self) {
        self.0.lock().unwrap().is_locked = false;
    }
}

impl Memory {
    pub(super) fn faults(&self) -> std::sync::MutexGuard<'_, Faults> {
        self.faults.lock().unwrap()
    }

    /// All files, and where there are none all directories.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let tree = self.tree.lock().unwrap();
        tree.nodes.iter().filter(|(_, node)| node.is_some()).map(|(path, _)| path.clone()).collect()
    }

    pub(super) fn segments(&self) -> Vec<PathBuf> {
        self.files().into_iter().filter(|path| path.extension().is_some_and(|name| name == "seg")).collect()
    }

    pub(super) fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.tree.lock().unwrap().nodes.contains_key(path.as_ref())
    }

    pub(super) fn put(&self, path: impl Into<PathBuf>, bytes: &[u8]) {
        let content = Content { bytes: bytes.to_vec(), is_locked: false };
        self.tree.lock().unwrap().nodes.insert(path.into(), Some(Arc::new(Mutex::new(content))));
    }

    pub(super) fn edit(&self, path: &Path, edit: impl FnOnce(&mut Vec<u8>)) {
        let file = self.file(path).unwrap();
        edit(&mut file.lock().unwrap().bytes);
    }

    pub(super) fn bytes(&self, path: &Path) -> Vec<u8> {
        self.file(path).unwrap().lock().unwrap().bytes.clone()
    }

    /// Removes all below `path`, as `rm -rf` does.
    pub(super) fn remove_all(&self, path: &Path) {
        self.tree.lock().unwrap().nodes.retain(|node, _| !node.starts_with(path));
    }

    /// Calls that have changed or synced something since the last question.
    pub(super) fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut self.tree.lock().unwrap().calls)
    }

    fn file(&self, path: &Path) -> io::Result<File> {
        let tree = self.tree.lock().unwrap();
        tree.nodes.get(path).cloned().flatten().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn opened(&self, content: File) -> OpenFile {
        OpenFile { content, faults: Arc::clone(&self.faults) }
    }

    fn note(&self, what: &str, path: &Path) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.tree.lock().unwrap().calls.push(format!("{what} {name}"));
    }
}

impl Disk for Memory {
    type File = OpenFile;
    type Lock = Locked;

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let tree = self.tree.lock().unwrap();
        if !tree.nodes.contains_key(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = tree.nodes.iter().filter(|(path, _)| path.parent() == Some(dir));
        Ok(inside
            .map(|(path, node)| Entry {
                name: path.file_name().unwrap().to_string_lossy().into_owned(),
                is_dir: node.is_none(),
                bytes: node.as_ref().map_or(0, |file| file.lock().unwrap().bytes.len() as u64),
            })
            .collect())
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut tree = self.tree.lock().unwrap();
        for part in dir.ancestors() {
            tree.nodes.entry(part.to_path_buf()).or_insert(None);
        }
        Ok(())
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        let mut tree = self.tree.lock().unwrap();
        if tree.nodes.keys().any(|path| path.parent() == Some(dir)) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        tree.nodes.remove(dir).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn create(&self, path: &Path) -> io::Result<OpenFile> {
        if !self.exists(path.parent().unwrap()) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if self.exists(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.put(path, &[]);
        self.note("create", path);
        Ok(self.opened(self.file(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<OpenFile> {
        Ok(self.opened(self.file(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut tree = self.tree.lock().unwrap();
        if !tree.nodes.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let nodes = std::mem::take(&mut tree.nodes);
        for (path, node) in nodes {
            let renamed = match path.strip_prefix(from) {
                Ok(rest) if rest.as_os_str().is_empty() => to.to_path_buf(),
                Ok(rest) => to.join(rest),
                Err(_) => path,
            };
            tree.nodes.insert(renamed, node);
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.note("remove", path);
        let removed = self.tree.lock().unwrap().nodes.remove(path);
        removed.map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.note("sync", dir);
        if self.exists(dir) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn try_lock(&self, path: &Path, create: bool) -> io::Result<Option<Locked>> {
        if create && !self.exists(path) {
            self.put(path, &[]);
        }
        let file = self.file(path)?;
        let is_free = !std::mem::replace(&mut file.lock().unwrap().is_locked, true);
        Ok(is_free.then_some(Locked(file)))
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        if !self.exists(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(self.faults().free.unwrap_or(u64::MAX))
    }
}

impl DiskFile for OpenFile {
    fn write_at(&self, at: u64, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut faults = self.faults.lock().unwrap();
        faults.interrupt()?;
        let mut all: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
        all.truncate(faults.chunk.unwrap_or(usize::MAX));
        if let Some(room) = &mut faults.room {
            all.truncate(usize::try_from(*room).unwrap());
            *room -= all.len() as u64;
            if all.is_empty() {
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        let (mut content, at) = (self.content.lock().unwrap(), usize::try_from(at).unwrap());
        let end = content.bytes.len().max(at + all.len());
        content.bytes.resize(end, 0);
        content.bytes[at..at + all.len()].copy_from_slice(&all);
        Ok(all.len())
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut faults = self.faults.lock().unwrap();
        faults.interrupt()?;
        let content = self.content.lock().unwrap();
        let mut end = at + (into.len().min(faults.chunk.unwrap_or(usize::MAX))) as u64;
        end = end.min(content.bytes.len() as u64).max(at);
        if let Some((from, to)) = faults.unreadable {
            if (from..to).contains(&at) {
                return Err(io::Error::other("bad sector"));
            }
            if at < from {
                end = end.min(from);
            }
        }
        let found = &content.bytes[usize::try_from(at).unwrap()..usize::try_from(end).unwrap()];
        into[..found.len()].copy_from_slice(found);
        Ok(found.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut faults = self.faults.lock().unwrap();
        faults.interrupt()?;
        if faults.syncs > 0 {
            faults.syncs -= 1;
            return Err(io::Error::other("sync failed"));
        }
        Ok(())
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.content.lock().unwrap().bytes.len() as u64)
    }
}

impl Faults {
    fn interrupt(&mut self) -> io::Result<()> {
        self.calls += 1;
        if self.interrupts && self.calls.is_multiple_of(2) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        Ok(())
    }
}
