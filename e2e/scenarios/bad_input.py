"""The scenario of malformed calls: each gets the answer that the specifications ask for, and good calls go on.

Must never stop at the first wrong answer: the table of wrong ones is what helps.
"""

import gzip
import os
import re
import struct

from h2 import Connection
from observe import Metrics, last_line
from process import Failed
from recorded import messages, write_messages
from stage import end_sink, local
from table import Row

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
GRPC = "application/grpc"
RECEIVER_LIMIT_BYTES = 64 << 20
# Answers come at once. But curl 7.88 waits for its time to be over when a whole answer overtakes the last of its upload.
CURL_SECONDS = 3
# Good calls on the side: 13 s of them, more than all the bad calls take even then.
GOOD_CALLS_PER_SECOND, GOOD_REPEATS = 100, 4


def _framed(message, compressed=0, length=None):
    """A gRPC message: flag, length, bytes (gRPC over HTTP/2, "Length-Prefixed-Message")."""
    return struct.pack(">BI", compressed, len(message) if length is None else length) + message


def _cases(good):
    """(name, path, content type, encoding, body, HTTP status, gRPC status, reason in relayd's counter)."""
    half = _framed(good[: len(good) // 2])
    # ResourceSpans of 127 bytes of which two are there; then resource_spans as a varint instead of a message.
    lies, wrong_type = _framed(b"\x0a\x7f\x0a\x00"), _framed(b"\x08\x01")
    too_short, too_large = _framed(good, length=len(good) + 9), _framed(good, length=RECEIVER_LIMIT_BYTES + 1)
    bomb = _framed(gzip.compress(bytes(RECEIVER_LIMIT_BYTES + 1)), compressed=1)
    return [
        ("truncated protobuf", EXPORT, GRPC, None, half, 200, 3, "malformed"),
        ("length that lies", EXPORT, GRPC, None, lies, 200, 3, "malformed"),
        ("wrong wire type", EXPORT, GRPC, None, wrong_type, 200, 3, "malformed"),
        ("prefix longer than the body", EXPORT, GRPC, None, too_short, 200, 3, "grpc_message"),
        ("prefix with an unknown flag", EXPORT, GRPC, None, _framed(good, compressed=7), 200, 3, "grpc_message"),
        ("prefix above the limit", EXPORT, GRPC, None, too_large, 200, 8, "too_large"),
        ("gzip bomb", EXPORT, GRPC, "gzip", bomb, 200, 8, "too_large"),
        ("gzip that is none", EXPORT, GRPC, "gzip", _framed(good, compressed=1), 200, 3, "decompress"),
        ("unknown encoding", EXPORT, GRPC, "br", _framed(good, compressed=1), 200, 12, "unsupported_encoding"),
        ("unknown service", "/some.Service/Export", GRPC, None, _framed(good), 200, 12, "unknown_path"),
        ("wrong content type", EXPORT, "application/json", None, b"{}", 415, None, "not_grpc"),
    ]


def refused(stage):
    """Truncated protobuf, lengths and prefixes that lie, gzip bombs, unknown paths, encodings and content types, by curl: the
    status asked for and a counter each. Then all of them on one connection, good calls between: the good ones are accepted. A
    sender on the side loses nothing."""
    received, sent = stage.path("received.messages"), stage.path("sent.messages")
    sink = stage.sink(dump=received)
    relayd = stage.relayd(sink.port)
    endpoint = local(relayd.ports["grpc"])
    good = min(messages(), key=len)
    replay = stage.start(
        "replay", "testkit", "replay", "--endpoint", endpoint, "--dump", sent, "--resliced", "--unique", "--repeat", GOOD_REPEATS,
        "--rate", GOOD_CALLS_PER_SECOND,
    )  # fmt: skip
    cases, wrong = _cases(good), []
    for case in cases:
        wrong += _wrong_answer(stage, endpoint, case, relayd.ports["metrics"])
    accepted_on_one = _on_one_connection(relayd.ports["grpc"], cases, _framed(good), wrong)
    if not replay.is_running():
        wrong.append("the sender on the side ended before the bad calls did")
    if replay.wait(60) != 0:
        wrong.append(f"the sender on the side was refused: {replay.answer()}")
    # The good calls between are in no dump of a sender.
    write_messages(stage.path("good.messages"), [good] * accepted_on_one)
    if relayd.stop() != 0:
        wrong.append("relayd did not exit with 0")
    figures = last_line(relayd)
    seen = end_sink(sink)["spans"]
    compared = stage.testkit("compare", "--sent", sent, stage.path("good.messages"), "--received", received)
    if figures["dropped"] or figures["delivered"] != seen or compared["duplicates"]:
        wrong.append(f"relayd says {figures}, the sink has {seen}, compared {compared}")
    if wrong:
        raise Failed(f"{len(wrong)} wrong: " + "; ".join(wrong))
    verdict = f"ok: {len(cases)} kinds refused as specified, others and the connection went on"
    accepted = figures["received"] - figures["refused"]
    return Row("bad input beside good", compared["sent"], accepted, figures["delivered"], seen, verdict)


def _wrong_answer(stage, endpoint, case, metrics_port):
    """What is wrong with the answer to a bad call, in words."""
    name, path, content_type, encoding, body, http_status, grpc_status, reason = case
    before = Metrics(metrics_port).sum("relayd_rejected_requests", reason=reason)
    file = stage.path("bad.body")
    with open(file, "wb") as out:
        out.write(body)
    # Headers and trailers come to standard output.
    arguments = ["--silent", "--http2-prior-knowledge", "--max-time", CURL_SECONDS, "--output", os.devnull, "--dump-header", "-"]
    for header, value in _headers(content_type, encoding):
        arguments += ["--header", f"{header}: {value}"]
    text = stage.run("curl", *arguments, "--data-binary", f"@{file}", f"http://{endpoint}{path}", may_fail=True)
    status, code = re.match(r"HTTP/2 (\d+)", text), re.search(r"^grpc-status: (\d+)", text, re.M)
    got = (int(status[1]) if status else None, int(code[1]) if code and grpc_status is not None else None)
    wrong = []
    if got != (http_status, grpc_status):
        wrong.append(f"{name}: HTTP and gRPC status {got} instead of {(http_status, grpc_status)}")
    if Metrics(metrics_port).sum("relayd_rejected_requests", reason=reason) != before + 1:
        wrong.append(f"{name}: not counted as {reason}")
    return wrong


def _on_one_connection(port, cases, good_body, wrong):
    """All bad calls on one connection, each with a good one begun right after it. Gives how many good ones there were."""
    connection = Connection(port)
    for number, (name, path, content_type, encoding, body, *_) in enumerate(cases):
        bad, good = 4 * number + 1, 4 * number + 3
        connection.send(bad, path, _headers(content_type, encoding), body)
        connection.send(good, EXPORT, _headers(GRPC, None), good_body)
        connection.wait(bad)
        if connection.wait(good) != "answered":
            wrong.append(f"{name}: the good call beside it was reset")
    connection.close()
    return len(cases)


def _headers(content_type, encoding):
    return [("content-type", content_type), ("te", "trailers")] + ([("grpc-encoding", encoding)] if encoding else [])
