//! `bearertokenauth`, `basicauth`, and the keys that name them; `memory_limiter` as a middleware.

use std::path::PathBuf;

use super::super::{
    BearerToken, ClientAuth, Config, Credential, Credentials, ExporterKind, Htpasswd, Secret, ServerAuth,
    Tokens,
};
use super::{Fake, errors, lines};

/// Line 1 extensions, 2 receivers, 3 exporters, 4 service with `running` extensions.
fn text(extensions: &str, running: &str, server: &str, exporter: &str) -> String {
    format!(
        "extensions: {{{extensions}}}\n\
         receivers: {{otlp: {{protocols: {{grpc: {{{server}}}}}}}}}\n\
         exporters: {{otlp: {{endpoint: 'gw:4317', {exporter}}}}}\n\
         service: {{extensions: [{running}], pipelines: {{traces: {{receivers: [otlp], exporters: [otlp]}}}}}}\n"
    )
}

fn load(extensions: &str, running: &str, server: &str, exporter: &str) -> (Config, Vec<String>) {
    let text = text(extensions, running, server, exporter);
    let (config, notices) = Fake::default().file("agent.yaml", text).load().unwrap();
    (config, lines(&notices))
}

fn errors_of(extensions: &str, running: &str, server: &str, exporter: &str) -> Vec<String> {
    errors(Fake::default().file("agent.yaml", text(extensions, running, server, exporter)).load())
}

fn server_auth(config: &Config) -> Option<ServerAuth> {
    config.receivers[0].grpc.clone().unwrap().auth
}

fn client_auth(config: &Config) -> Option<ClientAuth> {
    match &config.exporters[0].kind {
        ExporterKind::Otlp(otlp) => otlp.auth.clone(),
        other => panic!("not otlp: {other:?}"),
    }
}

#[test]
fn a_token_serves_both_directions() {
    let auth = "auth: {authenticator: bearertokenauth}";
    let (config, notices) = load("bearertokenauth: {token: s3cret}", "bearertokenauth", auth, auth);
    let bearer = BearerToken {
        id: "bearertokenauth".to_owned(),
        header: "authorization".to_owned(),
        scheme: "Bearer".to_owned(),
        tokens: Tokens::Inline(vec![Secret::new("s3cret")]),
    };
    assert_eq!(server_auth(&config), Some(ServerAuth::Bearer(bearer.clone())));
    assert_eq!(client_auth(&config), Some(ClientAuth::Bearer(bearer)));
    assert_eq!(notices, [] as [&str; 0]);
    let shown = format!("{config:?}");
    assert!(!shown.contains("s3cret"), "{shown}");
}

#[test]
fn tokens_of_lists_and_files() {
    let bearer = |keys: &str| {
        let extensions = format!("bearertokenauth/x: {{{keys}}}");
        let auth = "auth: {authenticator: bearertokenauth/x}";
        let (config, notices) = load(&extensions, "bearertokenauth/x", auth, "");
        match server_auth(&config) {
            Some(ServerAuth::Bearer(bearer)) => (bearer, notices),
            other => panic!("not a token: {other:?}"),
        }
    };
    let (many, _) = bearer("tokens: [a, b], header: X-Api-Key, scheme: ''");
    assert_eq!(many.tokens, Tokens::Inline(vec![Secret::new("a"), Secret::new("b")]));
    assert_eq!((many.header.as_str(), many.scheme.as_str()), ("x-api-key", ""));
    let (file, notices) = bearer("filename: /token, token: old, retry_on_failure: {enabled: false}");
    assert_eq!(file.tokens, Tokens::File(PathBuf::from("/token")));
    let what = "the tokens of the file are used, not token";
    assert_eq!(notices, [format!("agent.yaml:1: extensions.bearertokenauth/x.filename: {what}")]);
}

