"""The scenario of malformed OTLP/HTTP: each request gets the status that the specification asks for, in its own terms, and good ones
go on beside it, on the same connection too.

Must never stop at the first wrong answer: the table of wrong ones is what helps.
"""

import http.client
import json
import socket

from bombs import all_of
from observe import Metrics, last_line
from process import Failed, wait_until
from recorded import messages, write_messages
from stage import end_sink, local
from table import Row

PATH, PROTOBUF, JSON = "/v1/traces", "application/x-protobuf", "application/json"
RECEIVER_LIMIT_BYTES = 64 << 20
ANSWER_SECONDS = 20
GOOD_CALLS_PER_SECOND, GOOD_REPEATS = 100, 4
NESTED = 100_000


def _cases(good):
    """(name, method, path, content type, encoding, body, status, reason in relayd's counter)."""
    span = {"traceId": "0x" + "1" * 30, "spanId": "1" * 16, "name": "n"}
    bad_id = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()
    deep = b'{"resourceSpans":' + b"[" * NESTED
    too_large = b"\x0a" * (RECEIVER_LIMIT_BYTES + 1)
    cases = [
        ("truncated protobuf", "POST", PATH, PROTOBUF, None, good[: len(good) // 2], 400, "malformed"),
        ("wrong wire type", "POST", PATH, PROTOBUF, None, b"\x08\x01", 400, "malformed"),
        ("JSON instead of protobuf", "POST", PATH, PROTOBUF, None, b'{"resourceSpans":[]}', 400, "malformed"),
        ("protobuf instead of JSON", "POST", PATH, JSON, None, good, 400, "malformed"),
        ("JSON of the wrong shape", "POST", PATH, JSON, None, b'{"resourceSpans":{"resource":1}}', 400, "malformed"),
        ("JSON that is no object", "POST", PATH, JSON, None, b"[]", 400, "malformed"),
        ("JSON cut off", "POST", PATH, JSON, None, b'{"resourceSpans":[{"scope', 400, "malformed"),
        ("JSON with more behind it", "POST", PATH, JSON, None, b"{} {}", 400, "malformed"),
        ("JSON with a bad id", "POST", PATH, JSON, None, bad_id, 400, "malformed"),
        ("JSON nested deeply", "POST", PATH, JSON, None, deep, 400, "malformed"),
        ("wrong content type", "POST", PATH, "text/plain", None, b"{}", 415, "content_type"),
        ("no content type", "POST", PATH, None, None, b"{}", 415, "content_type"),
        ("unknown encoding", "POST", PATH, PROTOBUF, "br", good, 415, "unsupported_encoding"),
        ("unknown path", "POST", "/v2/traces", PROTOBUF, None, good, 404, "unknown_path"),
        ("GET", "GET", PATH, None, None, b"", 405, "method"),
        ("body above the limit", "POST", PATH, PROTOBUF, None, too_large, 413, "too_large"),
    ]
    for encoding, bomb in all_of(RECEIVER_LIMIT_BYTES + 1).items():
        cases.append((f"{encoding} bomb", "POST", PATH, PROTOBUF, encoding, bomb, 413, "too_large"))
        cases.append((f"{encoding} that is none", "POST", PATH, JSON, encoding, b"\x00not compressed", 400, "decompress"))
    return cases


def refused(stage):
    """JSON of the wrong shape, bad protobuf, wrong content types, methods, paths and encodings, inflating bombs of every encoding,
    bodies above the limit and bodies that stop: the status asked for, in the request's own terms, and a counter each. Good requests
    between, on the same connection, are accepted, and a sender on the side loses nothing."""
    received, sent = stage.path("received.messages"), stage.path("sent.messages")
    sink = stage.sink(dump=received)
    relayd = stage.relayd(sink.port)
    good = min(messages(), key=len)
    replay = stage.start(
        "replay", "testkit", "replay", "--endpoint", local(relayd.ports["grpc"]), "--dump", sent, "--resliced", "--unique",
        "--repeat", GOOD_REPEATS, "--rate", GOOD_CALLS_PER_SECOND,
    )  # fmt: skip
    cases, wrong, accepted = _cases(good), [], 0
    connection = http.client.HTTPConnection("127.0.0.1", relayd.ports["http"], timeout=ANSWER_SECONDS)
    for case in cases:
        wrong += _wrong_answer(connection, case, relayd.ports["metrics"])
        refusal = _wrong_good(connection, good, case[0])
        wrong, accepted = wrong + refusal, accepted + (not refusal)
    connection.close()
    wrong += _stopping_bodies(relayd, good)
    if not replay.is_running():
        wrong.append("the sender on the side ended before the bad requests did")
    if replay.wait(60) != 0:
        wrong.append(f"the sender on the side was refused: {replay.answer()}")
    write_messages(stage.path("good.messages"), [good] * accepted)
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
    return Row("bad OTLP/HTTP beside good", compared["sent"], figures["received"], figures["delivered"], seen, verdict)


def _rejected(metrics_port, reason):
    return Metrics(metrics_port).sum("relayd_rejected_requests", reason=reason, transport="http")


def _wrong_answer(connection, case, metrics_port):
    """What is wrong with the answer to a bad request, in words."""
    name, method, path, content_type, encoding, body, expected, reason = case
    before = _rejected(metrics_port, reason)
    try:
        status, headers, content = _answer(connection, method, path, content_type, encoding, body)
    except OSError as error:
        connection.close()
        return [f"{name}: no answer ({error})"]
    wrong = [] if status == expected else [f"{name}: status {status} instead of {expected}"]
    if _rejected(metrics_port, reason) != before + 1:
        wrong.append(f"{name}: not counted as {reason}")
    if content_type in (PROTOBUF, JSON) and not _is_status(headers.get("content-type"), content_type, content):
        wrong.append(
            f"{name}: the body of the answer is no Status in {content_type}: {headers.get('content-type')} {content[:80]!r}"
        )
    if expected == 405 and headers.get("allow") is None:
        wrong.append(f"{name}: no Allow in the answer")
    return wrong


def _answer(connection, method, path, content_type, encoding, body):
    headers = {"content-type": content_type, "content-encoding": encoding}
    try:
        connection.request(method, path, body, {name: value for name, value in headers.items() if value})
    except (BrokenPipeError, ConnectionResetError):
        # The receiver has answered before the whole body was sent, and wants no more of it.
        pass
    response = connection.getresponse()
    return response.status, response.headers, response.read()


def _is_status(answered, asked, content):
    """google.rpc.Status with a message: the field 2 of protobuf, or JSON's (OTLP specification, section Failures)."""
    if answered != asked:
        return False
    return b"\x12" in content if asked == PROTOBUF else bool(json.loads(content).get("message"))


def _wrong_good(connection, good, name):
    try:
        status, *_ = _answer(connection, "POST", PATH, PROTOBUF, None, good)
    except OSError as error:
        connection.close()
        return [f"{name}: the good request behind it was not answered ({error})"]
    return [] if status == 200 else [f"{name}: the good request behind it was answered with {status}"]


def _stopping_bodies(relayd, good):
    """Bodies that stop in the middle, of a known length and in chunks: nobody is left to answer, but they are counted."""
    wrong = []
    for name, how, body in (
        ("body", f"content-length: {len(good)}", good[:20]),
        ("chunked body", "transfer-encoding: chunked", b"ff\r\n" + good[:20]),
    ):
        before = _rejected(relayd.ports["metrics"], "body_cut_off")
        with socket.create_connection(("127.0.0.1", relayd.ports["http"]), ANSWER_SECONDS) as stopping:
            head = f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {PROTOBUF}\r\n{how}\r\n\r\n"
            stopping.sendall(head.encode() + body)
        try:
            wait_until(lambda: _rejected(relayd.ports["metrics"], "body_cut_off") == before + 1, 5, "it to be counted")
        except Failed:
            wrong.append(f"a {name} that stops is not counted")
    return wrong
