//! `extensions.file_storage` (opentelemetry-collector-contrib, filestorage) and `sending_queue.storage`, which names one. Must never
//! touch the disk: whether the directory is there is asked at the start.

use std::path::PathBuf;
use std::time::Duration;

use relay_core::config::{Acknowledge, SpillConfig};
use relay_core::spill::WhenFull;

use super::extensions::Extensions;
use super::section::Section;
use crate::limits::{SPILL_AFTER_MAX, STORAGE_AGE_MIN, STORAGE_BYTES_MIN};

/// The Collector's default, so that a file that leaves it out means the volume that is mounted there.
const DIRECTORY: &str = "/var/lib/otelcol/file_storage";

const MIB: u64 = 1 << 20;

/// A directory for what memory does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileStorage {
    /// Its name, `file_storage/2`, for messages.
    pub id: String,
    /// `directory`. Default the Collector's, /var/lib/otelcol/file_storage.
    pub directory: PathBuf,
    /// `directory_permissions` (default 0750) if `create_directory` is true, which it is not by default: what the directory is made with
    /// at the start, less the umask.
    pub created_with: Option<u32>,
    /// `fsync`: what is stored survives a power cut. Default true; the Collector: false.
    pub fsync: bool,
    /// `max_size_mib`, or the Collector's `max_size`: on disk for each exporter and signal, in bytes. Default 1 GiB; `u64::MAX` (given as
    /// 0) leaves it to `free_bytes_min`.
    pub bytes_max: u64,
    /// `max_age`: what has been there for longer is dropped. `None` (the default, or 0): never.
    pub age_max: Option<Duration>,
    /// `when_full`. Default refuse.
    pub when_full: WhenFull,
    /// `min_free_mib`: nothing is written while the file system has less room, in bytes. Default 128 MiB.
    pub free_bytes_min: u64,
}

/// What a queue does with its storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spill {
    /// `storage`.
    pub storage: FileStorage,
    /// `spill_after`: how long a batch may wait for its delivery before it is written. Default 100 ms.
    pub after: Duration,
    /// `acknowledge`. Default when safe.
    pub acknowledge: Acknowledge,
}

const WHEN_FULL: [(&str, WhenFull); 2] =
    [("refuse", WhenFull::Refuse), ("drop_oldest", WhenFull::DropOldest)];
const ACKNOWLEDGE: [(&str, Acknowledge); 2] =
    [("when_safe", Acknowledge::WhenSafe), ("when_queued", Acknowledge::WhenQueued)];

/// Reads `extensions.file_storage`.
pub(super) fn read(id: &str, mut section: Section<'_>) -> FileStorage {
    let directory = section.path_text("directory").unwrap_or_else(|| PathBuf::from(DIRECTORY));
    let default = SpillConfig::new(directory.clone());
    let create = section.bool("create_directory").unwrap_or(false);
    let permissions = read_permissions(&mut section);
    let fsync = section.bool("fsync").unwrap_or(default.fsync);
    let bytes_max = read_size(&mut section).unwrap_or(default.bytes_max);
    let age_max = section.duration("max_age").filter(|age| !age.is_zero());
    if let Some(age) = age_max.filter(|age| *age < STORAGE_AGE_MIN) {
        let what = format!("expected 0s (for ever) or at least {STORAGE_AGE_MIN:?}, found {age:?}");
        section.error("max_age", what);
    }
    let when_full = section.choice("when_full", &WHEN_FULL).unwrap_or(default.when_full);
    let free = section.whole("min_free_mib").map(|mib| mib.saturating_mul(MIB));
    if section.duration("timeout").is_some() {
        section.advisory("timeout", "no file is waited for: each process has a directory of its own in it");
    }
    if section.bool("recreate") == Some(true) {
        section.advisory("recreate", "what is corrupt is skipped and counted; the rest is read");
    }
    read_compaction(&mut section);
    section.finish();
    FileStorage {
        id: id.to_owned(),
        directory,
        created_with: create.then_some(permissions),
        fsync,
        bytes_max,
        age_max,
        when_full,
        free_bytes_min: free.unwrap_or(default.free_bytes_min),
    }
}

