//! The section `exporters`: `otlp` (also `otlp_grpc`) and `debug` (also `logging`). Must never connect, and must never
//! show the value of a header.

use std::time::Duration;

use relay_core::upstream::RetryPolicy;

use super::components::{Components, Kind, State, read_components, type_of};
use super::endpoint::{self, HostPort};
use super::error::Diagnostics;
use super::headers::{Secret, read_headers};
use super::node::Node;
use super::queue::{self, SendingQueue};
use super::section::Section;

/// An exporter that a pipeline uses.
#[derive(Clone, Debug, PartialEq)]
pub struct Exporter {
    /// As in the file, `otlp/2`; the label `exporter` of the metrics.
    pub id: String,
    /// Where it sends.
    pub kind: ExporterKind,
}

/// The kinds of exporters.
#[derive(Clone, Debug, PartialEq)]
pub enum ExporterKind {
    /// `otlp`, `otlp_grpc`: to an upstream.
    Otlp(Box<OtlpExporter>),
    /// `debug`, `logging`: to the log.
    Debug(DebugExporter),
    /// Each arriving trace in a readable form on standard output. Only in the embedded default; no key makes one.
    Printer,
}

/// `exporters.otlp` (Collector, otlpexporter and configgrpc.ClientConfig).
#[derive(Clone, Debug, PartialEq)]
pub struct OtlpExporter {
    /// `endpoint`, without its scheme: whom to send to. Required. relayd uses all addresses of the name.
    pub endpoint: HostPort,
    /// `compression`. Default none (the Collector: gzip), because compressing costs more than all else that an agent
    /// does, and traffic inside a cluster is seldom what is short.
    pub compression: Compression,
    /// `timeout` of one call. Default 5 s; `None` (given as 0) means that a call may take forever.
    pub timeout: Option<Duration>,
    /// `headers`: sent as metadata of every call, names in lower case, in the order of the file.
    pub headers: Vec<(String, Secret)>,
    /// `retry_on_failure`.
    pub retry: RetryPolicy,
    /// `sending_queue`; `None` if it is not enabled: a request is acknowledged when the upstream has answered.
    pub queue: Option<SendingQueue>,
}

/// `compression` of an exporter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// As they came.
    None,
    /// `grpc-encoding: gzip`.
    Gzip,
}

/// `exporters.debug` (Collector, debugexporter).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DebugExporter {
    /// `verbosity`. Default basic.
    pub verbosity: Verbosity,
    /// `sampling_initial`: messages logged in each second before sampling begins. Default 2.
    pub sampling_initial: u64,
    /// `sampling_thereafter`: after those, one of so many is logged; 1 (the default) logs all, 0 none.
    pub sampling_thereafter: u64,
}

/// How much a debug exporter says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// One line of counts per request.
    Basic,
    /// One line per span.
    Normal,
    /// Every field.
    Detailed,
}

/// Reads all exporters.
pub(super) fn read(node: Option<&Node>, diag: &Diagnostics) -> Components<Exporter> {
    read_components(Kind::Exporter, node, diag, |id, section| {
        let kind = match type_of(id) {
            "debug" | "logging" => Some(ExporterKind::Debug(read_debug(id, section))),
            _ => read_otlp(section, diag).map(|otlp| ExporterKind::Otlp(Box::new(otlp))),
        };
        kind.map_or(State::Refused, |kind| State::Ready(Exporter { id: id.to_owned(), kind }))
    })
}

/// `None` if an error was recorded that leaves no endpoint.
fn read_otlp(mut section: Section<'_>, diag: &Diagnostics) -> Option<OtlpExporter> {
    let endpoint = read_endpoint(&mut section);
    let plaintext = endpoint.as_ref().is_some_and(|(_, plaintext)| *plaintext);
    // A wrong endpoint may be an https:// one: a second error about TLS would only repeat it.
    read_tls(&mut section, plaintext || endpoint.is_none());
    let compression = read_compression(&mut section);
    let timeout = section.duration("timeout").unwrap_or(Duration::from_secs(5));
    let headers = section.value("headers").map(|node| read_headers(node, &section.path_of("headers"), diag));
    let retry = section.section("retry_on_failure").map_or_else(RetryPolicy::default, queue::read_retry);
    let queue =
        section.section("sending_queue").map_or_else(|| Some(SendingQueue::default()), queue::read_queue);
    section.advisory(
        "balancer_name",
        "this version keeps one connection per core, to the first address of the name that answers",
    );
    section.advisory("keepalive", "relayd notices dead upstreams by itself");
    section.advisory("read_buffer_size", "relayd sizes its buffers by what arrives");
    section.advisory("write_buffer_size", "relayd writes payloads from where they were received");
    if section.bool("wait_for_ready") == Some(true) {
        section.advisory(
            "wait_for_ready",
            "relayd always waits for a connection, as long as retry_on_failure goes on",
        );
    }
    section.refuse("batcher", "use sending_queue.batch");
    section.refuse("auth", "authentication is not in this version; a fixed token can stand in headers");
    section.refuse("middlewares", "remove it");
    section.refuse("authority", "the host of endpoint is sent as :authority");
    section.refuse("user_agent", "remove it; relayd sends its own");
    section.finish();
    let (endpoint, _) = endpoint?;
    Some(OtlpExporter {
        endpoint,
        compression,
        timeout: (!timeout.is_zero()).then_some(timeout),
        headers: headers.unwrap_or_default(),
        retry,
        queue,
    })
}

