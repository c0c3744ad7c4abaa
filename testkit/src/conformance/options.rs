//! The command line: where the system under test is, and what it is configured to do.
//!
//! Must never guess a feature: what is not named with `--has` is not there.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use clap::Parser;

/// Tries a running OTLP receiver and exporter against the OTLP specification, from outside, item by item.
///
/// Prints one line per item and exits with 0 if none failed, 1 if one did, 2 if the suite could not run.
#[derive(Debug, Clone, Parser)]
#[command(name = "otlp-conformance", version, after_long_help = CONFIGURING)]
pub struct Options {
    /// Where the system receives OTLP/gRPC, without TLS.
    #[arg(long, value_name = "ADDR", value_parser = resolve)]
    pub grpc: Option<SocketAddr>,
    /// Where the system receives OTLP/HTTP, without TLS.
    #[arg(long, value_name = "ADDR", value_parser = resolve)]
    pub http: Option<SocketAddr>,
    /// Where this suite listens as the OTLP/gRPC upstream of the system.
    #[arg(long, value_name = "ADDR", value_parser = resolve)]
    pub upstream_grpc: Option<SocketAddr>,
    /// Where this suite listens as the OTLP/HTTP upstream of the system.
    #[arg(long, value_name = "ADDR", value_parser = resolve)]
    pub upstream_http: Option<SocketAddr>,
    /// Where this suite looks for the beginning of TLS; needed by X23 alone.
    #[arg(long, value_name = "ADDR", value_parser = resolve)]
    pub upstream_tls: Option<SocketAddr>,
    /// Name of the system, for the report.
    #[arg(long, value_name = "NAME", default_value = "the system under test")]
    pub against: String,
    /// What the system is configured to do; see below. May be repeated.
    #[arg(long, value_name = "FEATURE")]
    pub has: Vec<String>,
    /// Name of a feature that the system does not offer: MAY items and notes that need it pass, SHOULD items fail, others are skipped.
    #[arg(long, value_name = "FEATURE")]
    pub lacks: Vec<String>,
    /// Try these items alone.
    #[arg(long, value_name = "ID", num_args = 1..)]
    pub only: Vec<String>,
    /// Do not try these items.
    #[arg(long, value_name = "ID", num_args = 1..)]
    pub except: Vec<String>,
    /// Write the report as JSON to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// List the items and what they depend on, and end.
    #[arg(long)]
    pub list: bool,
}

const CONFIGURING: &str = "\
Configure the system so that it receives OTLP on --grpc and --http, and sends what it receives, all signals, to every upstream
address given: start this suite first or let the system wait for its upstreams. With no upstream, exporter items are skipped and
receiver items look at answers alone. Items need of the system
  - no authentication and no TLS on these addresses,
  - no sampling or filtering, and batches that wait for at most 300 ms (none are better),
  - a first retry delay of at most 1 s, so that a retry can be seen; that what is retried is kept for at least 30 s,
  - a queue that is full after at most 64 MiB or some 1,000 requests of 32 KiB, and a receiver that then refuses.

Features (--has), each with the configuration that it stands for:
  limit=BYTES         the receiver takes messages of at most so many bytes (default: 64 MiB, as recommended)
  wait-for-result     the receiver answers when the gRPC upstream has answered, and passes its answer on
  default-ports       no port is configured: --grpc and --http are where the system listens by itself
  parallel=N          the exporters have at most N requests in flight
  export-limit=BYTES  the exporters send requests of at most so many bytes before compression
  metrics=HOST:PORT/PATH  the system's own counters in the Prometheus text format
  pid=PID             the system is this process and may be ended by SIGTERM (tried last)
  signal-urls         the HTTP exporter has the base endpoint http://UPSTREAM/base/, for metrics the URL http://UPSTREAM,
                      for logs the URL http://UPSTREAM/custom/logs
  schemes             one gRPC exporter has the endpoint http://UPSTREAM-GRPC with insecure: false, another one
                      https://UPSTREAM-TLS with insecure: true
  env-headers         OTEL_EXPORTER_OTLP_HEADERS=conformance-one=1,conformance-two=a%2Cb%20c is in the system's environment

