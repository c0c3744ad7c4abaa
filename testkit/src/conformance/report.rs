//! Lines for people and JSON for programs.
//!
//! Must never leave an item out: one that was not tried says so.

use std::time::Duration;

use serde_json::{Value, json};

use super::catalog::Item;
use super::options::Options;
use super::verdict::Verdict;

/// An item and how it ended.
#[derive(Debug, Clone)]
pub struct Row {
    /// The item.
    pub item: &'static Item,
    /// How it ended.
    pub verdict: Verdict,
    /// How long it took.
    pub took: Duration,
}

impl Row {
    /// `G05 pass  SHOULD  10 MiB taken: ...`, without a line break.
    #[must_use]
    pub fn line(&self) -> String {
        let Self { item, verdict, .. } = self;
        let detail = verdict.detail().replace(['\n', '\r'], " ");
        format!("{} {}  {:6}  {}: {detail}", item.id, verdict.word(), item.level.word(), item.title)
    }
}

/// How many passed, failed, were skipped.
#[must_use]
pub fn counts(rows: &[Row]) -> (usize, usize, usize) {
    let count = |word: &str| rows.iter().filter(|row| row.verdict.word() == word).count();
    (count("pass"), count("FAIL"), count("skip"))
}

/// The whole report.
#[must_use]
pub fn json(options: &Options, rows: &[Row]) -> Value {
    let items: Vec<Value> = rows
        .iter()
        .map(|Row { item, verdict, took }| {
            json!({
                "id": item.id,
                "level": item.level.word(),
                "title": item.title,
                "outcome": verdict.word().to_ascii_lowercase(),
                "detail": verdict.detail(),
                "depends_on": item.depends_on,
                "milliseconds": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            })
        })
        .collect();
    let (passed, failed, skipped) = counts(rows);
    json!({
        "suite": concat!("otlp-conformance ", env!("CARGO_PKG_VERSION")),
        "against": options.against,
        "has": options.has,
        "lacks": options.lacks,
        "passed": passed,
        "failed": failed,
        "skipped": skipped,
        "items": items,
    })
}
