//! relayd in the place of the Collector in an image with nothing else: its program names, its subcommands, no CA certificates, a small
//! control group's memory.

use std::process::Command;

use testkit::tools::certificates;

use crate::config;
use crate::daemon::{Dir, Relayd};

/// Scenario: links of the Collector's names, as images and charts call them. Guarantee: each is relayd; subcommands that it does
/// not have say so by name, with the way out.
#[test]
fn the_collectors_programs_are_links() {
    let dir = Dir::new("links");
    for name in ["otelcol", "otelcol-contrib", "otelcol-k8s"] {
        let link = dir.path(name);
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_relayd"), &link).unwrap();
        let run = |args: &[&str]| {
            let output = Command::new(&link).args(args).output().unwrap();
            (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
        };
        let yaml = format!("--config=yaml:{}", config("up:4317", ""));
        assert_eq!(run(&["validate", &yaml]), (Some(0), String::new()));
        assert!(run(&["--version"]).1.starts_with("relayd version "));
        for (args, way_out) in [
            (&["print-config", "--config=a.yaml"][..], "`relayd validate --config FILE`"),
            (&["featuregate"][..], "relayd has no feature gates"),
        ] {
            let (code, said) = run(args);
            assert!(code == Some(1) && said.contains(way_out), "{said}");
        }
    }
}

/// Scenario: an exporter over TLS on a host without CA certificates, and on one that has some. Guarantee: the built-in ones are used
/// where there are none, never beside the host's, and a line says which; `ca_file` needs neither.
#[test]
fn built_in_ca_certificates_are_for_hosts_without_any() {
    let dir = Dir::new("roots");
    certificates::run(&certificates::Args { directory: dir.path("") }).unwrap();
    let ca = dir.path("ca.pem").to_string_lossy().into_owned();
    let tls = |keys: &str| {
        config("https://localhost:1", "").replace("tls: {insecure: true}", &format!("tls: {{{keys}}}"))
    };
    let nothing = ("SSL_CERT_DIR", "/nonexistent");
    let none = Relayd::with_variables(&tls(""), &[("SSL_CERT_FILE", "/nonexistent"), nothing]);
    let line = none.stderr.wait_for("TLS: upstreams are verified by the ");
    assert!(line.contains("CA certificates that are built in: this host has none"), "{line}");
    let count: usize = line.split("by the ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(count > 100, "{line}");
    let own = Relayd::with_variables(&tls(""), &[("SSL_CERT_FILE", &ca), nothing]);
    own.stderr.wait_for("TLS: upstreams are verified by the 1 CA certificates of this host");
    let file = Relayd::with_variables(
        &tls(&format!("ca_file: {ca}")),
        &[("SSL_CERT_FILE", "/nonexistent"), nothing],
    );
    file.address_of("receiver otlp");
    assert!(!file.stderr.all().iter().any(|line| line.contains("TLS: upstreams are verified")));
}

/// Guarantee: what may be held is said at the start, with the reason.
#[test]
fn the_bound_on_memory_is_said() {
    let relayd = Relayd::with_config(&config("up:4317", ""), &[]);
    relayd.stderr.wait_for("bytes held in memory: at most ");
    let limited = config("up:4317", "")
        .replace(
            "processors: {",
            "processors: {memory_limiter: {check_interval: 1s, limit_mib: 10, spike_limit_mib: 2}, ",
        )
        .replace("processors: [batch]", "processors: [memory_limiter, batch]");
    let relayd = Relayd::with_config(&limited, &[]);
    relayd.stderr.wait_for("bytes held in memory: at most 8 MiB (memory_limiter)");
}
