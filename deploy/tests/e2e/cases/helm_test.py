"""`helm test` without a cluster: the test pod of the chart, as helm renders it, run as a pod beside what the chart installs.

Must never change the pod's arguments; only how long it waits in vain, in the short form.
"""

import re
import time

import yaml
from installed import DEPLOY, QUERY_PORT, install
from observe import services_of_trace
from pods import Pod
from process import Failed
from table import Row

# What the pod may take at most, spec.activeDeadlineSeconds.
DEADLINE_SECONDS = 180
KUBE_VERSION = "1.37.2"


def answers(run):
    """The test pod exits with 0 and prints the page of a trace that Jaeger has; with Jaeger down it exits with 1 and says so."""
    cluster = install(run)
    pods = cluster.start_all()
    text = run.stage.run(
        "helm", "template", "relayd", f"{DEPLOY}/helm/relayd", "--namespace", "relayd", "--kube-version", KUBE_VERSION,
        "--show-only", "templates/tests/send.yaml",
    )  # fmt: skip
    template = yaml.safe_load(text)
    passed, seconds = _run(run, cluster, template, "test-passes")
    found = re.search(rf"http://\S*:{QUERY_PORT}/trace/([0-9a-f]{{32}})", passed.log() + _said(passed))
    if passed.child.returncode != 0 or not found:
        raise Failed(
            f"the test pod exited with {passed.child.returncode} and said: {_said(passed)}{passed.tail()}"
        )
    spans = services_of_trace(QUERY_PORT, found[1], pods["jaeger"].address)
    count = sum(map(len, spans.values()))
    if not count:
        raise Failed(f"Jaeger does not have the trace {found[1]}")
    pods["jaeger"].process.stop()
    cluster.write_records()
    if not run.full:  # patience is all that differs
        args = template["spec"]["containers"][0]["args"]
        args[:] = ["--wait-timeout=5s" if word.startswith("--wait-timeout=") else word for word in args]
    failed, waited = _run(run, cluster, template, "test-fails")
    words = failed.log().strip().splitlines()
    if failed.child.returncode != 1 or not words:
        raise Failed(f"with Jaeger down the test pod exited with {failed.child.returncode} and said: {words}")
    verdict = f"ok: exit 0 after {seconds:.1f} s with {found[0]}; Jaeger down: exit 1 after {waited:.0f} s: {words[-1][-120:]}"
    return Row("", count, count, count, count, verdict)


def _run(run, cluster, template, name):
    started = time.monotonic()
    pod = Pod(run.stage, name, template, cluster.configs, run.node, "relayd", run.node.next_address())
    pod.process.wait(DEADLINE_SECONDS)
    return pod.process, time.monotonic() - started


def _said(process):
    with open(process.out_path, encoding="utf-8") as out:
        return out.read()
