"""Who is measured: how each peer is configured, which program it needs, and how it says that it has delivered everything.

Must never tune a peer for one cell, and none worse than its users would: limits that would close connections are out of
everybody's way.
"""

import dataclasses
import typing

from observe import accepted_spans, sent_spans
from process import free_port, wait_until
from stage import AGENT_CONFIG, local, prometheus_on
from versus import collector, proxies
from versus.collector import LINGER
from versus.load import Load

# For a peer that is started without a load.
NO_LOAD = Load()


@dataclasses.dataclass(frozen=True)
class Peer:
    """`start(stage, name, upstream_port, load, core)` gives a running Process with `.port`. `opens`: it can take gzip in and send
    plain; `compresses`: it can send gzip. `has_delivered(process)`: None where the acknowledgement is the upstream's own, or
    where the peer does not say."""

    name: str
    title: str
    start: typing.Callable
    program: str | None = None
    opens: bool = False
    compresses: bool = False
    has_delivered: typing.Callable | None = None


def _has_delivered(process):
    port = process.ports["metrics"]
    return sent_spans(port) >= accepted_spans(port)


def _relayd(batch, retry=None, more_upstream_ports=(), passthrough="off"):
    """relayd as deploy/agent.yaml has it, with the addresses of this run and, if given, other keys of `batch` and of
    `retry_on_failure` and another `compressed_passthrough`; it listens for OTLP/HTTP too where the load speaks it. Each of
    `more_upstream_ports` gets an exporter of its own in the one pipeline."""

    def start(stage, name, upstream_port, load, core):
        ports = {"grpc": free_port(), "metrics": free_port(), "health": free_port()}
        compression = "gzip" if load.gzip_out else "none"
        ports |= {"http": free_port()} if load.is_http else {}
        protocols = {protocol: {"endpoint": local(ports[protocol])} for protocol in ("grpc", "http") if protocol in ports}
        keys = {"compression": compression, "tls": {"insecure": True}, "compressed_passthrough": passthrough}
        keys |= {"retry_on_failure": retry} if retry else {}
        exporters = {"otlp_grpc": {"endpoint": local(upstream_port), **keys}}
        exporters |= {f"otlp_grpc/{port}": {"endpoint": local(port), **keys} for port in more_upstream_ports}
        overlay = {
            "receivers": {"otlp": {"protocols": protocols}},
            "exporters": exporters,
            "extensions": {"health_check": {"endpoint": local(ports["health"])}},
            "service": {
                "telemetry": prometheus_on(ports["metrics"]),
                "pipelines": {"traces": {"exporters": list(exporters)}},
            },
            **({"processors": {"batch": batch}} if batch else {}),
        }
        config = stage.write_config(f"{name}.yaml", overlay)
        started = stage.start(name, "relayd", "--config", AGENT_CONFIG, "--config", config, core=core)
        return _listening(started, ports, load)

    return start


def _collector(has_batch_processor):
    def start(stage, name, upstream_port, load, core):
        started = collector.start(stage, name, upstream_port, load, core, has_batch_processor)
        return _listening(started, started.ports, load)

    return start


def _rotel(stage, name, upstream_port, load, core):
    """Rotel with batching on, as its wheel ships it. It is told not to compress; version 0.0.1a15 gzips all the same."""
    ports = {"grpc": free_port(), "http": free_port()}
    arguments = ["start", "--otlp-grpc-endpoint", local(ports["grpc"]), "--otlp-http-endpoint", local(ports["http"])]
    arguments += ["--otlp-grpc-max-recv-msg-size-mib", 64, "--exporter", "otlp", "--batch-timeout", LINGER]
    arguments += ["--otlp-exporter-endpoint", f"http://{local(upstream_port)}", "--otlp-exporter-protocol", "grpc"]
    arguments += ["--otlp-exporter-compression", "gzip" if load.gzip_out else "none"]
    return _listening(stage.start(name, "rotel", *arguments, core=core), ports)


