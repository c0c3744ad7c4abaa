//! What became of each request of a run, as its sender saw it: a file that `numbered` writes and `tally` reads.
//!
//! Must never say more than the sender knows.

use std::io;
use std::path::Path;

use serde_json::{Value, json};

/// Answered with OK, and no earlier attempt was left without an answer.
pub const ACKNOWLEDGED: u8 = b'a';
/// Answered with OK after an attempt that may have arrived: if it is there twice, that is the sender's doing.
pub const REPEATED: u8 = b'A';
/// Given up, and every attempt was refused.
pub const REFUSED: u8 = b'r';
/// Given up, and some attempt had no answer.
pub const UNKNOWN: u8 = b'u';

/// A run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Start of the service names.
    pub name: String,
    /// Spans in each request.
    pub spans: u16,
    /// For each client, one of the codes above for each of its requests.
    pub outcomes: Vec<Vec<u8>>,
}

impl Report {
    /// Writes it to `path`.
    ///
    /// # Errors
    /// The file system's.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let outcomes: Vec<_> = self.outcomes.iter().map(|codes| String::from_utf8_lossy(codes)).collect();
        let object = json!({ "name": self.name, "spans": self.spans, "outcomes": outcomes });
        std::fs::write(path, format!("{object}\n"))
    }

    /// Reads what [`Report::write`] wrote.
    ///
    /// # Errors
    /// The file system's; `InvalidData` where it is not such a file.
    pub fn read(path: &Path) -> io::Result<Self> {
        let text = std::fs::read_to_string(path)?;
        let object: Value = serde_json::from_str(&text)?;
        let found = || {
            let spans = u16::try_from(object.get("spans")?.as_u64()?).ok()?;
            let clients = object.get("outcomes")?.as_array()?.iter();
            let outcomes =
                clients.map(|codes| Some(codes.as_str()?.as_bytes().to_vec())).collect::<Option<_>>()?;
            Some(Self { name: object.get("name")?.as_str()?.to_owned(), spans, outcomes })
        };
        found().ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}: no report", path.display()))
        })
    }
}
