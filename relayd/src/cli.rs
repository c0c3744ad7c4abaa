//! The command line: the Collector's flags and subcommands, so that an image can be swapped without touching its
//! arguments. Must never act: it only says what was asked for.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::awaited::Jaeger;
use crate::config::components::Kind;
use crate::config::{HostPort, endpoint};
pub use crate::spool::SpoolArgs;

/// First arguments that images of the Collector put in front of the flags (`command: [/otelcol, --config=...]`).
const LEGACY_PROGRAMS: [&str; 6] =
    ["otelcol", "otelcol-contrib", "otelcol-k8s", "otelcontribcol", "otel-agent", "relayd"];

/// Receives OTLP traces, batches the raw bytes, forwards them to an OpenTelemetry Collector.
///
/// Without --config: receive on localhost:4317 (see --listen) and print every trace.
#[derive(Debug, Parser)]
#[command(name = "relayd", version = concat!("version ", env!("CARGO_PKG_VERSION")))]
pub struct Cli {
    /// Where the configuration is.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Without --config: where to receive, gRPC and HTTP on one port [default: localhost:4317, HTTP on localhost:4318].
    #[arg(long, value_name = "HOST:PORT", value_parser = endpoint::parse_listen, conflicts_with_all = ["config", "set"])]
    pub listen: Option<HostPort>,
    /// Time to send what is held after SIGTERM, as in 25s; what is not sent by then is reported [default: 20s].
    #[arg(long, value_name = "DURATION", value_parser = crate::config::duration::parse)]
    pub shutdown_timeout: Option<Duration>,
    /// Accepted, without effect: relayd has no feature gates.
    #[arg(long, value_name = "GATES", allow_hyphen_values = true)]
    pub feature_gates: Vec<String>,
    /// Accepted, without effect: a flag of older Collectors.
    #[arg(long, value_name = "MIB", hide = true)]
    pub mem_ballast_size_mib: Option<u64>,
    /// A flag of older Collectors; the same as --set service.telemetry.logs.level=LEVEL.
    #[arg(long, value_name = "LEVEL", hide = true)]
    pub log_level: Option<String>,
    /// What to do instead of running.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// `--config` and `--set`, before or after a subcommand.
#[derive(Args, Clone, Debug, Default)]
pub struct SourceArgs {
    /// A path, file:PATH, env:NAME or yaml:TEXT; given several times, later ones are merged over earlier ones.
    #[arg(long, value_name = "URI")]
    pub config: Vec<String>,
    /// Sets one key over all files, as in --set processors.batch.timeout=2s; the value is YAML.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// What relayd can do besides running.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check the configuration and exit: 0 if relayd would start with it, 1 if not.
    Validate(SourceArgs),
    /// List the components of this version.
    Components,
    /// Send a few sample traces, to see a running relayd work.
    Send(SendArgs),
    /// A subcommand of the Collector that relayd does not have.
    #[command(hide = true)]
    PrintConfig(Unsupported),
    /// A subcommand of the Collector that relayd does not have.
    #[command(name = "featuregate", hide = true)]
    FeatureGate(Unsupported),
    /// Ask a running relayd whether it is healthy: 0 if it answers 200, else 1 and the reason.
    Health(HealthArgs),
    /// Look into what file_storage has on disk, also while relayd runs.
    Spool(SpoolArgs),
}

/// Arguments that nothing reads.
#[derive(Args, Clone, Debug)]
pub struct Unsupported {
    /// Whatever the Collector takes.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub args: Vec<OsString>,
}

/// Arguments of `relayd health`.
#[derive(Args, Clone, Debug)]
pub struct HealthArgs {
    /// The unix socket of its health_check.
    #[arg(long, value_name = "PATH", conflicts_with = "endpoint")]
    pub socket: Option<PathBuf>,
    /// Or its address.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:13133", value_parser = endpoint::parse_listen)]
    pub endpoint: HostPort,
    /// The path of its health_check.
    #[arg(long, value_name = "PATH", default_value = "/", value_parser = parse_path)]
    pub path: String,
}

fn parse_path(text: &str) -> Result<String, String> {
    if text.starts_with('/') { Ok(text.to_owned()) } else { Err("a path begins with a slash".to_owned()) }
}

/// Arguments of `relayd send`.
#[derive(Args, Clone, Debug)]
pub struct SendArgs {
    /// Whom to send to.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:4317")]
    pub endpoint: String,
    /// How many traces to send.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub traces: u32,
    /// Then ask Jaeger at this URL for the traces until all their spans are there, and print their pages.
    #[arg(long, value_name = "http://JAEGER:16686", value_parser = Jaeger::parse)]
    pub(crate) wait_for: Option<Jaeger>,
    /// How long to ask.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = crate::config::duration::parse, requires = "wait_for")]
    pub wait_timeout: Duration,
}

impl Cli {
    /// Reads the arguments of the process; prints help or the version and exits if asked to.
    #[must_use]
    pub fn from_process() -> Self {
        Self::parse_from(without_legacy_program(std::env::args_os()))
    }

