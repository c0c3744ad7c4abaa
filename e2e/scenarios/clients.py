"""Scenarios in which real clients send through relayd to the real Collector: what they were asked to say arrives, each item once and
with its content.

Must never take a client's word that it has sent: what counts is what the Collector wrote.
"""

import gzip
import os
import zlib

from content import SIGNALS, of_everything, of_sdk
from otlp import PROTOCOLS, SECURITIES, Through
from process import Failed
from recorded import as_one_request, messages, write_messages
from stage import REPOSITORY, end_sink, to_upstream
from written import check_same, items_in

CLIENTS = os.path.join(REPOSITORY, "e2e", "clients")
# telemetrygen: traces of two spans.
WORKERS, PER_WORKER, BODY = 2, 200, "made by telemetrygen"
# (OTEL_EXPORTER_OTLP_PROTOCOL, _COMPRESSION, security)
PYTHON = [
    ("grpc", "none", "plain"),
    ("grpc", "gzip", "plain"),
    ("http/protobuf", "none", "plain"),
    ("http/protobuf", "gzip", "plain"),
    ("http/protobuf", "deflate", "plain"),
    ("grpc", "none", "tls"),
    ("http/protobuf", "gzip", "tls"),
    ("grpc", "gzip", "mtls"),
    ("http/protobuf", "none", "mtls"),
]
JAVASCRIPT = [
    ("grpc", "none", "plain"),
    ("grpc", "gzip", "plain"),
    ("http/protobuf", "none", "plain"),
    ("http/protobuf", "gzip", "plain"),
    ("http/json", "none", "plain"),
    ("http/json", "gzip", "plain"),
    ("http/json", "gzip", "tls"),
    ("grpc", "none", "mtls"),
    ("http/protobuf", "none", "mtls"),
]
# (how curl is asked for the version, the version that must come of it, Content-Encoding, security)
CURL = [
    ("--http1.1", "1.1", None, "plain"),
    ("--http1.1", "1.1", "gzip", "plain"),
    ("--http1.1", "1.1", "deflate", "plain"),
    ("--http2", "2", "gzip", "tls"),
    ("--http1.1", "1.1", None, "mtls"),
]
# The Collector has no HTTP/2 in the clear.
CURL_BEYOND_COLLECTOR = [("--http2-prior-knowledge", "2", None, "plain"), ("--http2-prior-knowledge", "2", "gzip", "plain")]
ENCODINGS = {"json": "application/json", "pb": "application/x-protobuf"}
COMPRESS = {None: bytes, "gzip": gzip.compress, "deflate": zlib.compress}
GRPC_SERVICES = {
    "traces": "opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "metrics": "opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "logs": "opentelemetry.proto.collector.logs.v1.LogsService/Export",
}


def telemetrygen(stage):
    """telemetrygen's traces, metrics and logs by gRPC and HTTP, in the clear, with TLS and with mTLS."""
    through = Through(stage)
    made = []
    for security in SECURITIES:
        for protocol in PROTOCOLS:
            for signal in SIGNALS:
                service = f"telemetrygen-{signal}-{protocol}-{security}"
                _generate(through, signal, protocol, security, service)
                made.append((signal, service))
    items = {"traces": 2 * WORKERS * PER_WORKER, "metrics": WORKERS * PER_WORKER, "logs": WORKERS * PER_WORKER}
    written = through.arrived(sum(items[signal] for signal, _ in made))
    for signal, service in made:
        _check_generated(signal, service, written.items[signal][service], items[signal])
    ways = len(made) // len(SIGNALS)
    sent = {signal: ways * count for signal, count in items.items()}
    return through.finish("telemetrygen", sent, f"3 signals by {ways} ways, each item once")


def _generate(through, signal, protocol, security, service):
    certificate = through.certificates.path
    arguments = {
        "plain": ["--otlp-insecure"],
        "tls": ["--ca-cert", certificate("ca.pem")],
        "mtls": [
            "--ca-cert", certificate("ca.pem"), "--mtls", "--client-cert", certificate("client.pem"),
            "--client-key", certificate("client.key"),
        ],
    }[security]  # fmt: skip
    arguments += ["--otlp-http"] if protocol == "http" else []
    arguments += ["--child-spans", 1] if signal == "traces" else []
    arguments += ["--body", BODY] if signal == "logs" else []
    through.stage.run(
        "telemetrygen", signal, "--otlp-endpoint", through.address(protocol, security), "--service", service, "--workers", WORKERS,
        f"--{signal}", PER_WORKER, "--rate", 0, "--telemetry-attributes", f'of="{service}"', *arguments,
    )  # fmt: skip


