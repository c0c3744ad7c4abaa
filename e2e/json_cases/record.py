#!/usr/bin/env python3
"""Asks the real Collector about the bodies of cases.json, and records in it what it answered and forwarded.

    e2e/json_cases/record.py ~/.cache/relay-peers/otelcol

`collector` is `{"bytes": ...}`, the protobuf that it forwarded in base64 (nothing where a request has no items), or
`{"refused": status}`. relay-core/tests/json.rs holds relay to the same, but where `differs` says why not.
"""

import base64
import http.server
import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

CASES = pathlib.Path(__file__).with_name("cases.json")
PATHS = {
    "traces": "/v1/traces",
    "metrics": "/v1/metrics",
    "logs": "/v1/logs",
    "profiles": "/v1development/profiles",
}
START_SECONDS_MAX = 20
ANSWER_SECONDS_MAX = 10


class Sink(http.server.BaseHTTPRequestHandler):
    """An OTLP/HTTP server that takes everything and keeps the bytes."""

    received: list[bytes] = []

    def do_POST(self):
        self.received.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def config(port: int, sink_port: int) -> dict:
    """JSON, which is YAML too."""
    sink = f"http://127.0.0.1:{sink_port}"
    pipeline = {"receivers": ["otlp"], "exporters": ["otlp_http"]}
    return {
        "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"127.0.0.1:{port}"}}}},
        "exporters": {
            "otlp_http": {
                "endpoint": sink,
                "profiles_endpoint": sink + PATHS["profiles"],
                "compression": "none",
                "sending_queue": {"enabled": False},
                "retry_on_failure": {"enabled": False},
            }
        },
        "service": {"telemetry": {"metrics": {"level": "none"}}, "pipelines": {name: pipeline for name in PATHS}},
    }


def post(port: int, signal: str, body: bytes) -> int:
    """The status of the answer."""
    url = f"http://127.0.0.1:{port}{PATHS[signal]}"
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS_MAX) as answer:
            answer.read()
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def wait_for(port: int):
    for _ in range(START_SECONDS_MAX * 10):
        try:
            return post(port, "traces", b"{}")
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"the Collector does not answer on port {port}")


def ask(port: int, case: dict) -> dict:
    Sink.received.clear()
    status = post(port, case["signal"], case["body"].encode())
    if status != 200:
        return {"refused": status}
    return {"bytes": base64.b64encode(b"".join(Sink.received)).decode()}


def main(otelcol: str):
    cases = json.loads(CASES.read_text())
    sink = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    threading.Thread(target=sink.serve_forever, daemon=True).start()
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "config.yaml")
        path.write_text(json.dumps(config(port, sink.server_port)))
        command = [otelcol, "--config", path, "--feature-gates=+service.profilesSupport"]
        with open(pathlib.Path(folder, "log"), "w") as log, subprocess.Popen(command, stderr=log) as collector:
            try:
                wait_for(port)
                for case in cases:
                    case["collector"] = ask(port, case)
            finally:
                collector.terminate()
    CASES.write_text("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")
    print(f"{len(cases)} cases")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
