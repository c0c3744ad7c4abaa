"""The whole of OTLP on a stage: an agent that receives in the clear, with TLS and with mTLS, each by gRPC and by HTTP, and a Collector
behind it that writes what it gets to a file.

Must never give relayd a key that the Collector does not have: with `--agent otelcol` the Collector runs on the same file.
"""

import os
import time

from content import SIGNALS
from observe import Metrics
from process import Failed, free_port, wait_until
from stage import local, prometheus_on
from table import Row
from written import Written

SECURITIES = ("plain", "tls", "mtls")
PROTOCOLS = ("grpc", "http")
# Names of the counters `otelcol_receiver_accepted_…` and `otelcol_exporter_sent_…`.
COUNTED = {"traces": "spans", "metrics": "metric_points", "logs": "log_records", "profiles": "profile_samples"}
# What the Collector wants to be told before it takes this signal.
PROFILES_GATE = "--feature-gates=service.profilesSupport"
# How the agent sends on what came by each receiver: both exporters, with and without compression.
ONWARD = {"plain": "otlp_grpc/plain", "tls": "otlp_http/tls", "mtls": "otlp_grpc/mtls"}
ARRIVE_SECONDS = 30
# An item sent twice would come right behind.
SETTLE_SECONDS = 0.5


class Rotated:
    """Files that are replaced as Kubernetes replaces those of a secret: `..data` is a link to the folder that is in use, and is
    renamed over."""

    def __init__(self, folder, files):
        self.folder, self.turn = folder, 0
        os.makedirs(folder)
        self.replace(files)
        for name in files:
            os.symlink(os.path.join("..data", name), self.path(name))

    def path(self, name):
        return os.path.join(self.folder, name)

    def replace(self, files):
        """`files`: name -> content (bytes)."""
        self.turn += 1
        new, link = f"..turn-{self.turn}", self.path("..data_tmp")
        os.makedirs(self.path(new))
        for name, content in files.items():
            with open(os.path.join(self.folder, new, name), "wb") as out:
                out.write(content)
        os.symlink(new, link)
        os.rename(link, self.path("..data"))


