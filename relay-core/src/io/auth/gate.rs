//! Asks whoever sends to a receiver for credentials, before anything of a body is taken. Says nothing about what was wrong with them,
//! and allocates nothing for those that are right.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue};
use subtle::{Choice, ConstantTimeEq as _};

use super::super::call::Rejection;
use super::AuthError;
use super::credentials::{header_name, tokens};
use super::source::Source;
use super::verify::{Passwords, Verifying};
use crate::config::ServerAuth;
use crate::grpc::Code;
use crate::limits::AUTH_CREDENTIALS_BYTES_MAX;
use crate::stats::RejectReason;

/// What a receiver asks for.
#[derive(Debug)]
pub(crate) struct Gate {
    header: HeaderName,
    challenge: HeaderValue,
    kind: Kind,
}

enum Kind {
    Bearer { scheme: String, tokens: Source<Vec<Box<[u8]>>> },
    Basic(Passwords),
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Bearer { .. } => "Bearer",
            Self::Basic(_) => "Basic",
        })
    }
}

impl Gate {
    /// Reads what `config` names. For passwords it starts a thread: to be called before any thread is pinned to a core.
    ///
    /// # Errors
    /// A file cannot be read, or something in it is of no use.
    pub(crate) fn new(config: &ServerAuth) -> Result<Self, AuthError> {
        match config {
            ServerAuth::Bearer(bearer) => {
                let values = tokens(bearer, |tokens| {
                    Ok(tokens.iter().map(|token| token.as_bytes().into()).collect())
                })?;
                let scheme = bearer.scheme.clone();
                let named = if scheme.is_empty() { "Bearer" } else { &scheme };
                let challenge =
                    HeaderValue::try_from(named).map_err(|_| AuthError::Scheme(scheme.clone()))?;
                let header = header_name(&bearer.header)?;
                Ok(Self { header, challenge, kind: Kind::Bearer { scheme, tokens: values } })
            }
            ServerAuth::Basic(users) => Ok(Self {
                header: http::header::AUTHORIZATION,
                challenge: HeaderValue::from_static("Basic realm=\"otlp\", charset=\"UTF-8\""),
                kind: Kind::Basic(Passwords::new(users)?),
            }),
        }
    }

    /// Name of the header to look at, in lower case. Where there are several, the first counts, as in the Collector.
    pub(crate) fn header(&self) -> &HeaderName {
        &self.header
    }

    /// What is asked for, as `WWW-Authenticate` says it (RFC 9110 section 11.6.1).
    pub(crate) fn challenge(&self) -> &HeaderValue {
        &self.challenge
    }

    /// Judges the value of the header. `Some` if it has to be waited for whether a password is right.
    ///
    /// # Errors
    /// The value is not among those that are accepted, or too many wait to know.
    pub(crate) fn check(&self, shown: Option<&[u8]>) -> Result<Option<Verifying>, Rejection> {
        let shown = shown.ok_or_else(refused)?;
        match &self.kind {
            Kind::Bearer { scheme, tokens } => {
                let token = after_scheme(scheme, shown).ok_or_else(refused)?;
                if tokens.with(|tokens| is_one_of(tokens, token)) { Ok(None) } else { Err(refused()) }
            }
            Kind::Basic(passwords) => {
                let encoded = after_scheme("Basic", shown).ok_or_else(refused)?;
                let mut decoded = [0; AUTH_CREDENTIALS_BYTES_MAX];
                let len = STANDARD.decode_slice(encoded, &mut decoded).map_err(|_| refused())?;
                passwords.check(decoded.get(..len).unwrap_or_default())
            }
        }
    }
}

/// What follows the name of the scheme, which may have either case, and one or more spaces (RFC 9110 section 11.4).
fn after_scheme<'a>(scheme: &str, shown: &'a [u8]) -> Option<&'a [u8]> {
    if scheme.is_empty() {
        return Some(shown);
    }
    let (name, rest) = shown.split_at_checked(scheme.len())?;
    let value = rest.trim_ascii_start();
    (name.eq_ignore_ascii_case(scheme.as_bytes()) && value.len() < rest.len()).then_some(value)
}

/// Compares with all of them, so that the time taken says nothing about which.
fn is_one_of(tokens: &[Box<[u8]>], token: &[u8]) -> bool {
    tokens.iter().fold(Choice::from(0), |found, one| found | one.ct_eq(token)).into()
}

/// The credentials are missing or wrong (gRPC: UNAUTHENTICATED; RFC 9110 section 15.5.2: 401).
pub(super) fn refused() -> Rejection {
    let message = "credentials are missing or wrong";
    Rejection::new(RejectReason::Unauthenticated, Code::UNAUTHENTICATED, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{BearerAuth, Secret, TokenSource};

    fn bearer(scheme: &str, tokens: &[&str]) -> Gate {
        let tokens = TokenSource::Inline(tokens.iter().copied().map(Secret::new).collect());
        let bearer = BearerAuth { scheme: scheme.to_owned(), ..BearerAuth::new(tokens) };
        Gate::new(&ServerAuth::Bearer(bearer)).unwrap()
    }

    fn accepts(gate: &Gate, shown: &str) -> bool {
        gate.check(Some(shown.as_bytes())).is_ok()
    }

    #[test]
    fn the_scheme_has_either_case_and_the_token_has_not() {
        let gate = bearer("Bearer", &["first", "Second"]);
        for shown in ["Bearer first", "bearer Second", "BEARER  first"] {
            assert!(accepts(&gate, shown), "{shown}");
        }
        for shown in [
            "",
            "first",
            "Bearer",
            "Bearer ",
            "Bearerfirst",
            "Bearer First",
            "Bearer firs",
            "Bearer firstt",
            "Basic first",
        ] {
            assert!(!accepts(&gate, shown), "{shown}");
        }
        assert!(gate.check(None).is_err());
    }

    #[test]
    fn without_a_scheme_the_token_stands_alone() {
        let gate = bearer("", &["key"]);
        assert!(accepts(&gate, "key"));
        assert!(!accepts(&gate, "Bearer key"));
        assert_eq!(gate.challenge(), "Bearer");
    }

    #[test]
    fn tokens_that_no_header_can_hold_are_refused() {
        for tokens in [&[][..], &[""], &["a\nb"], &["good", "\u{7f}"]] {
            let tokens = TokenSource::Inline(tokens.iter().copied().map(Secret::new).collect());
            let error = Gate::new(&ServerAuth::Bearer(BearerAuth::new(tokens))).unwrap_err();
            assert!(matches!(error, AuthError::NoToken | AuthError::Token { .. }), "{error}");
        }
    }
}
