"""Every spelling of the node's own address that exporters are configured with, on both ports.

Must never let a spelling pass by another's spans: each has a service name of its own.
"""

import re

from installed import GRPC_PORT, HTTP_PORT, accepted, check_in_jaeger, end, install
from process import Failed, is_listening
from table import Row

SPELLINGS = ("0.0.0.0", "127.0.0.1", "localhost", "[::1]", "[::]", "")
TRACES, SPANS_PER_TRACE = 50, 2  # telemetrygen makes a child for each


def every_spelling(run):
    """telemetrygen to 0.0.0.0, 127.0.0.1, localhost, [::1], [::] and nothing before the colon, gRPC and HTTP -> agent -> gateway ->
    Jaeger, as install/kubernetes.yaml has them; nobody listens on the node's address in the network."""
    cluster = install(run)
    pods = cluster.start_all()
    agent, services = pods["agent"], []
    for port, protocol in ((GRPC_PORT, []), (HTTP_PORT, ["--otlp-http"])):
        for spelling in SPELLINGS:
            services.append("e2e-{}-{}".format(port, re.sub(r"\W", "-", spelling) or "empty"))
            run.stage.run(
                "telemetrygen", "traces", "--otlp-insecure", *protocol, "--otlp-endpoint", f"{spelling}:{port}",
                "--service", services[-1], "--workers", 1, "--traces", TRACES, "--rate", 0, "--batch=false",
            )  # fmt: skip
    each = TRACES * SPANS_PER_TRACE
    sent = each * len(services)
    taken = accepted(agent)
    if taken != sent:
        raise Failed(f"{sent} spans were sent and {taken} accepted")
    for port in (GRPC_PORT, HTTP_PORT):
        if is_listening(port, run.node.address):
            raise Failed(
                f"the agent listens on {run.node.address}:{port} for the whole network, and its values say loopback"
            )
    for service in services:
        check_in_jaeger(pods["jaeger"], [service], each)
    delivered = end(agent)["delivered"]
    end(pods["gateway"])
    verdict = f"ok: {len(SPELLINGS)} spellings on 2 ports, each once in Jaeger; not on {run.node.address}"
    return Row("", sent, taken, delivered, sent, verdict)
