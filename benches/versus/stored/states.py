"""One cell: an agent under one load in one state of its upstream, and what is read meanwhile.

Must never divide by what was only sent: figures are per span that the sender saw acknowledged.
"""

import dataclasses
import os
import time

from observe import sent_spans
from process import Failed, free_port
from spill import around
from spill.untouched import written_bytes
from stage import local
from versus import cell, usage
from versus.load import Load
from versus.stored import agents

HEALTHY, DEAD, DRAINING = "healthy", "dead", "draining"
# Calls enough that a full batch is always waiting: who acknowledges what was delivered is not slowed by its linger.
SATURATED = Load(spans=10, connections=64, in_flight=32)
LARGE = Load(spans=100, connections=32, in_flight=16)
FAST = Load(spans=10, connections=64, in_flight=32, rate=15_000)
MODERATE = Load(spans=10, connections=64, in_flight=8, rate=1_000)
# While nothing is delivered an acknowledgement takes relayd its linger and `spill_after`: so many calls that this is not the bound.
MANY, MANY_LARGE = dataclasses.replace(SATURATED, in_flight=128), dataclasses.replace(LARGE, connections=64, in_flight=32)
# What a backlog is made of: 100 spans a request, 47 KB.
BACKLOG = Load(spans=100, connections=32, in_flight=8)
BACKLOG_SPANS, BACKLOG_SECONDS, DRAIN_SECONDS = 400_000, 0.5, 240
# After the load, until everything it has left is on disk.
STORED_SECONDS = 1


@dataclasses.dataclass(frozen=True)
class Case:
    """One load in one state; those without storage take part where `memory_too`."""

    state: str
    label: str
    load: Load
    memory_too: bool = False

    @property
    def name(self):
        return f"{self.state}-{self.load.name}"


CASES = (
    Case(HEALTHY, "healthy upstream, 10 spans, closed loop", SATURATED, True),
    Case(HEALTHY, "healthy upstream, 100 spans, closed loop", LARGE, True),
    Case(HEALTHY, "healthy upstream, 15,000 requests/s of 10 spans", FAST, True),
    Case(HEALTHY, "healthy upstream, 1,000 requests/s of 10 spans", MODERATE, True),
    Case(DEAD, "dead upstream, 10 spans, closed loop", MANY),
    Case(DEAD, "dead upstream, 100 spans, closed loop", MANY_LARGE),
    Case(DEAD, "dead upstream, 1,000 requests/s of 10 spans", MODERATE),
    Case(DRAINING, "draining 190 MB and more beside 1,000 requests/s of 10 spans", MODERATE),
)


def measure(stage, agent, case, seconds, directory, label):
    """A dict of figures. Ends what it started and empties the directory."""
    begun = len(stage.processes)
    running = agents.Running(stage, agent, label, free_port(), os.path.join(directory, label), str(cell.PEER_CORE))
    try:
        return (_drained if case.state == DRAINING else _loaded)(stage, running, case, seconds, label)
    finally:
        running.end()
        for process in stage.processes[begun:]:
            process.end_by_force()


def _sink(stage, running, label):
    sink = stage.start(
        f"sink-{label}", "testkit", "sink", "--listen", local(running.upstream_port), "--max-recv-mib", 64, core=cell.LOAD_CORE
    )
    sink.wait_listening(running.upstream_port)
    return sink


def _send(stage, running, load, seconds, label):
    """A load run to its end: what it says."""
    sender = stage.start(f"load-{label}", "testkit", "load", *load.arguments(running.endpoint, seconds), core=cell.LOAD_CORE)
    status = sender.wait(seconds + cell.OPEN_SECONDS)
    answer = sender.answer()
    if status != 0:
        raise Failed(f"{running.agent.title} accepted nothing: {answer}")
    return answer