fn read_endpoint(section: &mut Section<'_>) -> Option<(HostPort, bool)> {
    let Some(node) = section.value("endpoint") else {
        section.error("endpoint", "an otlp exporter needs an endpoint, as in otel-gateway:4317");
        return None;
    };
    let text = node.as_text().filter(|text| !text.is_empty());
    let parsed = match text {
        Some(text) => endpoint::parse_upstream(text),
        None => Err(format!(
            "expected host:port, found {}",
            if node.is_empty() { "nothing" } else { node.kind() }
        )),
    };
    parsed.map_err(|what| section.error("endpoint", what)).ok()
}

/// This version sends in plaintext, and only if the user has said so: a certificate that is configured and not used
/// would be worse than an error.
fn read_tls(section: &mut Section<'_>, already_plaintext: bool) {
    const WAY_OUT: &str = "TLS to the upstream comes in a later version; set tls.insecure: true, \
                           or send through a Collector that speaks TLS";
    let legacy = section.bool("insecure");
    if legacy.is_some() {
        section.warn("insecure", "the old place of this key; write tls: {insecure: true}");
    }
    let mut insecure = legacy.unwrap_or(false) || already_plaintext;
    if let Some(mut tls) = section.section("tls") {
        insecure |= tls.bool("insecure").unwrap_or(false);
        tls.advisory("insecure_skip_verify", "there is no certificate to verify in plaintext");
        for key in
            ["ca_file", "ca_pem", "cert_file", "cert_pem", "key_file", "key_pem", "server_name_override"]
        {
            tls.refuse(
                key,
                "TLS to the upstream comes in a later version; remove it and set tls.insecure: true",
            );
        }
        let more = [
            "min_version",
            "max_version",
            "cipher_suites",
            "curve_preferences",
            "reload_interval",
            "tpm",
            "include_system_ca_certs_pool",
            "include_insecure_cipher_suites",
        ];
        for key in more {
            tls.advisory(key, "there is no TLS to tune in plaintext");
        }
        tls.finish();
    }
    if !insecure {
        section.error("tls", WAY_OUT);
    }
}

fn read_compression(section: &mut Section<'_>) -> Compression {
    match section.text("compression") {
        None | Some("none" | "") => Compression::None,
        Some("gzip") => Compression::Gzip,
        Some(other @ ("snappy" | "zstd")) => {
            section.error("compression", format!("{other} is not in this version; use none or gzip"));
            Compression::None
        }
        Some(other) => {
            section.error("compression", format!("expected none or gzip, found {other:?}"));
            Compression::None
        }
    }
}

fn read_debug(id: &str, mut section: Section<'_>) -> DebugExporter {
    const WORDS: [(&str, Verbosity); 3] =
        [("basic", Verbosity::Basic), ("normal", Verbosity::Normal), ("detailed", Verbosity::Detailed)];
    const LEVELS: [(&str, Verbosity); 4] = [
        ("debug", Verbosity::Detailed),
        ("info", Verbosity::Normal),
        ("warn", Verbosity::Basic),
        ("error", Verbosity::Basic),
    ];
    if type_of(id) == "logging" {
        section.warn("", "the old name of the exporter debug; write debug");
    }
    let verbosity = section.choice("verbosity", &WORDS);
    let legacy = section.choice("loglevel", &LEVELS);
    match (verbosity, legacy) {
        (Some(_), Some(_)) => section.error("loglevel", "remove it; verbosity is given too"),
        (None, Some(_)) => {
            section.warn("loglevel", "the old form of verbosity (debug is detailed, info is normal)");
        }
        _ => {}
    }
    let exporter = DebugExporter {
        verbosity: verbosity.or(legacy).unwrap_or(Verbosity::Basic),
        sampling_initial: section.whole("sampling_initial").unwrap_or(2),
        sampling_thereafter: section.whole("sampling_thereafter").unwrap_or(1),
    };
    section.advisory("use_internal_logger", "relayd has one log, and this exporter writes to it");
    section.refuse("output_paths", "relayd writes to its log; redirect that");
    section.refuse("sending_queue", "remove it; this exporter has no queue");
    section.finish();
    exporter
}
