"""Scenarios in which recorded requests go through relayd to a sink that keeps every byte.

Must never compare less than bytes: relayd forwards what it received, it does not rewrite it.
"""

from observe import accepted_spans, last_line, sent_spans
from process import Failed, wait_until
from recorded import as_one_request, as_one_resource, as_one_scope, write_messages
from stage import end_sink, local
from table import Row

# How often a large request holds all recordings: about 10 MiB. A grpc-go server takes 4 MiB unless it is told otherwise.
LARGE_TIMES = 6
LIMIT_MIB = 4
RECONNECTS_MIN = 200


def replay(stage):
    """Recorded payloads -> relayd -> sink: byte for byte the same spans at the far end."""
    return _through(stage, "replay", [])


def large(stage):
    """Requests of 10 MiB to a sink that takes 4 MiB: one of many resources, one of a single resource, one of a single scope, so
    that relayd has to cut at each of the three levels. The bytes of the spans, and of the resource and scope of each, stay."""
    path = stage.path("large.messages")
    requests = [as_one_request(LARGE_TIMES), as_one_resource(LARGE_TIMES), as_one_scope(LARGE_TIMES)]
    write_messages(path, requests)
    row = _through(stage, "replay, 10 MiB requests to a 4 MiB sink", ["--file", path])
    arrived, least = row.sink["requests"], sum(map(len, requests)) // (LIMIT_MIB << 20)
    if arrived < least or min(map(len, requests)) < 2 * LIMIT_MIB << 20:
        raise Failed(f"requests of {[len(one) for one in requests]} bytes arrived in {arrived} of at most 4 MiB")
    row.verdict = f"ok: same bytes, {len(requests)} requests cut into {arrived}"
    return row


def merged(stage):
    """Small requests, more than a thousand in a row: they arrive in less than half as many, with the same bytes."""
    row = _through(stage, "replay, small requests merged", ["--resliced", "--repeat", 4, "--unique"])
    sent, arrived = row.replayed["requests"], row.sink["requests"]
    if arrived * 2 > sent:
        raise Failed(f"{sent} small requests arrived in {arrived}: hardly merged")
    row.verdict = f"ok: same bytes, {sent} requests merged into {arrived}"
    return row


def reconnects(stage):
    """The sender closes its connection every third request, more than 200 times: nothing lost, nothing refused."""
    arguments = ["--resliced", "--repeat", 2, "--unique", "--reconnect-every", 3]
    row = _through(stage, "200 restarts of the connection", arguments)
    connections = row.replayed["connections"]
    if connections < RECONNECTS_MIN:
        raise Failed(f"only {connections} connections were made")
    row.verdict = f"ok: same bytes over {connections} connections"
    return row


def _through(stage, name, arguments):
    received, sent = stage.path("received.messages"), stage.path("sent.messages")
    sink = stage.sink(dump=received, max_recv_mib=LIMIT_MIB)
    relayd = stage.relayd(sink.port)
    replayed = stage.testkit("replay", "--endpoint", local(relayd.ports["grpc"]), "--dump", sent, *arguments)
    spans = replayed["spans"]
    wait_until(lambda: sent_spans(relayd.ports["metrics"]) >= spans, 20, f"relayd to deliver {spans} spans")
    accepted = accepted_spans(relayd.ports["metrics"])
    if relayd.stop() != 0:
        raise Failed("relayd did not exit with 0")
    figures = last_line(relayd)
    counted = end_sink(sink)
    # Fails if a span is missing or was never sent.
    compared = stage.testkit("compare", "--sent", sent, "--received", received)
    row = Row(name, spans, accepted, figures["delivered"], counted["spans"], "ok: same bytes")
    row.sink, row.replayed = counted, replayed
    if {accepted, figures["received"], figures["delivered"], counted["spans"]} != {spans} or compared["duplicates"]:
        raise Failed(f"sent {spans}, accepted {accepted}, relayd says {figures}, the sink has {counted['spans']}, {compared}")
    return row