def _loaded(stage, running, case, seconds, label):
    sink = _sink(stage, running, label) if case.state == HEALTHY else None
    process = running.start()
    time.sleep(cell.SETTLE_SECONDS)
    before, written = usage.cpu_seconds(process.pid), written_bytes(process.pid)
    answer = _send(stage, running, case.load, seconds, label)
    if sink:
        at_rest = cell.cpu_at_rest(process.pid)
    else:
        time.sleep(STORED_SECONDS)  # it never comes to rest, as it tries again
        at_rest = usage.cpu_seconds(process.pid)
    written = written_bytes(process.pid) - written
    figures = _of(answer) | _cost(at_rest - before, written, answer)
    figures |= {"peak_mib": usage.memory_mib(process.pid, "VmHWM"), "on_disk_bytes": running.bytes_on_disk()}
    if sink:
        around.drain(running.ports, 60)
        running.process.stop()
        sink.stop()
        figures["lost"] = answer["spans"] - sink.answer()["spans"]
    return figures


def _drained(stage, running, case, seconds, label):
    """A backlog is made without waiting for the disk; then the agent is ended and started as what it is, with an upstream."""
    running.start(agents.unsynced(running.agent))
    backlog = _backlog(stage, running, label)
    running.process.stop()
    sink = _sink(stage, running, label)
    process = running.start()
    began, before, written = time.monotonic(), usage.cpu_seconds(process.pid), written_bytes(process.pid)
    sender = stage.start(
        f"load-{label}", "testkit", "load", *case.load.arguments(running.endpoint, seconds), core=cell.LOAD_CORE
    )
    drained, backlog_at = None, None
    while time.monotonic() - began < DRAIN_SECONDS:
        time.sleep(0.05)
        try:
            sent = sent_spans(running.ports.metrics)
        except OSError:
            continue
        now = time.monotonic() - began
        if backlog_at is None and sent >= backlog["spans"]:
            backlog_at = now
        if not sender.is_running() and around.still_kept(running.ports)[0] == 0:
            drained = now
            break
    sender.wait(seconds + cell.OPEN_SECONDS)
    answer = sender.answer()
    at_rest = cell.cpu_at_rest(process.pid)
    written, peak_mib = written_bytes(process.pid) - written, usage.memory_mib(process.pid, "VmHWM")
    running.process.stop()
    sink.stop()
    arrived = sink.answer()["spans"]
    both = backlog["spans"] + answer["spans"]
    figures = _of(answer) | _cost(at_rest - before, written, backlog, answer)
    figures |= {
        "backlog_spans": backlog["spans"], "drained_seconds": drained, "lost": both - arrived,
        "drained_spans_per_second": backlog["spans"] / backlog_at if backlog_at else None,
        "peak_mib": peak_mib,
    }  # fmt: skip
    return figures


def _backlog(stage, running, label):
    """At least BACKLOG_SPANS: what all the loads for it say together."""
    made = {"spans": 0, "requests": 0}
    while made["spans"] < BACKLOG_SPANS:
        answer = _send(stage, running, BACKLOG, BACKLOG_SECONDS, f"{label}-backlog")
        made = {key: made[key] + answer[key] for key in made}
    return made | {"message_bytes": answer["message_bytes"]}


def _of(answer):
    return {
        "requests": answer["requests"], "spans": answer["spans"], "spans_per_second": answer["spans"] / answer["seconds"],
        "refused": sum(answer["errors"].values()), "errors": answer["errors"],
        **{key: answer[key] for key in ("p50_us", "p99_us", "message_bytes")},
    }  # fmt: skip


def _cost(cpu, written, *answers):
    """Of what all of these loads have had acknowledged."""
    spans = sum(answer["spans"] for answer in answers)
    accepted_bytes = sum(answer["requests"] * answer["message_bytes"] for answer in answers)
    return {
        "cpu_seconds": cpu.total, "us_per_span": cpu.total * 1e6 / spans, "written_bytes": written,
        "written_per_byte": written / accepted_bytes,
    }  # fmt: skip
