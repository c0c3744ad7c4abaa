//! From configured authentication to relay-core's. Plain mapping: must never read a file, and must never show a secret.

use relay_core::config::{BearerAuth, ClientAuth, Secret, SecretSource, ServerAuth, TokenSource, UserSource};

use crate::config;

/// What a receiver asks for.
pub(super) fn server_auth(auth: &config::ServerAuth) -> ServerAuth {
    match auth {
        config::ServerAuth::Bearer(token) => ServerAuth::Bearer(bearer(token)),
        config::ServerAuth::Basic(htpasswd) => ServerAuth::Basic(UserSource {
            file: htpasswd.file.clone(),
            inline: htpasswd.inline.as_ref().map(secret),
        }),
    }
}

/// What an exporter shows.
pub(super) fn client_auth(auth: &config::ClientAuth) -> ClientAuth {
    match auth {
        config::ClientAuth::Bearer(token) => ClientAuth::Bearer(bearer(token)),
        config::ClientAuth::Basic(credentials) => ClientAuth::Basic {
            user: credential(&credentials.username),
            password: credential(&credentials.password),
        },
    }
}

fn bearer(token: &config::BearerToken) -> BearerAuth {
    let tokens = match &token.tokens {
        config::Tokens::Inline(tokens) => TokenSource::Inline(tokens.iter().map(secret).collect()),
        config::Tokens::File(file) => TokenSource::File(file.clone()),
    };
    BearerAuth { header: token.header.clone(), scheme: token.scheme.clone(), tokens }
}

fn credential(credential: &config::Credential) -> SecretSource {
    match credential {
        config::Credential::Inline(text) => SecretSource::Inline(secret(text)),
        config::Credential::File(file) => SecretSource::File(file.clone()),
    }
}

fn secret(secret: &config::Secret) -> Secret {
    Secret::new(secret.reveal())
}
