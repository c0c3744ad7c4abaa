"""A backlog that grows to gigabytes: how long a start takes on top of it, and how it drains.

Must never start on a page cache that still holds what it is about to read, nor leave the backlog on the disk.
"""

import http.client
import os
import struct
import time

from process import Failed, free_port, is_listening
from spill import around
from stage import local
from versus import cell, usage
from versus.load import Load
from versus.stored import agents

GB = 1_000_000_000
BEGUN_UNIX_NANO = 1_767_225_600_000_000_000
# 512 spans a request, 240 KB: the quickest way to a large backlog.
FILL = Load(spans=512, connections=8, in_flight=8)
FILL_SECONDS, FILL_SECONDS_MAX = 1.0, 900
# Between two tries with an agent that takes nothing.
REFUSED_SECONDS = 1.0
START_SECONDS, DRAIN_SECONDS, SAMPLE_SECONDS = 300, 600, 0.2


def measure(stage, agent, sizes_gb, directory, label, starts):
    """Appends the figures of a start on a backlog of each size to `starts`, and gives those of the last one's drain."""
    begun = len(stage.processes)
    running = agents.Running(stage, agent, label, free_port(), os.path.join(directory, label), str(cell.PEER_CORE))
    try:
        # What is measured is the start; a backlog of gigabytes that waits for its disk takes too long to make.
        running.start(agents.unsynced(agent))
        for size in sizes_gb:
            made = _grow(stage, running, size * GB, label)
            running.kill()
            starts.append({"size_gb": size, **made, **_start(running)})
            print(f"  {agent.title}: {starts[-1]}", flush=True)
        return _drain(stage, running, label)
    finally:
        running.end()
        for process in stage.processes[begun:]:
            process.end_by_force()


def _grow(stage, running, wanted, label):
    """Load until so many bytes are on the disk."""
    began, spans = time.monotonic(), 0
    while running.bytes_on_disk() < wanted:
        if time.monotonic() - began > FILL_SECONDS_MAX:
            raise Failed(f"{running.bytes_on_disk()} bytes on disk after {FILL_SECONDS_MAX} s")
        missing = wanted - running.bytes_on_disk()
        seconds = FILL_SECONDS if missing > GB / 2 else FILL_SECONDS / 5
        sender = stage.start(f"fill-{label}", "testkit", "load", *FILL.arguments(running.endpoint, seconds), core=cell.LOAD_CORE)
        if sender.wait(seconds + 60) != 0:
            time.sleep(REFUSED_SECONDS)  # full of what it has not written yet
        spans += sender.answer()["spans"]
    return {"bytes": running.bytes_on_disk(), "grown_spans": spans, "grown_seconds": time.monotonic() - began}


def _forget(directory):
    """Writes what is dirty and drops it from the page cache, as after the machine's own restart."""
    for name in around.on_disk(directory):
        descriptor = os.open(os.path.join(directory, name), os.O_RDONLY)
        try:
            os.fdatasync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def _start(running):
    """Milliseconds from the start of the process until it listens, and until it has acknowledged a new span; the upstream is away."""
    _forget(running.directory)
    began = time.monotonic()
    process = running.start(agents.unsynced(running.agent), wait=False)
    took = {}
    while len(took) < 2 and time.monotonic() - began < START_SECONDS:
        if not process.is_running():
            raise Failed(f"ended with {process.child.returncode} on a backlog: {process.tail()[-400:]}")
        if "listening_ms" not in took and is_listening(running.ports.http):
            took["listening_ms"] = (time.monotonic() - began) * 1e3
        if "listening_ms" in took and _is_acknowledged(running.ports.http):
            took["acknowledged_ms"] = (time.monotonic() - began) * 1e3
        time.sleep(0.002)
    if len(took) < 2:
        raise Failed(f"not serving {START_SECONDS} s after the start: {took}")
    io = _read_bytes(process.pid)
    return {**took, "start_mib": usage.memory_mib(process.pid, "VmRSS"), "start_read_bytes": io}


def _is_acknowledged(port):
    """One span over OTLP/HTTP."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", "/v1/traces", _one_span(), {"Content-Type": "application/x-protobuf"})
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _one_span():
    """ExportTraceServiceRequest of one span (OTLP, trace.proto): trace_id 1, span_id 2, name 5, start 7, end 8."""
    field = lambda number, content: bytes([number << 3 | 2, len(content)]) + content
    times = b"".join(bytes([number << 3 | 1]) + struct.pack("<Q", BEGUN_UNIX_NANO + number) for number in (7, 8))
    span = field(1, os.urandom(16)) + field(2, os.urandom(8)) + field(5, b"first") + times
    return field(1, field(2, field(2, span)))


def _read_bytes(pid):
    with open(f"/proc/{pid}/io", encoding="ascii") as counts:
        return next(int(line.split()[1]) for line in counts if line.startswith("read_bytes:"))


def _drain(stage, running, label):
    """The whole backlog, with an upstream and without new load: spans a second, and the resident memory while it lasts."""
    running.kill()
    size = running.bytes_on_disk()
    _forget(running.directory)
    sink = stage.start(
        f"sink-{label}", "testkit", "sink", "--listen", local(running.upstream_port), "--max-recv-mib", 64, core=cell.LOAD_CORE
    )
    sink.wait_listening(running.upstream_port)
    process = running.start()
    began, before = time.monotonic(), usage.cpu_seconds(process.pid)
    samples, speeds, last, ended_at = [], [], 0, None
    while time.monotonic() - began < DRAIN_SECONDS:
        time.sleep(SAMPLE_SECONDS)
        samples.append(usage.memory_mib(process.pid, "VmRSS"))
        try:
            kept, sent = around.still_kept(running.ports)
        except OSError:
            continue
        speeds.append(sent - last)
        last = sent
        if kept == 0:
            ended_at = time.monotonic() - began
            break
    cpu = usage.cpu_seconds(process.pid) - before
    left = running.bytes_on_disk()
    running.process.stop()
    sink.stop()
    counted = sink.answer()
    seconds = ended_at or DRAIN_SECONDS
    return {
        "bytes": size, "left_bytes": left, "seconds": ended_at, "spans": counted["spans"],
        "spans_per_second": counted["spans"] / seconds, "mb_per_second": counted["bytes"] / 1e6 / seconds,
        "us_per_span": cpu.total * 1e6 / counted["spans"] if counted["spans"] else None,
        "rss_mib": [min(samples), sorted(samples)[len(samples) // 2], max(samples)],
        "slowest_fifth": sum(sorted(speeds)[: len(speeds) // 5]) / max(1, len(speeds) // 5) / SAMPLE_SECONDS if speeds else None,
    }  # fmt: skip