def _check_generated(signal, service, found, count):
    """telemetrygen decides on ids and times: what is known is how many there are, that none is there twice, and what all have."""
    mark = {"key": "of", "value": {"stringValue": service}}
    if signal == "traces":
        spans = [one["item"] for one in found]
        distinct = {(span["traceId"], span["spanId"]) for span in spans}
        parents = {(span["traceId"], span["parentSpanId"]) for span in spans if span.get("parentSpanId")}
        good = len(distinct) == count and len(parents) == count // 2 and parents < distinct
        marked = [mark in span["attributes"] for span in spans]
    elif signal == "metrics":
        points = [point for one in found for point in one["item"]["gauge"]["dataPoints"]]
        values = sorted(int(point["asInt"]) for point in points)
        good = values == sorted(WORKERS * list(range(PER_WORKER)))
        marked = [mark in point["attributes"] for point in points]
    else:
        good = all(one["item"]["body"] == {"stringValue": BODY} for one in found)
        marked = [mark in one["item"]["attributes"] for one in found]
    if len(found) != count or not good or not all(marked):
        raise Failed(f"{service}: {len(found)} of {count} items, {sum(marked)} with their attribute, first {found[:1]}")


def python_sdk(stage):
    """The OpenTelemetry SDK for Python, all signals, by gRPC and http/protobuf: what it was asked to say is what arrives."""
    return _sdk(stage, "Python SDK", "python-sdk", "python_sdk.py", PYTHON)


def javascript_sdk(stage):
    """The OpenTelemetry SDK for JavaScript, all signals, by gRPC, http/protobuf and http/json: what it was asked to say is what
    arrives."""
    return _sdk(stage, "JavaScript SDK", "javascript-sdk", "javascript_sdk.cjs", JAVASCRIPT)


def _sdk(stage, name, program, script, cases):
    through = Through(stage)
    asked = {}
    for protocol, compression, security in cases:
        service = "-".join((program, protocol.replace("/", "-"), compression, security))
        asked[service] = of_sdk(service)
        file = stage.write_config(f"{service}.json", asked[service])
        environment = {
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_EXPORTER_OTLP_ENDPOINT": through.url(protocol[:4], security),
        }
        # The specification has "none" for the variable; Python's gRPC exporter does not.
        if compression != "none":
            environment["OTEL_EXPORTER_OTLP_COMPRESSION"] = compression
        if security != "plain":
            environment["OTEL_EXPORTER_OTLP_CERTIFICATE"] = through.certificates.path("ca.pem")
        if security == "mtls":
            environment["OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"] = through.certificates.path("client.pem")
            environment["OTEL_EXPORTER_OTLP_CLIENT_KEY"] = through.certificates.path("client.key")
        stage.run(program, os.path.join(CLIENTS, script), file, environment=environment)
    return finish_asked(through, name, asked, by_sdk=True, what=f"3 signals by {len(cases)} ways, same content")


def finish_asked(through, name, asked, by_sdk, what):
    """Checks everything that was asked for, service -> signal -> request, against what arrived."""
    sent = {signal: sum(sum(1 for _ in items_in(signal, requests[signal])) for requests in asked.values()) for signal in SIGNALS}
    written = through.arrived(sum(sent.values()))
    for service, requests in asked.items():
        for signal in SIGNALS:
            check_same(signal, service, requests[signal], written, by_sdk)
    return through.finish(name, sent, what)


def encoded(stage, asked):
    """The folder of each service's requests: SIGNAL.json, SIGNAL.pb, SIGNAL.proto3.json, and otlp.protoset."""
    folders = {}
    for service, requests in asked.items():
        folders[service] = stage.path(service)
        os.makedirs(folders[service])
        stage.write_config(os.path.join(service, "asked.json"), requests)
    stage.run("python-sdk", os.path.join(CLIENTS, "protobuf.py"), *folders.values())
    return folders


def curl(stage):
    """curl, all signals with every field that OTLP has, as JSON and as protobuf: over HTTP/1.1, h2c and HTTP/2 by ALPN, compressed
    or not. The answer is in the encoding of the request."""
    through = Through(stage)
    ways = CURL + (CURL_BEYOND_COLLECTOR if stage.agent == "relayd" else [])
    cases = {
        f"curl-{encoding}-{version}-{compression}-{security}": (encoding, way, version, compression, security)
        for encoding in ENCODINGS
        for way, version, compression, security in ways
    }
    asked = {service: of_everything(service) for service in cases}
    for service, folder in encoded(stage, asked).items():
        for signal in SIGNALS:
            _post(through, os.path.join(folder, signal), signal, *cases[service])
    what = f"3 signals by {len(cases)} ways, same content, answers as asked"
    return finish_asked(through, "curl", asked, by_sdk=False, what=what)


