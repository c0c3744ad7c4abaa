//! What is damaged: `verify`, and what the others make of it.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use relay_core::otlp::Signal;
use serde_json::Value;
use testkit::generate::kube_like_bytes;

use crate::written::{NOW, Storage, record};
use crate::{spool, spool_ok};

/// Bytes of a segment's header and of a record's head (docs/spool-format.md).
const HEADER_BYTES: usize = 40;
const HEAD_BYTES: usize = 56;

/// One segment of three batches of one span each, closed or as a killed process leaves it; where the batches begin.
fn three(storage: &Storage, closed: bool) -> (PathBuf, Vec<usize>) {
    let mut log = storage.log("otlp", Signal::Traces, 1);
    let batches: Vec<_> =
        (0..3).map(|seed| record(Signal::Traces, &[(kube_like_bytes(1, seed), 1)])).collect();
    let mut offset = HEADER_BYTES;
    let offsets = batches.iter().map(|batch| {
        let begin = offset;
        // The length of a request and its one item, as varints.
        offset += HEAD_BYTES + if batch.payload.len() < 128 { 2 } else { 3 } + batch.payload.len();
        begin
    });
    let offsets = offsets.collect();
    log.append(&batches, NOW).unwrap();
    if closed {
        log.close(NOW + 1).unwrap();
    }
    (storage.segments().remove(0), offsets)
}

fn flip(path: &Path, at: usize) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at as u64).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at as u64).unwrap();
}

fn cut(path: &Path, len: usize) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(len as u64).unwrap();
}

fn state(storage: &Storage) -> String {
    let row: Value = serde_json::from_str(&spool_ok(&["ls", "--json"], storage.path())).unwrap();
    row["state"].as_str().unwrap().to_owned()
}

#[test]
fn what_is_sound_is_said_to_be() {
    let storage = Storage::new();
    let (path, _) = three(&storage, true);
    let bytes = fs::metadata(&path).unwrap().len();
    let sound = format!("segments: 1, records: 3, bytes: {bytes}, faults: 0\n");
    assert_eq!(spool_ok(&["verify"], storage.path()), sound);
    assert_eq!(spool_ok(&["verify"], &path), sound);
    let json: Value = serde_json::from_str(&spool_ok(&["verify", "--json"], storage.path())).unwrap();
    assert_eq!((&json["kind"], &json["records"], &json["faults"]), (&"sum".into(), &3.into(), &0.into()));
}

/// A bit of a payload, of a head and of the header: the fault is named with file and byte, the others are still exported.
#[test]
fn a_flipped_bit_is_a_fault() {
    for (at, fault, left) in [
        (HEAD_BYTES + 20, "the checksum of the payload does not match", 2),
        (10, "no valid head", 2),
        (0, "no valid head", 2),
    ] {
        let storage = Storage::new();
        let (path, offsets) = three(&storage, false);
        flip(&path, offsets[1] + at);
        let said = spool(&["verify"], storage.path());
        assert_eq!(said.code, Some(1), "{}", said.out);
        let expected = format!("fault: {}: byte {}: {fault}: ", path.display(), offsets[1]);
        assert!(said.out.starts_with(&expected), "{expected}\n{}", said.out);
        assert!(said.out.ends_with(", faults: 1\n"), "{}", said.out);
        assert_eq!(state(&storage), "corrupt");
        let said = spool(&["export"], storage.path());
        assert_eq!((said.code, said.out.lines().count()), (Some(1), left), "{}", said.err);
        assert!(
            said.err.contains(&format!("{}: byte {}: {fault}", path.display(), offsets[1])),
            "{}",
            said.err
        );
    }
    let storage = Storage::new();
    let (path, _) = three(&storage, true);
    flip(&path, 20);
    let said = spool(&["verify", "--json"], storage.path());
    let fault: Value = serde_json::from_str(said.out.lines().next().unwrap()).unwrap();
    assert_eq!((said.code, &fault["kind"], &fault["offset"]), (Some(1), &"fault".into(), &0.into()));
    assert_eq!(
        fault["what"],
        "the header of the segment is damaged; its name says the same, and is believed"
    );
    assert_eq!(spool(&["export"], storage.path()).out.lines().count(), 3);
}

/// A footer is believed by who lists, so that a large backlog is not read; not by who verifies.
#[test]
fn listing_reads_no_finished_segment() {
    let storage = Storage::new();
    let (path, offsets) = three(&storage, true);
    flip(&path, offsets[0] + HEAD_BYTES + 20);
    assert_eq!(state(&storage), "sealed");
    assert_eq!(spool(&["verify"], storage.path()).code, Some(1));
}

