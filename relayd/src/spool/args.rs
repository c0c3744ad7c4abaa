//! The command line of `relayd spool`. Must hold nothing else.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use relay_core::otlp::Signal;

/// Arguments of `relayd spool`.
#[derive(Args, Clone, Debug)]
pub struct SpoolArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: SpoolCommand,
}

/// What can be done with a spool.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum SpoolCommand {
    /// A line for each segment.
    Ls(ListingArgs),
    /// What each exporter has on disk, in sum.
    Stat(ListingArgs),
    /// Print the records, for reading. Exit code 1 if some could not be read.
    Cat(RecordArgs),
    /// Read everything and say what is damaged. Exit code 1 if anything is.
    Verify(ListingArgs),
    /// Write the records as OTLP JSON, a line for each. Exit code 1 if some could not be written.
    Export(RecordArgs),
}

/// Which spool.
#[derive(Args, Clone, Debug)]
pub(crate) struct ListingArgs {
    /// The directory of extensions.file_storage, the directory of one exporter or process in it, or a .seg file.
    pub(crate) dir: PathBuf,
    /// A JSON object for each line.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which records.
#[derive(Args, Clone, Debug)]
pub(crate) struct RecordArgs {
    /// The directory of extensions.file_storage, the directory of one exporter or process in it, or a .seg file.
    pub(crate) dir: PathBuf,
    /// Also what has been delivered and is not deleted yet.
    #[arg(long)]
    pub(crate) all: bool,
    /// Records of one signal: traces, metrics, logs or profiles.
    #[arg(long, value_name = "SIGNAL", value_parser = parse_signal)]
    pub(crate) signal: Option<Signal>,
}

fn parse_signal(text: &str) -> Result<Signal, String> {
    Signal::from_name(text).ok_or_else(|| "traces, metrics, logs or profiles".to_owned())
}
