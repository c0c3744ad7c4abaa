//! The daemon's entry: command line, configuration, and which of its few things to do. Must never hold logic of the
//! relay.
#![forbid(unsafe_code)]

pub mod cli;
pub mod config;

mod activation;
mod ask;
mod assembly;
mod awaited;
mod clock;
mod debug;
mod debug_text;
mod generations;
mod health;
mod http;
mod limits;
mod listen;
mod logging;
mod metrics;
mod notify;
mod outlet;
mod picture;
mod plan;
mod printer;
mod probes;
mod process;
mod reload;
mod report;
mod run;
mod samples;
mod send;
mod signals;
mod spool;
mod storage;
mod summary;
mod text;
mod watch;

use std::io::{self, Write};
use std::process::ExitCode;

use cli::{Cli, Command};
use config::{Config, Severity};
use watch::Sources;

// Threads of their own heaps, and memory that goes back: what is freed on another core than it was allocated on is the
// rule here, because batches are stolen.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::from_process();
    let done = match &cli.command {
        Some(Command::Components) => cli::write_components(&mut io::stdout().lock())
            .map(|()| ExitCode::SUCCESS)
            .map_err(|error| error.to_string()),
        Some(Command::Send(args)) => send::send(args),
        Some(Command::Health(args)) => ask::health(args),
        Some(Command::Spool(args)) => spool::spool(args),
        Some(Command::Validate(_)) => validate(&cli),
        Some(Command::PrintConfig(_)) => Err("print-config: relayd does not have it; `relayd validate --config FILE` \
                                              says what is wrong with each line, docs/configuration.md has every default"
            .to_owned()),
        Some(Command::FeatureGate(_)) => Err("featuregate: relayd has no feature gates; what it does otherwise than the \
                                              Collector is in docs/configuration.md, by key"
            .to_owned()),
        None => start(&cli),
    };
    done.unwrap_or_else(|message| {
        say(&message);
        ExitCode::FAILURE
    })
}

fn start(cli: &Cli) -> Result<ExitCode, String> {
    // While there is one thread.
    let inherited = activation::from_environment()?;
    let sources = sources(cli);
    let (loaded, watch) = sources.load();
    let (config, notices) = loaded?;
    let flags = cli.warnings().into_iter().map(|warning| (true, warning));
    let notices =
        notices.into_iter().map(|notice| (notice.severity == Severity::Warning, notice.to_string()));
    run::run(run::Options {
        config,
        sources,
        watch,
        inherited,
        notices: flags.chain(notices).collect(),
        shutdown_deadline: cli.shutdown_timeout.unwrap_or(limits::SHUTDOWN_DEADLINE),
    })
}

fn validate(cli: &Cli) -> Result<ExitCode, String> {
    for warning in cli.warnings() {
        say(&format!("warning: {warning}"));
    }
    let (config, notices) = sources(cli).load().0?;
    for notice in notices {
        let level = if notice.severity == Severity::Warning { "warning" } else { "info" };
        say(&format!("{level}: {notice}"));
    }
    plan::check(&config).map_err(|errors| errors.join("\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// Where the configuration is that the command line names.
fn sources(cli: &Cli) -> Sources {
    let default = Config::embedded_default(cli.listen.clone());
    Sources { uris: cli.config_uris(), sets: cli.sets(), default }
}

/// A line on standard error. Nobody can be told if even that cannot be written.
fn say(line: &str) {
    writeln!(io::stderr().lock(), "{line}").ok();
}