def _post(through, file, signal, encoding, way, version, compression, security):
    """A request by curl to the receiver of one `security`; Failed unless it is accepted in the request's own terms."""
    arguments = [way, "--cacert", through.certificates.path("ca.pem")]
    if security == "mtls":
        arguments += ["--cert", through.certificates.path("client.pem"), "--key", through.certificates.path("client.key")]
    url = f"{through.url('http', security)}/v1/{signal}"
    post(through.stage, file, encoding, compression, version, *arguments, url)


def post(stage, file, encoding, compression, version, *arguments):
    """A request by curl, `file`.json or `file`.pb; `arguments` say where and how. Failed unless it is accepted in the request's own
    terms."""
    with open(f"{file}.{encoding}", "rb") as plain, open(f"{file}.body", "wb") as body:
        body.write(COMPRESS[compression](plain.read()))
    encoded = ["--header", f"content-encoding: {compression}"] if compression else []
    answer = f"{file}.answer"
    said = stage.run(
        "curl", "--silent", "--show-error", "--max-time", 10, "--output", answer,
        "--write-out", "%{http_code} %{http_version} %{content_type}",
        "--header", f"content-type: {ENCODINGS[encoding]}", *encoded, "--data-binary", f"@{file}.body", *arguments,
    )  # fmt: skip
    with open(answer, "rb") as content:
        got = content.read()
    # An empty response, and one with an empty partial_success, both say that all was taken.
    good = {"json": (b"{}", b'{"partialSuccess":{}}'), "pb": (b"", b"\x0a\x00")}[encoding]
    if said != f"200 {version} {ENCODINGS[encoding]}" or got not in good:
        raise Failed(f"{file}: curl was told {said!r} with {got[:200]!r}")


def curl_recorded(stage):
    """curl, the recorded traces of Kubernetes' programs as http/protobuf, plain and gzip: every span arrives with its values."""
    received, sent = stage.path("received.messages"), stage.path("sent.messages")
    sink = stage.sink(dump=received)
    through = Through(stage, to_upstream(sink.port))
    recorded = messages()
    requests = [as_one_request(1), min(recorded, key=len), max(recorded, key=len)]
    compressions = (None, "gzip")
    for number, request in enumerate(requests):
        file = stage.path(f"request-{number}")
        with open(f"{file}.pb", "wb") as out:
            out.write(request)
        for compression in compressions:
            _post(through, file, "traces", "pb", "--http1.1", "1.1", compression, "plain")
    write_messages(sent, requests * len(compressions))
    spans = stage.testkit("compare", "--sent", sent, "--received", sent)["sent"]
    through.arrived(spans)
    row = through.finish("curl, recorded traces", {"traces": spans}, "same values, plain and gzip")
    end_sink(sink)
    compared = stage.testkit("compare", "--values", "--sent", sent, "--received", received)
    if compared["received"] != spans:
        raise Failed(f"of {spans} spans {compared} arrived")
    return row


def grpcurl(stage):
    """grpcurl, all signals with every field that OTLP has, in the clear, with TLS and with mTLS."""
    through = Through(stage)
    asked = {f"grpcurl-{security}": of_everything(f"grpcurl-{security}") for security in SECURITIES}
    certificate = through.certificates.path
    pair = ["-cert", certificate("client.pem"), "-key", certificate("client.key")]
    arguments = {
        "plain": ["-plaintext"],
        "tls": ["-cacert", certificate("ca.pem")],
        "mtls": ["-cacert", certificate("ca.pem"), *pair],
    }
    folders = encoded(stage, asked)
    for security in SECURITIES:
        folder, address = folders[f"grpcurl-{security}"], through.address("grpc", security)
        for signal in SIGNALS:
            call(stage, folder, signal, address, *arguments[security])
    return finish_asked(through, "grpcurl", asked, by_sdk=False, what="3 signals in the clear, by TLS and mTLS, same content")


def call(stage, folder, signal, address, *arguments):
    """A request by grpcurl, SIGNAL.proto3.json in `folder`; `arguments` say how. Failed unless it is accepted."""
    with open(os.path.join(folder, f"{signal}.proto3.json"), encoding="utf-8") as file:
        request = file.read()
    stage.run(
        "grpcurl", *arguments, "-max-time", 10, "-protoset", os.path.join(folder, "otlp.protoset"), "-d", "@", address,
        GRPC_SERVICES[signal], stdin=request,
    )  # fmt: skip
