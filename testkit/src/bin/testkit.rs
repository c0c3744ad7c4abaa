//! The `testkit` program: what sends, receives, counts and compares in e2e runs and benches (see `testkit::tools`).
//!
//! Prints one JSON object to standard output; exits with 1 where the answer is bad, with 2 where there is none.

use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use testkit::tools::{certificates, compare, dns, load, numbered, probe, replay, sink, tally, tcp_relay};

/// Sends, receives and compares traces, to test a relay with.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Send recorded requests byte for byte, one at a time; exit 1 if one was not accepted.
    Replay(replay::Args),
    /// Send as much as is taken, or at a fixed rate; exit 1 if nothing was accepted.
    Load(load::Args),
    /// Receive and count; exit 1 if a message was refused.
    Sink {
        #[command(flatten)]
        args: sink::Args,
        /// What to count beside requests and bytes.
        #[arg(long, value_enum, default_value_t)]
        count: sink::Count,
    },
    /// Send spans that bear numbers, from several clients; exit 1 if nothing was accepted.
    Numbered(numbered::Args),
    /// Say what became of numbered spans, and what arrived of every service.
    Tally(tally::Args),
    /// Connect every few milliseconds and say how long nobody was there; exit 1 if nobody ever answered.
    Probe(probe::Args),
    /// Carry bytes between TCP connections.
    TcpRelay(tcp_relay::Args),
    /// Answer DNS queries from a file, which may change, until SIGTERM.
    Dns(dns::Args),
    /// Make keys and certificates that are valid for a day, and some that are not.
    Certificates(certificates::Args),
    /// Compare what was sent with what arrived, span by span; exit 1 if spans are missing or extra.
    Compare(compare::Args),
}

fn main() -> ExitCode {
    let outcome = run(Arguments::parse().command);
    match outcome {
        Ok((object, good)) => {
            println!("{object}");
            ExitCode::from(u8::from(!good))
        }
        Err(error) => {
            eprintln!("testkit: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(command: Command) -> io::Result<(serde_json::Value, bool)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match command {
        Command::Replay(args) => runtime.block_on(replay::run(&args)),
        Command::Load(args) => load::run(&args),
        Command::Sink { args, count } => runtime.block_on(sink::run_counting(&args, count)),
        Command::Numbered(args) => runtime.block_on(numbered::run(&args)),
        Command::Tally(args) => tally::run(&args),
        Command::Probe(args) => runtime.block_on(probe::run(&args)),
        Command::TcpRelay(args) => runtime.block_on(tcp_relay::run(&args)),
        Command::Dns(args) => runtime.block_on(dns::run(&args)),
        Command::Certificates(args) => certificates::run(&args),
        Command::Compare(args) => compare::run(&args),
    }
}
