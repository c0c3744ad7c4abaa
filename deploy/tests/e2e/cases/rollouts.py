"""The DaemonSet's rollout, again and again under load: the next pod starts beside the last, gets ready by its own health socket, and
only then the last is told to end.

Must never start a pod with anything but the DaemonSet's own template.
"""

import signal
import statistics
import time

from installed import GRPC_PORT, METRICS_PORT, end, install
from observe import Metrics
from process import Failed, Process, wait_until
from reliability.around import without_listener
from table import Row

ROLLOUTS = (3, 20)  # short, full
CLIENTS, REQUESTS_PER_SECOND, SPANS_PER_REQUEST = 8, 500, 10  # 5,000 spans/s
# From one rollout to the next.
BETWEEN_SECONDS = 2
# The end of a pod until the metrics' port is its successor's.
TAKEN_OVER_SECONDS = 15
SINK = "relayd-gateway-headless.relayd.svc.cluster.local"


def surge(run):
    """Replaces the agent under 5,000 spans/s from 8 connections: nothing refused, lost or doubled; every pod answers by its own
    socket, and the metrics' port goes to the successor."""
    stage, node, rollouts = run.stage, run.node, ROLLOUTS[run.full]
    cluster = install(run)
    sink, dump = _sink(run, cluster)
    pod = cluster.start("agent", "agent-0").wait_ready()
    _check_own_socket(cluster, pod)
    endpoint, report = f"127.0.0.1:{GRPC_PORT}", stage.path("load.report")
    probe = stage.start("probe", "testkit", "probe", "--endpoint", endpoint)
    load = stage.start(
        "load", "testkit", "numbered", "--endpoint", endpoint, "--report", report,
        "--clients", CLIENTS, "--rate", REQUESTS_PER_SECOND, "--spans", SPANS_PER_REQUEST,
    )  # fmt: skip
    ready, ended, taken, received = [], [], [], 0
    for number in range(1, rollouts + 1):
        time.sleep(BETWEEN_SECONDS)
        started = time.monotonic()
        successor = cluster.start("agent", f"agent-{number}").wait_ready()
        ready.append(time.monotonic() - started)
        if not pod.probe("livenessProbe")[0]:
            raise Failed(f"{pod.name} is not healthy any more while {successor.name} starts")
        started = time.monotonic()
        received += end(pod)["received"]
        ended.append(time.monotonic() - started)
        started = time.monotonic()
        wait_until(
            lambda: _metrics_of(node, successor),
            TAKEN_OVER_SECONDS,
            f"the metrics of {successor.name} on the node's port",
        )
        taken.append(time.monotonic() - started)
        pod = successor
    time.sleep(BETWEEN_SECONDS)
    load.send(signal.SIGTERM)
    load.wait(90)
    told = load.answer()
    probe.stop()
    probed = probe.answer()
    received += end(pod)["received"]
    sink.stop()
    counted = stage.testkit("tally", "--sent", report, "--received", dump)["sent"]
    wrong = [f"{counted[key]} spans {key}" for key in ("lost", "twice", "refused") if counted[key]]
    if probed["refused"] or probed["late"]:
        wrong.append(
            f"{probed['refused']} new connections refused, {probed['late']} taken late, of {probed['probes']}"
        )
    if told["repeated"]:
        wrong.append(
            f"{told['repeated']} requests sent again, because an answer was lost with its connection"
        )
    if counted["acknowledged"] < rollouts * BETWEEN_SECONDS * REQUESTS_PER_SECOND * SPANS_PER_REQUEST // 2:
        wrong.append(f"only {counted['acknowledged']} spans were acknowledged")
    figures = (
        f"{rollouts} rollouts: {without_listener(probed)}; slowest acknowledgement {told['slowest_ms']:.0f} ms; "
        f"{_seconds('ready after', ready)}, {_seconds('ended after', ended)}, {_seconds('metrics taken over after', taken)}"
    )
    if wrong:
        raise Failed(f"{'; '.join(wrong)}; {figures}")
    seen = counted["acknowledged"] - counted["lost"]
    return Row(
        "",
        counted["acknowledged"],
        received,
        received,
        seen,
        f"ok: nothing refused, lost or doubled in {figures}",
    )


def _sink(run, cluster):
    """What the agents take for the gateway: keeps every message that it acknowledged."""
    address, dump = run.node.next_address(), run.stage.path("sink.messages")
    netns = run.node.network("sink", address)
    argv = [
        run.stage.programs["testkit"],
        "sink",
        "--listen",
        f"{address}:4317",
        "--max-recv-mib",
        "64",
        "--dump",
        dump,
    ]
    sink = Process("sink", ["nsenter", f"--net=/run/netns/{netns}", *argv], run.stage.folder)
    run.stage.processes.append(sink)
    sink.wait_listening(4317, host=address)
    cluster.other_records = [f"{SINK} A {address}"]
    cluster.write_records()
    return sink, dump


def _check_own_socket(cluster, pod):
    """Two pods on the node's network: while one is stopped (SIGSTOP), its probe fails and the other's does not."""
    other = cluster.start("agent", "agent-beside").wait_ready()
    other.process.send(signal.SIGSTOP)
    try:
        stopped, running = other.probe("livenessProbe")[0], pod.probe("livenessProbe")[0]
    finally:
        other.process.send(signal.SIGCONT)
    if stopped or not running:
        raise Failed(
            f"of two pods on a node the stopped one's probe says {stopped}, and the running one's {running}"
        )
    end(other)


def _metrics_of(node, pod):
    """Whether the node's metrics are those of this pod's process."""
    try:
        found = Metrics(METRICS_PORT, node.address)
    except OSError:
        return False
    uptime = [value for name, _, value in found.samples if name.startswith("otelcol_process_uptime")]
    return bool(uptime) and uptime[0] <= time.time() - pod.started


def _seconds(what, values):
    return f"{what} {statistics.median(values):.1f} s (at most {max(values):.1f})"