/// Every length that a killed process can leave: a note at most, what is before it is all there.
#[test]
fn a_torn_tail_is_no_fault() {
    let storage = Storage::new();
    let (path, offsets) = three(&storage, false);
    let whole = fs::read(&path).unwrap();
    for len in (0..=whole.len()).rev().step_by(23).chain([0, 1, HEADER_BYTES, offsets[2]]) {
        fs::write(&path, &whole).unwrap();
        cut(&path, len);
        let said = spool(&["verify"], storage.path());
        assert_eq!(said.code, Some(0), "{len}: {}", said.out);
        let left = if len == whole.len() {
            3
        } else {
            offsets.iter().filter(|at| **at <= len).count().saturating_sub(1)
        };
        assert!(
            said.out.contains(&format!("segments: 1, records: {left}, bytes: {len}, faults: 0\n")),
            "{}",
            said.out
        );
        let between = len != HEADER_BYTES && len != whole.len() && !offsets.contains(&len);
        assert_eq!(said.out.contains("note: "), between, "{len}: {}", said.out);
        assert_eq!(state(&storage), if between { "torn" } else { "ended" }, "{len}");
        let said = spool(&["export"], storage.path());
        assert_eq!((said.code, said.out.lines().count()), (Some(0), left), "{}", said.err);
    }
}

/// A segment that a process writes to, with a record half written: nobody's fault, and no word of it in an export.
#[test]
fn what_is_being_written_is_no_fault() {
    let storage = Storage::new();
    let mut log = storage.log("otlp", Signal::Traces, 1);
    log.append(&[record(Signal::Traces, &[(kube_like_bytes(1, 1), 1)])], NOW).unwrap();
    let path = storage.segments().remove(0);
    let end = fs::metadata(&path).unwrap().len();
    OpenOptions::new().write(true).open(&path).unwrap().write_all_at(b"half a record", end).unwrap();
    let said = spool(&["verify"], storage.path());
    let note =
        format!("note: {}: byte {end}: 13 bytes at the end are no record: being written", path.display());
    assert!(said.code == Some(0) && said.out.starts_with(&note), "{}", said.out);
    assert_eq!(state(&storage), "active");
    assert_eq!(spool(&["export"], storage.path()).err, "relayd spool: records: 1, lines: 1, left out: 0\n");
}

/// Files that are none of ours are left alone and named; one that calls itself a segment and is none is a fault.
#[test]
fn foreign_files_are_named() {
    let storage = Storage::new();
    let (path, _) = three(&storage, true);
    let (owner, log) = (path.parent().unwrap(), path.parent().unwrap().parent().unwrap());
    for foreign in [owner.join("core"), log.join("README"), storage.path().join("exporter_otlp__traces")] {
        fs::write(&foreign, "x").unwrap();
        let said = spool_ok(&["verify"], storage.path());
        let note = format!("note: {}: not of a spool: relayd leaves it alone\n", foreign.display());
        assert!(said.contains(&note), "{said}");
    }
    fs::create_dir(log.join(".new-p-1700000000000-00000001")).unwrap();
    fs::create_dir(storage.path().join("lost+found")).unwrap();
    assert_eq!(spool_ok(&["verify"], storage.path()).matches("note: ").count(), 4);
    let disguised = owner.join("1700000000999-00000001.seg");
    fs::write(&disguised, "a text that is longer than the header of a segment is").unwrap();
    let said = spool(&["verify"], storage.path());
    let fault =
        format!("fault: {}: byte 0: not a segment: it does not begin with RLSPILL", disguised.display());
    assert!(said.code == Some(1) && said.out.contains(&fault), "{}", said.out);
    // Written by a newer version: nothing is guessed.
    let mut newer = fs::read(&path).unwrap();
    newer[8] = 2;
    let crc = crc32c::crc32c(&newer[..HEADER_BYTES - 4]);
    newer[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    fs::write(&disguised, newer).unwrap();
    let said = spool(&["verify"], storage.path());
    assert!(said.code == Some(1) && said.out.contains("byte 0: segment of format version 2"), "{}", said.out);
    let said = spool(&["ls"], storage.path());
    assert!(said.code == Some(0) && said.out.contains("  unreadable\n"), "{}", said.out);
    assert!(said.err.contains("use a newer relayd"), "{}", said.err);
}
