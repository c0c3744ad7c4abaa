//! The `otlp-conformance` program: the OTLP specification, item by item, against a system that runs (see `testkit::conformance`).
//!
//! Must never end with 0 when an item has failed.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use testkit::conformance::options::Options;
use testkit::conformance::{catalog, report, suite};

fn main() -> ExitCode {
    let options = Options::parse();
    if options.list {
        for item in catalog::ITEMS {
            let depends = if item.depends_on.is_empty() { "" } else { "; needs " };
            println!("{} {:6} {}{depends}{}", item.id, item.level.word(), item.title, item.depends_on);
        }
        return ExitCode::SUCCESS;
    }
    if options.grpc.is_none() && options.http.is_none() {
        eprintln!("otlp-conformance: say with --grpc and --http where the system receives; see --help");
        return ExitCode::from(2);
    }
    match run(&options) {
        Ok(failed) => ExitCode::from(u8::from(failed > 0)),
        Err(error) => {
            eprintln!("otlp-conformance: {error}");
            ExitCode::from(2)
        }
    }
}

/// Runs the suite and gives how many items failed.
fn run(options: &Options) -> std::io::Result<usize> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let rows = runtime.block_on(suite::run(options, |row| {
        println!("{}", row.line());
        std::io::stdout().flush().ok();
    }))?;
    let (passed, failed, skipped) = report::counts(&rows);
    println!("{}: {passed} passed, {failed} failed, {skipped} skipped", options.against);
    if let Some(path) = &options.json {
        std::fs::write(path, format!("{:#}\n", report::json(options, &rows)))?;
    }
    Ok(failed)
}
