//! Who may send, over both protocols, and what upstreams are shown: right, wrong and missing credentials, each format of htpasswd, and
//! files that are rotated. No secret is ever printed.

#![cfg(test)]

#[path = "support/logs.rs"]
mod logs;
mod support;

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use relay_core::config::{
    BearerAuth, ClientAuth, Destination, HttpConfig, ReceiverConfig, Secret, SecretSource, ServerAuth,
    TokenSource, UpstreamConfig, UserSource,
};
use relay_core::limits::{AUTH_RELOAD_INTERVAL, AUTH_VERIFYING_MAX};
use relay_core::stats::RejectReason;
use relay_core::{Relay, RelayHandle};
use support::http1::Http1;
use support::{SOON, assert_ok, builder, drain, encoded, endpoint, loopback, send_all, settled, upstream};
use testkit::collector::{Collector, Script};
use testkit::raw::{End, RawRequest, exchange, grpc_message};

const UNAUTHENTICATED: i32 = 16;
const UNAVAILABLE: i32 = 14;

/// A relay that receives both protocols on one port.
fn start(auth: ServerAuth, collector: &Collector) -> RelayHandle {
    logs::capture();
    let http = Some(HttpConfig::default());
    let receiver = ReceiverConfig { http, auth: Some(auth), ..ReceiverConfig::new("otlp", loopback()) };
    Relay::builder().receiver(receiver).upstream(upstream(collector.addr())).cores(1).start().unwrap()
}

fn bearer(tokens: &[&str]) -> ServerAuth {
    let tokens = tokens.iter().copied().map(Secret::new).collect();
    ServerAuth::Bearer(BearerAuth::new(TokenSource::Inline(tokens)))
}

fn inline_users(lines: &str) -> ServerAuth {
    ServerAuth::Basic(UserSource { file: None, inline: Some(Secret::new(lines)) })
}

fn basic(credentials: &str) -> String {
    format!("Basic {}", STANDARD.encode(credentials))
}

fn grpc_request(headers: &[(&str, &str)]) -> RawRequest {
    let mut request = RawRequest::export(vec![grpc_message(&encoded(1, 1))]);
    for (name, value) in headers {
        let name: http::HeaderName = name.parse().unwrap();
        request.headers.append(name, value.parse().unwrap());
    }
    request
}

/// The `grpc-status` of a call with one span.
fn grpc(relay: &RelayHandle, headers: &[(&str, &str)]) -> i32 {
    let [response] = exchange(endpoint(relay), vec![grpc_request(headers)]).try_into().unwrap();
    response.unwrap().grpc_status().unwrap()
}

/// The HTTP status and `www-authenticate` of a request with one span.
fn http(relay: &RelayHandle, headers: &[(&str, &str)]) -> (u16, Option<String>) {
    let mut all = vec![("content-type", "application/x-protobuf")];
    all.extend(headers);
    let response = Http1::connect(endpoint(relay)).request("POST", "/v1/traces", &all, &encoded(1, 1));
    (response.status, response.header("www-authenticate").map(str::to_owned))
}

fn accepts(relay: &RelayHandle, authorization: &str) {
    let headers = [("authorization", authorization)];
    assert_eq!((grpc(relay, &headers), http(relay, &headers)), (0, (200, None)), "{authorization}");
}

fn refuses(relay: &RelayHandle, headers: &[(&str, &str)], challenge: &str) {
    assert_eq!(grpc(relay, headers), UNAUTHENTICATED, "{headers:?}");
    assert_eq!(http(relay, headers), (401, Some(challenge.to_owned())), "{headers:?}");
}

fn unauthenticated(relay: &RelayHandle) -> [u64; 2] {
    let stats = relay.stats();
    [0, 1]
        .map(|transport| stats.receivers[transport].rejected_requests[RejectReason::Unauthenticated as usize])
}

