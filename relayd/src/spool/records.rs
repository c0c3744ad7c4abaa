//! `relayd spool cat` and `export`: the records themselves, the oldest first, as text for people and as OTLP JSON for programs. Must never
//! leave out in silence what it cannot read.

use std::io::Write;
use std::process::ExitCode;

use relay_core::json::{Layout, from_protobuf};
use relay_core::otlp::{RequestView, Signal};
use relay_core::spill::{Found, Record};

use super::args::RecordArgs;
use super::directory::{Held, LogDir, Tree};
use super::listing::moment;
use super::requests::requests;
use super::survey::{State, Surveyed, open, survey};
use super::{Stop, note};
use crate::debug_text::{Chunks, write_detailed};
use crate::text::Safe;

/// Where a record is.
struct Place<'t> {
    log: &'t LogDir,
    segment: &'t Surveyed<'t>,
    offset: u64,
    is_settled: bool,
}

impl Place<'_> {
    fn say(&self, what: &str) {
        note(&format!("{}: byte {}: {what}", self.segment.file.path.display(), self.offset));
    }
}

/// Prints records for reading. 1 if some could not be read.
pub(super) fn cat(tree: &Tree, args: &RecordArgs, out: &mut dyn Write) -> Result<ExitCode, Stop> {
    let mut malformed = 0;
    let damaged = visit(tree, args, |place, record| {
        write_head(place, record, out)?;
        let left_out = requests(record, |request| write_request(record.signal, request, out))?;
        malformed += left_out.len() as u64;
        for (number, why) in left_out {
            writeln!(out, "(request #{number}: {why})")?;
        }
        Ok(writeln!(out)?)
    })?;
    Ok(code(malformed + damaged))
}

/// Writes records as OTLP JSON. 1 if some could not be written.
pub(super) fn export(tree: &Tree, args: &RecordArgs, out: &mut dyn Write) -> Result<ExitCode, Stop> {
    let (mut malformed, mut unknown_fields, mut lines, mut records) = (0, 0, 0_u64, 0_u64);
    let mut line = Vec::new();
    let damaged = visit(tree, args, |place, record| {
        records += 1;
        let left_out = requests(record, |request| {
            line.clear();
            match from_protobuf(record.signal, request, Layout::Line, &mut line) {
                Ok(unknown) => unknown_fields += unknown,
                Err(error) => return Ok(Err(format!("no {}: {error}", record.signal.request()))),
            }
            lines += 1;
            line.push(b'\n');
            out.write_all(&line)?;
            Ok(Ok(()))
        })?;
        malformed += left_out.len() as u64;
        for (number, why) in left_out {
            place.say(&format!("request #{number} of the record is left out: {why}"));
        }
        Ok(())
    })?;
    out.flush()?;
    let left_out = malformed + damaged;
    if unknown_fields > 0 {
        note(&format!("{unknown_fields} fields that are not in OTLP 1.10 are not in the lines"));
    }
    note(&format!("records: {records}, lines: {lines}, left out: {left_out}"));
    Ok(code(left_out))
}

fn code(left_out: u64) -> ExitCode {
    if left_out == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Gives `each` all records that were asked for. Returns how many stretches could not be read, each of which it says.
fn visit(
    tree: &Tree,
    args: &RecordArgs,
    mut each: impl FnMut(&Place<'_>, &Record) -> Result<(), Stop>,
) -> Result<u64, Stop> {
    let mut problems = 0;
    for log in &tree.logs {
        if args.signal.is_some_and(|wanted| log.signal.is_some_and(|signal| signal != wanted)) {
            continue;
        }
        let (mut found, settled) = survey(log);
        // Of all processes together: the names of segments begin with their time.
        found.sort_by(|one, other| one.file.name.cmp(&other.file.name));
        for segment in found.iter().filter(|segment| segment.file.wanted) {
            let is_done = segment.counts.settled == segment.counts.records;
            if is_done && !args.all && segment.state == State::Sealed {
                continue;
            }
            let mut read = |offset, record: &Record| {
                let is_settled = settled.contains(record.id.segment, record.id.sequence);
                let other = args.signal.is_some_and(|wanted| record.signal != wanted);
                if other || is_settled && !args.all {
                    return Ok(());
                }
                each(&Place { log, segment, offset, is_settled }, record)
            };
            problems += visit_segment(log, segment, &mut read)?;
        }
    }
    Ok(problems)
}

fn visit_segment(
    log: &LogDir,
    segment: &Surveyed<'_>,
    each: &mut impl FnMut(u64, &Record) -> Result<(), Stop>,
) -> Result<u64, Stop> {
    let mut problems = 0;
    let mut say = |offset, what: &str| {
        problems += 1;
        Place { log, segment, offset, is_settled: false }.say(what);
    };
    let mut reader = match open(&segment.file.path) {
        Ok(Some(opened)) => opened.reader,
        Ok(None) => return Ok(0),
        Err(error) => {
            say(0, &error.to_string());
            return Ok(problems);
        }
    };
    let mut end = 0;
    loop {
        match reader.next() {
            Ok(Some(Found::Record { offset, record })) => {
                end = offset;
                each(offset, &record)?;
            }
            Ok(Some(Found::Corrupt { offset, bytes, why, .. })) => {
                say(offset, &format!("{why}: {bytes} bytes cannot be read"));
            }
            Ok(Some(Found::Torn { offset, bytes })) if segment.owner.held != Held::Yes => {
                let what = format!("{bytes} bytes at the end were cut off when its process ended");
                Place { log, segment, offset, is_settled: false }.say(&what);
            }
            Ok(Some(_)) => {}
            Ok(None) => return Ok(problems),
            Err(error) => {
                say(end, &format!("cannot be read on after here: {error}"));
                return Ok(problems);
            }
        }
    }
}

fn write_head(place: &Place<'_>, record: &Record, out: &mut dyn Write) -> Result<(), Stop> {
    let settled = if place.is_settled { ", settled" } else { "" };
    let items = match record.encoding {
        None => format!("{}: {}, requests: {}", record.signal.items(), record.items, record.parts.len()),
        Some(encoding) => format!("requests of {} in {encoding}: {}", record.signal.name(), record.items),
    };
    let (exporter, when, bytes) = (&place.log.exporter, moment(record.unix_ms), record.payload.len());
    writeln!(out, "=== {exporter}, {when}, {items}, bytes: {bytes}{settled}")?;
    let (path, offset) = (place.segment.file.path.display(), place.offset);
    writeln!(out, "=== {path}, byte {offset}, record {}", record.id.sequence)?;
    Ok(())
}

/// Spans as the debug exporter prints them, other items as their JSON. What is wrong with the request, if it cannot be read whole.
fn write_request(signal: Signal, request: &[u8], out: &mut dyn Write) -> Result<Result<(), String>, Stop> {
    let mut json = Vec::new();
    if let Err(error) = from_protobuf(signal, request, Layout::Indented, &mut json) {
        return Ok(Err(format!("no {}: {error}", signal.request())));
    }
    if signal != Signal::Traces {
        for line in String::from_utf8_lossy(&json).lines() {
            writeln!(out, "{}", Safe(line))?;
        }
        return Ok(Ok(()));
    }
    let mut written = Ok(());
    let mut emit = |text: String| {
        written = writeln!(out, "{text}");
        written.is_ok()
    };
    let mut chunks = Chunks::new(&mut emit);
    write_detailed(&mut chunks, &RequestView::new(request));
    chunks.finish();
    Ok(Ok(written?))
}
