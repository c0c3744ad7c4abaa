//! The directories in which exporters keep what they have not delivered: made before a relay starts, where that was asked for. Whether
//! one can be used the relay finds out. Must never write into one.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use relay_core::config::Acknowledge;

use crate::config::{Config, FileStorage, Spill};

/// Sees to it that all directories are there that exporters of `config` use.
///
/// # Errors
/// Which one is not, and the way out, a line each.
pub(crate) fn prepare(config: &Config) -> Result<(), Vec<String>> {
    let mut problems = Vec::new();
    for spill in config.exporters.iter().filter_map(|exporter| exporter.kind.spill()) {
        let FileStorage { id, directory, created_with, .. } = &spill.storage;
        // Where it cannot be looked at there is something else wrong, which the relay says.
        if directory.try_exists().unwrap_or(true) {
            continue;
        }
        let made = match created_with {
            None => Err("does not exist; make it, or set create_directory: true".to_owned()),
            Some(mode) => make(&spill.storage, *mode).map_err(|error| {
                let way_out = "mount a volume there, or give what is above it to relayd's user (chown)";
                format!("cannot be made: {error}; {way_out}")
            }),
        };
        if let Err(what) = made {
            let problem = format!("extensions.{id}.directory: {} {what}", directory.display());
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

fn make(storage: &FileStorage, mode: u32) -> io::Result<()> {
    let is_missing = |dir: &&Path| !dir.as_os_str().is_empty() && !dir.exists();
    let missing = storage.directory.ancestors().take_while(is_missing).count();
    DirBuilder::new().recursive(true).mode(mode).create(&storage.directory)?;
    // What is synced in it is safe only once a loss of power leaves its own name, and those above.
    for parent in storage.directory.ancestors().skip(1).take(missing).filter(|_| storage.fsync) {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        File::open(parent)?.sync_all()?;
    }
    Ok(())
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