/// `directory_permissions`; checked also where nothing is made.
fn read_permissions(section: &mut Section<'_>) -> u32 {
    const DEFAULT: u32 = 0o750;
    const OWNER: u32 = 0o700;
    let Some(text) = section.text("directory_permissions") else { return DEFAULT };
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 && mode & OWNER == OWNER => mode,
        Ok(mode) if mode <= 0o777 => {
            let what = format!("relayd itself must be let in, as by \"0750\" or \"0700\", found {text:?}");
            section.error("directory_permissions", what);
            DEFAULT
        }
        _ => {
            let what = format!("expected octal permissions of a directory, as in \"0750\", found {text:?}");
            section.error("directory_permissions", what);
            DEFAULT
        }
    }
}

/// `max_size_mib`, or `max_size` in bytes; 0 is no bound, as in the Collector.
fn read_size(section: &mut Section<'_>) -> Option<u64> {
    let mib = section.whole("max_size_mib").map(|mib| mib.saturating_mul(MIB));
    let bytes = section.whole("max_size");
    if mib.is_some() && bytes.is_some() {
        section.error("max_size_mib", "max_size is given too; remove one of them");
    }
    let (key, found) = if mib.is_some() { ("max_size_mib", mib?) } else { ("max_size", bytes?) };
    if found == 0 {
        return Some(u64::MAX);
    }
    if found < STORAGE_BYTES_MIN {
        let least = STORAGE_BYTES_MIN / MIB;
        section.error(key, format!("expected at least {least} MiB, or 0 for no bound, found {found} bytes"));
    }
    Some(found)
}

fn read_compaction(section: &mut Section<'_>) {
    let Some(mut compaction) = section.section("compaction") else { return };
    for key in [
        "on_start",
        "on_rebound",
        "directory",
        "rebound_needed_threshold_mib",
        "rebound_trigger_threshold_mib",
        "max_transaction_size",
        "check_interval",
        "cleanup_on_start",
    ] {
        compaction.present(key);
    }
    compaction.finish();
    section.advisory(
        "compaction",
        "files are deleted as soon as all in them is delivered; nothing is left to compact",
    );
}

/// Reads `storage`, `spill_after` and `acknowledge` of a `sending_queue`.
pub(super) fn read_spill(section: &mut Section<'_>, extensions: &Extensions) -> Option<Spill> {
    let storage = extensions.read_storage(section);
    let after = section.duration("spill_after");
    let chosen = section.choice("acknowledge", &ACKNOWLEDGE);
    let Some(storage) = storage else {
        if section.value("storage").is_none() {
            for key in ["spill_after", "acknowledge"] {
                if section.value(key).is_some() {
                    section.error(
                        key,
                        "nothing is written without a storage; add storage: file_storage, or remove it",
                    );
                }
            }
        }
        return None;
    };
    let default = SpillConfig::new(storage.directory.clone());
    let acknowledge = chosen.unwrap_or(default.acknowledge);
    if let Some(after) = after.filter(|after| *after > SPILL_AFTER_MAX) {
        let what =
            format!("at most {SPILL_AFTER_MAX:?}: senders wait that long for their answer, found {after:?}");
        section.error("spill_after", what);
    }
    if acknowledge == Acknowledge::WhenQueued {
        section.advisory("spill_after", "when_queued writes when memory is full and at the end only");
        if section.bool("wait_for_result") == Some(true) {
            section.error("acknowledge", "when_queued contradicts wait_for_result: true; remove one of them");
        }
    }
    Some(Spill { storage, after: after.unwrap_or(default.spill_after), acknowledge })
}

/// Says that an exporter of several members has no storage.
pub(super) fn refuse_in_queue_of(section: &mut Section<'_>) {
    if let Some(mut queue) = section.section("sending_queue") {
        let way_out =
            "what waits for a tier is in memory in this version; remove it, or send to one gateway by otlp";
        queue.refuse("storage", way_out);
    }
}