/// Neither secrets nor what shows them: tokens, or users and passwords with a colon between.
fn not_logged(secrets: &[&str]) {
    let lines = logs::lines();
    for secret in secrets {
        let password = secret.split_once(':').map_or(*secret, |(_, password)| password);
        assert!(!lines.contains(password), "{secret} is logged");
        assert!(!lines.contains(&STANDARD.encode(secret)), "{secret} is logged in base64");
    }
}

/// A file that goes with the test.
struct TempFile(PathBuf);

impl TempFile {
    fn new(name: &str, text: &str) -> Self {
        let file = Self(std::env::temp_dir().join(format!("relay-auth-{}-{name}", std::process::id())));
        file.write(text);
        file
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.0, text).unwrap();
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

/// How often it was said that a file cannot be used.
fn warnings(file: &TempFile) -> usize {
    let lines = logs::lines();
    let about = lines.lines().filter(|line| line.contains(&*file.0.to_string_lossy()));
    about.filter(|line| line.contains("changed credentials cannot be used")).count()
}

/// Asks until the answer is the expected one; files are looked at now and then only.
fn eventually<T: PartialEq + std::fmt::Debug>(expected: &T, ask: impl Fn() -> T) {
    for _ in 0..200 {
        if ask() == *expected {
            return;
        }
        std::thread::sleep(SOON / 200);
    }
    panic!("not {expected:?} within {SOON:?}");
}

/// Any of the tokens is taken, with the scheme in either case; of two headers the first counts.
#[test]
fn bearer_tokens_over_both_protocols() {
    let collector = Collector::start(Script::ok());
    let relay = start(bearer(&["sesame-one", "sesame-two"]), &collector);
    for shown in ["Bearer sesame-one", "bearer sesame-two", "BEARER sesame-one", "Bearer  sesame-two"] {
        accepts(&relay, shown);
    }
    let both = [("authorization", "Bearer sesame-one"), ("authorization", "Bearer wrong")];
    assert_eq!((grpc(&relay, &both), http(&relay, &both).0), (0, 200));
    let reversed = [both[1], both[0]];
    let wrong: [&[(&str, &str)]; 7] = [
        &[],
        &reversed,
        &[("authorization", "Bearer sesame-three")],
        &[("authorization", "sesame-one")],
        &[("authorization", "Basic sesame-one")],
        &[("authorization", "Bearer Sesame-one")],
        &[("x-authorization", "Bearer sesame-one")],
    ];
    for headers in wrong {
        refuses(&relay, headers, "Bearer");
    }
    assert_eq!(unauthenticated(&relay), [7, 7]);
    let stats = drain(relay, SOON);
    assert_eq!((settled(&stats).delivered, collector.span_count()), (10, 10));
    not_logged(&["sesame-one", "sesame-two", "sesame-three"]);
}

/// Another header without a scheme, as API keys are sent.
#[test]
fn a_token_may_stand_alone_in_another_header() {
    let collector = Collector::start(Script::ok());
    let tokens = TokenSource::Inline(vec![Secret::new("key-12345")]);
    let auth = BearerAuth { header: "X-Api-Key".to_owned(), scheme: String::new(), tokens };
    let relay = start(ServerAuth::Bearer(auth), &collector);
    let headers = [("x-api-key", "key-12345")];
    assert_eq!((grpc(&relay, &headers), http(&relay, &headers).0), (0, 200));
    refuses(&relay, &[("authorization", "key-12345")], "Bearer");
    drain(relay, SOON);
    not_logged(&["key-12345"]);
}

/// Whoever is refused learns nothing about what is served, and need not send a body.
#[test]
fn nothing_is_told_or_taken_without_credentials() {
    let collector = Collector::start(Script::ok());
    let relay = start(bearer(&["sesame-open"]), &collector);
    let requests =
        vec![grpc_request(&[]).with_path("/nothing.here/Export"), grpc_request(&[]).with_end(End::Open)];
    for response in exchange(endpoint(&relay), requests) {
        assert_eq!(response.unwrap().grpc_status(), Some(UNAUTHENTICATED));
    }
    let mut sender = Http1::connect(endpoint(&relay));
    assert_eq!(sender.request("GET", "/nothing", &[], b"").status, 401);
    // 1 GB is announced, and none of it sent.
    sender.send(b"POST /v1/traces HTTP/1.1\r\nhost: relay\r\ncontent-type: application/json\r\ncontent-length: 1000000000\r\n\r\n");
    let answer = sender.answer();
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((answer.status, body["code"].as_i64()), (401, Some(UNAUTHENTICATED.into())));
    drain(relay, SOON);
}

/// A token file is read again when it has changed: the new token is valid soon, the old one is not. Garbage, nothing and no file
/// leave the tokens from before in use.
#[test]
fn token_files_are_rotated() {
    let collector = Collector::start(Script::ok());
    let file = TempFile::new("tokens", "old-token-1 of today\n\n old-token-2\n");
    let relay = start(ServerAuth::Bearer(BearerAuth::new(TokenSource::File(file.0.clone()))), &collector);
    let status = |token: &str| grpc(&relay, &[("authorization", &format!("Bearer {token}"))]);
    assert_eq!((status("old-token-1"), status("old-token-2"), status("of")), (0, 0, UNAUTHENTICATED));
    file.write("new-token-1\n");
    eventually(&(0, UNAUTHENTICATED), || (status("new-token-1"), status("old-token-1")));
    let unusable: [&dyn Fn(); 3] =
        [&|| file.write("  \n"), &|| std::fs::write(&file.0, b"bad-token\xff").unwrap(), &|| {
            std::fs::remove_file(&file.0).unwrap();
        }];
    for make in unusable {
        let warned = warnings(&file);
        make();
        eventually(&true, || {
            assert_eq!(status("new-token-1"), 0);
            warnings(&file) > warned
        });
    }
    // As Kubernetes does it: another file takes the place.
    let next = TempFile::new("tokens-next", "last-token");
    std::fs::rename(&next.0, &file.0).unwrap();
    eventually(&(0, UNAUTHENTICATED), || (status("last-token"), status("new-token-1")));
    drain(relay, SOON);
    not_logged(&["old-token-1", "old-token-2", "new-token-1", "bad-token", "last-token"]);
}

/// Each format of htpasswd over both protocols, at the first call, which waits for the check, and at later ones.
#[test]
fn users_and_passwords() {
    let collector = Collector::start(Script::ok());
    let bcrypt = bcrypt::hash("open-bcrypt", 10).unwrap().replacen("$2b$", "$2y$", 1);
    // SHA-1 of `secret`.
    let file = TempFile::new(
        "htpasswd",
        &format!("# users\nann:{bcrypt}\nbob:{{SHA}}5en6G6MezRroT3XKqkdPOmY/BfQ=\neve:in-the-file\n"),
    );
    let inline = Some(Secret::new("cid:open-plain\ndan:{PLAIN}open-nginx\neve:in-line"));
    let relay = start(ServerAuth::Basic(UserSource { file: Some(file.0.clone()), inline }), &collector);
    let right =
        ["ann:open-bcrypt", "bob:secret", "cid:open-plain", "dan:open-nginx", "eve:in-line"].map(basic);
    for shown in right.iter().chain(&right) {
        accepts(&relay, shown);
    }
    accepts(&relay, &right[0].replacen("Basic", "bAsIc", 1));
    let wrong = ["ann:open-bcrypt ", "ann:", "ann", "eve:in-the-file", "zoe:open-bcrypt", ":", ""];
    let challenge = "Basic realm=\"otlp\", charset=\"UTF-8\"";
    for shown in wrong.iter().map(|credentials| basic(credentials)).chain(["Basic !".into(), "Basic".into()])
    {
        for _ in 0..2 {
            refuses(&relay, &[("authorization", &shown)], challenge);
        }
    }
    refuses(&relay, &[("authorization", &basic(&"x".repeat(4000)))], challenge);
    refuses(&relay, &[], challenge);
    file.write("ann:rotated-word\n");
    let rotated = basic("ann:rotated-word");
    let rotated = [("authorization", rotated.as_str())];
    eventually(&(0, UNAUTHENTICATED), || {
        (grpc(&relay, &rotated), grpc(&relay, &[("authorization", &right[0])]))
    });
    drain(relay, SOON);
    not_logged(&[
        "ann:open-bcrypt",
        "cid:open-plain",
        "dan:open-nginx",
        "eve:in-line",
        "ann:rotated-word",
        &bcrypt,
    ]);
}

/// Many first calls at once wait for one check and are all taken; a body that comes meanwhile is not lost. The core goes on relaying.
#[test]
fn calls_wait_while_their_password_is_checked() {
    let collector = Collector::start(Script::ok());
    let relay = start(inline_users(&format!("ann:{}", bcrypt::hash("open-wait", 11).unwrap())), &collector);
    let shown = basic("ann:open-wait");
    let calls = (0..50).map(|_| {
        let mut request = grpc_request(&[("authorization", &shown)]);
        let body = request.chunks[0].clone();
        request.chunks = vec![body.slice(..9), body.slice(9..)];
        request
    });
    for response in exchange(endpoint(&relay), calls.collect()) {
        assert_eq!(response.unwrap().grpc_status(), Some(0));
    }
    let stats = drain(relay, SOON);
    assert_eq!((settled(&stats).delivered, stats.receivers[0].accepted_requests()), (50, 50));
}

/// Guesses, each with a hash that takes its time: those that do not fit are told to come back, whoever is known is served at once.
#[test]
fn guesses_do_not_keep_known_users_out() {
    let collector = Collector::start(Script::ok());
    let relay = start(inline_users(&format!("ann:{}", bcrypt::hash("open-known", 8).unwrap())), &collector);
    accepts(&relay, &basic("ann:open-known"));
    let guesses = (0..2 * AUTH_VERIFYING_MAX)
        .map(|guess| grpc_request(&[("authorization", &basic(&format!("ann:guess-{guess}")))]));
    let guesses: Vec<_> = guesses.collect();
    let address = endpoint(&relay);
    let guessing = std::thread::spawn(move || exchange(address, guesses));
    std::thread::sleep(Duration::from_millis(100));
    accepts(&relay, &basic("ann:open-known"));
    assert!(!guessing.is_finished(), "the guesses were checked before");
    let statuses: Vec<_> = guessing.join().unwrap().into_iter().map(|answer| answer.unwrap()).collect();
    assert!(
        statuses.iter().all(|answer| matches!(answer.grpc_status(), Some(UNAUTHENTICATED | UNAVAILABLE)))
    );
    let told_to_come_back = statuses.iter().filter(|answer| answer.retry_delay().is_some()).count();
    assert!(told_to_come_back >= AUTH_VERIFYING_MAX / 2, "{told_to_come_back}");
    drain(relay, SOON);
    not_logged(&["ann:open-known", "ann:guess-7"]);
}

fn with_client_auth(collector: &Collector, auth: ClientAuth) -> UpstreamConfig {
    let mut config = upstream(collector.addr());
    if let Destination::Grpc(grpc) = &mut config.destination {
        grpc.headers =
            vec![("x-tenant".into(), "one".into()), ("Authorization".into(), "from the headers".into())];
        grpc.auth = Some(Box::new(auth));
    }
    config
}

/// What an upstream sees of inline credentials: the header once, in every call.
#[test]
fn upstreams_are_shown_credentials() {
    logs::capture();
    let tokens = TokenSource::Inline(vec![Secret::new("shown-token"), Secret::new("second-token")]);
    let user = SecretSource::Inline(Secret::new("relay"));
    let password = SecretSource::Inline(Secret::new("shown:pass"));
    for (auth, shown) in [
        (ClientAuth::Bearer(BearerAuth::new(tokens)), "Bearer shown-token".to_owned()),
        (ClientAuth::Basic { user, password }, basic("relay:shown:pass")),
    ] {
        let collector = Collector::start(Script::ok());
        let config = with_client_auth(&collector, auth);
        assert!(!format!("{config:?}").contains("shown"), "{config:?}");
        let relay = builder(config).start().unwrap();
        assert!(!format!("{relay:?}").contains("shown"));
        for seed in 0..3 {
            assert_ok(&send_all(endpoint(&relay), [encoded(1, seed)]));
            let calls = usize::try_from(seed).unwrap() + 1;
            assert_eq!(collector.wait_for_calls(calls, SOON), calls);
        }
        settled(&drain(relay, SOON));
        for call in collector.calls() {
            let values: Vec<_> = call.metadata.get_all("authorization").iter().collect();
            assert_eq!(values, [shown.as_str()]);
            assert_eq!(call.header("x-tenant"), Some("one"));
        }
    }
    not_logged(&["shown-token", "relay:shown:pass", "second-token"]);
}

/// Calls show the token that is in the file now, on the connection that is there.
#[test]
fn upstreams_are_shown_rotated_credentials() {
    logs::capture();
    let collector = Collector::start(Script::ok());
    let (user, password) = (TempFile::new("user", "relay-a\n"), TempFile::new("password", " first-pass \n"));
    let source = |file: &TempFile| SecretSource::File(file.0.clone());
    let auth = ClientAuth::Basic { user: source(&user), password: source(&password) };
    let relay = builder(with_client_auth(&collector, auth)).cores(1).start().unwrap();
    let shown = || {
        let before = collector.call_count();
        assert_ok(&send_all(endpoint(&relay), [encoded(1, 1)]));
        assert_eq!(collector.wait_for_calls(before + 1, SOON), before + 1);
        collector.calls()[before].header("authorization").unwrap().to_owned()
    };
    assert_eq!(shown(), basic("relay-a:first-pass"));
    user.write("relay-b");
    password.write("next-pass");
    eventually(&basic("relay-b:next-pass"), shown);
    // Not a user: the one from before stays.
    user.write("relay:c");
    std::thread::sleep(AUTH_RELOAD_INTERVAL);
    assert_eq!(shown(), basic("relay-b:next-pass"));
    let stats = drain(relay, SOON);
    assert_eq!(settled(&stats).dropped_total(), 0);
    not_logged(&["relay-a:first-pass", "relay-b:next-pass"]);
}

/// What cannot be used keeps the relay from starting, and the error says where, not what.
#[test]
fn unusable_credentials_are_errors_at_start() {
    let missing = std::env::temp_dir().join("relay-auth-nowhere");
    let file = TempFile::new("md5", "ann:fine-word\nbob:$apr1$secret-salt$x\n");
    let collector = Collector::start(Script::ok());
    let receiver = |auth| {
        let config = ReceiverConfig { auth: Some(auth), ..ReceiverConfig::new("in", loopback()) };
        Relay::builder()
            .receiver(config)
            .upstream(upstream(collector.addr()))
            .start()
            .unwrap_err()
            .to_string()
    };
    let error = receiver(ServerAuth::Bearer(BearerAuth::new(TokenSource::File(missing.clone()))));
    assert!(error.starts_with("receiver \"in\": cannot read /"), "{error}");
    let error = receiver(ServerAuth::Basic(UserSource { file: Some(file.0.clone()), inline: None }));
    assert!(error.contains("line 2: hashes of MD5 are not supported"), "{error}");
    assert!(!error.contains("secret-salt") && !error.contains("fine-word"), "{error}");
    assert!(receiver(inline_users("no colon here")).contains("line 1: expected user:hash"));
    assert!(!format!("{:?}", inline_users("ann:fine-word")).contains("fine-word"));
    let auth = ClientAuth::Bearer(BearerAuth::new(TokenSource::File(missing)));
    let error = builder(with_client_auth(&collector, auth)).start().unwrap_err().to_string();
    assert!(error.starts_with("upstream \"otlp\": cannot read /"), "{error}");
}
