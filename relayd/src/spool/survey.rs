//! What the segments of a log hold, in numbers, and which of their records are settled. Believes a footer, and reads a segment whole that
//! has none; must never hold records.

use std::io;
use std::path::Path;

use relay_core::spill::{Disk, DiskFile, Found, OsDisk, OsFile, SegmentError, SegmentReader};

use super::directory::{Held, LogDir, OwnerDir, SegmentFile};
use super::settled::Settled;

/// Bytes of a segment's header (docs/spool-format.md).
const HEADER_BYTES: u64 = 40;

/// A segment that can be read.
pub(crate) struct Opened {
    pub(crate) reader: SegmentReader<OsFile>,
    /// What is wrong with its header, which its name then stands for.
    pub(crate) damage: Option<SegmentError>,
    /// Its process was killed before the header was written.
    pub(crate) is_unwritten: bool,
}

/// Opens a segment; `None` if it was deleted since the directory was read, as a running relayd does.
///
/// # Errors
/// It cannot be read, or is no segment that this version reads.
pub(crate) fn open(path: &Path) -> Result<Option<Opened>, SegmentError> {
    let file = match OsDisk::default().open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_unwritten = file.bytes()? < HEADER_BYTES;
    let (reader, damage) = SegmentReader::open_named(file, &name)?;
    Ok(Some(Opened { reader, damage: damage.filter(|_| !is_unwritten), is_unwritten }))
}

/// What became of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Finished: a footer says what is in it.
    Sealed,
    /// A live process writes to it.
    Active,
    /// Its process has ended without a word; all that was written is whole.
    Ended,
    /// Its process has ended in the middle of a record.
    Torn,
    /// Bytes in the middle are damaged.
    Corrupt,
    /// Why it cannot be read at all.
    Unreadable(String),
}

impl State {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Sealed => "sealed",
            Self::Active => "active",
            Self::Ended => "ended",
            Self::Torn => "torn",
            Self::Corrupt => "corrupt",
            Self::Unreadable(_) => "unreadable",
        }
    }
}

/// What a segment holds, settled or not.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Batches.
    pub(crate) records: u64,
    /// Of those the settled ones.
    pub(crate) settled: u64,
    /// Spans, data points and so on in all of them.
    pub(crate) items: u64,
    /// Requests in them that nobody has opened.
    pub(crate) unopened: u64,
    /// The arrival of the oldest, in milliseconds since 1970.
    pub(crate) oldest_unix_ms: Option<u64>,
}

/// A segment with what is in it.
#[derive(Debug)]
pub(crate) struct Surveyed<'t> {
    pub(crate) owner: &'t OwnerDir,
    pub(crate) file: &'t SegmentFile,
    pub(crate) counts: Counts,
    pub(crate) state: State,
}

/// Looks at all segments of a log, the wanted and the others.
pub(crate) fn survey(log: &LogDir) -> (Vec<Surveyed<'_>>, Settled) {
    let mut settled = Settled::default();
    let mut found = Vec::new();
    for owner in &log.owners {
        for (index, file) in owner.segments.iter().enumerate() {
            let is_newest = index + 1 == owner.segments.len();
            let may_be_active = is_newest && owner.held == Held::Yes && is_own(owner, file);
            match look(&file.path, may_be_active, &mut settled) {
                Ok(Some((id, counts, state))) => {
                    found.push((id, Surveyed { owner, file, counts, state }));
                }
                Ok(None) => {}
                Err(error) => {
                    let state = State::Unreadable(error.to_string());
                    found.push((0, Surveyed { owner, file, counts: Counts::default(), state }));
                }
            }
        }
    }
    let surveyed = found.into_iter().map(|(id, mut one)| {
        one.counts.settled = settled.count(id).min(one.counts.records);
        one
    });
    (surveyed.collect(), settled)
}

/// Whether a segment is not older than its directory: older ones were taken over from processes that had ended.
fn is_own(owner: &OwnerDir, file: &SegmentFile) -> bool {
    let made = |name: &str| name.split_once('-').and_then(|(unix_ms, _)| unix_ms.parse::<u64>().ok());
    let (owner, segment) = (owner.name.strip_prefix("p-").and_then(made), made(&file.name));
    owner.is_some_and(|owner| segment.is_some_and(|segment| segment >= owner))
}

fn look(
    path: &Path,
    may_be_active: bool,
    settled: &mut Settled,
) -> Result<Option<(u64, Counts, State)>, SegmentError> {
    let Some(Opened { mut reader, damage, is_unwritten }) = open(path)? else { return Ok(None) };
    let id = reader.head().id;
    if let Some((summary, table)) = reader.footer()? {
        settled.add(table);
        let counts = Counts {
            records: summary.records.into(),
            settled: 0,
            items: summary.items,
            unopened: summary.unopened,
            oldest_unix_ms: (summary.records > 0).then_some(summary.oldest_unix_ms),
        };
        let state = if damage.is_some() { State::Corrupt } else { State::Sealed };
        return Ok(Some((id, counts, state)));
    }
    let mut counts = Counts::default();
    let mut state = match damage {
        Some(_) => State::Corrupt,
        None if may_be_active => State::Active,
        None if is_unwritten => State::Torn,
        None => State::Ended,
    };
    while let Some(found) = reader.next()? {
        match found {
            Found::Record { record, .. } => {
                counts.records += 1;
                let items = if record.encoding.is_some() { &mut counts.unopened } else { &mut counts.items };
                *items += record.items;
                let oldest = counts.oldest_unix_ms.get_or_insert(record.unix_ms);
                *oldest = record.unix_ms.min(*oldest);
            }
            Found::Settled { table, .. } | Found::Footer { table, .. } => settled.add(table),
            Found::Corrupt { .. } => state = State::Corrupt,
            // Of a segment that is written to, the end of what is just being written.
            Found::Torn { .. } if state == State::Ended => state = State::Torn,
            Found::Torn { .. } => {}
        }
    }
    Ok(Some((id, counts, state)))
}
