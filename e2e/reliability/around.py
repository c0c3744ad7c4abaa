"""What stands around the agent: numbered load before it, Collectors and what counts behind them; and the agent itself, which is
relayd or the Collector on the same files.

Must never give the two agents different configurations, but for keys that relayd alone has, which a scenario then names.
"""

import os
import signal
import time

from observe import Metrics
from process import Failed, free_port, wait_until
from stage import AGENT_CONFIG, end_sink, local, prometheus_on, to_upstream
from observe import get

# The name of an agent's program, and what it is called in tables.
AGENTS = {"relayd": "relayd", "otelcol": "Collector v0.161"}
# An upstream that passes on before it answers: what it has answered for is not lost with it.
PASS_THROUGH = {"sending_queue": {"enabled": False}, "retry_on_failure": {"enabled": False}}
# Of the agent, so that retries are seen within a scenario's time; the other keys stay the defaults.
RETRY = {"initial_interval": "500ms", "max_interval": "5s"}
# An agent that still tries, but delivers nothing for so long, is waited for no longer.
STILL_SECONDS = 10
# Longer than either agent drains.
STOP_SECONDS = 40


class Upstream:
    """A Collector on `host` and a sink of its own behind it, which keeps every message it passed on."""

    def __init__(
        self, stage, name, host="127.0.0.1", port=None, server=None, processors=None, exporter=PASS_THROUGH, extensions=None
    ):  # fmt: skip
        self.stage, self.name, self.host, self.port = stage, name, host, port or free_port()
        self.dump = stage.path(f"{name}.messages")
        self.sink = stage.sink(f"{name}-sink", self.dump)
        self.metrics_port = free_port()
        processors = processors or {}
        endpoint = {"endpoint": f"{host}:{self.port}", "max_recv_msg_size_mib": 64, **(server or {})}
        exporters = to_upstream(self.sink.port, **exporter)
        pipeline = {"receivers": ["otlp"], "processors": list(processors), "exporters": list(exporters)}
        config = {
            "receivers": {"otlp": {"protocols": {"grpc": endpoint}}},
            "processors": processors,
            "exporters": exporters,
            "extensions": extensions or {},
            "service": {
                "extensions": list(extensions or {}),
                # Detailed: calls are counted by status.
                "telemetry": {
                    "metrics": {"level": "detailed", **prometheus_on(self.metrics_port)["metrics"]},
                    "logs": {"level": "warn"},
                },
                "pipelines": {"traces": pipeline},
            },
        }
        self.collector = stage.start(name, "otelcol", "--config", stage.write_config(f"{name}.yaml", config))
        self.wait()

    def wait(self):
        self.collector.wait_listening(self.port, host=self.host)
        self.collector.wait_listening(self.metrics_port)

    def spans(self):
        return Metrics(self.metrics_port).sum("otelcol_receiver_accepted_spans")

    def calls(self, **labels):
        """Calls that the Collector has answered, those that it refused too."""
        return Metrics(self.metrics_port).sum("rpc_server_call_duration_count", **labels)

    def kill(self):
        self.collector.stop(signal.SIGKILL)

    def end(self):
        """Ends what still runs; the dump is whole then."""
        self.collector.stop()
        if self.sink.is_running():
            end_sink(self.sink)


class Ports:
    """Of an agent; a successor takes them over."""

    def __init__(self):
        self.grpc, self.http, self.metrics, self.health = (free_port() for _ in range(4))


