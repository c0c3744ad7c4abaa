//! A value that is made of configured texts and files, and made anew when a file has changed. Nothing ticks: files are looked at when
//! the value is used, and not too often. Must never put what a file holds into an error.

use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::super::clock;
use super::AuthError;
use crate::limits::{AUTH_FILE_BYTES_MAX, AUTH_RELOAD_INTERVAL};

/// Makes the value of the texts of the files, in their order.
type Make<T> = Box<dyn Fn(&[String]) -> Result<T, AuthError> + Send + Sync>;

/// The value.
pub(super) enum Source<T> {
    Fixed(T),
    Files { files: Vec<PathBuf>, make: Make<T>, state: Mutex<State<T>> },
}

/// What is known of the files.
pub(super) struct State<T> {
    value: T,
    // `None` for a file that was not there.
    stamps: Vec<Option<Stamp>>,
    look_again_at: Instant,
}

/// Tells one content of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    len: u64,
    modified: (i64, i64),
    // Also tells a file that was rewritten with its old times.
    changed: (i64, i64),
}

impl<T> Source<T> {
    /// Reads `files`, which may be none, and makes the value.
    ///
    /// # Errors
    /// A file cannot be read, or `make` has refused.
    pub(super) fn new(files: Vec<PathBuf>, make: Make<T>) -> Result<Self, AuthError> {
        // Before the reading: what is written meanwhile is found at the next look.
        let stamps = stamps(&files);
        let value = make(&read_all(&files)?)?;
        if files.is_empty() {
            return Ok(Self::Fixed(value));
        }
        let look_again_at = clock::now() + AUTH_RELOAD_INTERVAL;
        Ok(Self::Files { files, make, state: Mutex::new(State { value, stamps, look_again_at }) })
    }

    /// Whether it never changes.
    pub(super) fn is_fixed(&self) -> bool {
        matches!(self, Self::Fixed(_))
    }

    /// Gives the value to `with`; of files, as they are now or were [`AUTH_RELOAD_INTERVAL`] ago at the most.
    pub(super) fn with<R>(&self, with: impl FnOnce(&T) -> R) -> R {
        match self {
            Self::Fixed(value) => with(value),
            Self::Files { files, make, state } => {
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                let now = clock::now();
                if now >= state.look_again_at {
                    state.look_again_at = now + AUTH_RELOAD_INTERVAL;
                    state.look(files, make);
                }
                with(&state.value)
            }
        }
    }
}

impl<T> State<T> {
    /// Makes the value anew if a file is another one than before. What cannot be used is told once; the old value stays.
    fn look(&mut self, files: &[PathBuf], make: &Make<T>) {
        let stamps = stamps(files);
        if stamps == self.stamps {
            return;
        }
        self.stamps = stamps;
        let files_named = files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ");
        match read_all(files).and_then(|texts| make(&texts)) {
            Ok(value) => {
                self.value = value;
                tracing::info!(files = files_named, "credentials were read again");
            }
            Err(error) => {
                tracing::warn!(
                    files = files_named,
                    %error,
                    "changed credentials cannot be used; those from before stay in use"
                );
            }
        }
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    // Follows symbolic links: Kubernetes rotates a secret by turning one round.
    files.iter().map(|file| std::fs::metadata(file).ok().map(|metadata| stamp(&metadata))).collect()
}

fn stamp(metadata: &Metadata) -> Stamp {
    Stamp {
        device: metadata.dev(),
        inode: metadata.ino(),
        len: metadata.len(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    }
}

fn read_all(files: &[PathBuf]) -> Result<Vec<String>, AuthError> {
    files.iter().map(|file| read(file)).collect()
}

fn read(path: &Path) -> Result<String, AuthError> {
    let error = |error| AuthError::Read { path: path.to_owned(), error };
    let mut text = String::new();
    let file = File::open(path).map_err(error)?;
    file.take(AUTH_FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(error)?;
    if text.len() as u64 > AUTH_FILE_BYTES_MAX {
        return Err(AuthError::FileTooLarge { path: path.to_owned(), bytes_max: AUTH_FILE_BYTES_MAX });
    }
    Ok(text)
}