#[test]
fn users_and_passwords() {
    let extensions = "basicauth/in: {htpasswd: {file: /users, inline: 'me:{SHA}x'}},
        basicauth/out: {client_auth: {username: me, password: s3cret, password_file: /password}}";
    let (config, notices) = load(
        extensions,
        "basicauth/in, basicauth/out",
        "auth: {authenticator: basicauth/in}",
        "auth: {authenticator: basicauth/out}",
    );
    let htpasswd = Htpasswd {
        id: "basicauth/in".to_owned(),
        file: Some(PathBuf::from("/users")),
        inline: Some(Secret::new("me:{SHA}x")),
    };
    assert_eq!(server_auth(&config), Some(ServerAuth::Basic(htpasswd)));
    let credentials = Credentials {
        id: "basicauth/out".to_owned(),
        username: Credential::Inline(Secret::new("me")),
        password: Credential::File(PathBuf::from("/password")),
    };
    assert_eq!(client_auth(&config), Some(ClientAuth::Basic(credentials)));
    let what = "password_file is given too and wins";
    assert_eq!(notices, [format!("agent.yaml:2: extensions.basicauth/out.client_auth.password: {what}")]);
}

fn refuses_extensions(table: &[(&str, &str, &str)]) {
    for (extensions, path, what) in table {
        let errors = errors_of(extensions, "", "", "");
        assert_eq!(errors, [format!("agent.yaml:1: extensions.{path}: {what}")], "{extensions}");
    }
}

#[test]
fn tokens_are_refused() {
    refuses_extensions(&[
        (
            "bearertokenauth: {}",
            "bearertokenauth",
            "bearertokenauth needs a token: token, tokens or filename",
        ),
        (
            "bearertokenauth: {token: a, tokens: [b]}",
            "bearertokenauth.tokens",
            "token is given too; keep one",
        ),
        (
            "bearertokenauth: {filename: a, tokens: [b]}",
            "bearertokenauth.filename",
            "tokens is given too; keep one",
        ),
        (
            "bearertokenauth: {token: \"s3cret\\n\"}",
            "bearertokenauth.token",
            "the value has a character that no header can hold (a line end?)",
        ),
        (
            "bearertokenauth: {tokens: [s3cret, 1]}",
            "bearertokenauth.tokens",
            "expected a list of texts; put each token in quotes",
        ),
        ("bearertokenauth: {token: a, header: 'a b'}", "bearertokenauth.header", "not a name of a header"),
        (
            "bearertokenauth: {filename: a, wait_for_token_file: true}",
            "bearertokenauth.wait_for_token_file",
            "not supported: the file must be there when relayd starts; remove it",
        ),
        (
            "oidc: {}",
            "oidc",
            "the extension \"oidc\" is not in this version: relayd authenticates by bearertokenauth and basicauth; use one, or send to a Collector that has it",
        ),
    ]);
}

#[test]
fn users_and_passwords_are_refused() {
    refuses_extensions(&[
        (
            "basicauth: {}",
            "basicauth",
            "basicauth needs htpasswd (for receivers) or client_auth (for exporters)",
        ),
        (
            "basicauth: {htpasswd: {inline: 'a:b'}, client_auth: {username: a}}",
            "basicauth.client_auth",
            "htpasswd is given too; make two: basicauth/in and basicauth/out",
        ),
        (
            "basicauth: {htpasswd: {inline: s3cret}}",
            "basicauth.htpasswd.inline",
            "each line is user:hash, as htpasswd writes it",
        ),
        (
            "basicauth: {htpasswd: {}}",
            "basicauth.htpasswd",
            "a file or inline lines are needed, as in inline: user:hash",
        ),
        (
            "basicauth: {client_auth: {password: s3cret}}",
            "basicauth.client_auth.username",
            "a user is needed: username or username_file",
        ),
        (
            "basicauth: {client_auth: {username: 's3cret:'}}",
            "basicauth.client_auth.username",
            "a user of basic authentication has no colon",
        ),
    ]);
}

