//! `relayd spool`: what file_storage has on disk, for people: what is there, whether it is sound, and the telemetry itself. Reads only, also
//! beside a relayd that runs; must never write below the directory, or keep a lock.

mod args;
mod directory;
mod listing;
mod records;
mod requests;
mod settled;
mod survey;
mod verify;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

pub use args::SpoolArgs;
use args::SpoolCommand;

use self::directory::Tree;

/// Why a command ends before its end.
enum Stop {
    /// What it writes is not taken.
    Output(io::Error),
    /// There is nothing that it could read.
    Input(String),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Does what was asked for. Success, or what the command's help says of its exit code.
///
/// # Errors
/// Why nothing could be read or written, in one line.
pub(crate) fn spool(args: &SpoolArgs) -> Result<ExitCode, String> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let done = command(&args.command, &mut out).and_then(|code| {
        out.flush()?;
        Ok(code)
    });
    match done {
        Ok(code) => Ok(code),
        // Whoever read has seen enough: `relayd spool cat DIR | head`.
        Err(Stop::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(Stop::Output(error)) => Err(format!("relayd spool: cannot write: {error}")),
        Err(Stop::Input(why)) => Err(format!("relayd spool: {why}")),
    }
}

fn command(command: &SpoolCommand, out: &mut dyn Write) -> Result<ExitCode, Stop> {
    match command {
        SpoolCommand::Ls(args) => listing::ls(&find(&args.dir)?, args.json, out),
        SpoolCommand::Stat(args) => listing::stat(&find(&args.dir)?, args.json, out),
        SpoolCommand::Verify(args) => verify::verify(&find(&args.dir)?, args.json, out),
        SpoolCommand::Cat(args) => records::cat(&find(&args.dir)?, args, out),
        SpoolCommand::Export(args) => records::export(&find(&args.dir)?, args, out),
    }
}

fn find(path: &Path) -> Result<Tree, Stop> {
    let tree = Tree::find(path).map_err(Stop::Input)?;
    if tree.logs.is_empty() {
        note(&format!("{}: empty: nothing was stored, or all of it has been delivered", path.display()));
    }
    Ok(tree)
}

/// A line on standard error, beside what is written. A closed one is nobody to talk to.
fn note(line: &str) {
    writeln!(io::stderr().lock(), "relayd spool: {line}").ok();
}
