"""One cell of a relay whose upstream is away while spans queue in it: what is held, and what taking in and giving out cost.

Must never count a span as held that was refused: the sender's acknowledgements say what is.
"""

import time

from process import Failed, free_port, wait_until
from observe import sent_spans
from stage import end_sink, local
from versus import cell, peers, usage

# The load that fills the queue, whatever the depth: 10 spans a request, and so many requests per second.
REQUESTS_PER_SECOND, SPANS = 1_500, 10
# CPU time of a sink that is being sent to, and not only connected to.
RECEIVING_SECONDS = 0.001


def seconds_for(held_spans):
    """How long the load lasts to leave so many spans."""
    return held_spans / (REQUESTS_PER_SECOND * SPANS)


def measure(stage, load, held_spans, label):
    """relayd that is given about `held_spans`, and then an upstream: a dict of figures. Ends what it started."""
    begun = len(stage.processes)
    try:
        return _measure(stage, load, held_spans, label)
    finally:
        for process in stage.processes[begun:]:
            process.end_by_force()


def _measure(stage, load, held_spans, label):
    peer_core, load_core = cell.placement(1)
    peer, upstream_port = peers.relayd_impatient(), free_port()
    started = peer.start(stage, label, upstream_port, load, peer_core)
    time.sleep(cell.SETTLE_SECONDS)
    idle_mib = usage.memory_mib(started.pid, "VmRSS")
    empty = usage.cpu_seconds(started.pid)
    seconds = seconds_for(held_spans)
    sender = stage.start(f"load-{label}", "testkit", "load", *load.arguments(local(started.port), seconds), core=load_core)
    exit_status = sender.wait(seconds + cell.OPEN_SECONDS)
    answer = sender.answer()
    if exit_status != 0:
        raise Failed(f"{peer.title} accepted nothing: {answer}")
    full = cell.cpu_at_rest(started.pid)
    held_mib = usage.memory_mib(started.pid, "VmRSS")
    if sent_spans(started.ports["metrics"]):
        raise Failed(f"{peer.title} has delivered to an upstream that is away")
    # The answer about its metrics is not part of a span's cost.
    asked = usage.cpu_seconds(started.pid)
    sink = stage.start(f"sink-{label}", "testkit", "sink", "--listen", local(upstream_port), "--max-recv-mib", 64, core=load_core)
    sink.wait_listening(upstream_port)
    alone = usage.cpu_seconds(sink.pid).total
    wait_until(lambda: usage.cpu_seconds(sink.pid).total - alone > RECEIVING_SECONDS, cell.DRAIN_SECONDS, "relayd's batches")
    given = cell.cpu_at_rest(started.pid)
    if not peer.has_delivered(started):
        raise Failed(f"{peer.title} is at rest and still holds spans")
    peak_mib = usage.memory_mib(started.pid, "VmHWM")
    started.stop()
    figures = cell.sent(answer, end_sink(sink)["spans"])
    taken, out = (full - empty).total, (given - asked).total
    spans = answer["spans"]
    figures |= {
        "held_spans": spans, "held_mib": held_mib, "idle_mib": idle_mib, "peak_mib": peak_mib,
        "us_per_span_in": taken * 1e6 / spans, "us_per_span_out": out * 1e6 / spans,
        "us_per_span": (taken + out) * 1e6 / spans, "us_per_request": (taken + out) * 1e6 / answer["requests"],
    }  # fmt: skip
    return figures