def agent_files(stage, ports, exporters, memory_mib=256, batch=None, name="agent"):
    """The arguments that name the configuration: deploy/agent.yaml and over it the addresses of this stage and `exporters`, a dict
    from a name to its keys."""
    protocols = {protocol: {"endpoint": local(port)} for protocol, port in (("grpc", ports.grpc), ("http", ports.http))}
    protocols["grpc"]["max_recv_msg_size_mib"] = 64
    spike_mib = max(1, memory_mib // 5)
    plain = {"tls": {"insecure": True}, "compression": "none", "retry_on_failure": RETRY}
    overlay = {
        "receivers": {"otlp": {"protocols": protocols}},
        "processors": {
            "memory_limiter": {"check_interval": "100ms", "limit_mib": memory_mib, "spike_limit_mib": spike_mib},
            "batch": batch or {"timeout": "200ms"},
        },
        "exporters": {key: {**plain, **keys} for key, keys in exporters.items()},
        "extensions": {"health_check": {"endpoint": local(ports.health)}},
        "service": {
            "telemetry": prometheus_on(ports.metrics),
            "pipelines": {signal: {"exporters": list(exporters)} for signal in ("traces", "metrics", "logs")},
        },
    }
    return ["--config", AGENT_CONFIG, "--config", stage.write_config(f"{name}.yaml", overlay)]


def start_agent(stage, ports, files, name="agent", wait=True):
    """relayd or the Collector, as the stage says, and healthy; without `wait` at once."""
    started = stage.start(name, stage.agent, *files)
    started.ports = ports
    if wait:
        started.wait_listening(ports.grpc)
        wait_until(lambda: is_healthy(ports), 20, f"{name} to be healthy")
    return started


def is_healthy(ports):
    try:
        get(f"http://{local(ports.health)}/")
    except OSError:
        return False
    return True


class Load:
    """`testkit numbered`, running."""

    def __init__(self, stage, ports, *arguments, name="load"):
        self.report = stage.path(f"{name}.report")
        self.process = stage.start(
            name, "testkit", "numbered", "--endpoint", local(ports.grpc), "--report", self.report, *arguments
        )

    def end(self, seconds, number=None):
        """What it says at its end, which is waited for `seconds`; `number` is a signal that ends it."""
        if number is not None:
            self.process.send(number)
        status = self.process.wait(seconds)
        if status not in (0, 1):
            raise Failed(f"numbered ended with {status}")
        return self.process.answer()


def outstanding(metrics_port):
    """Spans that an agent has accepted and has neither sent nor given up, and those that it has sent; over all its exporters."""
    found = Metrics(metrics_port)
    exported = {labels.get("exporter") for name, labels, _ in found.samples if name.startswith("otelcol_exporter_sent_spans")}
    sums = {name: found.sum(f"otelcol_exporter_{name}_spans") for name in ("sent", "send_failed", "enqueue_failed")}
    accepted = found.sum("otelcol_receiver_accepted_spans") * max(1, len(exported))
    return accepted - sum(sums.values()), sums["sent"]


def settle(ports, seconds=60, still=STILL_SECONDS):
    """Waits until the agent has nothing left, or has delivered nothing for long."""
    give_up = time.monotonic() + seconds
    last, since = None, time.monotonic()
    while time.monotonic() < give_up:
        left, sent = outstanding(ports.metrics)
        if left <= 0:
            return
        if sent != last:
            last, since = sent, time.monotonic()
        if time.monotonic() - since > still:
            return
        time.sleep(0.2)


def stop_agent(agent):
    """Ends it in order: how long that took, in words if it had to be killed."""
    try:
        return f"exit {agent.stop(seconds=STOP_SECONDS)}"
    except Failed:
        return f"had to be killed {STOP_SECONDS} s after SIGTERM"


def tally(stage, loads, upstreams):
    """What became of the spans of all `loads`."""
    sent = ["--sent", *(load.report for load in loads)] if loads else []
    dumps = [one.dump for one in upstreams if os.path.exists(one.dump)]
    found = stage.testkit("tally", *sent, "--received", *dumps)
    for dump in dumps:
        os.remove(dump)  # some 100 MB in all
    return found


def without_listener(probed):
    """What `testkit probe` saw, in words."""
    return (
        f"longest without a listener {probed['longest_without_listener_ms']:.0f} ms (of {probed['probes']} new connections "
        f"{probed['refused']} refused, {probed['late']} taken only when they knocked again), slowest answer on a new one "
        f"{probed['slowest_ms']:.0f} ms"
    )
