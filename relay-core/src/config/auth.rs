//! Who may send to a receiver, and as whom an upstream is called. Plain data; `Debug` must never show a token, a user's password
//! or its hash.

use std::fmt;
use std::path::PathBuf;

/// A text that is never shown: `Debug` hides it, and it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `value`.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value, for sending and comparing only.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<hidden>")
    }
}

/// What a request must show. Files are read when the relay starts, and again when they have changed; see
/// [`crate::limits::AUTH_RELOAD_INTERVAL`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerAuth {
    /// One of the tokens (RFC 6750 section 2.1).
    Bearer(BearerAuth),
    /// A user and its password (RFC 7617).
    Basic(UserSource),
}

/// What each call shows. Files are read when the relay starts, and again when they have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// The first of the tokens.
    Bearer(BearerAuth),
    /// A user and its password (RFC 7617).
    Basic {
        /// The user, without a colon.
        user: SecretSource,
        /// Its password.
        password: SecretSource,
    },
}

/// Tokens, and how a header shows one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BearerAuth {
    /// Name of the header. Default `authorization`.
    pub header: String,
    /// What stands before the token, with a space between; a receiver takes it in either case (RFC 9110 section 11.1). Empty for the
    /// token alone. Default `Bearer`.
    pub scheme: String,
    /// Where the tokens are.
    pub tokens: TokenSource,
}

impl BearerAuth {
    /// `Bearer` tokens in the header `authorization`.
    pub fn new(tokens: TokenSource) -> Self {
        Self { header: "authorization".to_owned(), scheme: "Bearer".to_owned(), tokens }
    }
}

/// Where tokens are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// Here.
    Inline(Vec<Secret>),
    /// In a file: the first word of each line that is not empty; what follows it is a comment.
    File(PathBuf),
}

/// Where users are: lines of `user:hash` as the program `htpasswd` writes them, with bcrypt (`$2a$`, `$2b$`, `$2x$`, `$2y$`), `{SHA}`
/// or the password itself. Lines that are empty or begin with `#` are skipped. Where a user is named twice, the last line counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserSource {
    /// In a file.
    pub file: Option<PathBuf>,
    /// Here; these lines stand behind those of the file.
    pub inline: Option<Secret>,
}

/// Where one text is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// Here.
    Inline(Secret),
    /// In a file: its text without the white space around it.
    File(PathBuf),
}
