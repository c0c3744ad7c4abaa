//! Which segments a path means: those of a directory of file_storage, of one log in it, of one process, or one alone. Reads directories and
//! looks at locks; must never make, change or keep anything.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use relay_core::otlp::Signal;
use relay_core::spill::{is_owner_name, is_segment_name};

use crate::text::Safe;

/// What a path means.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// By name.
    pub(crate) logs: Vec<LogDir>,
    /// What is in the directories and is none of ours.
    pub(crate) foreign: Vec<PathBuf>,
}

/// What one exporter has of one signal.
#[derive(Debug)]
pub(crate) struct LogDir {
    /// The exporter, or the name of a directory that is no log's.
    pub(crate) exporter: String,
    pub(crate) signal: Option<Signal>,
    pub(crate) path: PathBuf,
    /// By age.
    pub(crate) owners: Vec<OwnerDir>,
}

/// The directory of a process.
#[derive(Debug)]
pub(crate) struct OwnerDir {
    pub(crate) name: String,
    pub(crate) held: Held,
    /// By age.
    pub(crate) segments: Vec<SegmentFile>,
}

/// A segment.
#[derive(Debug)]
pub(crate) struct SegmentFile {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    /// Bytes when it was looked at.
    pub(crate) bytes: u64,
    /// It was asked for. Others are there for what they say of its records.
    pub(crate) wanted: bool,
}

/// Whether a live process holds a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    Yes,
    No,
    /// Why nobody knows.
    Unknown(String),
}

/// What a directory is.
enum Kind {
    Storage,
    Log,
    Owner,
}

impl Tree {
    /// Finds what is at `path`.
    ///
    /// # Errors
    /// In one line: it is not there, may not be read, or is no spool and what was expected.
    pub(crate) fn find(path: &Path) -> Result<Self, String> {
        let words = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => format!("{}: no such file or directory", path.display()),
            io::ErrorKind::PermissionDenied => {
                format!("{}: {error}: read it as the user that relayd runs as, or as root", path.display())
            }
            _ => format!("{}: {error}", path.display()),
        };
        // The names above it say what it is, also of `.` and of a link.
        let whole = fs::canonicalize(path).map_err(words)?;
        let mut tree = Self::default();
        if !fs::metadata(&whole).map_err(words)?.is_dir() {
            let name = whole.file_name().unwrap_or_default().to_string_lossy();
            if !is_segment_name(&name) {
                return Err(not_a_spool(path));
            }
            let owner = whole.parent().unwrap_or(&whole);
            tree.add_owner(owner, Some(&name)).map_err(words)?;
            return Ok(tree);
        }
        let kind = kind_of(&whole).map_err(words)?;
        match kind.ok_or_else(|| not_a_spool(path))? {
            Kind::Owner => tree.add_owner(&whole, None),
            Kind::Log => tree.add_log(&whole, None),
            Kind::Storage => tree.add_storage(&whole),
        }
        .map_err(words)?;
        Ok(tree)
    }

    fn add_storage(&mut self, path: &Path) -> io::Result<()> {
        for entry in list(path)? {
            let is_log = entry.is_dir && matches!(kind_of(&entry.path)?, Some(Kind::Log | Kind::Storage));
            if is_log && log_of_name(&entry.name).1.is_some() {
                self.add_log(&entry.path, None)?;
            } else {
                self.foreign.push(entry.path);
            }
        }
        Ok(())
    }

    /// Adds the log at `path`; `wanted` are the owner and the segment that were asked for, if not all were.
    fn add_log(&mut self, path: &Path, wanted: Option<(&str, Option<&str>)>) -> io::Result<()> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let (exporter, signal) = log_of_name(&name);
        let mut log = LogDir { exporter, signal, path: path.to_owned(), owners: Vec::new() };
        for entry in list(path)? {
            let is_wanted = wanted.is_none_or(|(owner, _)| owner == entry.name);
            if !entry.is_dir || !is_owner_name(&entry.name) {
                // One that is being made has nothing in it.
                if wanted.is_none() && !(entry.is_dir && entry.name.starts_with(".new-")) {
                    self.foreign.push(entry.path);
                }
                continue;
            }
            let segment = wanted.and_then(|(_, segment)| segment);
            let owner = self.owner(&entry.path, |name| is_wanted && segment.is_none_or(|one| one == name));
            match owner {
                Ok(owner) => log.owners.push(owner),
                // Adopted between two looks.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        self.logs.push(log);
        Ok(())
    }

    /// Adds the directory of a process, or one segment of it, with the log that it is in: others there may say what is settled.
    fn add_owner(&mut self, path: &Path, segment: Option<&str>) -> io::Result<()> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some(log) = path.parent()
            && is_owner_name(&name)
        {
            return self.add_log(log, Some((&name, segment)));
        }
        let owner = self.owner(path, |name| segment.is_none_or(|one| one == name))?;
        let exporter = Safe(&name).to_string();
        self.logs.push(LogDir { exporter, signal: None, path: path.to_owned(), owners: vec![owner] });
        Ok(())
    }

    fn owner(&mut self, path: &Path, is_wanted: impl Fn(&str) -> bool) -> io::Result<OwnerDir> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Before the segments: what is taken over in between is seen as still held, not as lost.
        let held = look_at_lock(path);
        let mut segments = Vec::new();
        for entry in list(path)? {
            if is_segment_name(&entry.name) && !entry.is_dir {
                let wanted = is_wanted(&entry.name);
                segments.push(SegmentFile { name: entry.name, path: entry.path, bytes: entry.bytes, wanted });
            } else if entry.name != "lock" {
                self.foreign.push(entry.path);
            }
        }
        Ok(OwnerDir { name, held, segments })
    }
}

