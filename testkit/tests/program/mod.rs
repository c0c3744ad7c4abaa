//! The `testkit` program as a child process.
//!
//! Must never look inside: what a tool says is its JSON object and its exit code.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// Runs a tool to its end.
pub(crate) fn testkit(args: &[&str]) -> (Value, Option<i32>) {
    let output = Command::new(env!("CARGO_BIN_EXE_testkit")).args(args).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let object = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{args:?}: {error}: {text:?}"));
    (object, output.status.code())
}

/// A file of this test's own, not there yet.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    std::fs::remove_file(&path).ok();
    path
}

/// A tool that listens: `sink`, or `tcp-relay`.
pub(crate) struct Serving {
    pub(crate) child: Child,
    pub(crate) addr: String,
}

impl Serving {
    /// Starts `sink` on a free port.
    pub(crate) fn sink(args: &[&str]) -> Self {
        Self::start("sink", args)
    }

    /// Starts `tool` on a free port.
    pub(crate) fn start(tool: &str, args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_testkit"))
            .args([tool, "--listen", "127.0.0.1:0", "--until-stdin-closes"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
        let announced: Value = serde_json::from_str(&line).unwrap();
        Self { child, addr: announced["listening"].as_str().unwrap().to_owned() }
    }

    /// Ends it by closing its standard input.
    pub(crate) fn end(mut self) -> (Value, Option<i32>) {
        drop(self.child.stdin.take());
        let output = self.child.wait_with_output().unwrap();
        (serde_json::from_slice(&output.stdout).unwrap(), output.status.code())
    }
}
