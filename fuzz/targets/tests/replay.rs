//! Replays every corpus file of every fuzz target on stable, without libFuzzer: what a fuzz run has found
//! stays found.

#![cfg(test)]

use std::path::{Path, PathBuf};

use relay_fuzz_targets::TARGETS;

fn corpus(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// On a small stack, as a core's thread may have: nesting must not be followed by recursion without bound.
#[test]
fn every_corpus_file_keeps_its_law() {
    let replay = || {
        for (name, target) in TARGETS {
            let files = corpus(name);
            assert!(files.len() >= 20, "the corpus of {name} has {} files", files.len());
            for file in files {
                // Printed on failure only: names the file whose law broke.
                println!("{name} {}", file.display());
                target(&std::fs::read(file).unwrap());
            }
        }
    };
    std::thread::Builder::new().stack_size(4 << 20).spawn(replay).unwrap().join().unwrap();
}

/// The corpora stay small enough for git.
#[test]
fn the_corpora_are_small() {
    let bytes: u64 =
        TARGETS.iter().flat_map(|(name, _)| corpus(name)).map(|file| file.metadata().unwrap().len()).sum();
    assert!(bytes < 2 << 20, "{bytes} bytes");
}

/// No bytes and every single byte, which no corpus needs a file for.
#[test]
fn the_shortest_inputs() {
    for (_, target) in TARGETS {
        target(&[]);
        (0..=u8::MAX).for_each(|byte| target(&[byte]));
        (0..=u8::MAX).for_each(|byte| target(&[byte, 0x80, byte]));
    }
}
