//! The directories that exporters keep on disk what they have not delivered: there before a relay starts, made where that was asked for.
//! Must never write into one; a disk that is out of order is no reason not to start.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use relay_core::config::Acknowledge;

use crate::config::{Config, FileStorage, Spill};

/// Sees to all directories that exporters of `config` use. What the disk itself is at fault for is logged: relayd runs without it until
/// it is in order.
///
/// # Errors
/// What is wrong with the configuration, or with whom a directory belongs to, a line each.
pub(crate) fn prepare(config: &Config) -> Result<(), Vec<String>> {
    let mut problems = Vec::new();
    for spill in config.exporters.iter().filter_map(|exporter| exporter.kind.spill()) {
        let storage = &spill.storage;
        let Err(error) = prepare_one(storage) else { continue };
        let place = format!("extensions.{}.directory: {}", storage.id, storage.directory.display());
        let problem = match error.kind() {
            io::ErrorKind::NotFound => {
                format!("{place} does not exist; make it, or set create_directory: true")
            }
            io::ErrorKind::NotADirectory => format!("{place} is not a directory; name another one"),
            io::ErrorKind::PermissionDenied => format!(
                "{place} cannot be written: {error}; mount a volume there, or give it to relayd's user (chown; fsGroup does nothing for a hostPath)"
            ),
            _ => {
                tracing::warn!(
                    "{place} cannot be used now: {error}; it is tried again when there is something to write"
                );
                continue;
            }
        };
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

fn prepare_one(storage: &FileStorage) -> io::Result<()> {
    let directory = &storage.directory;
    match (fs::metadata(directory), storage.created_with) {
        (Ok(found), _) if !found.is_dir() => return Err(io::ErrorKind::NotADirectory.into()),
        (Ok(_), _) => {}
        (Err(error), Some(mode)) if error.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(mode).create(directory).map_err(|error| {
                match error.kind() {
                    // Where there has never been a directory it is no disk that has failed, but a volume that is missing.
                    io::ErrorKind::ReadOnlyFilesystem => {
                        io::Error::new(io::ErrorKind::PermissionDenied, error)
                    }
                    _ => error,
                }
            })?;
        }
        (Err(error), _) => return Err(error),
    }
    may_write(directory)
}

/// Whether files can be made there; asked, not tried: with a healthy upstream not one byte is written.
fn may_write(directory: &Path) -> io::Result<()> {
    use rustix::fs::{Access, access};
    Ok(access(directory, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK)?)
}

/// What an exporter does with its storage, for the line at the start.
pub(crate) fn in_words(spill: &Spill) -> String {
    let Spill { storage, after, acknowledge } = spill;
    let when = match acknowledge {
        Acknowledge::WhenSafe => format!("what is not delivered within {after:?}"),
        Acknowledge::WhenQueued => "what finds no room in memory".to_owned(),
    };
    let most = match storage.bytes_max {
        u64::MAX => "without a bound".to_owned(),
        bytes => format!("at most {} MiB for each signal", bytes >> 20),
    };
    let sync = if storage.fsync { "" } else { "; a power cut may take some of it (fsync: false)" };
    format!("{when} goes to {}, {most}{sync}", storage.directory.display())
}

#[cfg(test)]
mod tests;
