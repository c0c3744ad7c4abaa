//! `tls` of receivers and exporters: when it is on, what is refused, what is never shown.

use std::path::PathBuf;
use std::time::Duration;

use super::super::{
    Address, ExporterKind, HostPort, Identity, Pem, Secret, TlsClient, TlsServer, TlsVersion, TlsVersions,
};
use super::{Parts, errors, lines};

fn file(path: &str) -> Pem {
    Pem::File(PathBuf::from(path))
}

/// The `tls` of an exporter with these keys, and what is said of it.
fn client(keys: &str) -> (Option<TlsClient>, Vec<String>) {
    let exporter = format!("{{{keys}}}");
    let (config, notices) = Parts { exporter: &exporter, processors: "", ..Parts::default() }.load().unwrap();
    let ExporterKind::Otlp(otlp) = &config.exporters[0].kind else { panic!("{config:?}") };
    (otlp.tls.clone(), lines(&notices))
}

fn server(tls: &str) -> Option<TlsServer> {
    let grpc = format!("{{tls: {tls}}}");
    let (config, _) = Parts { grpc: &grpc, ..Parts::default() }.load().unwrap();
    config.receivers[0].grpc.clone().unwrap().tls
}

/// The scheme decides; without one `insecure` does, and TLS is the default, as in the Collector.
#[test]
fn when_an_exporter_speaks_tls() {
    for (keys, tls) in [
        ("endpoint: 'gw:4317'", true),
        ("endpoint: 'gw:4317', tls: ", true),
        ("endpoint: 'gw:4317', tls: {insecure: true}", false),
        ("endpoint: 'gw:4317', insecure: true", false),
        ("endpoint: 'dns:///gw:4317'", true),
        ("endpoint: 'http://gw:4317'", false),
        ("endpoint: 'http://gw:4317', tls: {insecure: false}", false),
        ("endpoint: 'https://gw:4317', tls: {insecure: true}", true),
        ("endpoint: 'gw:4317', tls: {insecure: true, ca_file: /ca}", true),
        ("endpoint: 'unix:///run/x', tls: {insecure: true}", false),
        ("endpoint: 'unix:///run/x'", true),
    ] {
        assert_eq!(client(keys).0.is_some(), tls, "{keys}");
    }
}

#[test]
fn tls_keys_without_effect_are_warned_of() {
    for (keys, path, what) in [
        (
            "endpoint: 'https://gw:4317', tls: {insecure: true}",
            "tls",
            "insecure is without effect: https:// in the endpoint asks for TLS",
        ),
        (
            "endpoint: 'gw:4317', tls: {insecure: true, ca_pem: x}",
            "tls",
            "insecure is without effect beside a CA, as in the Collector: TLS is used",
        ),
        (
            "endpoint: 'http://gw:4317', tls: {ca_file: /ca}",
            "tls",
            "sent in plaintext: the other keys of tls have no effect",
        ),
        (
            "endpoint: 'gw:4317', tls: {insecure: true, insecure_skip_verify: true}",
            "tls",
            "sent in plaintext: the other keys of tls have no effect",
        ),
    ] {
        assert_eq!(client(keys).1, [format!("agent.yaml:3: exporters.otlp.{path}: {what}")], "{keys}");
    }
}

#[test]
fn client_keys() {
    let (tls, notices) = client(
        "endpoint: 'gw:4317', tls: {ca_file: /ca, include_system_ca_certs_pool: true, cert_file: /c, key_file: /k,
        server_name_override: name, insecure_skip_verify: true, min_version: '1.3', max_version: '1.3', reload_interval: 1h,
        cipher_suites: [], tpm: {enabled: false}, include_insecure_cipher_suites: false}",
    );
    assert_eq!(notices, [] as [&str; 0]);
    let expected = TlsClient {
        ca: Some(file("/ca")),
        include_system_ca_certs_pool: true,
        identity: Some(Identity { certificate: file("/c"), key: file("/k") }),
        server_name_override: Some("name".to_owned()),
        insecure_skip_verify: true,
        versions: TlsVersions { min: TlsVersion::V1_3, max: TlsVersion::V1_3 },
        reload_interval: Some(Duration::from_secs(3600)),
    };
    assert_eq!(tls, Some(expected));
}

