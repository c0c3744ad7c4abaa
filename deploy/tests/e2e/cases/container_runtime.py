"""containerd that runs pods over CRI, with its tracing switched on as deploy/node does it; its spans join the caller's trace.

Must never take spans of containerd's own polling for those of a call: only what bears the caller's trace id counts.
"""

import hashlib
import io
import json
import os
import re
import secrets
import tarfile

from installed import DEPLOY, METRICS_PORT, QUERY_PORT, check_in_jaeger, end, install
from observe import Metrics, services_of_trace
from process import Failed, wait_until
from table import Row

# In the run's own /run: a socket's path must be short, and a snapshot's upper layer must not be on an overlay.
FOLDER = "/run/containerd-e2e"
SOCKET = f"{FOLDER}/containerd.sock"
CGROUP = "/relay-e2e"
PAUSE, CALLER, RELAYD = "localhost/pause:1", "localhost/caller:1", "localhost/relayd"
# Of a pod's life over CRI; containerd calls its spans so.
CALLS = ("RunPodSandbox", "CreateContainer", "StartContainer", "StopPodSandbox", "RemovePodSandbox")
EXPORTED_SECONDS = 20
# The agent in the image, on ports that the one on the node does not have.
AGENT = (
    "yaml:{receivers: {otlp: {protocols: {grpc: {endpoint: '127.0.0.1:24317'}}}}, exporters: {otlp: {endpoint: 'localhost:4317',"
    " tls: {insecure: true}}}, extensions: {health_check: {endpoint: '127.0.0.1:24133'}}, service: {extensions: [health_check],"
    " telemetry: {metrics: {level: none}}, pipelines: {traces: {receivers: [otlp], exporters: [otlp]}}}}"
)

CONFIG = """\
version = 3
root = "{folder}/root"
state = "{folder}/state"
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/opt"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["{folder}/cni/bin"]
  conf_dir = "{folder}/cni/net.d"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
  BinaryName = "{runc}"
[plugins."io.containerd.nri.v1.nri"]
  disable = true
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{pause}"
"""


def a_pod(run):
    """A CRI client with a traceparent -> containerd -> OTLP/HTTP -> agent -> gateway -> Jaeger: each pod's life is one trace; the
    image of deploy/container among the pods, where it was built."""
    stage = run.stage
    pods = install(run).start_all()
    agent, jaeger = pods["agent"], pods["jaeger"]
    containerd = _containerd(stage)
    _import(stage, "pause", PAUSE, ["/cri-probe", "-pause"])
    _import(stage, "caller", CALLER, ["/cri-probe"])
    pods_run = [_pod(stage, jaeger, CALLER, ["-pause"], still_running=True)]
    said = ""
    if run.image:
        _ctr(stage, "images", "import", run.image)
        name = _name_of_image(stage)
        version = _pod(stage, jaeger, name, ["--version"], still_running=False)
        if "relayd version" not in version["log"]:
            raise Failed(f"the image's --version said {version['log']!r}")
        served = _pod(stage, jaeger, name, [f"--config={AGENT}"], still_running=True)
        if "shutdown complete" not in served["log"]:
            raise Failed(f"the agent in the image said {served['log'][-1500:]!r}")
        pods_run += [version, served]
        said = f"; {name} ran as 10001 with a read-only root: --version, and as an agent until SIGTERM"
    containerd.stop()
    _remove_cgroups()
    metrics = Metrics(METRICS_PORT, agent.address)
    by_transport = {
        kind: metrics.sum("otelcol_receiver_accepted_spans", transport=kind) for kind in ("http", "grpc")
    }
    figures = end(agent)
    end(pods["gateway"])
    if by_transport["grpc"] or by_transport["http"] != figures["received"]:
        raise Failed(
            f"containerd speaks OTLP/HTTP, and {agent.name} accepted {by_transport} and says {figures}"
        )
    check_in_jaeger(jaeger, ["containerd"], figures["delivered"])
    spans = sum(one["spans"] for one in pods_run)
    verdict = f"ok: {len(pods_run)} pods, {spans} spans in their callers' traces, all others once in Jaeger too{said}"
    return Row("", None, by_transport["http"], figures["delivered"], figures["delivered"], verdict)


