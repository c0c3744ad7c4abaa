"""CRI-O, which is not to be had as a program here: what it sent, recorded, and a program whose exporter is set up as CRI-O's is.

Must never claim more than that: CRI-O itself is not run.
"""

import os
import time

from installed import QUERY_PORT, accepted, check_in_jaeger, end, in_jaeger, install
from observe import services_of_trace
from process import Failed
from stage import REPOSITORY
from table import Row

RECORDED = os.path.join(REPOSITORY, "testkit", "payloads", "crio.pb.gz")
# CRI-O's default since 1.31; before, 0.0.0.0:4317.
# Spans keep the times at which they were recorded.
HOURS = 10 * 365 * 24
ENDPOINTS = ("127.0.0.1:4317", "0.0.0.0:4317")
RATE, SECONDS = 200, 2


def through(run):
    """The recorded life of a pod under CRI-O, and otlptracegrpc with CRI-O's settings (insecure, its default endpoints before and since
    1.31, else the SDK's defaults) -> agent -> gateway -> Jaeger."""
    pods = install(run).start_all()
    agent, jaeger = pods["agent"], pods["jaeger"]
    replayed = run.stage.testkit("replay", "--endpoint", ENDPOINTS[0], "--file", RECORDED)
    check_in_jaeger(jaeger, ["crio"], replayed["spans"], HOURS)
    traces = {trace for trace, _ in in_jaeger(jaeger, ["crio"], HOURS)}
    if len(traces) != 1 or set(services_of_trace(QUERY_PORT, *traces, jaeger.address)) != {"crio"}:
        raise Failed(f"the recorded trace of CRI-O is {len(traces)} traces in Jaeger")
    sent = replayed["spans"]
    for number, endpoint in enumerate(ENDPOINTS):
        service = f"crio-exporter-{number}"
        program = run.stage.start(
            service,
            "go-sdk",
            "--service",
            service,
            "--rate",
            RATE,
            environment={"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{endpoint}"},
        )
        time.sleep(SECONDS)
        program.stop()
        told = program.answer()
        if told["errors"] or not told["ended"] == told["exported"] >= RATE:
            raise Failed(f"the exporter to {endpoint} says {told}")
        check_in_jaeger(jaeger, [service], told["ended"])
        sent += told["ended"]
    taken = accepted(agent)
    figures = end(agent)
    end(pods["gateway"])
    if not sent == taken == figures["delivered"]:
        raise Failed(f"{sent} spans were sent, {taken} accepted, and {agent.name} says {figures}")
    return Row(
        "",
        sent,
        taken,
        figures["delivered"],
        sent,
        f"ok: the pod's {replayed['spans']} spans are one trace; 2 exporters, no error",
    )
