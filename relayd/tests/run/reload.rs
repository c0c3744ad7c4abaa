//! Configurations that change while relayd runs, under load: nobody is refused, nothing is lost or doubled, and what cannot be taken
//! changes nothing.

use std::net::TcpListener;

use testkit::collector::{Collector, Script};

use crate::daemon::{Dir, Load, PATIENCE, Relayd, http};
use crate::{closed_port, send_spans, wait_for_metrics};

/// A configuration whose pieces can be changed. `more` are further entries of the maps.
struct Yaml<'a> {
    endpoint: &'a str,
    timeout_ms: u32,
    receiver: &'a str,
    exporters: &'a [(&'a str, &'a str)],
    level: &'a str,
    health: &'a str,
}

impl Default for Yaml<'_> {
    fn default() -> Self {
        let endpoint = "";
        Self { endpoint, timeout_ms: 5, receiver: "", exporters: &[], level: "info", health: "127.0.0.1:0" }
    }
}

impl Yaml<'_> {
    fn text(&self) -> String {
        let exporter = |(id, endpoint): &(&str, &str)| {
            format!("  {id}: {{endpoint: '{endpoint}', tls: {{insecure: true}}, compression: none}}\n")
        };
        let exporters: Vec<String> =
            [("otlp", self.endpoint)].iter().chain(self.exporters).map(exporter).collect();
        let ids: Vec<&str> = ["otlp"].into_iter().chain(self.exporters.iter().map(|(id, _)| *id)).collect();
        let (second, receivers) = match self.receiver {
            "" => (String::new(), "otlp"),
            at => (
                format!("  otlp/second: {{protocols: {{grpc: {{endpoint: '{at}'}}}}}}\n"),
                "otlp, otlp/second",
            ),
        };
        format!(
            "receivers:\n  otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:0'}}}}}}\n{second}\
             processors:\n  batch: {{timeout: {}ms}}\n\
             exporters:\n{}\
             extensions: {{health_check: {{endpoint: '{}'}}}}\n\
             service:\n  extensions: [health_check]\n  pipelines:\n    \
             traces: {{receivers: [{receivers}], processors: [batch], exporters: [{}]}}\n  \
             telemetry: {{logs: {{level: {}}}, metrics: {{readers: [{{pull: {{exporter: {{prometheus: \
             {{host: 127.0.0.1, port: 0, without_type_suffix: true, without_units: true, without_scope_info: true}}\
             }}}}}}]}}}}\n",
            self.timeout_ms,
            exporters.concat(),
            self.health,
            ids.join(", "),
            self.level,
        )
    }
}

const TAKEN: &str = "configuration read again: in use";
const REFUSED: &str = "configuration not taken, the one before stays in use";

