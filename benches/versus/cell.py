"""One cell: one peer under one load, and everything that is read while it lasts.

Must never divide by what was only sent: figures are per request that the sender saw accepted.
"""

import os
import time

from process import Failed
from stage import end_sink, local
from versus import peers, usage

# The peer has a core for itself; what loads it and what it sends to share the other.
PEER_CORE, LOAD_CORE = 0, 1
# After the start, before the resident memory counts as idle.
SETTLE_SECONDS = 1
# Within this the peer must have delivered all that it holds; and within this the load's connections must be open.
DRAIN_SECONDS, OPEN_SECONDS = 30, 60
# A peer has come to rest when it uses less than QUIET_SHARE of a core for QUIET_SECONDS, longer than any linger.
QUIET_SECONDS, QUIET_SHARE = 0.3, 0.02
# A closed loop over fewer has them open before one can look, and so many requests that opening them does not show.
CONNECTIONS_SLOW = 65


def placement(cores):
    """Cores of the peer and of the load, as taskset(1) writes them. A peer with two shares the second unless there is a third."""
    if cores == 1:
        return str(PEER_CORE), str(LOAD_CORE)
    return f"{PEER_CORE},{LOAD_CORE}", str(2 if (os.cpu_count() or 1) > 2 else LOAD_CORE)


def measure(stage, peer, load, seconds, label, cores=1, exporters=1):
    """One peer under one load: a dict of figures. Ends what it started. With several `exporters` the peer is relayd."""
    begun = len(stage.processes)
    try:
        return _measure(stage, peer, load, seconds, label, cores, exporters)
    finally:
        for process in stage.processes[begun:]:
            process.end_by_force()


def _measure(stage, peer, load, seconds, label, cores, exporters):
    peer_core, load_core = placement(cores)
    sinks = [stage.sink(f"sink-{label}-{number}", core=load_core) for number in range(exporters)]
    if exporters > 1:
        peer = peers.relayd_to_each([sink.port for sink in sinks[1:]])
    started = peer.start(stage, label, sinks[0].port, load, peer_core)
    if started:
        time.sleep(SETTLE_SECONDS)
    idle_mib = usage.memory_mib(started.pid, "VmRSS") if started else None
    endpoint = local(started.port if started else sinks[0].port)
    before = _read(started, sinks)
    ended_children = usage.ended_children_cpu_seconds()
    sender = stage.start(f"load-{label}", "testkit", "load", *load.arguments(endpoint, seconds), core=load_core)
    connecting_cpu = 0
    if load.rate or load.connections >= CONNECTIONS_SLOW:
        _wait_open(sender, load.connections)
        connecting_cpu = usage.cpu_seconds(sender.pid).total
        before = _read(started, sinks)
    exit_status = sender.wait(seconds + OPEN_SECONDS)
    after = _read(started, sinks)
    load_cpu = usage.ended_children_cpu_seconds() - ended_children - connecting_cpu
    answer = sender.answer()
    if exit_status != 0:
        raise Failed(f"{peer.title} accepted nothing: {answer}")
    drained = _drain(peer, started, before) if started else None
    peak_mib = usage.memory_mib(started.pid, "VmHWM") if started else None
    if started:
        started.stop()
    # What arrived once at each.
    seen = min(end_sink(sink)["spans"] for sink in sinks)
    figures = sent(answer, seen) | _busy(before, after, load_cpu, started, cores, load_core)
    if started:
        figures |= cost(drained["cpu"] - before["cpu"], answer, cores)
        figures |= {"idle_mib": idle_mib, "peak_mib": peak_mib}
        # Of the time of the load alone: afterwards a peer comes to rest.
        window = after["at"] - before["at"]
        figures["cpu_ms_per_second"] = (after["cpu"] - before["cpu"]).total * 1e3 / window
        figures["switches_per_second"] = (after["switches"] - before["switches"]) / window
    return figures


def measure_idle(stage, peer, seconds, label):
    """A peer without a connection for `seconds`: CPU, context switches and memory."""
    peer_core, load_core = placement(1)
    begun = len(stage.processes)
    try:
        sink = stage.sink(f"sink-{label}", core=load_core)
        started = peer.start(stage, label, sink.port, peers.NO_LOAD, peer_core)
        time.sleep(SETTLE_SECONDS)
        before = _read(started, [sink])
        time.sleep(seconds)
        after = _read(started, [sink])
        window = after["at"] - before["at"]
        return {
            "idle_mib": usage.memory_mib(started.pid, "VmRSS"),
            "cpu_ms_per_second": (after["cpu"] - before["cpu"]).total * 1e3 / window,
            "switches_per_second": (after["switches"] - before["switches"]) / window,
        }
    finally:
        for process in stage.processes[begun:]:
            process.end_by_force()