def _tcp(stage, name, upstream_port, _load, core):
    """Copies bytes between two sockets and does nothing else."""
    ports = {"grpc": free_port()}
    arguments = ["tcp-relay", "--listen", local(ports["grpc"]), "--upstream", local(upstream_port)]
    return _listening(stage.start(name, "testkit", *arguments, core=core), ports)


def _listening(started, ports, load=NO_LOAD):
    """Waits until all ports are open; `.port` is the one for the load."""
    started.ports, started.port = ports, ports["http" if load.is_http else "grpc"]
    for key in ("grpc", "http", "metrics"):
        if key in ports:
            started.wait_listening(ports[key])
    return started


def _nginx(stage, name, upstream_port, load, core):
    ports = {"grpc": free_port()}
    return _listening(proxies.nginx(stage, name, ports["grpc"], upstream_port, load.connections, core), ports)


def _haproxy(mode):
    def start(stage, name, upstream_port, load, core):
        ports = {"grpc": free_port()}
        text = proxies.haproxy_config(mode, ports["grpc"], upstream_port, load.connections)
        return _listening(proxies.haproxy(stage, name, text, core), ports)

    return start


def _none(_stage, _name, _upstream_port, _load, _core):
    """No peer: the load goes straight to the sink."""
    return None


PEERS = {
    peer.name: peer
    for peer in (
        Peer("relayd", "relayd", _relayd({}), opens=True, compresses=True, has_delivered=_has_delivered),
        Peer("relayd-linger0", "relayd, `timeout: 0s`", _relayd({"timeout": "0s"}), opens=True, has_delivered=_has_delivered),
        Peer(
            "relayd-alone", "relayd, `compressed_passthrough: alone`", _relayd({}, passthrough="alone"), opens=True,
            compresses=True,
        ),
        Peer(
            "relayd-merged", "relayd, `compressed_passthrough: merged`", _relayd({}, passthrough="merged"), opens=True,
            compresses=True,
        ),
        Peer("collector", "Collector, batch", _collector(True), "otelcol", True, True, _has_delivered),
        Peer("collector-queue", "Collector, queue's batch", _collector(False), "otelcol", True, True, _has_delivered),
        Peer("rotel", "rotel (gzips out)", _rotel, "rotel", compresses=True),
        Peer("nginx", "nginx `grpc_pass`", _nginx, "nginx"),
        Peer("haproxy", "HAProxy, HTTP/2", _haproxy("http"), "haproxy"),
        Peer("haproxy-tcp", "HAProxy, TCP", _haproxy("tcp"), "haproxy"),
        Peer("tcp", "plain TCP relay", _tcp),
        Peer("none", "no peer: load to sink", _none),
    )
}  # fmt: skip
# What the goals compare with.
REFERENCE, FLOOR, PROXIES = "collector", "tcp", ("nginx", "haproxy")
# relayd that forwards what it has not opened: it counts no spans, so that whether all is delivered is the sink's to say.
UNOPENED = ("relayd-alone", "relayd-merged")
# Left out unless named: a second floor.
DEFAULT_PEERS = tuple(name for name in PEERS if name != "haproxy-tcp")


def relayd_to_each(more_upstream_ports):
    """relayd that gives everything to several upstreams: the one it is started with and these."""
    upstreams = 1 + len(more_upstream_ports)

    def has_delivered(process):
        port = process.ports["metrics"]
        return sent_spans(port) >= upstreams * accepted_spans(port)

    start = _relayd({}, more_upstream_ports=tuple(more_upstream_ports))
    return dataclasses.replace(PEERS["relayd"], start=start, has_delivered=has_delivered)


def relayd_impatient():
    """relayd that tries an upstream that is away about once a second, for measurements that make one go away."""
    retry = {"initial_interval": "500ms", "max_interval": "1s", "max_elapsed_time": "0s"}
    return dataclasses.replace(PEERS["relayd"], start=_relayd({}, retry))


def wait_delivered(peer, process, seconds):
    """Waits until the peer says that it has sent all that it has accepted; Failed if it does not in time."""
    if peer.has_delivered:
        wait_until(lambda: peer.has_delivered(process), seconds, f"{peer.title} to deliver")
