//! What the sink has taken, and the file it keeps it in.
//!
//! Must never count what was refused as taken.

use std::io;

use super::super::dump::Dump;
use super::message::{INTERNAL, Taken};
use super::opened::Opened;

/// Counts of a run.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) connections: u64,
    pub(super) requests: u64,
    pub(super) spans: u64,
    pub(super) bytes: u64,
    pub(super) wire_bytes: u64,
    pub(super) refused: u64,
    pub(super) dump: Option<Dump>,
    pub(super) opened: Opened,
}

impl Ledger {
    /// Notes how a request ended; gives the gRPC status code to answer with.
    pub(super) fn note(&mut self, ended: Result<Taken, i32>) -> i32 {
        let code = ended.and_then(|taken| self.take(taken)).err().unwrap_or(0);
        self.refused += u64::from(code != 0);
        code
    }

    fn take(&mut self, taken: Taken) -> Result<(), i32> {
        if let (Some(dump), Some(kept)) = (&mut self.dump, &taken.kept) {
            dump.write(kept).map_err(|_| INTERNAL)?;
        }
        self.requests += 1;
        self.spans += taken.spans;
        self.bytes += taken.bytes as u64;
        self.wire_bytes += taken.wire_bytes as u64;
        Ok(())
    }

    /// Hands what is kept to the operating system.
    ///
    /// # Errors
    /// The file's.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.dump.as_mut().map_or(Ok(()), Dump::flush)
    }
}