/// Scenario: 200 reloads under load: another batch timeout, a configuration that is wrong, a second exporter that comes and goes, a
/// second port that comes and goes. Guarantee: every request is answered OK, everything is delivered once, every configuration has
/// its line, counters have never gone back, and the last line adds all relays up.
#[test]
fn two_hundred_reloads_lose_nothing() {
    let (collector, other) = (Collector::start(Script::ok()), Collector::start(Script::ok()));
    let (endpoint, second) = (collector.addr().to_string(), other.addr().to_string());
    let dir = Dir::new("reloads");
    let path = dir.put("agent.yaml", &Yaml { endpoint: &endpoint, ..Yaml::default() }.text());
    let mut relayd = Relayd::start(&["--config", &path]);
    let (receiver, metrics) = (relayd.address_of("receiver otlp"), relayd.address_of("metrics"));
    let health = relayd.address_of("health_check");
    let mut load = Load::start(&receiver);
    let (mut taken, mut refused, mut sent) = (0, 0, 0.0);
    for round in 0..200_u32 {
        load = load.go_on();
        let exporters = [("otlp/second", second.as_str())];
        let yaml = match round % 4 {
            0 => Yaml { timeout_ms: 2 + round % 7, ..Yaml::default() },
            1 => Yaml { level: "nonsense", ..Yaml::default() },
            2 => Yaml { exporters: &exporters, ..Yaml::default() },
            _ => Yaml { receiver: "127.0.0.1:0", ..Yaml::default() },
        };
        dir.put("agent.yaml", &Yaml { endpoint: &endpoint, ..yaml }.text());
        relayd.signal("-HUP");
        if round % 4 == 1 {
            refused += 1;
            relayd.stderr.wait_for_count(REFUSED, refused);
        } else {
            taken += 1;
            relayd.stderr.wait_for_count(TAKEN, taken);
        }
        if round % 10 == 0 {
            assert_eq!(http(&health, "GET", "/").0, "HTTP/1.1 200 OK");
            let page = http(&metrics, "GET", "/metrics").1;
            let line = page
                .lines()
                .find_map(|line| line.strip_prefix("otelcol_exporter_sent_spans{exporter=\"otlp\"} "));
            let now: f64 = line.unwrap().parse().unwrap();
            assert!(now >= sent, "{now} after {sent}");
            sent = now;
        }
    }
    let spans = load.end();
    relayd.signal("-TERM");
    let (status, _) = relayd.wait();
    let report = relayd.stderr.wait_for("shutdown complete");
    assert!(
        report.contains(&format!("accepted {spans} spans, refused 0; exporter otlp: received {spans} = ")),
        "{report}"
    );
    assert!(report.ends_with(&format!("; of {} configurations", taken + 1)), "{report}");
    assert_eq!(status.code(), Some(0), "{report}");
    assert_eq!(collector.span_count() as u64, spans);
}

/// Scenario: the file changes without a signal, is then wrong, and then right again. Guarantee: each is seen; metrics and one line
/// with the place of the mistake say what is in use.
#[test]
fn a_changed_file_is_taken_without_a_signal() {
    let collector = Collector::start(Script::ok());
    let endpoint = collector.addr().to_string();
    let dir = Dir::new("watch");
    let down = closed_port();
    let path = dir.put("agent.yaml", &Yaml { endpoint: &down, ..Yaml::default() }.text());
    let mut relayd = Relayd::start(&["--config", &path, "--shutdown-timeout=1s"]);
    let (receiver, metrics) = (relayd.address_of("receiver otlp"), relayd.address_of("metrics"));
    wait_for_metrics(
        &metrics,
        &["relayd_config_reload_success 1", "relayd_config_reloads{result=\"success\"} 0"],
    );
    dir.put("agent.yaml", &Yaml { endpoint: &endpoint, ..Yaml::default() }.text());
    relayd.stderr.wait_for(TAKEN);
    send_spans(&receiver, 30, 1);
    assert_eq!(collector.wait_for_spans(30, PATIENCE), 30);
    dir.put(
        "agent.yaml",
        &Yaml { endpoint: &endpoint, ..Yaml::default() }.text().replace("batch:", "btach:"),
    );
    let line = relayd.stderr.wait_for(REFUSED);
    assert!(line.contains(&format!("{path}:4: processors.btach: ")), "{line}");
    wait_for_metrics(
        &metrics,
        &[
            "relayd_config_reload_success 0",
            "relayd_config_reloads{result=\"failure\"} 1",
            "relayd_config_reloads{result=\"success\"} 1",
            "otelcol_exporter_sent_spans{exporter=\"otlp\"} 30",
        ],
    );
    dir.put("agent.yaml", &Yaml { endpoint: &endpoint, ..Yaml::default() }.text());
    wait_for_metrics(
        &metrics,
        &["relayd_config_reload_success 1", "relayd_config_reloads{result=\"unchanged\"} 1"],
    );
    relayd.signal("-TERM");
    assert_eq!(relayd.wait().0.code(), Some(0), "what is refused at a reload does not count");
}

