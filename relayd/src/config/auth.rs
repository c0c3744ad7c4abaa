//! Who may send, and who relayd says it is: the extensions `bearertokenauth` and `basicauth`, and `auth.authenticator`,
//! which names one. Files are read by who starts: must never read one, and must never show a token or a password.

use std::path::PathBuf;

use super::headers::{check_value, is_token};
use super::secret::Secret;
use super::section::Section;

/// `extensions.bearertokenauth` (contrib, bearertokenauthextension). It serves both directions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BearerToken {
    /// As in the file, `bearertokenauth` or `bearertokenauth/name`.
    pub id: String,
    /// `header` in lower case: where the token stands. Default authorization.
    pub header: String,
    /// `scheme`: stands before the token, with a space between; empty for the token alone. Default Bearer.
    pub scheme: String,
    /// The tokens.
    pub tokens: Tokens,
}

/// Where tokens come from. A receiver takes each of them, an exporter sends the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tokens {
    /// `token` or `tokens`; not empty.
    Inline(Vec<Secret>),
    /// `filename`: a token in each line. Rotated tokens appear in the file, so it is read again when it changes.
    File(PathBuf),
}

/// `extensions.basicauth` with `htpasswd` (contrib, basicauthextension): for receivers. At least one is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Htpasswd {
    /// As in the file, `basicauth` or `basicauth/name`.
    pub id: String,
    /// `htpasswd.file`: lines of `user:hash`.
    pub file: Option<PathBuf>,
    /// `htpasswd.inline`: the same as text; its lines win over those of the file.
    pub inline: Option<Secret>,
}

/// `extensions.basicauth` with `client_auth`: for exporters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// As in the file, `basicauth` or `basicauth/name`.
    pub id: String,
    /// `username`, or `username_file`, which wins. Has no colon (RFC 7617 section 2).
    pub username: Credential,
    /// `password`, or `password_file`, which wins. Empty if none is given.
    pub password: Credential,
}

/// A part of [`Credentials`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// As given.
    Inline(Secret),
    /// The text of a file, without the white space around it; read again when it changes.
    File(PathBuf),
}

/// `auth` of a receiver's protocol: what a call must show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerAuth {
    /// One of the tokens.
    Bearer(BearerToken),
    /// A user and a password.
    Basic(Htpasswd),
}

/// `auth` of an exporter: what each call shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// The first token.
    Bearer(BearerToken),
    /// A user and a password.
    Basic(Credentials),
}

impl ClientAuth {
    /// The header that it writes, in lower case.
    #[must_use]
    pub fn header(&self) -> &str {
        match self {
            Self::Bearer(bearer) => &bearer.header,
            Self::Basic(_) => "authorization",
        }
    }
}

/// The two forms of `basicauth`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Basic {
    Server(Htpasswd),
    Client(Credentials),
}

/// Reads `bearertokenauth`. `None` if an error was recorded that leaves no token.
pub(super) fn read_bearer(id: &str, mut section: Section<'_>) -> Option<BearerToken> {
    let header = section.text("header").filter(|name| !name.is_empty()).unwrap_or("authorization");
    if !is_token(header) {
        section.error("header", "not a name of a header");
    }
    let scheme = section.text("scheme").unwrap_or("Bearer").to_owned();
    if check_value(&scheme).is_err() {
        section.error("scheme", "expected a word such as Bearer");
    }
    let tokens = read_tokens(&mut section);
    if let Some(mut retry) = section.section("retry_on_failure") {
        if retry.bool("enabled") == Some(true) {
            retry.error("enabled", "not supported: the file must be there when relayd starts; remove it");
        }
        for key in
            ["initial_interval", "max_interval", "max_elapsed_time", "randomization_factor", "multiplier"]
        {
            retry.advisory(key, "the file must be there when relayd starts");
        }
        retry.finish();
    }
    if section.bool("wait_for_token_file") == Some(true) {
        section.error(
            "wait_for_token_file",
            "not supported: the file must be there when relayd starts; remove it",
        );
    }
    section.finish();
    Some(BearerToken { id: id.to_owned(), header: header.to_ascii_lowercase(), scheme, tokens: tokens? })
}

