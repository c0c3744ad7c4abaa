//! The law without a law-giver: file sizes, headers, import directions, leftovers, and the truth of ARCHITECTURE.md.

#![cfg(test)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 400;
const TEST_LINES_MAX: usize = 800;
const MOD_LINES_MAX: usize = 120;

/// Which layers of relay-core a layer may import. `limits` is open to all; `io` and `relay` may import everything.
const MAY_IMPORT: [(&str, &[&str]); 13] = [
    ("limits", &[]),
    ("wire", &[]),
    ("otlp", &["wire"]),
    ("edit", &["otlp", "wire"]),
    ("json", &["otlp", "wire"]),
    ("grpc", &["wire"]),
    ("http2", &["grpc"]),
    ("queue", &[]),
    ("batch", &["edit", "otlp", "queue", "wire"]),
    ("spill", &["batch", "otlp", "wire"]),
    ("upstream", &["grpc", "batch"]),
    ("config", &["batch", "edit", "otlp", "spill", "upstream"]),
    ("stats", &["batch", "otlp"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// All files below `dir` with one of these endings, as paths relative to the root.
fn files(dir: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let skipped = ["target", ".git", "corpus", "out", "artifacts"];
    let mut found = Vec::new();
    let mut pending = vec![dir.to_path_buf()];
    while let Some(dir) = pending.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !skipped.contains(&name.as_str()) {
                pending.push(path);
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_string_lossy().into_owned()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

fn assert_none(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn files_are_one_thought_and_say_which() {
    let mut problems = Vec::new();
    for path in files(&root(), &[".rs"]) {
        let (name, text) = (relative(&path), read(&path));
        let lines = text.lines().count();
        let is_test = name.contains("/tests/") || name.ends_with("/tests.rs");
        let max = if is_test {
            TEST_LINES_MAX
        } else if name.ends_with("/mod.rs") {
            MOD_LINES_MAX
        } else {
            FILE_LINES_MAX
        };
        if lines > max {
            problems.push(format!("{name}: {lines} lines, more than {max}"));
        }
        if !text.starts_with("//!") {
            problems.push(format!("{name}: does not begin with //!"));
        }
    }
    assert_none(&problems);
}

#[test]
fn nothing_is_left_open() {
    // Spelled in pieces, so that this file does not find itself.
    let leftovers = [["to", "do!("], ["unimple", "mented!("], ["FIX", "ME"], ["XX", "X:"], ["#[ign", "ore"]];
    let mut problems = Vec::new();
    for path in files(&root(), &[".rs", ".md", ".toml", ".sh", ".py"]) {
        let text = read(&path);
        for leftover in leftovers.iter().map(|pieces| pieces.concat()) {
            if text.contains(&leftover) {
                problems.push(format!("{}: {leftover}", relative(&path)));
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn imports_go_one_way() {
    let src = root().join("relay-core/src");
    let mut problems = Vec::new();
    for path in files(&src, &[".rs"]) {
        let name = relative(&path);
        let inside = path.strip_prefix(&src).unwrap().to_string_lossy().into_owned();
        let layer = inside.split('/').next().unwrap().trim_end_matches(".rs").to_owned();
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(from, _)| *from == layer) else { continue };
        for (number, line) in read(&path).lines().enumerate() {
            let code = line.split("//").next().unwrap();
            for reference in code.split("crate::").skip(1) {
                let target: String =
                    reference.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if target != layer && target != "limits" && !allowed.contains(&target.as_str()) {
                    problems.push(format!("{name}:{}: {layer} imports {target}", number + 1));
                }
            }
        }
    }
    assert_none(&problems);
}

/// `std::net`, `std::fs`, threads and tokio's runtime belong to `io` and `relay`.
#[test]
fn the_core_touches_no_operating_system() {
    let src = root().join("relay-core/src");
    let system = [
        "std::fs",
        "std::net::Tcp",
        "std::thread",
        "tokio::net",
        "tokio::time",
        "tokio::task",
        "rustix",
        "socket2",
    ];
    let mut problems = Vec::new();
    for path in files(&src, &[".rs"]) {
        let name = relative(&path);
        if name.contains("/io/") || name.ends_with("/relay.rs") {
            continue;
        }
        // What stands behind cfg(test) may start threads.
        let text = read(&path);
        let code = text.split("#[cfg(test)]").next().unwrap();
        for used in system.iter().filter(|used| code.contains(**used)) {
            problems.push(format!("{name}: uses {used}"));
        }
    }
    assert_none(&problems);
}

/// tokio draws the branch that `select!` looks at first from a seed that a test cannot set: a simulated world would not repeat itself.
#[test]
fn selects_are_biased() {
    let mut problems = Vec::new();
    for path in files(&root().join("relay-core/src"), &[".rs"]) {
        let text = read(&path);
        let bodies = text.split("select! {").skip(1);
        if bodies.clone().any(|body| !body.trim_start().starts_with("biased;")) {
            problems.push(format!("{}: a select! does not begin with biased;", relative(&path)));
        }
    }
    assert_none(&problems);
}

/// The code map names what exists, and what exists is named.
#[test]
fn the_code_map_is_true() {
    let text = read(&root().join("ARCHITECTURE.md"));
    let map = text.split("## Code map").nth(1).unwrap().split("\n## ").next().unwrap();
    let named: BTreeSet<&str> = map.split('`').skip(1).step_by(2).collect();
    let core = root().join("relay-core/src");
    let mut problems = Vec::new();
    for entry in std::fs::read_dir(&core).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let shown = if path.is_dir() { format!("{name}/") } else { name };
        if !named.contains(shown.as_str()) {
            problems.push(format!("ARCHITECTURE.md does not name relay-core/src/{shown}"));
        }
    }
    for entry in std::fs::read_dir(core.join("io")).unwrap() {
        let name = entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned();
        if name != "mod" && !named.contains(name.as_str()) {
            problems.push(format!("ARCHITECTURE.md does not name io/{name}.rs"));
        }
    }
    for path in named.iter().filter(|name| name.ends_with('/') || name.ends_with(".rs")) {
        let places = [root().join(path), core.join(path), root().join("relayd/src").join(path)];
        if !places.iter().any(|place| place.exists()) {
            problems.push(format!("ARCHITECTURE.md names {path}, which does not exist"));
        }
    }
    assert_none(&problems);
}

#[test]
fn the_changelog_has_its_shape() {
    let text = read(&root().join("CHANGELOG.md"));
    assert!(text.starts_with("# Changelog\n"));
    let versions: Vec<&str> = text.lines().filter(|line| line.starts_with("## ")).collect();
    assert!(!versions.is_empty());
    for version in versions {
        assert!(version.starts_with("## ["), "{version}: write ## [Unreleased] or ## [1.2.3] - YYYY-MM-DD");
    }
}