The suite sends up to some 300 MiB to the system and runs for at most 4 minutes.";

#[expect(clippy::disallowed_methods, reason = "a tool, never a static binary")]
fn resolve(text: &str) -> Result<SocketAddr, String> {
    let mut found = text.to_socket_addrs().map_err(|error| error.to_string())?;
    found.next().ok_or_else(|| "no address".to_owned())
}

/// What `--has` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Features {
    /// `limit`.
    pub limit_bytes: Option<usize>,
    /// `wait-for-result`.
    pub wait_for_result: bool,
    /// `default-ports`.
    pub default_ports: bool,
    /// `parallel`.
    pub parallel: Option<usize>,
    /// `export-limit`.
    pub export_limit_bytes: Option<usize>,
    /// `metrics`: address and path.
    pub metrics: Option<(SocketAddr, String)>,
    /// `pid`.
    pub pid: Option<i32>,
    /// `signal-urls`.
    pub signal_urls: bool,
    /// `schemes`.
    pub schemes: bool,
    /// `env-headers`.
    pub env_headers: bool,
    /// The names given with `--lacks`.
    pub lacking: Vec<String>,
}

/// The names of all features.
const NAMES: [&str; 10] = [
    "limit",
    "wait-for-result",
    "default-ports",
    "parallel",
    "export-limit",
    "metrics",
    "pid",
    "signal-urls",
    "schemes",
    "env-headers",
];

impl Features {
    /// Reads the values of `--has` and `--lacks`.
    ///
    /// # Errors
    /// Names a feature that does not exist or whose value cannot be read.
    pub fn parse(has: &[String], lacks: &[String]) -> Result<Self, String> {
        let mut features = Self { lacking: lacks.to_vec(), ..Self::default() };
        for name in lacks {
            if !NAMES.contains(&name.as_str()) {
                return Err(format!("--lacks {name}: there are {}", NAMES.join(", ")));
            }
        }
        for one in has {
            features.add(one).map_err(|problem| format!("--has {one}: {problem}"))?;
        }
        Ok(features)
    }

    fn add(&mut self, one: &str) -> Result<(), String> {
        let (name, value) = one.split_once('=').map_or((one, None), |(name, value)| (name, Some(value)));
        let bytes =
            || number(value).and_then(|bytes| usize::try_from(bytes).map_err(|error| error.to_string()));
        match name {
            "limit" => self.limit_bytes = Some(bytes()?),
            "wait-for-result" => self.wait_for_result = true,
            "default-ports" => self.default_ports = true,
            "parallel" => self.parallel = Some(bytes()?),
            "export-limit" => self.export_limit_bytes = Some(bytes()?),
            "metrics" => {
                let value = value.ok_or("HOST:PORT/PATH is missing")?;
                let value = value.strip_prefix("http://").unwrap_or(value);
                let (authority, path) = value.split_once('/').unwrap_or((value, "metrics"));
                self.metrics = Some((resolve(authority)?, format!("/{path}")));
            }
            "pid" => self.pid = Some(i32::try_from(number(value)?).map_err(|error| error.to_string())?),
            "signal-urls" => self.signal_urls = true,
            "schemes" => self.schemes = true,
            "env-headers" => self.env_headers = true,
            _ => return Err(format!("there are {}", NAMES.join(", "))),
        }
        Ok(())
    }
}

fn number(value: Option<&str>) -> Result<u64, String> {
    let value = value.ok_or("a number is missing")?;
    let (digits, unit) = match value.strip_suffix("MiB") {
        Some(digits) => (digits, 1 << 20),
        None => (value, 1),
    };
    digits.parse::<u64>().map(|number| number * unit).map_err(|error| error.to_string())
}