/// An authenticator that is named exists, runs and fits; nothing starts without the one that was asked for.
#[test]
fn wrong_authenticators() {
    let extensions = "bearertokenauth: {token: a}, basicauth/in: {htpasswd: {inline: 'a:b'}},
        basicauth/out: {client_auth: {username: a}}, health_check: , bearertokenauth/off: {token: a}";
    let running = "bearertokenauth, basicauth/in, basicauth/out, health_check";
    let receiver = "agent.yaml:3: receivers.otlp.protocols.grpc.auth";
    let exporter = "agent.yaml:4: exporters.otlp.auth";
    let table = [
        (
            "auth: {authenticator: bearertokenaut}",
            "",
            receiver,
            ".authenticator: \"bearertokenaut\" is not defined in extensions; did you mean \"bearertokenauth\"?",
        ),
        (
            "auth: {authenticator: bearertokenauth/off}",
            "",
            receiver,
            ".authenticator: \"bearertokenauth/off\" does not run; add it to service.extensions",
        ),
        (
            "auth: {authenticator: basicauth/out}",
            "",
            receiver,
            ".authenticator: a receiver needs htpasswd; client_auth is for exporters",
        ),
        (
            "auth: {authenticator: health_check}",
            "",
            receiver,
            ".authenticator: not an authenticator; use bearertokenauth or basicauth",
        ),
        (
            "auth: {}",
            "",
            receiver,
            ".authenticator: auth names an extension, as in authenticator: bearertokenauth",
        ),
        (
            "auth: {authenticator: basicauth/in, request_params: [token]}",
            "",
            receiver,
            ".request_params: not supported: tokens are read from headers only; remove it",
        ),
        (
            "",
            "auth: {authenticator: basicauth/in}",
            exporter,
            ".authenticator: an exporter needs client_auth; htpasswd is for receivers",
        ),
        (
            "",
            "auth: {authenticator: bearertokenauth}, tls: {insecure: true}",
            exporter,
            ": it would go over the network in plaintext, which gRPC does not allow; use TLS",
        ),
        (
            "",
            "auth: {authenticator: basicauth/out}, headers: {Authorization: x}",
            exporter,
            ": it writes the header authorization, which headers has too; remove one of them",
        ),
    ];
    for (server, client, at, what) in table {
        assert_eq!(
            errors_of(extensions, running, server, client),
            [format!("{at}{what}")],
            "{server} {client}"
        );
    }
}

/// A refused extension is one error, not a second one at each key that names it.
#[test]
fn a_refused_authenticator_is_one_error() {
    let auth = "auth: {authenticator: bearertokenauth}";
    let errors = errors_of("bearertokenauth: {}", "bearertokenauth", auth, auth);
    assert_eq!(
        errors,
        [
            "agent.yaml:1: extensions.bearertokenauth: bearertokenauth needs a token: token, tokens or filename"
        ]
    );
}

/// The Collector's extension form of the limiter bounds the process, as its processor does.
#[test]
fn a_memory_limiter_may_be_a_middleware() {
    let limiter = "memory_limiter: {check_interval: 1s, limit_mib: 100, spike_limit_mib: 20}";
    let middlewares = "middlewares: [{id: memory_limiter}]";
    let (config, _) = load(limiter, "memory_limiter", middlewares, "");
    assert_eq!(config.memory_limit_bytes, Some(80 << 20));
    assert_eq!(load(limiter, "memory_limiter", "", "").0.memory_limit_bytes, None);
    assert_eq!(
        errors_of("health_check: ", "health_check", "middlewares: [{id: health_check}]", ""),
        [
            "agent.yaml:2: receivers.otlp.protocols.grpc.middlewares.id: not supported: memory_limiter is the one middleware that relayd has"
        ]
    );
    assert_eq!(
        errors_of(limiter, "", middlewares, ""),
        [
            "agent.yaml:2: receivers.otlp.protocols.grpc.middlewares.id: \"memory_limiter\" does not run; add it to service.extensions"
        ]
    );
}
