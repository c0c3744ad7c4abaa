"""Scenarios in which the Collector goes away under load and comes back on the same port.

Must never allow a span to be lost; a span may arrive twice only where the Collector was killed between taking and answering.
"""

import signal
import time

from observe import last_line, sent_spans
from process import Failed, wait_until
from stage import end_sink, local, to_upstream
from table import Row

REQUESTS_PER_SECOND = 50
REPEATS = 5  # of the recordings, cut to what one source sends: 27 to 30 s of load
BEFORE_SECONDS = 5
OUTAGE_SECONDS = 15
# The Collector passes on before it answers, so that what it has answered for is not lost with it.
PASS_THROUGH = {"sending_queue": {"enabled": False}, "retry_on_failure": {"enabled": False}}


def stopped(stage):
    """The Collector is stopped by SIGTERM for 15 s under load: nothing lost, nothing twice."""
    return _without_collector(stage, "Collector stopped 15 s (SIGTERM)", signal.SIGTERM)


def killed(stage):
    """The Collector is killed for 15 s under load: nothing lost; what it had passed on but not answered may arrive twice."""
    return _without_collector(stage, "Collector killed 15 s (SIGKILL)", signal.SIGKILL)


def _without_collector(stage, name, how):
    received, sent = stage.path("received.messages"), stage.path("sent.messages")
    sink = stage.sink(dump=received)
    exporters = to_upstream(sink.port, **PASS_THROUGH)
    collector = stage.collector(exporters, batch=False)
    relayd = stage.relayd(collector.ports["grpc"], exporter={"retry_on_failure": {"initial_interval": "1s"}})
    replay = stage.start(
        "replay", "testkit", "replay", "--endpoint", local(relayd.ports["grpc"]), "--dump", sent, "--resliced", "--unique",
        "--repeat", REPEATS, "--rate", REQUESTS_PER_SECOND, "--retry",
    )  # fmt: skip
    time.sleep(BEFORE_SECONDS)
    if sent_spans(relayd.ports["metrics"]) == 0:
        raise Failed("nothing was delivered before the outage")
    status = collector.stop(how)
    if how == signal.SIGTERM and status != 0:
        raise Failed(f"the Collector exited with {status}")
    time.sleep(OUTAGE_SECONDS)
    if not replay.is_running():
        raise Failed("the load ended before the outage did: nothing was shown")
    collector = stage.collector(exporters, "collector-again", collector.ports, batch=False)
    if replay.wait(120) != 0:
        raise Failed(f"the sender was refused for good: {replay.answer()}")
    replayed = replay.answer()
    spans = replayed["spans"]
    wait_until(lambda: sent_spans(relayd.ports["metrics"]) >= spans, 60, f"relayd to deliver {spans} spans")
    if relayd.stop() != 0:
        raise Failed("relayd did not exit with 0")
    figures = last_line(relayd)
    collector.stop()
    end_sink(sink)
    # The Collector decodes and encodes, so values are compared; fails if a span is missing or was never sent.
    compared = stage.testkit("compare", "--values", "--sent", sent, "--received", received)
    accepted, twice = figures["received"] - figures["refused"], compared["duplicates"]
    row = Row(name, spans, accepted, figures["delivered"], compared["received"] - twice)
    if figures["dropped"] or not spans == accepted == figures["delivered"]:
        raise Failed(f"{spans} spans were sent, but relayd says {figures}")
    if twice and how == signal.SIGTERM:
        raise Failed(f"{twice} spans arrived twice although the Collector was stopped in order")
    row.verdict = f"ok: none lost, {twice} twice, sender retried {replayed['retried']}"
    return row
