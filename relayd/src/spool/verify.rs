//! `relayd spool verify`: reads everything and says what is damaged, with file and byte. Must never take the end of what a killed process
//! was writing for damage.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use relay_core::spill::{Found, Summary};
use serde_json::json;

use super::Stop;
use super::directory::{Held, SegmentFile, Tree};
use super::survey::{Opened, open};

/// Says what is wrong, and what is worth knowing.
struct Report<'o> {
    out: &'o mut dyn Write,
    json: bool,
    faults: u64,
}

impl Report<'_> {
    fn fault(&mut self, path: &Path, offset: Option<u64>, what: &str) -> Result<(), Stop> {
        self.faults += 1;
        self.line("fault", path, offset, what)
    }

    fn note(&mut self, path: &Path, offset: Option<u64>, what: &str) -> Result<(), Stop> {
        self.line("note", path, offset, what)
    }

    fn line(&mut self, kind: &str, path: &Path, offset: Option<u64>, what: &str) -> Result<(), Stop> {
        if self.json {
            let line = json!({ "kind": kind, "path": path, "offset": offset, "what": what });
            writeln!(self.out, "{line}")?;
        } else {
            let at = offset.map_or_else(String::new, |offset| format!(" byte {offset}:"));
            writeln!(self.out, "{kind}: {}:{at} {what}", path.display())?;
        }
        Ok(())
    }
}

/// What was read.
#[derive(Default)]
struct Read {
    segments: u64,
    records: u64,
    bytes: u64,
}

/// Reads every segment that was asked for. 1 if anything is damaged.
pub(super) fn verify(tree: &Tree, json: bool, out: &mut dyn Write) -> Result<ExitCode, Stop> {
    let mut report = Report { out, json, faults: 0 };
    let mut read = Read::default();
    for log in &tree.logs {
        for owner in &log.owners {
            if let Held::Unknown(why) = &owner.held {
                let what = format!("nobody knows whether a process holds it: {why}");
                report.note(&log.path.join(&owner.name), None, &what)?;
            }
            for file in owner.segments.iter().filter(|file| file.wanted) {
                verify_segment(file, owner.held == Held::Yes, &mut report, &mut read)?;
            }
        }
    }
    for path in &tree.foreign {
        report.note(path, None, "not of a spool: relayd leaves it alone")?;
    }
    let (faults, Read { segments, records, bytes }) = (report.faults, read);
    if json {
        let sum = json!({ "kind": "sum", "segments": segments, "records": records, "bytes": bytes, "faults": faults });
        writeln!(out, "{sum}")?;
    } else {
        writeln!(out, "segments: {segments}, records: {records}, bytes: {bytes}, faults: {faults}")?;
    }
    Ok(if faults == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn verify_segment(
    file: &SegmentFile,
    is_held: bool,
    report: &mut Report<'_>,
    read: &mut Read,
) -> Result<(), Stop> {
    let path = &file.path;
    let Opened { mut reader, damage, is_unwritten } = match open(path) {
        Ok(Some(opened)) => opened,
        Ok(None) => return Ok(()),
        Err(error) => return report.fault(path, Some(0), &error.to_string()),
    };
    if is_unwritten {
        report.note(path, Some(0), "its process ended before it wrote anything to it")?;
    }
    if let Some(damage) = damage {
        report.fault(path, Some(0), &format!("{damage}; its name says the same, and is believed"))?;
    }
    read.segments += 1;
    read.bytes += file.bytes;
    let mut counted = Summary::default();
    let mut damaged = false;
    loop {
        let found = match reader.next() {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(()),
            Err(error) => return report.fault(path, None, &format!("cannot be read on: {error}")),
        };
        match found {
            Found::Record { record, .. } => {
                read.records += 1;
                counted.records += 1;
                let items =
                    if record.encoding.is_some() { &mut counted.unopened } else { &mut counted.items };
                *items += record.items;
            }
            Found::Settled { .. } => {}
            Found::Footer { offset, summary, .. } => {
                let same = |one: &Summary| (one.records, one.items, one.unopened);
                if !damaged && same(&summary) != same(&counted) {
                    let what = format!(
                        "the footer says {} records, {} items, {} unopened requests; there are {}, {}, {}",
                        summary.records,
                        summary.items,
                        summary.unopened,
                        counted.records,
                        counted.items,
                        counted.unopened
                    );
                    report.fault(path, Some(offset), &what)?;
                }
            }
            Found::Corrupt { offset, bytes, items, why } => {
                damaged = true;
                let items = items.map_or_else(String::new, |items| format!(", items: {items}"));
                report.fault(path, Some(offset), &format!("{why}: {bytes} bytes cannot be read{items}"))?;
            }
            Found::Torn { offset, bytes } => {
                let why = if is_held {
                    "being written, or cut off when an earlier process ended"
                } else {
                    "cut off when its process ended; what was acknowledged lies before it"
                };
                report.note(path, Some(offset), &format!("{bytes} bytes at the end are no record: {why}"))?;
            }
        }
    }
}