#[test]
fn server_keys() {
    assert_eq!(server(""), None);
    assert_eq!(server("{enabled: false, cert_file: /c}"), None);
    let tls = server(
        "{cert_pem: c, key_pem: k, client_ca_file: /ca, client_ca_file_reload: true, reload_interval: 0s}",
    );
    let expected = TlsServer {
        identity: Identity { certificate: Pem::Inline(Secret::new("c")), key: Pem::Inline(Secret::new("k")) },
        client_ca_file: Some(PathBuf::from("/ca")),
        client_ca_file_reload: true,
        versions: TlsVersions { min: TlsVersion::V1_2, max: TlsVersion::V1_3 },
        reload_interval: None,
    };
    assert_eq!(tls, Some(expected));
}

#[test]
fn wrong_keys() {
    let table = [
        ("{}", "", "a server needs a certificate and its key: cert_file and key_file"),
        ("{client_ca_file: /ca}", "", "a server needs a certificate and its key: cert_file and key_file"),
        ("{cert_file: /c}", ".key_file", "a certificate needs its key: key_file or key_pem"),
        ("{key_pem: k}", ".cert_file", "a key needs its certificate: cert_file or cert_pem"),
        ("{cert_file: /c, cert_pem: c, key_file: /k}", ".cert_pem", "cert_file is given too; keep one"),
        (
            "{cert_file: /c, key_file: /k, min_version: '1.1'}",
            ".min_version",
            "TLS 1.1 is broken (RFC 8996) and not supported; use \"1.2\" or \"1.3\"",
        ),
        (
            "{cert_file: /c, key_file: /k, min_version: 1.2}",
            ".min_version",
            "expected a text, found a number; put it in quotes",
        ),
        (
            "{cert_file: /c, key_file: /k, max_version: '1.4'}",
            ".max_version",
            "expected \"1.2\" or \"1.3\", found \"1.4\"",
        ),
        (
            "{cert_file: /c, key_file: /k, min_version: '1.3', max_version: '1.2'}",
            ".max_version",
            "must not be below min_version",
        ),
        (
            "{cert_file: /c, key_file: /k, cipher_suites: [TLS_AES_128_GCM_SHA256]}",
            ".cipher_suites",
            "not supported: remove it; relayd has only suites with forward secrecy and AEAD",
        ),
        (
            "{cert_file: /c, key_file: /k, curve_preferences: [X25519]}",
            ".curve_preferences",
            "not supported: remove it; relayd prefers X25519, then P-256 and P-384",
        ),
        (
            "{cert_file: /c, key_file: /k, include_insecure_cipher_suites: true}",
            ".include_insecure_cipher_suites",
            "not supported: relayd has no insecure suites; remove it",
        ),
        (
            "{cert_file: /c, key_file: /k, tpm: {enabled: true}}",
            ".tpm",
            "not supported: keys are in files or in PEM; use key_file or key_pem",
        ),
        ("{cert_file: /c, key_file: /k, insecure: true}", ".insecure", "unknown key; known here: "),
    ];
    for (tls, path, what) in table {
        let grpc = format!("{{tls: {tls}}}");
        let errors = errors(Parts { grpc: &grpc, ..Parts::default() }.load());
        let start = format!("agent.yaml:1: receivers.otlp.protocols.grpc.tls{path}: {what}");
        assert!(errors.len() == 1 && errors[0].starts_with(&start), "{tls}: {errors:#?}");
    }
}

/// Nothing that prints a configuration prints a key.
#[test]
fn keys_are_never_shown() {
    let grpc = "{tls: {cert_pem: c, key_pem: s3cret}}";
    let (config, _) = Parts { grpc, ..Parts::default() }.load().unwrap();
    let shown = format!("{config:?}");
    assert!(!shown.contains("s3cret") && shown.contains("<hidden>"), "{shown}");
}

#[test]
fn sockets_of_receivers() {
    let endpoint = |grpc: &str| {
        let (config, _) = Parts { grpc, ..Parts::default() }.load().unwrap();
        config.receivers[0].grpc.clone().unwrap().endpoints[0].clone()
    };
    assert_eq!(endpoint("{endpoint: /run/x, transport: unix}"), Address::Unix(PathBuf::from("/run/x")));
    assert_eq!(endpoint("{endpoint: 'unix:///run/x'}"), Address::Unix(PathBuf::from("/run/x")));
    assert_eq!(endpoint("{endpoint: '@x', transport: unix}"), Address::Abstract("x".to_owned()));
    assert_eq!(endpoint("{endpoint: ':1', transport: tcp}"), Address::Tcp(HostPort::new("", 1)));
}
