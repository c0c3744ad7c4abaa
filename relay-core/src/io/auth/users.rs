//! Users and their passwords, as `htpasswd` writes them, and which credentials are known to be right or wrong. Must never keep or print
//! a password that was shown: what is remembered is a keyed hash of it.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA1_OUTPUT_LEN, digest};
use ring::hmac;
use ring::rand::SystemRandom;
use subtle::ConstantTimeEq as _;

use super::{AuthError, LineFault};
use crate::limits::{AUTH_OUTCOMES_MAX, BCRYPT_COST_MAX};

/// Who may send.
pub(super) struct Users {
    hashes: HashMap<Box<[u8]>, Hash>,
    // Of these users and hashes: others begin anew.
    outcomes: Mutex<Outcomes>,
    key: hmac::Key,
}

enum Hash {
    Bcrypt(String),
    Sha([u8; SHA1_OUTPUT_LEN]),
    Plain(String),
}

type Digest = [u8; 32];

#[derive(Default)]
struct Outcomes {
    right: HashSet<Digest>,
    // Apart, so that guesses push out nobody who is right.
    wrong: HashSet<Digest>,
}

impl Users {
    /// Reads the lines of texts, each with what to call it in an error; later lines win.
    ///
    /// # Errors
    /// A line is no user and hash, or its kind of hash is not supported.
    pub(super) fn read(texts: &[(&'static str, &str)]) -> Result<Self, AuthError> {
        let mut hashes = HashMap::new();
        for (what, text) in texts {
            for (at, line) in text.lines().enumerate() {
                let line = line.trim();
                if line.is_empty() || line.starts_with('#') {
                    continue;
                }
                let fault = |fault| AuthError::Line { what, line: at + 1, fault };
                let (user, hash) = line.split_once(':').ok_or_else(|| fault(LineFault::NoColon))?;
                hashes.insert(user.as_bytes().into(), Hash::read(hash).map_err(fault)?);
            }
        }
        if hashes.is_empty() {
            return Err(AuthError::NoUser);
        }
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        Ok(Self { hashes, outcomes: Mutex::default(), key: key.map_err(|_| AuthError::Random)? })
    }

    /// Whether `credentials`, a user and a password with a colon between, are known to be right or wrong; `None` if that has to be
    /// found out. Cheap.
    pub(super) fn known(&self, credentials: &[u8]) -> Option<bool> {
        let (user, _) = cut(credentials)?;
        if !self.hashes.contains_key(user) {
            return Some(false);
        }
        let digest = self.digest(credentials);
        let outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        if outcomes.right.contains(&digest) {
            return Some(true);
        }
        outcomes.wrong.contains(&digest).then_some(false)
    }

    /// Finds out whether `credentials` are right, and remembers it. Takes the time that the hash was made to take.
    pub(super) fn verify(&self, credentials: &[u8]) -> bool {
        // Several calls may have asked.
        if let Some(known) = self.known(credentials) {
            return known;
        }
        let Some((user, password)) = cut(credentials) else { return false };
        let right = self.hashes.get(user).is_some_and(|hash| hash.is_of(password));
        let digest = self.digest(credentials);
        let mut outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        let outcomes = if right { &mut outcomes.right } else { &mut outcomes.wrong };
        if outcomes.len() >= AUTH_OUTCOMES_MAX {
            outcomes.clear();
        }
        outcomes.insert(digest);
        right
    }

    fn digest(&self, credentials: &[u8]) -> Digest {
        let mut digest = Digest::default();
        // They have the same length.
        digest.iter_mut().zip(hmac::sign(&self.key, credentials).as_ref()).for_each(|(to, from)| *to = *from);
        digest
    }
}

/// The user and the password: the first colon stands between them (RFC 7617 section 2).
fn cut(credentials: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = credentials.iter().position(|byte| *byte == b':')?;
    Some((credentials.get(..colon)?, credentials.get(colon + 1..)?))
}

impl Hash {
    fn read(text: &str) -> Result<Self, LineFault> {
        const UNSUPPORTED: [(&str, &str); 5] = [
            ("$apr1$", "MD5"),
            ("$1$", "MD5"),
            ("{SSHA}", "salted SHA-1"),
            ("$5$", "SHA-256"),
            ("$6$", "SHA-512"),
        ];
        if ["$2a$", "$2b$", "$2x$", "$2y$"].iter().any(|prefix| text.starts_with(prefix)) {
            let parts: bcrypt::HashParts = text.parse().map_err(|_| LineFault::Bcrypt)?;
            return match parts.get_cost() {
                4..=BCRYPT_COST_MAX => Ok(Self::Bcrypt(text.to_owned())),
                ..4 => Err(LineFault::Bcrypt),
                _ => Err(LineFault::BcryptCost(BCRYPT_COST_MAX)),
            };
        }
        if let Some(sha) = text.strip_prefix("{SHA}") {
            let sha = STANDARD.decode(sha).ok().and_then(|sha| sha.try_into().ok());
            return sha.map(Self::Sha).ok_or(LineFault::Sha);
        }
        if let Some((_, name)) = UNSUPPORTED.iter().find(|(prefix, _)| text.starts_with(prefix)) {
            return Err(LineFault::Unsupported(name));
        }
        Ok(Self::Plain(text.to_owned()))
    }

    /// Whether it is the hash of `password`.
    fn is_of(&self, password: &[u8]) -> bool {
        match self {
            // It was found to be a hash when it was read.
            Self::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
            Self::Sha(hash) => hash.ct_eq(digest(&SHA1_FOR_LEGACY_USE_ONLY, password).as_ref()).into(),
            Self::Plain(text) => {
                // nginx marks them so, and go-htpasswd, which the Collector uses, takes both.
                let marked = text.strip_prefix("{PLAIN}").unwrap_or(text);
                (text.as_bytes().ct_eq(password) | marked.as_bytes().ct_eq(password)).into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // As `htpasswd -nbs user secret` writes it.
    const SHA: &str = "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=";

    fn read(line: &str) -> Result<Users, AuthError> {
        Users::read(&[("a test", line)])
    }

    /// Each format takes the right password at the first and the second time, and no other.
    #[test]
    fn formats() {
        let bcrypt = bcrypt::hash("secret", 4).unwrap();
        let old = bcrypt.replacen("$2b$", "$2a$", 1);
        let php = bcrypt.replacen("$2b$", "$2y$", 1);
        for hash in [&bcrypt, &old, &php, SHA, "secret", "{PLAIN}secret"] {
            let users = read(&format!("\n# a comment\n  user:{hash}  \nother:x")).unwrap();
            for (credentials, right) in
                [("user:secret", true), ("user:Secret", false), ("user:", false), ("other:secret", false)]
            {
                let credentials = credentials.as_bytes();
                assert_eq!(users.known(credentials), None, "{hash}");
                assert_eq!(users.verify(credentials), right, "{hash}");
                assert_eq!(users.known(credentials), Some(right), "{hash}");
            }
            assert_eq!(users.known(b"nobody:secret"), Some(false));
            assert!(!users.verify(b"user"));
        }
    }

    #[test]
    fn later_lines_win_and_passwords_may_have_colons() {
        let users = Users::read(&[("a file", "a:old\nb:c:d"), ("htpasswd.inline", "a:new")]).unwrap();
        assert!(!users.verify(b"a:old") && users.verify(b"a:new") && users.verify(b"b:c:d"));
    }

    /// Errors name the line and show nothing of it.
    #[test]
    fn unusable_lines_are_refused() {
        let costly = bcrypt::hash("secret", 4).unwrap().replacen("$04$", "$31$", 1);
        for (line, fault) in [
            ("user", LineFault::NoColon),
            ("user:$2y$05$short", LineFault::Bcrypt),
            (&format!("user:{costly}"), LineFault::BcryptCost(BCRYPT_COST_MAX)),
            ("user:{SHA}AAAA", LineFault::Sha),
            ("user:$apr1$salt$hash", LineFault::Unsupported("MD5")),
            ("user:$6$salt$hash", LineFault::Unsupported("SHA-512")),
            ("user:{SSHA}hash", LineFault::Unsupported("salted SHA-1")),
        ] {
            let Err(error) = read(&format!("first:plain\n{line}")) else { panic!("{line}") };
            assert_eq!(error.to_string(), format!("a test, line 2: {fault}"));
            assert!(!error.to_string().contains("user:$"), "{error}");
        }
        assert!(matches!(read("# nobody\n"), Err(AuthError::NoUser)));
    }
}
