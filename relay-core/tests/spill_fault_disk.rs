//! The disk of the tests keeps what POSIX promises and nothing else: a test on it would prove nothing otherwise.

#![cfg(test)]

mod spill_support;

use std::io::{ErrorKind, IoSlice};
use std::path::{Path, PathBuf};

use relay_core::spill::{Disk, DiskFile};
use spill_support::fault_disk::{Call, EINTR, EIO, FaultDisk, FaultFile};

fn write(file: &FaultFile, at: u64, bytes: &[u8]) -> std::io::Result<usize> {
    file.write_at(at, &[IoSlice::new(bytes)])
}

/// What a loss of power leaves of the files below `/d`, over many seeds.
fn outcomes(disk: &FaultDisk) -> std::collections::BTreeSet<Vec<(PathBuf, Vec<u8>)>> {
    let of = |seed| {
        let left = disk.after_power_loss(seed);
        let files = left.files(Path::new("/d"));
        files.into_iter().map(|path| (path.clone(), left.get(&path))).collect::<Vec<_>>()
    };
    (0..200).map(of).collect()
}

fn with_dir() -> FaultDisk {
    let disk = FaultDisk::new(1);
    disk.create_dir(Path::new("/d")).unwrap();
    disk.settle();
    disk
}

#[test]
fn unsynced_bytes_are_kept_lost_cut_and_torn_by_page() {
    let disk = with_dir();
    let file = disk.create(Path::new("/d/f")).unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    write(&file, 0, b"safe").unwrap();
    file.sync_data().unwrap();
    write(&file, 4, &[7; 3 * 4096]).unwrap();
    let outcomes = outcomes(&disk);
    let contents = outcomes.iter().map(|files| &files[0].1);
    assert!(contents.clone().all(|bytes| bytes.starts_with(b"safe")));
    assert!(contents.clone().any(|bytes| bytes.len() == 4), "wholly lost");
    assert!(contents.clone().any(|bytes| bytes.len() == 4 + 3 * 4096 && !bytes.contains(&0)), "wholly kept");
    assert!(contents.clone().any(|bytes| bytes.len() % 4096 != 4 && !bytes.contains(&0)), "cut anywhere");
    let is_holed = |bytes: &&Vec<u8>| bytes[4..4096].contains(&0) && bytes[4096..8192].contains(&7);
    assert!(contents.clone().filter(|bytes| bytes.len() > 8192).any(|bytes| is_holed(&bytes)), "by page");
    file.sync_data().unwrap();
    assert_eq!(self::outcomes(&disk).len(), 1);
}

#[test]
fn names_are_safe_when_their_directory_is_synced() {
    let disk = with_dir();
    let file = disk.create(Path::new("/d/f")).unwrap();
    write(&file, 0, b"safe").unwrap();
    file.sync_data().unwrap();
    let seen = outcomes(&disk);
    assert!(seen.contains(&Vec::new()), "a synced file without a name is lost: {seen:?}");
    disk.sync_dir(Path::new("/d")).unwrap();
    assert_eq!(outcomes(&disk).len(), 1);
    disk.remove(Path::new("/d/f")).unwrap();
    assert_eq!(outcomes(&disk).len(), 2, "a removal may be undone");
}

#[test]
fn what_is_safe_in_a_directory_is_lost_with_its_name() {
    let disk = with_dir();
    disk.create_dir(Path::new("/d/new")).unwrap();
    let file = disk.create(Path::new("/d/new/f")).unwrap();
    write(&file, 0, b"safe").unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(Path::new("/d/new")).unwrap();
    assert_eq!(outcomes(&disk).len(), 2);
    disk.sync_dir(Path::new("/d")).unwrap();
    assert_eq!(outcomes(&disk), [vec![("/d/new/f".into(), b"safe".to_vec())]].into());
}

#[test]
fn a_rename_is_whole_or_undone_until_both_directories_are_synced() {
    let disk = with_dir();
    disk.create_dir(Path::new("/d/from")).unwrap();
    disk.create_dir(Path::new("/d/to")).unwrap();
    let (from, to) = (Path::new("/d/from/f"), Path::new("/d/to/f"));
    write(&disk.create(from).unwrap(), 0, b"safe").unwrap();
    disk.settle();
    disk.rename(from, to).unwrap();
    let either = |path: &Path| vec![(path.to_path_buf(), b"safe".to_vec())];
    assert_eq!(outcomes(&disk), [either(from), either(to)].into());
    disk.sync_dir(Path::new("/d/to")).unwrap();
    assert_eq!(outcomes(&disk), [either(from), either(to)].into());
    disk.sync_dir(Path::new("/d/from")).unwrap();
    assert_eq!(outcomes(&disk), [either(to)].into());
    disk.rename(to, from).unwrap();
    disk.sync_dir(Path::new("/d/to")).unwrap();
    assert_eq!(outcomes(&disk), [either(from), vec![]].into(), "the wrong one first");
}

#[test]
fn a_failed_sync_forgets_and_a_second_one_lies() {
    let mut were_lost = 0;
    for seed in 0..40 {
        let disk = FaultDisk::new(seed);
        disk.create_dir(Path::new("/d")).unwrap();
        let file = disk.create(Path::new("/d/f")).unwrap();
        disk.settle();
        write(&file, 0, b"lost").unwrap();
        disk.fail(Call::Sync, 0, EIO);
        file.sync_data().unwrap_err();
        file.sync_data().unwrap();
        assert_eq!(disk.calls().syncs_after_failure, 1);
        were_lost += u32::from(disk.after_power_loss(seed).get(Path::new("/d/f")).is_empty());
    }
    assert!((5..35).contains(&were_lost), "{were_lost} of 40");
}

#[test]
fn faults_come_when_they_are_ordered() {
    let disk = with_dir();
    let file = disk.create(Path::new("/d/f")).unwrap();
    disk.fail(Call::Write, 1, EINTR);
    assert_eq!(write(&file, 0, b"ab").unwrap(), 2);
    assert_eq!(write(&file, 2, b"cd").unwrap_err().kind(), ErrorKind::Interrupted);
    disk.set_capacity(Some(3));
    assert_eq!(disk.free_bytes(Path::new("/d")).unwrap(), 1);
    assert_eq!(write(&file, 2, b"cd").unwrap(), 1);
    assert_eq!(write(&file, 3, b"d").unwrap_err().kind(), ErrorKind::StorageFull);
    disk.set_capacity(None);
    disk.set_read_only(true);
    assert_eq!(write(&file, 3, b"d").unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
    disk.set_read_only(false);
    disk.die_after(1);
    write(&file, 3, b"d").unwrap();
    disk.remove(Path::new("/d/f")).unwrap_err();
    assert!(!disk.is_living());
    assert!(disk.list(Path::new("/d")).is_err(), "a dead process does nothing more");
    assert!(disk.another_process().list(Path::new("/d")).is_ok());
}

#[test]
fn a_lock_ends_with_its_holder() {
    let disk = with_dir();
    let (one, two) = (disk.another_process(), disk.another_process());
    let lock = Path::new("/d/lock");
    assert_eq!(one.try_lock(lock, false).unwrap_err().kind(), ErrorKind::NotFound);
    let held = one.try_lock(lock, true).unwrap().unwrap();
    assert!(two.try_lock(lock, false).unwrap().is_none());
    drop(held);
    let _held = two.try_lock(lock, false).unwrap().unwrap();
    assert!(one.try_lock(lock, false).unwrap().is_none());
    two.kill();
    assert!(one.try_lock(lock, false).unwrap().is_some());
}
