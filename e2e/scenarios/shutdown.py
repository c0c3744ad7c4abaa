"""Scenarios about relayd's beginning and end: the shipped configuration is valid, and SIGTERM under load loses nothing.

Must never take relayd's word alone: its figures are held against the sender's and the receiver's.
"""

import time

from observe import accepted_spans, last_line
from process import Failed
from stage import AGENT_CONFIG, end_sink, local, to_upstream
from table import Row

LOAD_SECONDS = 6
SIGTERM_AFTER_SECONDS = 3


def validate(stage):
    """`relayd validate` and the Collector's own `validate` accept deploy/agent.yaml; a key that nobody has is refused by name."""
    stage.run("relayd", "validate", "--config", AGENT_CONFIG)
    stage.run("otelcol", "validate", "--config", AGENT_CONFIG)
    text = stage.run("relayd", "components")
    if "otlp" not in text:
        raise Failed(f"`relayd components` does not name otlp: {text}")
    wrong = stage.write_config("wrong.yaml", {"exporters": {"otlp_grpc": {"endpiont": "127.0.0.1:1"}}})
    ended = stage.start("wrong", "relayd", "validate", "--config", AGENT_CONFIG, "--config", wrong)
    if ended.wait(10) != 1 or "endpiont" not in ended.log():
        raise Failed(f"a key with a typo was not refused by name: {ended.log()}")
    return Row("validate deploy/agent.yaml", verdict="ok: by relayd and by the Collector")


def under_load(stage):
    """SIGTERM while 4 connections with 8 calls in flight each send as fast as they are answered, the Collector up: relayd's last
    line adds up, all that was acknowledged was delivered, and what it calls delivered is what the far end has."""
    sink = stage.sink()
    collector = stage.collector(to_upstream(sink.port))
    relayd = stage.relayd(collector.ports["grpc"])
    load = stage.start(
        "load", "testkit", "load", "--endpoint", local(relayd.ports["grpc"]), "--seconds", LOAD_SECONDS, "--recorded"
    )
    time.sleep(SIGTERM_AFTER_SECONDS)
    if relayd.stop() != 0:
        raise Failed("relayd did not exit with 0")
    load.wait(LOAD_SECONDS + 20)
    figures, acknowledged = last_line(relayd), load.answer()["spans"]
    received = accepted_spans(collector.ports["metrics"])
    collector.stop()
    seen = end_sink(sink)["spans"]
    accepted = figures["received"] - figures["refused"]
    row = Row("SIGTERM under load, Collector up", acknowledged, accepted, figures["delivered"], seen)
    if figures["dropped"] or not figures["delivered"] == received == seen:
        raise Failed(f"relayd says {figures}, the Collector accepted {received}, the sink has {seen}")
    if acknowledged > figures["delivered"] or acknowledged == 0:
        raise Failed(f"{acknowledged} spans were acknowledged, {figures['delivered']} delivered")
    row.verdict = f"ok: adds up, {figures['refused']} refused back"
    return row