fn read_tokens(section: &mut Section<'_>) -> Option<Tokens> {
    let one = section.secret("token");
    let many = section.list("tokens");
    let file = section.path_text("filename");
    let mut tokens: Vec<Secret> = one.clone().into_iter().collect();
    for node in many {
        match node.as_text().filter(|text| !text.is_empty()) {
            Some(text) => tokens.push(Secret::new(text)),
            None => section.error("tokens", "expected a list of texts; put each token in quotes"),
        }
    }
    if one.is_some() && !many.is_empty() {
        section.error("tokens", "token is given too; keep one");
    }
    for (key, token) in
        tokens.iter().map(|token| if one.is_some() { ("token", token) } else { ("tokens", token) })
    {
        if let Err(what) = check_value(token.reveal()) {
            section.error(key, what);
        }
    }
    if file.is_some() && !many.is_empty() {
        section.error("filename", "tokens is given too; keep one");
    }
    match file {
        Some(file) => {
            if one.is_some() {
                section.warn("filename", "the tokens of the file are used, not token");
            }
            Some(Tokens::File(file))
        }
        None if tokens.is_empty() => {
            if many.is_empty() {
                section.error("", "bearertokenauth needs a token: token, tokens or filename");
            }
            None
        }
        None => Some(Tokens::Inline(tokens)),
    }
}

/// Reads `basicauth`. `None` if an error was recorded that leaves no credentials.
pub(super) fn read_basic(id: &str, mut section: Section<'_>) -> Option<Basic> {
    let htpasswd = section.optional("htpasswd").map(|section| read_htpasswd(id, section));
    let client = section.optional("client_auth").map(|section| read_client(id, section));
    let basic = match (htpasswd, client) {
        (Some(htpasswd), None) => htpasswd.map(Basic::Server),
        (None, Some(client)) => client.map(Basic::Client),
        (Some(_), Some(_)) => {
            section.error("client_auth", "htpasswd is given too; make two: basicauth/in and basicauth/out");
            None
        }
        (None, None) => {
            section.error("", "basicauth needs htpasswd (for receivers) or client_auth (for exporters)");
            None
        }
    };
    section.finish();
    basic
}

fn read_htpasswd(id: &str, mut section: Section<'_>) -> Option<Htpasswd> {
    let (file, inline) = (section.path_text("file"), section.secret("inline"));
    if file.is_none() && inline.is_none() {
        section.error("", "a file or inline lines are needed, as in inline: user:hash");
    }
    let lines = inline.as_ref().map_or("", Secret::reveal).lines();
    let is_line = |line: &str| line.is_empty() || line.starts_with('#') || line.contains(':');
    if !lines.map(str::trim).all(is_line) {
        section.error("inline", "each line is user:hash, as htpasswd writes it");
    }
    section.finish();
    (file.is_some() || inline.is_some()).then(|| Htpasswd { id: id.to_owned(), file, inline })
}

fn read_client(id: &str, mut section: Section<'_>) -> Option<Credentials> {
    let username = read_credential(&mut section, "username", "username_file");
    let password = read_credential(&mut section, "password", "password_file");
    match &username {
        None => section.error("username", "a user is needed: username or username_file"),
        Some(Credential::Inline(name)) if name.reveal().contains(':') => {
            section.error("username", "a user of basic authentication has no colon");
        }
        Some(_) => {}
    }
    section.finish();
    let password = password.unwrap_or_else(|| Credential::Inline(Secret::new("")));
    Some(Credentials { id: id.to_owned(), username: username?, password })
}

fn read_credential(
    section: &mut Section<'_>,
    inline: &'static str,
    file: &'static str,
) -> Option<Credential> {
    let (text, path) = (section.secret(inline), section.path_text(file));
    if text.is_some() && path.is_some() {
        section.warn(inline, format!("{file} is given too and wins"));
    }
    path.map(Credential::File).or_else(|| text.map(Credential::Inline))
}
