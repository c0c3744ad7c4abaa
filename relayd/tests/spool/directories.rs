//! What a path means, and what is said of one that means nothing.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;

use relay_core::otlp::Signal;
use testkit::generate::kube_like_bytes;

use crate::written::{NOW, Storage, record};
use crate::{Said, command, spool, spool_ok};

/// Two processes that have ended, the second of which has settled what the first has stored.
fn two_owners(storage: &Storage) {
    let batch = |seed| record(Signal::Traces, &[(kube_like_bytes(1, seed), 1)]);
    for process in [1, 2] {
        let mut log = storage.log("otlp", Signal::Traces, process);
        log.append(&[batch(process.into()), batch(7)], NOW + u64::from(process)).unwrap();
        log.close(NOW + 10).unwrap();
    }
}

fn rows(path: &Path) -> usize {
    spool_ok(&["ls"], path).lines().count() - 1
}

#[test]
fn any_level_of_the_directory_can_be_asked_for() {
    let storage = Storage::new();
    two_owners(&storage);
    let segments = storage.segments();
    let owner = segments[0].parent().unwrap();
    let log = owner.parent().unwrap();
    assert_eq!((rows(storage.path()), rows(log), rows(owner), rows(&segments[1])), (2, 2, 1, 1));
    assert!(spool_ok(&["ls"], &segments[1]).contains(segments[1].file_name().unwrap().to_str().unwrap()));
    // By another name, and from inside.
    let link = storage.path().with_extension("link");
    symlink(owner, &link).unwrap();
    assert_eq!(rows(&link), 1);
    fs::remove_file(link).unwrap();
    let output = command(&["ls"], Path::new(".")).current_dir(owner).output().unwrap();
    assert!(Said::from(output).out.contains("otlp      traces"));
    // A copy, on its own.
    let copy = storage.path().with_extension("copy");
    fs::create_dir(&copy).unwrap();
    fs::copy(&segments[0], copy.join(segments[0].file_name().unwrap())).unwrap();
    assert_eq!(rows(&copy), 1);
    assert_eq!(spool(&["export"], &copy).out.lines().count(), 2);
    fs::remove_dir_all(copy).unwrap();
}

#[test]
fn nothing_there_is_said() {
    let storage = Storage::new();
    let empty = format!(
        "relayd spool: {}: empty: nothing was stored, or all of it has been delivered\n",
        storage.path().display()
    );
    for args in [["ls"], ["stat"], ["cat"]] {
        let said = spool(&args, storage.path());
        assert_eq!((said.code, said.out, said.err), (Some(0), String::new(), empty.clone()));
    }
    let missing = storage.path().join("missing");
    let said = spool(&["ls"], &missing);
    let expected = format!("relayd spool: {}: no such file or directory\n", missing.display());
    assert_eq!((said.code, said.err), (Some(1), expected));
}

#[test]
fn what_is_no_spool_is_refused_with_what_was_expected() {
    let storage = Storage::new();
    let file = storage.path().join("notes.txt");
    fs::write(&file, "x").unwrap();
    for path in [storage.path(), &file] {
        let said = spool(&["verify"], path);
        assert_eq!(said.code, Some(1));
        let expected = format!(
            "relayd spool: {}: not a spool: neither a directory of extensions.file_storage (EXPORTER_SIGNAL/p-TIME-NUMBER/*.seg), \
             nor one of those directories, nor a segment (TIME-NUMBER.seg)\n",
            path.display()
        );
        assert_eq!(said.err, expected);
    }
    fs::write(storage.path().join("exporter_otlp__traces"), "x").unwrap();
    assert!(spool(&["ls"], storage.path()).err.contains("files of the Collector's own file_storage"));
}

/// Reading is all that is needed: another user can look at what he may read and not write, and is told what he may not.
#[test]
fn another_user_reads_what_he_may() {
    const NOBODY: u32 = 65_534;
    let storage = Storage::new();
    two_owners(&storage);
    let as_nobody = |args: &[&str]| match command(args, storage.path()).uid(NOBODY).output() {
        Ok(output) => Some(Said::from(output)),
        // Not root here, or a checkout that nobody else may enter.
        Err(error) => {
            assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
            None
        }
    };
    for path in storage.segments() {
        fs::set_permissions(path.parent().unwrap(), fs::Permissions::from_mode(0o555)).unwrap();
        for file in fs::read_dir(path.parent().unwrap()).unwrap() {
            fs::set_permissions(file.unwrap().path(), fs::Permissions::from_mode(0o444)).unwrap();
        }
    }
    fs::set_permissions(storage.path().join("otlp_traces"), fs::Permissions::from_mode(0o755)).unwrap();
    let Some(said) = as_nobody(&["export"]) else { return };
    assert_eq!((said.code, said.out.lines().count()), (Some(0), 4), "{}", said.err);
    fs::set_permissions(storage.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let said = as_nobody(&["ls"]).unwrap();
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("read it as the user that relayd runs as, or as root"), "{}", said.err);
}
