//! What became of an item.
//!
//! A verdict must always say what was seen, so that a reader can judge without running the suite again.

/// How an item ended; the text says what was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The requirement is met.
    Pass(String),
    /// It is not.
    Fail(String),
    /// It cannot be seen in this configuration.
    Skip(String),
}

impl Verdict {
    /// `pass`, `FAIL` or `skip`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Pass(_) => "pass",
            Self::Fail(_) => "FAIL",
            Self::Skip(_) => "skip",
        }
    }

    /// What was seen.
    #[must_use]
    pub fn detail(&self) -> &str {
        match self {
            Self::Pass(detail) | Self::Fail(detail) | Self::Skip(detail) => detail,
        }
    }
}

/// Why an item did not pass.
#[derive(Debug, Clone)]
pub(super) enum Miss {
    Fail(String),
    Skip(String),
}

/// What an item gives: a text for the pass, or why not.
pub(super) type Seen = Result<String, Miss>;

impl From<Seen> for Verdict {
    fn from(seen: Seen) -> Self {
        match seen {
            Ok(detail) => Self::Pass(detail),
            Err(Miss::Fail(detail)) => Self::Fail(detail),
            Err(Miss::Skip(detail)) => Self::Skip(detail),
        }
    }
}

pub(super) fn fail<T>(detail: impl Into<String>) -> Result<T, Miss> {
    Err(Miss::Fail(detail.into()))
}

pub(super) fn skip<T>(detail: impl Into<String>) -> Result<T, Miss> {
    Err(Miss::Skip(detail.into()))
}

/// Goes on if `holds`; otherwise the item has failed with what was seen instead.
pub(super) fn demand(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), Miss> {
    if holds { Ok(()) } else { Err(Miss::Fail(otherwise())) }
}
