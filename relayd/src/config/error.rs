//! Where something stands in the user's files, and what is wrong there: errors, warnings and advice, gathered
//! so that one run reports them all. Must never be given the value of a key that may be a secret (headers).

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

/// How many errors are kept; the rest is only counted, so that a wrong file does not scroll the first cause away.
pub const PROBLEMS_MAX: usize = 20;

/// The place of a value: the source as the user named it, line and column from 1.
/// Line 0 says that the source has no lines (`--set`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// A path as given on the command line, `env:NAME`, `yaml:`, or `--set key`.
    pub source: Arc<str>,
    /// Line from 1; 0 if the source is not a text of lines.
    pub line: usize,
    /// Column from 1, in characters; 0 if the source is not a text of lines.
    pub column: usize,
}

impl Origin {
    /// The place of a source as a whole.
    #[must_use]
    pub fn of_source(source: &str) -> Self {
        Self { source: source.into(), line: 0, column: 0 }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.source),
            line => write!(f, "{}:{line}", self.source),
        }
    }
}

/// One thing that is wrong or noteworthy: `agent.yaml:12: receivers.otlp.protocols.grpc.tls: ...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands; `None` if no place in the sources is to blame.
    pub origin: Option<Origin>,
    /// The full key, parts joined by dots; empty for the document as a whole.
    pub path: String,
    /// What is wrong and what to do about it, one line, without a final stop.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}", self.what)
    }
}

/// How loudly a [`Notice`] is to be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// A key that is accepted and changes nothing here.
    Info,
    /// Something that the user probably expects and will not get.
    Warning,
}

/// A remark about an accepted configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// How loudly to log it.
    pub severity: Severity,
    /// What and where.
    pub problem: Problem,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem.fmt(f)
    }
}

/// A configuration that relayd does not start with. Displays one problem per line.
#[derive(Debug, thiserror::Error)]
pub struct ConfigError {
    /// The first [`PROBLEMS_MAX`] problems, in the order of reading. Never empty.
    pub problems: Vec<Problem>,
    /// How many more there were.
    pub suppressed: usize,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let line_break = if index == 0 { "" } else { "\n" };
            write!(f, "{line_break}{problem}")?;
        }
        if self.suppressed > 0 {
            write!(f, "\nand {} more", self.suppressed)?;
        }
        Ok(())
    }
}

/// Gathers problems and notices while the sections are read. Shared by reference among all readers, which is why
/// it has interior mutability; it never leaves the thread that loads.
#[derive(Debug, Default)]
pub struct Diagnostics {
    gathered: RefCell<Gathered>,
}

#[derive(Debug, Default)]
struct Gathered {
    problems: Vec<Problem>,
    suppressed: usize,
    notices: Vec<Notice>,
}

impl Diagnostics {
    /// Records an error; the configuration will be refused.
    pub fn error(&self, origin: &Origin, path: &str, what: impl Into<String>) {
        self.push_error(Problem { origin: Some(origin.clone()), path: path.to_owned(), what: what.into() });
    }

    /// Records an error that no single place is to blame for.
    pub fn error_anywhere(&self, what: impl Into<String>) {
        self.push_error(Problem { origin: None, path: String::new(), what: what.into() });
    }

    /// Records a warning.
    pub fn warn(&self, origin: &Origin, path: &str, what: impl Into<String>) {
        self.push_notice(Severity::Warning, origin, path, what.into());
    }

    /// Records that a key is accepted and changes nothing.
    pub fn advise(&self, origin: &Origin, path: &str, what: impl Into<String>) {
        self.push_notice(Severity::Info, origin, path, what.into());
    }

    /// True if an error was recorded.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        !self.gathered.borrow().problems.is_empty()
    }

    /// The value and the notices if there was no error, else the errors. A value is only missing after an error.
    ///
    /// # Errors
    /// All problems that were recorded.
    pub fn finish<T>(self, value: Option<T>) -> Result<(T, Vec<Notice>), ConfigError> {
        let Gathered { problems, suppressed, notices } = self.gathered.into_inner();
        match value {
            Some(value) if problems.is_empty() => Ok((value, notices)),
            _ => Err(ConfigError { problems, suppressed }),
        }
    }

    fn push_error(&self, problem: Problem) {
        let mut gathered = self.gathered.borrow_mut();
        if gathered.problems.contains(&problem) {
            return;
        }
        if gathered.problems.len() < PROBLEMS_MAX {
            gathered.problems.push(problem);
        } else {
            gathered.suppressed += 1;
        }
    }

    fn push_notice(&self, severity: Severity, origin: &Origin, path: &str, what: String) {
        let problem = Problem { origin: Some(origin.clone()), path: path.to_owned(), what };
        let notice = Notice { severity, problem };
        let mut gathered = self.gathered.borrow_mut();
        if !gathered.notices.contains(&notice) {
            gathered.notices.push(notice);
        }
    }
}
