"""What stands around an agent with a persistent queue: its configuration, an upstream whose door opens and shuts, and what lies on its
disk.

Must never give the agents different configurations, but for keys that relayd alone has, and the memory that each needs to stand.
"""

import dataclasses
import os
import re
import signal
import time

from observe import Metrics
from process import free_port
from reliability.around import agent_files, start_agent, stop_agent
from stage import end_sink, local


@dataclasses.dataclass(frozen=True)
class Agent:
    """`program` runs, `title` is what tables call it. `storage` are the keys of file_storage that make it what it is, None where its
    queue is in memory; `queue` more keys of sending_queue."""

    program: str
    title: str
    storage: dict | None
    memory_mib: int
    queue: dict = dataclasses.field(default_factory=dict)

    @property
    def has_own_keys(self):
        """Those that the Collector does not know."""
        return self.program == "relayd"


# relayd's fsync is on unless it is told otherwise. The Collector needs some 50 MiB to stand, and cannot be given relayd's 32.
AGENTS = {
    "relayd": Agent("relayd", "relayd", {}, 32),
    "collector-fsync": Agent("otelcol", "Collector v0.161, fsync", {"fsync": True}, 160),
    "collector": Agent("otelcol", "Collector v0.161, no fsync", {"fsync": False}, 160),
}
# Of the exporter's own queue: a batch processor before a persistent queue holds in memory what it has acknowledged.
BATCH = {"flush_timeout": "100ms", "min_size": 8192, "sizer": "items"}
# Without an end, as both would drop what is on disk after it; short, so that an upstream that is back is soon seen.
RETRY = {"initial_interval": "200ms", "max_interval": "1s", "max_elapsed_time": "0s"}
# Requests; nowhere reached, as what is shown is the disk's bound and the memory's.
QUEUE_REQUESTS = 1_000_000
# Far from what a run needs: the disk itself is the bound.
SIZE_MIB = 100_000
# Nothing more is delivered for so long, and the queue is empty or as long as before: it is over.
STILL_SECONDS, DRAIN_SECONDS = 20, 1_200
SPANS_PER_TRACE = 2  # telemetrygen's, a parent and a child


class Door:
    """A sink that keeps every message, and before it a relay of TCP connections, which is killed (refusing then), stopped
    (taking connections and answering nothing) and started again on its port."""

    def __init__(self, stage, name="upstream", is_open=True):
        self.stage, self.name = stage, name
        self.dump = stage.path(f"{name}.messages")
        self.sink = stage.sink(f"{name}-sink", self.dump)
        self.port, self.relay = free_port(), None
        if is_open:
            self.open()

    def open(self):
        if self.relay and self.relay.is_running():
            self.relay.send(signal.SIGCONT)
            return
        self.relay = self.stage.start(
            f"{self.name}-door", "testkit", "tcp-relay", "--listen", local(self.port), "--upstream", local(self.sink.port)
        )
        self.relay.wait_listening(self.port)

    def shut(self):
        """Every connection breaks, what is under way with it; new ones are refused."""
        if self.relay:
            self.relay.stop(signal.SIGKILL)

    def stand_still(self):
        """Connections stay; whatever is sent is neither read nor answered."""
        self.relay.send(signal.SIGSTOP)

    def end(self):
        """Ends both; the dump is whole then. Gives what the sink counted."""
        self.shut()
        return end_sink(self.sink)


def files(stage, agent, ports, upstream_port, directory, own=None, name="agent"):
    """The arguments that name the configuration: deploy/agent.yaml with a queue on `directory`; `own` adds keys to file_storage that
    only relayd has."""
    queue = {"queue_size": QUEUE_REQUESTS, "batch": BATCH, **agent.queue}
    service = {"pipelines": {signal_name: {"processors": ["memory_limiter"]} for signal_name in ("traces", "metrics", "logs")}}
    overlay = {"service": service}
    if agent.storage is not None:
        queue["storage"] = "file_storage"
        keys = {"directory": directory, "create_directory": True, **agent.storage}
        keys |= {"max_size_mib": SIZE_MIB, **(own or {})} if agent.has_own_keys else {}
        overlay["extensions"] = {"file_storage": keys}
        service["extensions"] = ["health_check", "file_storage"]
    exporters = {"otlp_grpc": {"endpoint": local(upstream_port), "sending_queue": queue, "retry_on_failure": RETRY}}
    arguments = agent_files(stage, ports, exporters, agent.memory_mib, name=name)
    return [*arguments, "--config", stage.write_config(f"{name}-storage.yaml", overlay)]


def still_kept(ports):
    """What an agent still has to deliver, in its own unit, and what this process has delivered: (waiting, sent)."""
    found = Metrics(ports.metrics)
    waiting = sum(found.sum(name) for name in ("otelcol_exporter_queue_size", "relayd_held_bytes", "relayd_spill_records"))
    return waiting, found.sum("otelcol_exporter_sent_spans")


def drain(ports, seconds=DRAIN_SECONDS):
    """Waits until the agent has nothing left: how long that took; or None, when it still has something and has delivered nothing for
    long."""
    started = since = time.monotonic()
    last, empty_since = None, None
    while time.monotonic() - started < seconds:
        try:
            waiting, sent = still_kept(ports)
        except OSError:
            waiting, sent = 1, last  # whoever waits for its disk may not answer
        now = time.monotonic()
        if sent != last:
            last, since = sent, now
        empty_since = (empty_since or now) if waiting == 0 else None
        # Batches that the Collector has taken off its queue are under way still.
        if empty_since and now - max(empty_since, since) > 1:
            return max(empty_since, since) - started
        if now - since > STILL_SECONDS:
            return None
        time.sleep(0.1)
    return None


def finish(stage, ports, arguments, process, directory, told):
    """Waits until everything is delivered and ends the agent: in words. One that gets stuck is started once more; whether relayd did
    is said to `told`, a list."""
    drained = drain(ports)
    word = "stuck" if drained is None else f"all delivered {drained:.1f} s later"
    word += f"; {stop_agent(process)}, "
    left = sum(on_disk(directory).values())
    word += f"{left} bytes left on disk"
    if drained is not None:
        return word
    told.append(f"stuck with {left} bytes on disk")
    again = start_agent(stage, ports, arguments, "agent-again", wait=False)
    again.wait_listening(ports.grpc, 60)
    drained = drain(ports)
    word += "; started again: " + ("stuck" if drained is None else f"all delivered after {drained:.1f} s")
    return f"{word}; {stop_agent(again)}"


def on_disk(directory):
    """Files below `directory`: {path below it: bytes}. What vanishes meanwhile is not there."""
    found = {}
    for folder, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(folder, name)
            try:
                found[os.path.relpath(path, directory)] = os.path.getsize(path)
            except FileNotFoundError:
                continue
    return found


def mib_on_disk(directory):
    return sum(on_disk(directory).values()) / (1 << 20)


def free_bytes(directory):
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize


def telemetrygen(stage, ports, seconds, rate):
    """telemetrygen, which sends `rate` traces a second through the SDK for Go, as it does by default."""
    return stage.start(
        "telemetrygen", "telemetrygen", "traces", "--otlp-insecure", "--otlp-endpoint", local(ports.grpc), "--service",
        "telemetrygen", "--duration", f"{seconds:.0f}s", "--rate", rate,
    )  # fmt: skip


def generated(generator):
    """Spans that a telemetrygen has made, by its log."""
    return sum(map(int, re.findall(r'"traces": (\d+)', generator.log()))) * SPANS_PER_TRACE

