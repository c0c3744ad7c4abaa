//! `relayd spool`, as a process, on directories that the log itself has written, sound and damaged.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "the helpers of a test may fail it")]

mod damage;
mod directories;
mod listing;
mod records;
mod written;

use std::path::Path;
use std::process::{Command, Output};

/// What `relayd spool ARGS PATH` has written, and its exit code.
struct Said {
    out: String,
    err: String,
    code: Option<i32>,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { out: text(output.stdout), err: text(output.stderr), code: output.status.code() }
    }
}

fn command(args: &[&str], path: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relayd"));
    command.arg("spool").args(args).arg(path);
    command
}

fn spool(args: &[&str], path: &Path) -> Said {
    command(args, path).output().unwrap().into()
}

/// As [`spool`], which must succeed without a word beside its output.
fn spool_ok(args: &[&str], path: &Path) -> String {
    let said = spool(args, path);
    assert!(said.code == Some(0) && said.err.is_empty(), "{:?}: {}{}", said.code, said.out, said.err);
    said.out
}