def _containerd(stage):
    os.makedirs(FOLDER, exist_ok=True)
    config = stage.path("containerd.toml")
    with open(config, "w", encoding="utf-8") as file:
        file.write(CONFIG.format(folder=FOLDER, socket=SOCKET, runc=stage.programs["runc"], pause=PAUSE))
    # The shim is looked for on PATH.
    path = f"{os.path.dirname(stage.programs['containerd-shim-runc-v2'])}:{os.environ['PATH']}"
    environment = {**_tracing_environment(), "PATH": path}
    containerd = stage.start(
        "containerd", "containerd", "--config", config, "--log-level", "info", environment=environment
    )
    wait_until(lambda: os.path.exists(SOCKET) and _serves(stage, containerd), 30, "containerd to serve")
    return containerd


def _serves(stage, containerd):
    if not containerd.is_running():
        raise Failed(f"containerd ended with {containerd.child.returncode}: {containerd.tail()[-1500:]}")
    return "io.containerd" in stage.run("ctr", "--address", SOCKET, "plugins", "list", may_fail=True)


def _tracing_environment():
    """What deploy/node's drop-in for containerd sets; the sampler is left to it."""
    with open(os.path.join(DEPLOY, "node", "containerd", "10-otel.conf"), encoding="utf-8") as file:
        found = dict(re.findall(r'"(OTEL_\w+)=([^"]*)"', file.read()))
    if not found.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").endswith(":4318"):
        raise Failed(f"the drop-in for containerd sets {found}, and no endpoint on 4318")
    return found


def _ctr(stage, *arguments):
    return stage.run("ctr", "--address", SOCKET, "--namespace", "k8s.io", *arguments)


def _name_of_image(stage):
    names = [
        line.split()[0]
        for line in _ctr(stage, "images", "list").splitlines()
        if line.startswith(f"{RELAYD}:")
    ]
    if len(names) != 1:
        raise Failed(f"the archive of deploy/container gave the images {names}")
    return names[0]


def _import(stage, label, name, entrypoint):
    """An image whose only file is cri-probe, as an archive that containerd imports."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.add(stage.programs["cri-probe"], "cri-probe")
    config = {
        "architecture": "amd64" if os.uname().machine == "x86_64" else "arm64", "os": "linux", "config": {"Entrypoint": entrypoint},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer.getvalue()).hexdigest()}"]},
    }  # fmt: skip
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    archive = stage.path(f"{label}.tar")
    with tarfile.open(archive, "w") as tar:
        for file, content in (
            ("config.json", json.dumps(config).encode()), ("layer.tar", layer.getvalue()), ("manifest.json", json.dumps(manifest).encode())
        ):  # fmt: skip
            entry = tarfile.TarInfo(file)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    _ctr(stage, "images", "import", archive)


def _pod(stage, jaeger, image, arguments, still_running):
    """Runs a pod of an image in a trace of its own: what cri-probe reports of it, and how many spans the trace has."""
    trace, parent = secrets.token_hex(16), secrets.token_hex(8)
    text = stage.run(
        "cri-probe", "-socket", SOCKET, "-traceparent", f"00-{trace}-{parent}-01", "-image", image, "-cgroup", CGROUP, "-for", "2s",
        "--", *arguments, seconds=120,
    )  # fmt: skip
    report = json.loads(text)
    if report["exit_code"] != 0 or report["running"] != still_running:
        raise Failed(f"the container of {image} says {report}")
    missing = lambda: [
        call for call in CALLS if not any(call in span["name"] for span in _spans(jaeger, trace))
    ]
    wait_until(
        lambda: not missing(),
        EXPORTED_SECONDS,
        f"the trace of {image} in Jaeger with spans of {', '.join(CALLS)}",
    )
    spans = _spans(jaeger, trace)
    known = {parent} | {span["spanId"] for span in spans}
    strays = [span["name"] for span in spans if span.get("parentSpanId") not in known]
    if strays:
        raise Failed(f"spans of the trace of {image} have parents that are not in it: {strays}")
    report["spans"] = len(spans)
    return report


def _spans(jaeger, trace):
    found = services_of_trace(QUERY_PORT, trace, jaeger.address)
    if found and set(found) != {"containerd"}:
        raise Failed(f"the trace of a pod holds spans of {set(found)}")
    return found.get("containerd", [])


def _remove_cgroups():
    """The pods' parent, which the runtime leaves."""
    base = "/sys/fs/cgroup"
    for folder in [base, *(os.path.join(base, name) for name in os.listdir(base))]:
        parent = os.path.join(folder, CGROUP.strip("/"))
        if os.path.isdir(parent):
            os.rmdir(parent)