class Certificates:
    """What `testkit certificates` makes, in the folder of a stage."""

    def __init__(self, stage):
        self.folder = stage.path("certificates")
        stage.testkit("certificates", self.folder)

    def path(self, name):
        return os.path.join(self.folder, name)

    def read(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def of_server(self, security):
        """The key `tls` of a receiver, as keys to merge into its configuration."""
        if security == "plain":
            return {}
        tls = {"cert_file": self.path("server.pem"), "key_file": self.path("server.key")}
        return {"tls": tls | ({"client_ca_file": self.path("ca.pem")} if security == "mtls" else {})}

    def of_client(self, security):
        """The same of an exporter."""
        if security == "plain":
            return {"tls": {"insecure": True}}
        pair = {"cert_file": self.path("client.pem"), "key_file": self.path("client.key")}
        return {"tls": {"ca_file": self.path("ca.pem")} | (pair if security == "mtls" else {})}


def collector_behind(stage, certificates, more=None, signals=SIGNALS):
    """A Collector that takes what `ONWARD` sends and writes it to `.file`; `.ports[security]`. `more` exporters get it too."""
    ports = {name: free_port() for name in (*SECURITIES, "metrics")}
    file = stage.path("received.jsonl")
    receivers = {}
    for security in SECURITIES:
        protocol = "http" if "http" in ONWARD[security] else "grpc"
        server = {"endpoint": local(ports[security]), **certificates.of_server(security)}
        if protocol == "grpc":
            server["max_recv_msg_size_mib"] = 64
        receivers[f"otlp/{security}"] = {"protocols": {protocol: server}}
    exporters = {"file": {"path": file, "flush_interval": "100ms"}, **(more or {})}
    pipeline = {"receivers": list(receivers), "exporters": list(exporters)}
    config = {
        "receivers": receivers,
        "exporters": exporters,
        "service": {
            "telemetry": {**prometheus_on(ports["metrics"]), "logs": {"level": "warn"}},
            "pipelines": dict.fromkeys(signals, pipeline),
        },
    }
    gates = [PROFILES_GATE] if "profiles" in signals else []
    started = stage.start("collector", "otelcol", "--config", stage.write_config("collector.yaml", config), *gates)
    started.ports, started.file = ports, file
    for port in ports.values():
        started.wait_listening(port)
    return started


def agent(stage, collector, certificates, server=None, onward=None, signals=SIGNALS):
    """relayd, or what else `stage.agent` says, between clients and the Collector; `.ports[security][protocol]`,
    `.ports["metrics"]`. `server` has keys for the `tls` of receivers that have one, `onward` keys for the exporter of a security: both
    go over what is there."""
    ports = {security: {protocol: free_port() for protocol in PROTOCOLS} for security in SECURITIES}
    ports["metrics"] = free_port()
    receivers, pipelines = {}, {}
    for security in SECURITIES:
        tls = certificates.of_server(security)
        if tls:
            tls["tls"] |= server or {}
        receivers[f"otlp/{security}"] = {
            "protocols": {
                "grpc": {"endpoint": local(ports[security]["grpc"]), "max_recv_msg_size_mib": 64, **tls},
                "http": {"endpoint": local(ports[security]["http"]), **tls},
            }
        }
        for signal in signals:
            pipelines[f"{signal}/{security}"] = {
                "receivers": [f"otlp/{security}"],
                # The Collector's batch processor has no profiles.
                "processors": ["memory_limiter"] + ["batch"] * (signal != "profiles"),
                "exporters": [ONWARD[security]],
            }
    behind = {security: local(collector.ports[security]) for security in ONWARD}
    exporters = {
        ONWARD["plain"]: {"endpoint": behind["plain"], "compression": "none", **certificates.of_client("plain")},
        # gzip, the default.
        ONWARD["tls"]: {"endpoint": f"https://{behind['tls']}", **certificates.of_client("tls")},
        ONWARD["mtls"]: {"endpoint": behind["mtls"], "compression": "zstd", **certificates.of_client("mtls")},
    }
    for security, keys in (onward or {}).items():
        exporters[ONWARD[security]] |= keys
    config = {
        "receivers": receivers,
        "processors": {
            "memory_limiter": {"check_interval": "1s", "limit_mib": 512, "spike_limit_mib": 100},
            "batch": {"timeout": "100ms"},
        },
        "exporters": exporters,
        "service": {"pipelines": pipelines, "telemetry": prometheus_on(ports["metrics"])},
    }
    gates = [PROFILES_GATE] if "profiles" in signals and stage.agent == "otelcol" else []
    started = stage.start(stage.agent, stage.agent, "--config", stage.write_config("agent.yaml", config), *gates)
    started.ports = ports
    for security in SECURITIES:
        for port in ports[security].values():
            started.wait_listening(port)
    started.wait_listening(ports["metrics"])
    return started


def counted(metrics, signal):
    """(accepted, sent) of one scrape: items of a signal."""
    name = COUNTED[signal]
    return metrics.sum(f"otelcol_receiver_accepted_{name}"), metrics.sum(f"otelcol_exporter_sent_{name}")


def arrived(collector, count):
    """What the Collector has written, once `count` items are there and none has come behind them."""
    wait_until(lambda: Written(collector.file).count() >= count, ARRIVE_SECONDS, f"{count} items in the Collector's file")
    time.sleep(SETTLE_SECONDS)
    found = Written(collector.file)
    if found.count() != count:
        raise Failed(f"the Collector has written {found.count()} items instead of {count}")
    return found


class Through:
    """The whole way: certificates, the Collector behind and the agent before it. `more`: exporters for the Collector, beside its
    file; `make_agent` makes the agent where it is not to be the one above."""

    def __init__(self, stage, more=None, signals=SIGNALS, make_agent=agent):
        self.stage = stage
        self.certificates = Certificates(stage)
        self.collector = collector_behind(stage, self.certificates, more, signals)
        self.agent = make_agent(stage, self.collector, self.certificates, signals=signals)

    def address(self, protocol, security):
        return local(self.agent.ports[security][protocol])

    def url(self, protocol, security):
        return f"http{'' if security == 'plain' else 's'}://{self.address(protocol, security)}"

    def arrived(self, count):
        """What the Collector has written, once `count` items are there and none has come behind them."""
        return arrived(self.collector, count)

    def finish(self, name, sent, what):
        """Ends all; the row, once the agent's counters say what the clients were told. `sent`: items by signal."""
        accepted = delivered = 0
        scrape = Metrics(self.agent.ports["metrics"])
        for signal, items in sent.items():
            figures = counted(scrape, signal)
            if figures != (items, items):
                raise Failed(f"{items} items of {signal} were sent, but {self.stage.agent} accepted and sent {figures}")
            accepted, delivered = accepted + figures[0], delivered + figures[1]
        if self.agent.stop() != 0:
            raise Failed(f"{self.stage.agent} did not exit with 0")
        self.collector.stop()
        total = sum(sent.values())
        return Row(f"{name} > {self.stage.agent} > Collector", total, accepted, delivered, total, f"ok: {what}")
