//! Where the configuration comes from, and whether its files have changed since it was read. A look costs a few system calls for
//! each file; nothing is watched by the kernel. Must never take a file that is still being written.

use std::cell::RefCell;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::config::{self, Config, Notice, System, World};

/// What the command line names.
#[derive(Debug)]
pub(crate) struct Sources {
    /// `--config`, in order.
    pub(crate) uris: Vec<String>,
    /// `--set`, in order.
    pub(crate) sets: Vec<String>,
    /// What runs if neither is given.
    pub(crate) default: Config,
}

/// The files that were read for a configuration, and how they stood then.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    read: Vec<(String, Option<Mark>)>,
    // At the last look.
    last: Vec<Option<Mark>>,
}

/// What tells a file from what it was before. The path with all links followed sees the swap of `..data` by which kubelet replaces
/// the files of a ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mark {
    path: PathBuf,
    device_and_inode: (u64, u64),
    modified: (i64, i64),
    bytes: u64,
}

/// The system, and which of its files were read.
#[derive(Default)]
struct Recorder(RefCell<Vec<(String, Option<Mark>)>>);

impl World for Recorder {
    fn variable(&self, name: &str) -> Option<String> {
        System.variable(name)
    }

    fn read_file(&self, path: &str) -> io::Result<String> {
        // Before it is read: what is written meanwhile is seen as a change.
        let mark = mark(path);
        let mut read = self.0.borrow_mut();
        if !read.iter().any(|(known, _)| known == path) {
            read.push((path.to_owned(), mark));
        }
        System.read_file(path)
    }
}

impl Sources {
    /// The configuration as it is now, and what to watch for the next one, also where this one is of no use.
    pub(crate) fn load(&self) -> (Result<(Config, Vec<Notice>), String>, Watch) {
        if self.uris.is_empty() && self.sets.is_empty() {
            return (Ok((self.default.clone(), Vec::new())), Watch::default());
        }
        let world = Recorder::default();
        let loaded = config::load(&self.uris, &self.sets, &world).map_err(|error| error.to_string());
        (loaded, Watch::new(world.0.into_inner()))
    }
}

impl Watch {
    fn new(read: Vec<(String, Option<Mark>)>) -> Self {
        Self { last: read.iter().map(|(_, mark)| mark.clone()).collect(), read }
    }

    /// Whether there is a file to look at.
    pub(crate) fn has_files(&self) -> bool {
        !self.read.is_empty()
    }

    /// Looks: true if a file is another one than was read, and none has changed since the last look.
    pub(crate) fn has_settled_change(&mut self) -> bool {
        let now: Vec<Option<Mark>> = self.read.iter().map(|(path, _)| mark(path)).collect();
        let changed = now.iter().zip(&self.read).any(|(now, (_, read))| now != read);
        let settled = now == self.last;
        self.last = now;
        changed && settled
    }
}

/// `None` for a file that is not there.
fn mark(path: &str) -> Option<Mark> {
    let path = std::fs::canonicalize(path).ok()?;
    let found = std::fs::metadata(&path).ok()?;
    Some(Mark {
        device_and_inode: (found.dev(), found.ino()),
        modified: (found.mtime(), found.mtime_nsec()),
        bytes: found.len(),
        path,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn sources(path: &Path) -> Sources {
        let uris = vec![path.to_string_lossy().into_owned()];
        Sources { uris, sets: Vec::new(), default: Config::embedded_default(None) }
    }

    fn yaml(port: u16) -> String {
        format!(
            "{{receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{port}'}}}}}}}}, \
             exporters: {{debug: }}, \
             service: {{pipelines: {{traces: {{receivers: [otlp], exporters: [debug]}}}}}}}}"
        )
    }

    /// Scenario: kubelet swaps the directory behind `..data`. Guarantee: seen at the second look, once.
    #[test]
    fn a_swapped_link_is_a_change() {
        let dir = std::env::temp_dir().join(format!("relayd-watch-{}", std::process::id()));
        for version in ["v1", "v2"] {
            std::fs::create_dir_all(dir.join(version)).unwrap();
        }
        // The same size, perhaps the same second.
        std::fs::write(dir.join("v1/agent.yaml"), yaml(24001)).unwrap();
        std::fs::write(dir.join("v2/agent.yaml"), yaml(24002)).unwrap();
        std::os::unix::fs::symlink("v1", dir.join("..data")).unwrap();
        std::os::unix::fs::symlink("..data/agent.yaml", dir.join("agent.yaml")).unwrap();
        let sources = sources(&dir.join("agent.yaml"));
        let (first, mut watch) = sources.load();
        assert!(watch.has_files() && !watch.has_settled_change());
        std::os::unix::fs::symlink("v2", dir.join("..new")).unwrap();
        std::fs::rename(dir.join("..new"), dir.join("..data")).unwrap();
        assert!(!watch.has_settled_change(), "not before it has settled");
        assert!(watch.has_settled_change());
        let (second, mut watch) = sources.load();
        assert_ne!(first.unwrap().0, second.unwrap().0);
        assert!(!watch.has_settled_change());
        std::fs::remove_file(dir.join("..data")).unwrap();
        assert!(!watch.has_settled_change() && watch.has_settled_change());
        let (gone, mut watch) = sources.load();
        assert!(gone.is_err() && !watch.has_settled_change(), "said once");
        std::fs::remove_dir_all(&dir).unwrap();
    }

    /// Scenario: a file is rewritten in pieces, and another file that it names with `${file:}` changes. Guarantee: nothing is taken
    /// while it grows.
    #[test]
    fn a_file_that_grows_is_not_taken() {
        let dir = std::env::temp_dir().join(format!("relayd-grow-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (path, named) = (dir.join("agent.yaml"), dir.join("endpoint"));
        std::fs::write(&named, "127.0.0.1:24003").unwrap();
        let text = yaml(1).replace("127.0.0.1:1", &format!("${{file:{}}}", named.display()));
        std::fs::write(&path, &text).unwrap();
        let sources = sources(&path);
        let (loaded, mut watch) = sources.load();
        loaded.unwrap();
        for len in [10, 20, 30] {
            std::fs::write(&path, &text[..len]).unwrap();
            assert!(!watch.has_settled_change(), "{len}");
        }
        assert!(watch.has_settled_change());
        std::fs::write(&path, &text).unwrap();
        let (_, mut watch) = sources.load();
        std::fs::write(&named, "127.0.0.1:24004 ").unwrap();
        assert!(!watch.has_settled_change() && watch.has_settled_change());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