struct Entry {
    name: String,
    path: PathBuf,
    is_dir: bool,
    bytes: u64,
}

/// What is in a directory, by name.
fn list(path: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let about = match entry.metadata() {
            Ok(about) => about,
            // Renamed or deleted between two looks.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let name = entry.file_name().to_string_lossy().into_owned();
        entries.push(Entry { name, path: entry.path(), is_dir: about.is_dir(), bytes: about.len() });
    }
    entries.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(entries)
}

fn kind_of(path: &Path) -> io::Result<Option<Kind>> {
    let entries = list(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if is_owner_name(&name) || entries.iter().any(|entry| !entry.is_dir && is_segment_name(&entry.name)) {
        return Ok(Some(Kind::Owner));
    }
    let has_owner =
        |entries: &[Entry]| entries.iter().any(|entry| entry.is_dir && is_owner_name(&entry.name));
    if has_owner(&entries) {
        return Ok(Some(Kind::Log));
    }
    for entry in &entries {
        if entry.is_dir && log_of_name(&entry.name).1.is_some() {
            let inside = list(&entry.path)?;
            if inside.is_empty() || has_owner(&inside) {
                return Ok(Some(Kind::Storage));
            }
        }
    }
    // Made and not yet used, or used up.
    Ok(entries.is_empty().then_some(Kind::Storage))
}

fn not_a_spool(path: &Path) -> String {
    let theirs = list(path).unwrap_or_default().iter().any(|entry| entry.name.starts_with("exporter_"));
    let collectors = if theirs {
        "; it has files of the Collector's own file_storage, which relayd neither reads nor changes"
    } else {
        ""
    };
    format!(
        "{}: not a spool: neither a directory of extensions.file_storage (EXPORTER_SIGNAL/p-TIME-NUMBER/*.seg), nor one of \
         those directories, nor a segment (TIME-NUMBER.seg){collectors}",
        path.display()
    )
}

/// The exporter and signal that the name of a log's directory says, each byte of the exporter outside of [A-Za-z0-9._-] as %XX there.
fn log_of_name(name: &str) -> (String, Option<Signal>) {
    let log =
        name.rsplit_once('_').and_then(|(exporter, signal)| Some((exporter, Signal::from_name(signal)?)));
    let Some((exporter, signal)) = log else { return (Safe(name).to_string(), None) };
    let mut bytes = Vec::with_capacity(exporter.len());
    let mut rest = exporter;
    while let Some((plain, escaped)) = rest.split_once('%') {
        bytes.extend_from_slice(plain.as_bytes());
        let Some((byte, after)) = escaped
            .split_at_checked(2)
            .and_then(|(digits, after)| Some((u8::from_str_radix(digits, 16).ok()?, after)))
        else {
            return (Safe(name).to_string(), None);
        };
        bytes.push(byte);
        rest = after;
    }
    bytes.extend_from_slice(rest.as_bytes());
    (Safe(&String::from_utf8_lossy(&bytes)).to_string(), Some(signal))
}

/// Whether somebody holds the lock of a directory. A shared lock is asked for and given back at once: whoever wants to adopt the directory
/// in that instant tries again.
fn look_at_lock(owner: &Path) -> Held {
    let file = match File::open(owner.join("lock")) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Held::No,
        Err(error) => return Held::Unknown(error.to_string()),
    };
    match file.try_lock_shared() {
        Ok(()) => Held::No,
        Err(TryLockError::WouldBlock) => Held::Yes,
        Err(TryLockError::Error(error)) => Held::Unknown(error.to_string()),
    }
}