def _read(started, sinks):
    """A moment: what everybody has used so far."""
    sinks_cpu = sum(usage.cpu_seconds(sink.pid).total for sink in sinks)
    moment = {"at": time.monotonic(), "cores": usage.core_busy_seconds(), "sink": sinks_cpu}
    if started:
        moment |= {"cpu": usage.cpu_seconds(started.pid), "switches": usage.context_switches(started.pid)}
    return moment


def _wait_open(sender, connections):
    """Until the load's connections are open: opening them is not part of a request's cost."""
    give_up = time.monotonic() + OPEN_SECONDS
    while usage.open_sockets(sender.pid) < connections:
        if not sender.is_running():
            return
        if time.monotonic() > give_up:
            raise Failed(f"{connections} connections were not open after {OPEN_SECONDS} s")
        time.sleep(0.02)


def cpu_at_rest(pid):
    """What a process has used when it has come to rest, or after DRAIN_SECONDS."""
    give_up = time.monotonic() + DRAIN_SECONDS
    at_rest = usage.cpu_seconds(pid)
    while time.monotonic() < give_up:
        time.sleep(QUIET_SECONDS)
        before, at_rest = at_rest, usage.cpu_seconds(pid)
        if (at_rest - before).total < QUIET_SECONDS * QUIET_SHARE:
            break
    return at_rest


def _drain(peer, started, before):
    """What the peer has used when all is delivered: what it still had to send is part of its cost. It is asked for its own
    figures only when it has come to rest, as answering costs, too."""
    at_rest = cpu_at_rest(started.pid)
    if peer.has_delivered and not peer.has_delivered(started):
        # One that has dropped something never gets there: the column "lost" says so.
        try:
            peers.wait_delivered(peer, started, DRAIN_SECONDS)
        except Failed:
            if peer.name.startswith("relayd"):
                raise
        at_rest = usage.cpu_seconds(started.pid)
    if at_rest.total < before["cpu"].total:
        raise Failed(f"the CPU clock of {peer.title} went backwards")
    return {"cpu": at_rest}


def sent(answer, seen):
    """What the sender and the sink say."""
    window = answer["seconds"]
    return {
        "requests": answer["requests"],
        "spans": answer["spans"],
        "message_bytes": answer["message_bytes"],
        "requests_per_second": answer["requests"] / window,
        "spans_per_second": answer["spans"] / window,
        "lost": answer["spans"] - seen,
        # Work too, and in the CPU time, but not among the requests it is divided by: a cell with many says what refusing costs.
        "refused": sum(answer["errors"].values()),
        "errors": answer["errors"],
        **{key: answer[key] for key in ("p50_us", "p99_us", "p999_us")},
    }


def _busy(before, after, load_cpu, started, cores, load_core):
    """Shares of a core, from the processes' own clocks, and what others used of these cores, from the kernel's."""
    window = after["at"] - before["at"]
    sink_cpu = after["sink"] - before["sink"]
    ours = load_cpu + sink_cpu + ((after["cpu"] - before["cpu"]).total if started else 0)
    used = {PEER_CORE, int(load_core)} | ({LOAD_CORE} if cores > 1 else set())
    all_busy = sum(after["cores"][core] - before["cores"][core] for core in used)
    return {
        "load_busy": (load_cpu + sink_cpu) / window,
        "load_cpu_seconds": load_cpu,
        "sink_cpu_seconds": sink_cpu,
        "cores_shared": cores > 1 and int(load_core) == LOAD_CORE,
        "peer_busy": (after["cpu"] - before["cpu"]).total / window / cores if started else None,
        "others_busy": max(0.0, all_busy - ours) / window,
    }


def cost(cpu, answer, cores):
    """Of what was accepted, by the CPU time that it took."""
    if cpu.total <= 0:
        raise Failed("the peer has used no CPU time: is it another process that works?")
    requests, spans = answer["requests"], answer["spans"]
    megabytes = requests * answer["message_bytes"] / 1e6
    user_share = cpu.user_share
    return {
        "cpu_seconds": cpu.total,
        "user_share": user_share,
        "us_per_request": cpu.total * 1e6 / requests,
        "us_per_span": cpu.total * 1e6 / spans,
        "us_per_mb": cpu.total * 1e6 / megabytes,
        # With its cores busy to the last.
        "spans_per_second_at_100": spans / cpu.total * cores,
    }
