//! Authentication in both directions: [`gate`] asks senders for credentials, [`credentials`] shows ours to upstreams. Must never write
//! a token, a password or a hash into an error or a log line.
//!
//! `source` (what was configured, read again when its files change) -> `gate` or `credentials`; `users` reads htpasswd's lines, and
//! `verify` checks passwords on a thread of its own, because their hashes are made to be slow.

mod credentials;
mod gate;
mod source;
mod users;
mod verify;

use std::path::PathBuf;

pub(crate) use credentials::Credentials;
pub(crate) use gate::Gate;
pub(crate) use verify::Verifying;

/// Why credentials cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthError {
    #[error("cannot read {path}: {error}")]
    Read { path: PathBuf, error: std::io::Error },
    #[error("{path} is larger than {bytes_max} bytes")]
    FileTooLarge { path: PathBuf, bytes_max: u64 },
    #[error("there is no token")]
    NoToken,
    #[error("there are more than {tokens_max} tokens")]
    ManyTokens { tokens_max: usize },
    #[error("token {nth} of the list, or in line {nth} of the file, cannot stand in a header")]
    Token { nth: usize },
    #[error("{0:?} is no name of a header")]
    HeaderName(String),
    #[error("a header cannot hold the scheme {0:?}")]
    Scheme(String),
    #[error("the user is empty or has a colon")]
    User,
    #[error("there is no user")]
    NoUser,
    #[error("the system gives no random numbers")]
    Random,
    #[error("{what}, line {line}: {fault}")]
    Line { what: &'static str, line: usize, fault: LineFault },
    #[error("cannot start the thread that checks passwords: {0}")]
    Thread(std::io::Error),
}

/// What is wrong with a line of htpasswd's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LineFault {
    #[error("expected user:hash")]
    NoColon,
    #[error("not a hash of bcrypt")]
    Bcrypt,
    #[error("a cost of bcrypt above {0} takes many seconds of a CPU for each password")]
    BcryptCost(u32),
    #[error("not a hash of SHA-1 in base64")]
    Sha,
    #[error("hashes of {0} are not supported; use bcrypt, as htpasswd -B writes it")]
    Unsupported(&'static str),
}
