"""kube-apiserver and etcd with tracing on, as deploy/node switches it on, and kubectl as who causes their work.

Must never take spans for a trace of both that are only beside each other: one trace id holds both services, and the request's own
name.
"""

import json
import os
import re
import secrets
import ssl
import urllib.request

import yaml
from control_plane import APISERVER_PORT, ControlPlane
from installed import DEPLOY, QUERY_PORT, accepted, check_in_jaeger, end, install
from observe import services_of_trace, traces_in_jaeger
from process import Failed, wait_until
from table import Row

# Their exporters send after 5 s at the latest (OpenTelemetry SDK, batch span processor).
TRACED_SECONDS = 20
EVERYTHING = 1_000_000  # of a million requests
OBJECT = "e2e-traced"


def through_gateway(run):
    """kubectl -> kube-apiserver -> etcd, both -> agent -> relayd as gateway -> Jaeger (install/kubernetes.yaml)."""
    return _traced(run, "kubernetes")


def through_collector(run):
    """The same with the Collector as gateway (install/otelcol-gateway.yaml)."""
    return _traced(run, "otelcol-gateway")


def tracing_configuration(stage):
    """deploy/node's file for this version, but for the sampling rate: of so few requests, all."""
    with open(os.path.join(DEPLOY, "node", "kube-apiserver", "tracing-v1.yaml"), encoding="utf-8") as file:
        found = yaml.safe_load(file)
    return stage.write_config("tracing.yaml", {**found, "samplingRatePerMillion": EVERYTHING})


def etcd_environment(stage):
    """deploy/node's file for this version; the rate is for what has no caller that is traced."""
    version = re.search(r"Version: (\d+\.\d+)", stage.run("etcd", "--version"))[1]
    with open(os.path.join(DEPLOY, "node", "etcd", f"flags-{version}.env"), encoding="utf-8") as file:
        lines = [line.strip() for line in file if "=" in line and not line.startswith("#")]
    return {**dict(line.split("=", 1) for line in lines), "ETCD_DISTRIBUTED_TRACING_INSTANCE_ID": "e2e"}


def _traced(run, installed):
    cluster = install(run, installed)
    pods = cluster.start_all()
    agent, jaeger = pods["agent"], pods["jaeger"]
    plane = ControlPlane(
        run.stage, etcd_environment(run.stage), ["--tracing-config-file", tracing_configuration(run.stage)]
    )
    manifest = json.dumps(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": OBJECT}, "data": {"key": "value"}}
    )
    plane.kubectl("apply", "-f", "-", stdin=manifest)
    plane.kubectl("get", "configmap", OBJECT)
    plane.kubectl("delete", "configmap", OBJECT)
    own = secrets.token_hex(16)
    _get_with_trace(plane, own)
    of_kubectl = {"POST", "GET", "DELETE"}
    wait_until(
        lambda: of_kubectl <= _traces_of_both(jaeger)[1],
        TRACED_SECONDS,
        f"traces of kubectl's {of_kubectl} in Jaeger",
    )
    found = wait_until(
        lambda: services_of_trace(QUERY_PORT, own, jaeger.address),
        TRACED_SECONDS,
        "the caller's trace in Jaeger",
    )
    if not {"apiserver", "etcd"} <= set(found):
        raise Failed(f"the trace {own} of the caller holds spans of {', '.join(map(str, found))}")
    # What they still hold goes out as they end.
    for process in (plane.apiserver, plane.etcd):
        process.stop()
    taken = accepted(agent)
    figures = end(agent)
    if installed == "kubernetes":
        end(pods["gateway"])
    else:
        pods["gateway"].process.stop()
    if taken != figures["received"]:
        raise Failed(f"{taken} spans were accepted, and {agent.name} says {figures}")
    check_in_jaeger(jaeger, ["apiserver", "etcd"], figures["delivered"])
    both, _ = _traces_of_both(jaeger)
    verdict = f"ok: {both} traces hold apiserver and etcd, kubectl's POST, GET and DELETE among them, and a caller's own"
    return Row("", None, taken, figures["delivered"], figures["delivered"], verdict)


def _get_with_trace(plane, trace):
    """A request of an administrator that brings its own trace context, which kube-apiserver takes from system:masters."""
    context = ssl.create_default_context(cafile=plane.keys.path("ca.crt"))
    context.load_cert_chain(plane.keys.path("admin.crt"), plane.keys.path("admin.key"))
    url = f"https://127.0.0.1:{APISERVER_PORT}/api/v1/namespaces/default/configmaps"
    request = urllib.request.Request(url, headers={"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"})
    with urllib.request.urlopen(request, timeout=20, context=context) as answer:
        answer.read()


def _traces_of_both(jaeger):
    """How many traces hold spans of apiserver and of etcd, and the methods by which kubectl asked for the object in them."""
    both, methods = 0, set()
    for spans in traces_in_jaeger(QUERY_PORT, "apiserver", jaeger.address).values():
        if not {"apiserver", "etcd"} <= {service for service, _ in spans}:
            continue
        both += 1
        for _, span in spans:
            said = {one["key"]: one["value"].get("stringValue", "") for one in span.get("attributes", [])}
            if said.get("user_agent.original", "").startswith(
                "kubectl/"
            ) and "/namespaces/default/configmaps" in said.get("url.path", ""):
                methods.add(said["http.request.method"])
    return both, methods
