//! `relayd spool ls` and `stat`: what is there, as a table or as JSON. Must never read a segment that says by its footer what is in it.

use std::io::Write;
use std::process::ExitCode;

use relay_core::otlp::Signal;
use serde_json::{Value, json};

use super::directory::{Held, LogDir, Tree};
use super::survey::{Counts, State, Surveyed, survey};
use super::{Stop, note};
use crate::clock;

const SECOND_MS: u64 = 1000;

/// What stands in the columns of `ls`, and whether it is a number.
const COLUMNS: [(&str, bool); 12] = [
    ("EXPORTER", false),
    ("SIGNAL", false),
    ("PROCESS", false),
    ("HELD", false),
    ("SEGMENT", false),
    ("BYTES", true),
    ("RECORDS", true),
    ("SETTLED", true),
    ("ITEMS", true),
    ("UNOPENED", true),
    ("OLDEST", false),
    ("STATE", false),
];

/// A line for each segment.
pub(super) fn ls(tree: &Tree, json: bool, out: &mut dyn Write) -> Result<ExitCode, Stop> {
    let mut rows = vec![COLUMNS.map(|(name, _)| name.to_owned())];
    for log in &tree.logs {
        for one in wanted(log) {
            if json {
                writeln!(out, "{}", row_json(log, &one))?;
            } else {
                rows.push(row(log, &one));
            }
        }
    }
    if rows.len() > 1 {
        write_table(&rows, out)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What each log holds in sum.
pub(super) fn stat(tree: &Tree, json: bool, out: &mut dyn Write) -> Result<ExitCode, Stop> {
    for (index, log) in tree.logs.iter().enumerate() {
        let found: Vec<_> = wanted(log).collect();
        if json {
            writeln!(out, "{}", sum_json(log, &found))?;
            continue;
        }
        if index > 0 {
            writeln!(out)?;
        }
        write_sum(log, &found, out)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn wanted(log: &LogDir) -> impl Iterator<Item = Surveyed<'_>> {
    let (found, _) = survey(log);
    found.into_iter().filter(|one| one.file.wanted).inspect(|one| {
        if let State::Unreadable(why) = &one.state {
            note(&format!("{}: {why}", one.file.path.display()));
        }
    })
}

fn row(log: &LogDir, one: &Surveyed<'_>) -> [String; 12] {
    let counts = one.counts;
    [
        log.exporter.clone(),
        signal_name(log).to_owned(),
        one.owner.name.clone(),
        held_name(&one.owner.held).to_owned(),
        one.file.name.clone(),
        one.file.bytes.to_string(),
        counts.records.to_string(),
        counts.settled.to_string(),
        counts.items.to_string(),
        counts.unopened.to_string(),
        counts.oldest_unix_ms.map_or_else(|| "-".to_owned(), moment),
        one.state.name().to_owned(),
    ]
}

fn row_json(log: &LogDir, one: &Surveyed<'_>) -> Value {
    let counts = one.counts;
    json!({
        "exporter": log.exporter,
        "data_type": log.signal.map(Signal::name),
        "process": one.owner.name,
        "held": held_json(&one.owner.held),
        "segment": one.file.name,
        "path": one.file.path,
        "bytes": one.file.bytes,
        "records": counts.records,
        "settled": counts.settled,
        "items": counts.items,
        "unopened": counts.unopened,
        "oldest_unix_ms": counts.oldest_unix_ms,
        "state": one.state.name(),
    })
}

/// Columns two spaces apart, numbers to the right.
fn write_table(rows: &[[String; 12]], out: &mut dyn Write) -> Result<(), Stop> {
    let mut widths = [0; 12];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    for row in rows {
        let mut line = String::new();
        for ((cell, width), (_, is_number)) in row.iter().zip(widths).zip(COLUMNS) {
            let cell = if is_number { format!("{cell:>width$}") } else { format!("{cell:<width$}") };
            line.push_str(&cell);
            line.push_str("  ");
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// The sums of a log.
struct Sum {
    bytes: u64,
    counts: Counts,
    /// The oldest of segments that are not settled whole.
    oldest_unix_ms: Option<u64>,
}

fn sum(found: &[Surveyed<'_>]) -> Sum {
    let mut sum = Sum { bytes: 0, counts: Counts::default(), oldest_unix_ms: None };
    for one in found {
        sum.bytes += one.file.bytes;
        sum.counts.records += one.counts.records;
        sum.counts.settled += one.counts.settled;
        sum.counts.items += one.counts.items;
        sum.counts.unopened += one.counts.unopened;
        if one.counts.settled < one.counts.records {
            sum.oldest_unix_ms = match (sum.oldest_unix_ms, one.counts.oldest_unix_ms) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
    }
    sum
}

/// How many segments there are of each state that occurs.
fn states(found: &[Surveyed<'_>]) -> Vec<(&'static str, usize)> {
    let names = ["sealed", "active", "ended", "torn", "corrupt", "unreadable"];
    let counted = names.map(|name| (name, found.iter().filter(|one| one.state.name() == name).count()));
    counted.into_iter().filter(|(_, count)| *count > 0).collect()
}

fn write_sum(log: &LogDir, found: &[Surveyed<'_>], out: &mut dyn Write) -> Result<(), Stop> {
    let (sum, counts) = (sum(found), sum_counts(log));
    let waiting = sum.counts.records - sum.counts.settled;
    writeln!(out, "{} {}", log.exporter, signal_name(log))?;
    writeln!(out, "  directory  {}", log.path.display())?;
    writeln!(out, "  processes  {} ({} of them live)", counts.0, counts.1)?;
    let states: Vec<_> = states(found).iter().map(|(name, count)| format!("{count} {name}")).collect();
    let states = if states.is_empty() { String::new() } else { format!(" ({})", states.join(", ")) };
    writeln!(out, "  segments   {}{states}", found.len())?;
    writeln!(out, "  bytes      {} ({:.1} MiB)", sum.bytes, sum.bytes as f64 / f64::from(1 << 20))?;
    writeln!(out, "  records    {}: {waiting} waiting, {} settled", sum.counts.records, sum.counts.settled)?;
    writeln!(
        out,
        "  items      {} {}, in all records",
        sum.counts.items,
        log.signal.map_or("", Signal::items)
    )?;
    if sum.counts.unopened > 0 {
        writeln!(out, "  unopened   {} requests, whose items nobody has counted", sum.counts.unopened)?;
    }
    if let Some(oldest) = sum.oldest_unix_ms {
        writeln!(out, "  oldest     {} ({} ago)", moment(oldest), age(oldest))?;
    }
    Ok(())
}

fn sum_json(log: &LogDir, found: &[Surveyed<'_>]) -> Value {
    let (sum, (processes, held)) = (sum(found), sum_counts(log));
    let states: serde_json::Map<_, _> =
        states(found).into_iter().map(|(name, count)| (name.to_owned(), json!(count))).collect();
    json!({
        "exporter": log.exporter,
        "data_type": log.signal.map(Signal::name),
        "directory": log.path,
        "processes": processes,
        "processes_held": held,
        "segments": found.len(),
        "states": states,
        "bytes": sum.bytes,
        "records": sum.counts.records,
        "settled": sum.counts.settled,
        "items": sum.counts.items,
        "unopened": sum.counts.unopened,
        "oldest_unix_ms": sum.oldest_unix_ms,
    })
}

/// Directories of processes with something that was asked for, and those that live.
fn sum_counts(log: &LogDir) -> (usize, usize) {
    let with = || log.owners.iter().filter(|owner| owner.segments.iter().any(|segment| segment.wanted));
    (with().count(), with().filter(|owner| owner.held == Held::Yes).count())
}

fn signal_name(log: &LogDir) -> &'static str {
    log.signal.map_or("-", Signal::name)
}

fn held_name(held: &Held) -> &'static str {
    match held {
        Held::Yes => "yes",
        Held::No => "no",
        Held::Unknown(_) => "unknown",
    }
}

fn held_json(held: &Held) -> Value {
    match held {
        Held::Yes => json!(true),
        Held::No => json!(false),
        Held::Unknown(_) => Value::Null,
    }
}

/// A time as RFC 3339 has it, to the millisecond.
pub(super) fn moment(unix_ms: u64) -> String {
    let whole = clock::rfc3339(unix_ms.saturating_mul(1_000_000));
    format!("{}Z", whole.get(..whole.len().saturating_sub("000000Z".len())).unwrap_or(&whole))
}

/// The time since then, in two units.
fn age(unix_ms: u64) -> String {
    let now = u64::try_from(clock::unix_time().as_millis()).unwrap_or(u64::MAX);
    let seconds = now.saturating_sub(unix_ms) / SECOND_MS;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match () {
        () if days > 0 => format!("{days}d {}h", hours % 24),
        () if hours > 0 => format!("{hours}h {}m", minutes % 60),
        () if minutes > 0 => format!("{minutes}m {}s", seconds % 60),
        () => format!("{seconds}s"),
    }
}
