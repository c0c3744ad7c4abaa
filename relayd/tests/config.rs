//! Configurations as they are deployed, through the real program: `relayd validate` says what it accepts, warns of
//! or refuses, with the exit codes of the Collector.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail it")]

use std::process::{Command, Output};

fn validate(args: &[&str]) -> (bool, Vec<String>) {
    let mut command = relayd();
    command.arg("validate").args(args);
    let output = command.output().unwrap();
    (output.status.success(), stderr(&output))
}

/// The program where the sample files are, with an environment that holds the pod's address only.
fn relayd() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relayd"));
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");
    command.current_dir(data).env_clear().env("MY_POD_IP", "10.0.0.5");
    command
}

fn stderr(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stderr).lines().map(str::to_owned).collect()
}

fn accepted(args: &[&str], notices: &[&str]) {
    assert_eq!(validate(args), (true, notices.iter().map(|line| (*line).to_owned()).collect()));
}

fn refused(args: &[&str], errors: &[&str]) {
    assert_eq!(validate(args), (false, errors.iter().map(|line| (*line).to_owned()).collect()));
}

/// The agent of the CRI-O tutorial runs as it is: 999999999 MiB, an empty `http:`, `logging`, `batch:`.
#[test]
fn the_tutorials_agent_is_accepted() {
    accepted(
        &["--config", "tutorial-agent.yaml"],
        &[
            "warning: tutorial-agent.yaml:9: exporters.logging: the old name of the exporter debug; write debug",
        ],
    );
}

/// Its older form has `insecure` beside `endpoint`.
#[test]
fn the_tutorials_legacy_agent_is_accepted() {
    accepted(
        &["--config", "tutorial-agent-legacy.yaml"],
        &[
            "warning: tutorial-agent-legacy.yaml:9: exporters.logging: the old name of the exporter debug; write debug",
            "warning: tutorial-agent-legacy.yaml:12: exporters.otlp.insecure: the old place of this key; write tls: {insecure: true}",
        ],
    );
}

/// Its collector sends to Jaeger's own protocol, which the Collector has dropped too.
#[test]
fn the_tutorials_collector_is_told_to_send_otlp_to_jaeger() {
    refused(
        &["--config", "tutorial-collector.yaml"],
        &[
            "tutorial-collector.yaml:14: exporters.jaeger: the exporter \"jaeger\" is not in this version: Jaeger receives OTLP; use the exporter otlp with port 4317 instead of 14250",
        ],
    );
}

/// The Helm chart's defaults run as they are: all signals, and the receivers that relayd does not have are left out.
#[test]
fn the_helm_charts_defaults_are_accepted() {
    let skipped = [
        "warning: helm-daemonset.yaml:14: receivers.jaeger: skipped: relayd does not speak Jaeger's protocols; senders use OTLP, port 4317",
        "warning: helm-daemonset.yaml:28: receivers.prometheus: skipped: relayd does not scrape; its own metrics are served at service.telemetry.metrics",
        "warning: helm-daemonset.yaml:36: receivers.zipkin: skipped: relayd does not speak Zipkin; senders use OTLP, port 4317",
        "info: helm-daemonset.yaml:10: processors.memory_limiter.check_interval: accepted, without effect: relayd counts what it holds at every request",
    ];
    accepted(&["--config=helm-daemonset.yaml"], &skipped);
    let taken = [
        "info: helm-traces-only.yaml:4: service.pipelines.logs: no pipeline: null takes it away",
        "info: helm-traces-only.yaml:5: service.pipelines.metrics: no pipeline: null takes it away",
    ];
    let notices: Vec<&str> = skipped.into_iter().chain(taken).collect();
    accepted(&["--config=helm-daemonset.yaml", "--config=helm-traces-only.yaml"], &notices);
}

