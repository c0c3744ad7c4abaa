//! The header that shows an upstream who calls. Must never let its value be printed or indexed by HPACK.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};

use super::AuthError;
use super::source::Source;
use crate::config::{BearerAuth, ClientAuth, SecretSource, TokenSource};
use crate::limits::AUTH_TOKENS_MAX;

/// The name of the header, and its value as it is now.
pub(crate) struct Credentials {
    name: HeaderName,
    value: Source<HeaderValue>,
}

impl Credentials {
    /// Reads what `config` names.
    ///
    /// # Errors
    /// A file cannot be read, or there is nothing in it that can be sent.
    pub(crate) fn new(config: &ClientAuth) -> Result<Self, AuthError> {
        match config {
            ClientAuth::Bearer(bearer) => {
                let scheme = bearer.scheme.clone();
                let value = tokens(bearer, move |tokens| {
                    let token = tokens.first().ok_or(AuthError::NoToken)?;
                    let shown =
                        if scheme.is_empty() { token.to_string() } else { format!("{scheme} {token}") };
                    hidden(shown).ok_or(AuthError::Token { nth: 1 })
                })?;
                Ok(Self { name: header_name(&bearer.header)?, value })
            }
            ClientAuth::Basic { user, password } => {
                Ok(Self { name: AUTHORIZATION, value: basic(user, password)? })
            }
        }
    }

    /// The name, in lower case.
    pub(crate) fn name(&self) -> &HeaderName {
        &self.name
    }

    /// The value, marked as sensitive. Looks at the files it comes from, now and then.
    pub(crate) fn value(&self) -> HeaderValue {
        self.value.with(HeaderValue::clone)
    }

    /// Whether the value is the same for ever.
    pub(crate) fn is_fixed(&self) -> bool {
        self.value.is_fixed()
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What `make` makes of the tokens that are configured, each in turn checked to be something that a header can hold.
pub(super) fn tokens<T>(
    bearer: &BearerAuth,
    make: impl Fn(&[&str]) -> Result<T, AuthError> + Send + Sync + 'static,
) -> Result<Source<T>, AuthError> {
    if HeaderValue::try_from(&bearer.scheme).is_err() {
        return Err(AuthError::Scheme(bearer.scheme.clone()));
    }
    match &bearer.tokens {
        TokenSource::Inline(tokens) => {
            let tokens = tokens.clone();
            let make =
                move |_: &[String]| make(&checked(tokens.iter().map(|token| token.reveal()).enumerate())?);
            Source::new(Vec::new(), Box::new(make))
        }
        TokenSource::File(file) => {
            let make = move |texts: &[String]| {
                let lines = texts.iter().flat_map(|text| text.lines().enumerate());
                let words = lines.filter_map(|(at, line)| Some((at, line.split_whitespace().next()?)));
                make(&checked(words)?)
            };
            Source::new(vec![file.clone()], Box::new(make))
        }
    }
}

fn checked<'a>(tokens: impl Iterator<Item = (usize, &'a str)>) -> Result<Vec<&'a str>, AuthError> {
    let mut checked = Vec::new();
    for (at, token) in tokens {
        if token.is_empty() || HeaderValue::try_from(token).is_err() {
            return Err(AuthError::Token { nth: at + 1 });
        }
        checked.push(token);
    }
    match checked.len() {
        0 => Err(AuthError::NoToken),
        1..=AUTH_TOKENS_MAX => Ok(checked),
        _ => Err(AuthError::ManyTokens { tokens_max: AUTH_TOKENS_MAX }),
    }
}

/// `header` in lower case.
pub(super) fn header_name(header: &str) -> Result<HeaderName, AuthError> {
    HeaderName::try_from(header).map_err(|_| AuthError::HeaderName(header.to_owned()))
}

fn hidden(value: String) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn basic(user: &SecretSource, password: &SecretSource) -> Result<Source<HeaderValue>, AuthError> {
    let sources = [user.clone(), password.clone()];
    let files = sources.iter().filter_map(|source| match source {
        SecretSource::File(file) => Some(file.clone()),
        SecretSource::Inline(_) => None,
    });
    let files = files.collect();
    Source::new(
        files,
        Box::new(move |texts| {
            let mut texts = texts.iter();
            let [user, password] = sources.each_ref().map(|source| match source {
                SecretSource::Inline(text) => text.reveal(),
                SecretSource::File(_) => texts.next().map_or("", |text| text.trim()),
            });
            // RFC 7617, section 2: what stands before the first colon is the user.
            if user.is_empty() || user.contains(':') {
                return Err(AuthError::User);
            }
            let shown = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
            hidden(shown).ok_or(AuthError::User)
        }),
    )
}