    /// Reads the given arguments, the program's name first.
    ///
    /// # Errors
    /// Wrong usage, or help or the version as clap's own kind of error.
    pub fn from_args<A: Into<OsString>>(args: impl IntoIterator<Item = A>) -> Result<Self, clap::Error> {
        Self::try_parse_from(without_legacy_program(args.into_iter().map(Into::into)))
    }

    /// All `--config`, those before the subcommand first.
    #[must_use]
    pub fn config_uris(&self) -> Vec<String> {
        let after = self.after_subcommand().config.clone();
        self.source.config.iter().cloned().chain(after).collect()
    }

    /// All `--set`, with those that legacy flags stand for in front, so that an explicit one wins.
    #[must_use]
    pub fn sets(&self) -> Vec<String> {
        let level = self.log_level.iter().map(|level| {
            let level = level.to_lowercase();
            format!("service.telemetry.logs.level={level}")
        });
        level.chain(self.source.set.iter().cloned()).chain(self.after_subcommand().set.clone()).collect()
    }

    /// One line for every flag that is accepted and changes nothing.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if !self.feature_gates.is_empty() {
            warnings
                .push("--feature-gates: accepted, without effect: relayd has no feature gates".to_owned());
        }
        if self.mem_ballast_size_mib.is_some() {
            let what = "--mem-ballast-size-mib: accepted, without effect: relayd has no garbage collector";
            warnings.push(what.to_owned());
        }
        if self.log_level.is_some() {
            let what =
                "--log-level: a flag of older Collectors; use --set service.telemetry.logs.level=LEVEL";
            warnings.push(what.to_owned());
        }
        warnings
    }

    fn after_subcommand(&self) -> SourceArgs {
        match &self.command {
            Some(Command::Validate(source)) => source.clone(),
            _ => SourceArgs::default(),
        }
    }
}

/// Writes what `relayd components` says: YAML in the shape of the Collector's.
///
/// # Errors
/// What writing says.
pub fn write_components(out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "buildinfo:\n    command: relayd\n    description: {}", env!("CARGO_PKG_DESCRIPTION"))?;
    writeln!(out, "    version: {}", env!("CARGO_PKG_VERSION"))?;
    for kind in [Kind::Receiver, Kind::Processor, Kind::Exporter] {
        writeln!(out, "{}:", kind.section())?;
        for name in kind.supported() {
            writeln!(out, "    - name: {name}\n      stability:\n        traces: Beta")?;
        }
    }
    writeln!(out, "{}:", Kind::Extension.section())?;
    for name in Kind::Extension.supported() {
        writeln!(out, "    - name: {name}\n      stability:\n        extension: Beta")?;
    }
    writeln!(out, "connectors: []")
}