#[test]
fn the_kube_stack_daemon_is_told_to_leave_attributes_to_the_gateway() {
    refused(
        &["--config=kube-stack-daemon.yaml"],
        &[
            "kube-stack-daemon.yaml:12: processors.k8sattributes: the processor \"k8sattributes\" is not in this version: do it in the gateway Collector that relayd sends to",
            "kube-stack-daemon.yaml:18: processors.resource/hostname: the processor \"resource\" is not in this version: do it in the gateway Collector that relayd sends to",
            "kube-stack-daemon.yaml:23: processors.resourcedetection/env: the processor \"resourcedetection\" is not in this version: do it in the gateway Collector that relayd sends to",
        ],
    );
}

#[test]
fn the_documentations_agents_are_told_what_to_use() {
    refused(
        &["--config=docs-agent.yaml"],
        &[
            "docs-agent.yaml:13: processors.resourcedetection: the processor \"resourcedetection\" is not in this version: do it in the gateway Collector that relayd sends to",
        ],
    );
}

/// The documentation's second agent, and ours: spans of one trace go to one gateway.
#[test]
fn agents_before_a_tier_are_accepted() {
    accepted(&["--config=docs-agent-loadbalancing.yaml"], &[]);
    let ours = concat!("--config=", env!("CARGO_MANIFEST_DIR"), "/../deploy/agent-load-balancing.yaml");
    assert!(validate(&[ours]).0);
}

/// Without the one processor that the gateway has to take over, the documentation's agent runs; here from a variable.
#[test]
fn the_documentations_agent_runs_without_resourcedetection() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/docs-agent.yaml");
    let text = std::fs::read_to_string(file).unwrap();
    let text = text
        .replace("  resourcedetection:\n    detectors: [env, system, docker]\n", "")
        .replace("[memory_limiter, resourcedetection]", "[memory_limiter]");
    let output = relayd().args(["validate", "--config=env:CONF"]).env("CONF", text).output().unwrap();
    let notices = [
        "info: env:CONF:11: processors.memory_limiter.check_interval: accepted, without effect: relayd counts what it holds at every request",
    ];
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), notices.map(str::to_owned).to_vec()));
}

/// It sends OTLP/HTTP over TLS with a token from a file. Files are opened at the start, not by `validate`.
#[test]
fn the_microshift_agent_is_accepted() {
    accepted(
        &["--config=microshift-agent.yaml"],
        &[
            "info: microshift-agent.yaml:10: processors.memory_limiter.check_interval: accepted, without effect: relayd counts what it holds at every request",
            "warning: microshift-agent.yaml:17: exporters.logging: the old name of the exporter debug; write debug",
            "warning: microshift-agent.yaml:29: service.telemetry.metrics.address: the old form of readers[].pull.exporter.prometheus.{host, port}",
        ],
    );
}

/// Every key of OTLP/HTTP, TLS, authentication and the other signals in one file; only what has no effect is told.
#[test]
fn a_gateway_with_everything_is_accepted() {
    accepted(
        &["--config=gateway-everything.yaml"],
        &[
            "info: gateway-everything.yaml:20: extensions.memory_limiter.check_interval: accepted, without effect: relayd counts what it holds at every request",
        ],
    );
}

/// The legacy program name that images put first, and both places of `--config`.
#[test]
fn the_command_line_is_the_collectors() {
    let output = relayd()
        .args(["/otelcol", "--config=tutorial-agent.yaml", "validate", "--set=a=1"])
        .output()
        .unwrap();
    let known = "known here: service, extensions, receivers, processors, exporters, connectors";
    assert_eq!(
        (output.status.code(), stderr(&output)),
        (Some(1), vec![format!("--set a: a: unknown key; {known}")])
    );
    let output = relayd().args(["validate", "--config=gone.yaml"]).output().unwrap();
    let what = "gone.yaml: cannot read the configuration file: No such file or directory (os error 2)";
    assert_eq!((output.status.code(), stderr(&output)), (Some(1), vec![what.to_owned()]));
    let output = relayd().arg("--version").output().unwrap();
    let version = format!("relayd version {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(
        (output.status.code(), String::from_utf8_lossy(&output.stdout).as_ref()),
        (Some(0), version.as_str())
    );
    let output = relayd().arg("components").output().unwrap();
    let components = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && components.contains("exporters:\n    - name: otlp\n"), "{components}");
}
