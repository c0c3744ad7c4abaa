"""What relayd and the Collector cost under the same load, side by side in one run: CPU, memory, throughput.

Must never compare times of two runs or two machines; the ratio is the figure.

usage: figures.py --programs JSON --out DIR [--seconds S] [--rounds N]
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "e2e"))

import process  # noqa: E402
from process import Failed, wait_until  # noqa: E402
from observe import accepted_spans, sent_spans  # noqa: E402
from stage import Stage, end_sink, local, to_upstream  # noqa: E402
from table import render  # noqa: E402

SPANS_PER_REQUEST = (1, 10, 100, 512)
PEERS = ("relayd", "collector")
CONNECTIONS, IN_FLIGHT = 4, 8
# The peer has a core for itself; what loads it and what it sends to share the other.
PEER_CORE, LOAD_CORE = 0, 1
IDLE_SECONDS = 1
DRAIN_SECONDS = 30
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

HEADINGS = (
    "spans/request", "peer", "CPU us/span", "CPU us/request", "of the Collector", "spans/s", "accepted", "lost",
    "requests refused", "idle MiB", "peak MiB",
)  # fmt: skip


def _cpu_seconds(pid):
    """User and system time of a process, all threads, also ended ones (proc(5), /proc/pid/stat fields 14 and 15)."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def _memory_mib(pid, key):
    """VmRSS or VmHWM of a process (proc(5), /proc/pid/status)."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as status:
        for line in status:
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) / 1024
    raise Failed(f"process {pid} has no {key}")


def _cell(stage, peer, spans, seconds):
    """One peer under one load: a dict of figures."""
    name = f"{peer}-{spans}-{len(stage.processes)}"
    sink = stage.sink(f"sink-{name}", core=LOAD_CORE)
    if peer == "relayd":
        started = stage.relayd(sink.port, name, memory_mib=None, core=PEER_CORE)
    else:
        started = stage.collector(to_upstream(sink.port), name, core=PEER_CORE)
    time.sleep(IDLE_SECONDS)
    idle_mib, before = _memory_mib(started.pid, "VmRSS"), _cpu_seconds(started.pid)
    load = stage.start(
        f"load-{name}", "testkit", "load", "--endpoint", local(started.ports["grpc"]), "--seconds", seconds,
        "--spans-per-request", spans, "--connections", CONNECTIONS, "--in-flight", IN_FLIGHT, core=LOAD_CORE,
    )  # fmt: skip
    if load.wait(seconds + 30) != 0:
        raise Failed(f"{peer} accepted nothing: {load.answer()}")
    loaded = load.answer()
    metrics = started.ports["metrics"]
    # What it still has to send is part of its cost. One that has dropped something never gets there: the column "lost" says so.
    try:
        wait_until(lambda: sent_spans(metrics) >= accepted_spans(metrics), DRAIN_SECONDS, f"{peer} to deliver")
    except Failed:
        if peer == "relayd":
            raise
    cpu, peak_mib = _cpu_seconds(started.pid) - before, _memory_mib(started.pid, "VmHWM")
    started.stop()
    seen = end_sink(sink)["spans"]
    return {
        "us_per_span": cpu * 1e6 / loaded["spans"],
        "us_per_request": cpu * 1e6 / loaded["requests"],
        "spans_per_second": loaded["spans"] / loaded["seconds"],
        "accepted": loaded["spans"],
        "lost": loaded["spans"] - seen,
        # Work too, and in `cpu`, but not among the requests it is divided by: a cell with many says what refusing costs.
        "refused": sum(loaded["errors"].values()),
        "idle_mib": idle_mib,
        "peak_mib": peak_mib,
    }


def _median(cells):
    return {key: statistics.median(cell[key] for cell in cells) for key in cells[0]}


def measure(stage, seconds, rounds):
    """Every peer under every load, in turn so that what else the machine does meets both: {(spans, peer): figures}, medians of
    the rounds."""
    if (os.cpu_count() or 1) < 2:
        raise Failed("the peer and the load need a core each; this machine has one")
    cells = {}
    for _ in range(rounds):
        for spans in SPANS_PER_REQUEST:
            for peer in PEERS:
                cells.setdefault((spans, peer), []).append(_cell(stage, peer, spans, seconds))
    return {key: _median(some) for key, some in cells.items()}


def as_table(figures):
    """The measured figures as text."""
    lines = []
    for (spans, peer), cell in figures.items():
        share = figures[spans, "collector"]["us_per_request"] / max(cell["us_per_request"], 1e-9)
        lines.append(
            [
                spans, peer, f"{cell['us_per_span']:.2f}", f"{cell['us_per_request']:.1f}", f"1/{share:.1f}",
                round(cell["spans_per_second"]), round(cell["accepted"]), round(cell["lost"]),
                round(cell["refused"]), f"{cell['idle_mib']:.1f}", f"{cell['peak_mib']:.1f}",
            ]
        )  # fmt: skip
    return render(HEADINGS, lines)


def main():
    parser = argparse.ArgumentParser(description="relayd and the Collector side by side")
    parser.add_argument("--programs", required=True, help="JSON object: name of a program -> its path")
    parser.add_argument("--out", required=True, help="folder for logs; emptied first")
    parser.add_argument("--seconds", type=float, default=6, help="of load in each cell")
    parser.add_argument("--rounds", type=int, default=3, help="the table has the median of each cell")
    arguments = parser.parse_args()
    process.clean_up_at_exit()
    shutil.rmtree(arguments.out, ignore_errors=True)
    stage = Stage("figures", arguments.out, json.loads(arguments.programs))
    try:
        figures = measure(stage, arguments.seconds, arguments.rounds)
    except Failed as failure:
        print(f"{failure}\n{stage.tails()}")
        return 1
    finally:
        stage.end()
    print(
        f"peer alone on core {PEER_CORE}, load and sink on core {LOAD_CORE}; {CONNECTIONS} connections with {IN_FLIGHT} calls"
        f" in flight, closed loop, {arguments.seconds:g} s a cell, median of {arguments.rounds}; compression none\n"
    )
    print(as_table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
