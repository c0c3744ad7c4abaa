//! Something that was made of files, and is made again when they have changed. What cannot be made again stays as it was, and
//! that is told.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::TlsError;
use crate::config::PemSource;
use crate::io::clock;
use crate::io::log_limit::LogLimit;
use crate::limits::TLS_RELOAD_WAIT_MAX;
use crate::stats::{TlsCounters, TlsStats};

/// What is made of files: a configuration of rustls, and when its certificate ends.
pub(super) struct Made<T> {
    pub(super) config: Arc<T>,
    pub(super) not_after_unix_seconds: Option<u64>,
}

/// A `T` that follows its files. Seen by all cores, at handshakes only.
pub(super) struct Reloading<T> {
    about: String,
    load: Box<dyn Fn() -> Result<Made<T>, TlsError> + Send + Sync>,
    files: Vec<PathBuf>,
    interval: Duration,
    looking: AtomicBool,
    state: Mutex<State<T>>,
    pub(super) counters: TlsCounters,
}

struct State<T> {
    current: Made<T>,
    // What it was made of; None when that is not known or the last look failed: then the next look tries again.
    made_of: Option<Vec<Identity>>,
    next_look: Instant,
    log: LogLimit,
}

/// What tells one content of a file from another without reading it: device, inode, length, and the time of its last change
/// (which no program can set back). Links are followed, so that Kubernetes' swap of `..data` is seen. `None` for no file.
type Identity = Option<(u64, u64, u64, i64, i64)>;

fn identity(path: &Path) -> Identity {
    let of = |found: Metadata| (found.dev(), found.ino(), found.size(), found.ctime(), found.ctime_nsec());
    std::fs::metadata(path).ok().map(of)
}

impl<T: Send + Sync + 'static> Reloading<T> {
    /// Makes it for the first time, by `load`, which reads `sources`; `about` names it in logs.
    ///
    /// # Errors
    /// Those of `load`.
    pub(super) fn new(
        about: String,
        sources: &[Option<&PemSource>],
        interval: Duration,
        load: impl Fn() -> Result<Made<T>, TlsError> + Send + Sync + 'static,
    ) -> Result<Arc<Self>, TlsError> {
        let file = |source: &PemSource| match source {
            PemSource::File(path) => Some(path.clone()),
            PemSource::Inline(_) => None,
        };
        let files: Vec<PathBuf> = sources.iter().flatten().filter_map(|source| file(source)).collect();
        let made_of = Some(files.iter().map(|file| identity(file)).collect());
        let state =
            State { current: load()?, made_of, next_look: clock::now() + interval, log: LogLimit::default() };
        Ok(Arc::new(Self {
            about,
            load: Box::new(load),
            files,
            interval,
            looking: AtomicBool::new(false),
            state: Mutex::new(state),
            counters: TlsCounters::default(),
        }))
    }

    /// The newest that could be made. Waits for a look at the files if one is due, but not for long, and only one caller does.
    pub(super) async fn current(self: &Arc<Self>) -> Arc<T> {
        if self.begin_look() {
            let this = Arc::clone(self);
            let look = tokio::task::spawn_blocking(move || this.look());
            // The look ends by itself when this does not wait for it any more.
            tokio::time::timeout(TLS_RELOAD_WAIT_MAX, look).await.ok();
        }
        Arc::clone(&self.state().current.config)
    }

    /// How it is: what went wrong so far, and when the certificate in use ends.
    pub(super) fn stats(&self) -> TlsStats {
        TlsStats {
            handshake_failures: self.counters.handshake_failures.get(),
            reload_failures: self.counters.reload_failures.get(),
            not_after_unix_seconds: self.state().current.not_after_unix_seconds,
        }
    }

    /// Whether a look is due and nobody looks.
    fn begin_look(&self) -> bool {
        !self.files.is_empty()
            && clock::now() >= self.state().next_look
            && !self.looking.swap(true, Ordering::AcqRel)
    }

    fn look(&self) {
        let _looking = Looking(&self.looking);
        let mut found: Vec<Identity> = self.files.iter().map(|file| identity(file)).collect();
        if self.state().made_of.as_ref() == Some(&found) {
            self.state().next_look = clock::now() + self.interval;
            return;
        }
        let mut made = (self.load)();
        let after: Vec<Identity> = self.files.iter().map(|file| identity(file)).collect();
        if made.is_err() && after != found {
            // They were swapped while they were read: half of each.
            found = after;
            made = (self.load)();
        }
        let mut state = self.state();
        state.next_look = clock::now() + self.interval;
        match made {
            Ok(new) => {
                state.current = new;
                state.made_of = Some(found);
                tracing::info!("{}: certificate files have changed and are in use", self.about);
            }
            Err(error) => {
                state.made_of = None;
                self.counters.reload_failures.add(1);
                if let Some(left_out) = state.log.allow(0, "reload") {
                    tracing::warn!(
                        %error,
                        left_out,
                        "{}: changed certificate files cannot be used; the old ones stay in use",
                        self.about
                    );
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        // Nothing is left half done by a panic under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> std::fmt::Debug for Reloading<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloading")
            .field("about", &self.about)
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

/// A look that has begun; ends also by a panic.
struct Looking<'a>(&'a AtomicBool);

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &Path, interval: Duration) -> Arc<Reloading<String>> {
        let (source, path) = (PemSource::File(path.to_path_buf()), path.to_path_buf());
        let load = move || match std::fs::read_to_string(&path) {
            Ok(text) if text != "garbage" => {
                Ok(Made { config: Arc::new(text), not_after_unix_seconds: None })
            }
            _ => Err(TlsError::NotPem("file".into())),
        };
        Reloading::new("test".into(), &[Some(&source)], interval, load).unwrap()
    }

    #[tokio::test]
    async fn a_changed_file_is_read_and_garbage_is_not_used() {
        let dir = empty_dir("reload");
        let path = dir.join("file");
        std::fs::write(&path, "one").unwrap();
        let reloading = of(&path, Duration::ZERO);
        assert_eq!(*reloading.current().await, "one");
        for (text, used, failures) in [("two", "two", 0), ("garbage", "two", 1), ("three", "three", 1)] {
            // Another file in its place, as a rename does it.
            std::fs::write(dir.join("next"), text).unwrap();
            std::fs::rename(dir.join("next"), &path).unwrap();
            assert_eq!(*reloading.current().await, used);
            assert_eq!(reloading.counters.reload_failures.get(), failures);
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(*reloading.current().await, "three");
        assert_eq!(*reloading.current().await, "three");
        assert_eq!(reloading.counters.reload_failures.get(), 3, "each look that fails counts");
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[tokio::test]
    async fn nothing_is_looked_at_before_it_is_due() {
        let dir = empty_dir("due");
        let path = dir.join("file");
        std::fs::write(&path, "one").unwrap();
        let reloading = of(&path, Duration::from_secs(3600));
        std::fs::write(&path, "two").unwrap();
        assert_eq!(*reloading.current().await, "one");
        std::fs::remove_dir_all(dir).unwrap();
    }

    fn empty_dir(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("relay-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }
}