/// Scenario: the upstream is down, spans are held; a reload brings an upstream that is up, further reloads come while two relays
/// drain. Guarantee: what was accepted before goes on trying its own upstream until its deadline; the third reload waits; what is
/// given up then is in the last line and in the exit code.
#[test]
fn reloads_wait_while_former_relays_drain() {
    let collector = Collector::start(Script::ok());
    let (endpoint, down) = (collector.addr().to_string(), closed_port());
    let dir = Dir::new("waits");
    let path = dir.put("agent.yaml", &Yaml { endpoint: &down, ..Yaml::default() }.text());
    let mut relayd = Relayd::start(&["--config", &path, "--shutdown-timeout=3s"]);
    let (receiver, metrics) = (relayd.address_of("receiver otlp"), relayd.address_of("metrics"));
    for (round, timeout_ms) in [(1, 6), (2, 7)] {
        send_spans(&receiver, 10, round);
        dir.put("agent.yaml", &Yaml { endpoint: &down, timeout_ms, ..Yaml::default() }.text());
        relayd.signal("-HUP");
        relayd.stderr.wait_for_count(TAKEN, usize::try_from(round).unwrap());
    }
    wait_for_metrics(&metrics, &["relayd_draining_relays 2"]);
    dir.put("agent.yaml", &Yaml { endpoint: &endpoint, ..Yaml::default() }.text());
    relayd.signal("-HUP");
    relayd.stderr.wait_for("the configuration is read again when one of 2 relays has drained");
    relayd.stderr.wait_for("dropped 10 (shutdown_deadline 10)");
    relayd.stderr.wait_for_count(TAKEN, 3);
    send_spans(&receiver, 5, 3);
    assert_eq!(collector.wait_for_spans(5, PATIENCE), 5);
    relayd.signal("-TERM");
    assert_eq!(relayd.wait().0.code(), Some(1));
    let report = relayd.stderr.wait_for("shutdown complete");
    let books = "accepted 25 spans, refused 0; exporter otlp: received 25 = delivered 5 + refused back 0 + dropped 20 \
                 (shutdown_deadline 20); of 4 configurations";
    assert!(report.ends_with(books), "{report}");
}

/// Scenario: a new receiver's port is taken; then the level of the log and the address of health change. Guarantee: the first
/// changes nothing at all; the others change without touching the relay.
#[test]
fn what_cannot_start_changes_nothing() {
    let collector = Collector::start(Script::ok());
    let endpoint = collector.addr().to_string();
    let dir = Dir::new("taken");
    let yaml = Yaml { endpoint: &endpoint, ..Yaml::default() };
    let path = dir.put("agent.yaml", &yaml.text());
    let mut relayd = Relayd::start(&["--config", &path]);
    let (receiver, health) = (relayd.address_of("receiver otlp"), relayd.address_of("health_check"));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    dir.put("agent.yaml", &Yaml { receiver: &address, ..yaml }.text());
    relayd.signal("-HUP");
    let line = relayd.stderr.wait_for(REFUSED);
    assert!(line.contains(&format!("cannot listen on {address}: Address already in use")), "{line}");
    send_spans(&receiver, 30, 1);
    assert_eq!(http(&health, "GET", "/").0, "HTTP/1.1 200 OK");

    let free = closed_port();
    let quiet = Yaml { endpoint: &endpoint, level: "warn", health: &free, ..Yaml::default() };
    dir.put("agent.yaml", &quiet.text());
    relayd.signal("-HUP");
    for _ in 0..200 {
        if std::net::TcpStream::connect(&free).is_ok() {
            break;
        }
        std::thread::sleep(PATIENCE / 200);
    }
    assert_eq!(http(&free, "GET", "/").0, "HTTP/1.1 200 OK");
    send_spans(&receiver, 30, 2);
    assert_eq!(collector.wait_for_spans(60, PATIENCE), 60);
    relayd.signal("-TERM");
    assert_eq!(relayd.wait().0.code(), Some(0));
    let said = relayd.stderr.all();
    assert!(
        !said.iter().any(|line| line.contains("shutdown complete")),
        "info lines are left out: {said:#?}"
    );
    assert!(
        !said.iter().any(|line| line.contains("former configuration")),
        "one relay did it all: {said:#?}"
    );
}