/// Drops a legacy program name behind the own one.
fn without_legacy_program(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut args = args.collect::<Vec<_>>();
    let second = args.get(1).and_then(|arg| Path::new(arg).file_name());
    if second.is_some_and(|name| LEGACY_PROGRAMS.iter().any(|program| name == *program)) {
        args.remove(1);
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cli(args: &[&str]) -> Cli {
        Cli::from_args(args).unwrap()
    }

    /// The command and arguments of the CRI-O tutorial's DaemonSet run unchanged.
    #[test]
    fn tolerates_the_tutorials_command_line() {
        let args = [
            "relayd",
            "/otelcol",
            "--config=/conf/otel-agent-config.yaml",
            "--log-level=DEBUG",
            "--mem-ballast-size-mib=165",
        ];
        let cli = cli(&args);
        assert_eq!(cli.config_uris(), ["/conf/otel-agent-config.yaml"]);
        assert_eq!(cli.sets(), ["service.telemetry.logs.level=debug"]);
        assert_eq!(cli.warnings().len(), 2);
        assert!(cli.command.is_none());
    }

    /// What the Collector's chart and operator pass; subcommands that relayd lacks are known by name, whatever follows them.
    #[test]
    fn tolerates_the_charts_and_the_operators_command_lines() {
        for program in ["/otelcol", "/otelcol-contrib", "/otelcol-k8s"] {
            let chart = cli(&["relayd", program, "--config=/conf/relay.yaml"]);
            assert_eq!(chart.config_uris(), ["/conf/relay.yaml"]);
            assert!(chart.warnings().is_empty());
        }
        let args = [
            "/otelcol-k8s",
            "--config=/conf/collector.yaml",
            "--config=env:OTEL_CONFIG",
            "--feature-gates=-component.UseLocalHostAsDefaultHost,+exporter.x",
        ];
        let operator = cli(&args);
        assert_eq!(operator.config_uris(), ["/conf/collector.yaml", "env:OTEL_CONFIG"]);
        assert_eq!(operator.warnings().len(), 1);
        let gates = cli(&["relayd", "featuregate", "component.x", "--all"]).command;
        assert!(matches!(gates, Some(Command::FeatureGate(_))), "{gates:?}");
        let print = cli(&["relayd", "print-config", "--config=a.yaml", "--mode=redacted"]).command;
        assert!(matches!(print, Some(Command::PrintConfig(_))), "{print:?}");
    }

    #[test]
    fn gathers_sources_before_and_after_the_subcommand_in_order() {
        let cli = cli(&[
            "relayd",
            "--config",
            "a.yaml",
            "--set=x.y=1",
            "validate",
            "--config=b.yaml",
            "--set",
            "x.y=2",
        ]);
        assert_eq!(cli.config_uris(), ["a.yaml", "b.yaml"]);
        assert_eq!(cli.sets(), ["x.y=1", "x.y=2"]);
        assert!(matches!(cli.command, Some(Command::Validate(_))));
    }

    #[test]
    fn send_has_defaults() {
        let Some(Command::Send(send)) = cli(&["relayd", "send"]).command else { panic!("not send") };
        assert_eq!((send.endpoint.as_str(), send.traces), ("127.0.0.1:4317", 3));
        assert!(send.wait_for.is_none() && send.wait_timeout == Duration::from_secs(60));
        let args = ["relayd", "send", "--wait-for", "https://jaeger:16686"];
        assert!(Cli::from_args(args).unwrap_err().to_string().contains("https is not spoken"));
    }

    #[test]
    fn health_has_defaults_and_asks_one() {
        let Some(Command::Health(health)) = cli(&["relayd", "health"]).command else { panic!("not health") };
        assert_eq!((health.endpoint.to_string().as_str(), health.path.as_str()), ("127.0.0.1:13133", "/"));
        Cli::from_args(["relayd", "health", "--socket=/run/x.sock", "--endpoint=localhost:1"]).unwrap_err();
        Cli::from_args(["relayd", "health", "--path=status"]).unwrap_err();
    }

    #[test]
    fn feature_gates_are_accepted_with_a_warning() {
        for args in [&["relayd", "--feature-gates=-a,+b"][..], &["relayd", "--feature-gates", "-a"][..]] {
            let warnings = cli(args).warnings();
            assert_eq!(warnings, ["--feature-gates: accepted, without effect: relayd has no feature gates"]);
        }
    }

    /// A configuration says where to receive: a flag beside it would have to lose in silence.
    #[test]
    fn listen_is_for_the_embedded_default_only() {
        let listen = cli(&["relayd", "--listen", "127.0.0.1:5317"]).listen;
        assert_eq!(listen, Some(HostPort::new("127.0.0.1", 5317)));
        Cli::from_args(["relayd", "--listen=127.0.0.1:5317", "--config=a.yaml"]).unwrap_err();
        Cli::from_args(["relayd", "--listen=5317"]).unwrap_err();
    }

    #[test]
    fn the_shutdown_timeout_is_a_duration_as_in_the_configuration() {
        assert_eq!(
            cli(&["relayd", "--shutdown-timeout=1m30s"]).shutdown_timeout,
            Some(Duration::from_secs(90))
        );
        assert_eq!(cli(&["relayd"]).shutdown_timeout, None);
        Cli::from_args(["relayd", "--shutdown-timeout=20"]).unwrap_err();
    }

    #[test]
    fn unknown_flags_and_stray_words_are_refused() {
        for args in [["relayd", "--confg=a"], ["relayd", "/etc/agent.yaml"], ["relayd", "validat"]] {
            Cli::from_args(args).unwrap_err();
        }
    }

    #[test]
    fn version_is_worded_as_the_collectors() {
        let error = Cli::from_args(["relayd", "--version"]).unwrap_err();
        assert_eq!(error.to_string(), format!("relayd version {}\n", env!("CARGO_PKG_VERSION")));
    }

    #[test]
    fn components_name_every_supported_type() {
        let mut out = Vec::new();
        write_components(&mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        for name in ["otlp", "otlp_grpc", "batch", "memory_limiter", "debug", "logging", "health_check"] {
            assert!(out.contains(&format!("    - name: {name}\n")), "{name} is missing in {out}");
        }
    }
}
