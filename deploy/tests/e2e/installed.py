"""What scenarios share: an install file as pods, and the end of a run: agents that say what became of every span, Jaeger that has
each once.

Must never count a span as delivered that relayd does not call delivered.
"""

import collections
import os
import time

from node import Cluster, load
from observe import Metrics, check_each_once, last_line, spans_in_jaeger
from process import Failed, wait_until
from stage import REPOSITORY

DEPLOY = os.path.join(REPOSITORY, "deploy")
QUERY_PORT, METRICS_PORT, GRPC_PORT, HTTP_PORT = 16686, 8888, 4317, 4318
# A span sent twice would come right behind.
SETTLE_SECONDS = 1


def install(run, name="kubernetes"):
    """A Cluster of deploy/install/NAME.yaml; nothing runs yet."""
    return Cluster(run.stage, run.node, load(os.path.join(DEPLOY, "install", f"{name}.yaml")))


def accepted(pod):
    return Metrics(METRICS_PORT, pod.address).sum("otelcol_receiver_accepted_spans")


def wait_quiet(pod, quiet_seconds, seconds=90):
    """Spans that a pod has accepted, once they have not changed for `quiet_seconds`."""
    give_up = time.monotonic() + seconds
    last, since = -1, time.monotonic()
    while time.monotonic() - since < quiet_seconds:
        if time.monotonic() > give_up:
            raise Failed(f"{pod.name} still receives after {seconds} s")
        now = accepted(pod)
        if now != last:
            last, since = now, time.monotonic()
        time.sleep(0.2)
    return last


def end(pod):
    """Ends a pod of relayd in order: what it says became of the spans. Failed if one was refused, dropped or is unaccounted for."""
    status = pod.process.stop(seconds=40)
    figures = last_line(pod.process)
    if status != 0 or figures["received"] != figures["delivered"]:
        raise Failed(f"{pod.name} exited with {status} and says {figures}")
    return figures


def in_jaeger(jaeger, services, hours=1):
    """How often Jaeger holds each span of the traces that one of `services` took part in, as a Counter."""
    found = collections.Counter()
    for service in services:
        found |= spans_in_jaeger(
            QUERY_PORT, service, jaeger.address, hours
        )  # a trace of two services is found twice
    return found


def check_in_jaeger(jaeger, services, expected, hours=1):
    """Failed unless Jaeger gets `expected` spans of `services`, of the last hours, each once."""
    named = ", ".join(services)
    wait_until(
        lambda: len(in_jaeger(jaeger, services, hours)) >= expected,
        30,
        f"{expected} spans of {named} in Jaeger",
    )
    time.sleep(SETTLE_SECONDS)
    check_each_once(in_jaeger(jaeger, services, hours), expected, "Jaeger")
