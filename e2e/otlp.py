"""The whole of OTLP on a stage: an agent that receives in the clear, with TLS and with mTLS, each by gRPC and by HTTP, and a Collector
behind it that writes what it gets to a file.

Must never give relayd a key that the Collector does not have: with `--agent otelcol` the Collector runs on the same file.
"""

import os

from process import free_port, wait_until
from stage import local, prometheus_on
from content import SIGNALS

SECURITIES = ("plain", "tls", "mtls")
PROTOCOLS = ("grpc", "http")
# Names of the counters `otelcol_receiver_accepted_…` and `otelcol_exporter_sent_…`.
COUNTED = {"traces": "spans", "metrics": "metric_points", "logs": "log_records"}
# How the agent sends on what came by each receiver: both exporters, with and without compression.
ONWARD = {"plain": "otlp_grpc/plain", "tls": "otlp_http/tls", "mtls": "otlp_grpc/mtls"}
ARRIVE_SECONDS = 30


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


def collector_behind(stage, certificates, more=None):
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
            "pipelines": dict.fromkeys(SIGNALS, pipeline),
        },
    }
    started = stage.start("collector", "otelcol", "--config", stage.write_config("collector.yaml", config))
    started.ports, started.file = ports, file
    for port in ports.values():
        started.wait_listening(port)
    return started


def agent(stage, collector, certificates, server=None, onward=None):
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
        for signal in SIGNALS:
            pipelines[f"{signal}/{security}"] = {
                "receivers": [f"otlp/{security}"],
                "processors": ["memory_limiter", "batch"],
                "exporters": [ONWARD[security]],
            }
    behind = {security: local(collector.ports[security]) for security in SECURITIES}
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
    started = stage.start(stage.agent, stage.agent, "--config", stage.write_config("agent.yaml", config))
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


def wait_for(count, seen, what):
    """Waits until `seen()` is at least `count`."""
    wait_until(lambda: seen() >= count, ARRIVE_SECONDS, f"{count} {what}")
