"""The stage of one scenario: a folder, the peers that run in it, and how each is configured.

Must never give a peer an address that is not the loopback's, nor a port that is written down anywhere.
"""

import json
import os
import subprocess

from process import Failed, Process, free_port, wait_until
from observe import get

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
AGENT_CONFIG = os.path.join(REPOSITORY, "deploy", "agent.yaml")


def local(port):
    return f"127.0.0.1:{port}"


class Stage:
    """`programs` maps the names relayd, testkit, curl and those of the peers to paths; `agent` is the one that stands where relayd
    does in scenarios that give it a Collector's whole configuration: relayd, or otelcol to see what the Collector does there."""

    def __init__(self, name, folder, programs, agent="relayd"):
        self.name = name
        self.agent = agent
        self.folder = os.path.join(folder, name)
        os.makedirs(self.folder)
        self.programs = programs
        self.processes = []

    def path(self, name):
        return os.path.join(self.folder, name)

    def start(self, name, program, *arguments, core=None, environment=None):
        started = Process(name, [self.programs[program], *arguments], self.folder, core, environment)
        self.processes.append(started)
        return started

    def run(self, program, *arguments, seconds=60, may_fail=False, stdin="", environment=None):
        """Runs a program to its end and gives its standard output; Failed if it takes longer or exits with other than 0. Where an
        `environment` is given, it is all that the program has beside the path."""
        argv = [self.programs[program], *map(str, arguments)]
        env = None if environment is None else {"PATH": os.environ["PATH"], "HOME": self.folder, **environment}
        try:
            ended = subprocess.run(
                argv, input=stdin, capture_output=True, text=True, timeout=seconds, cwd=self.folder, check=False, env=env
            )
        except subprocess.TimeoutExpired:
            raise Failed(f"{program} still ran after {seconds} s") from None
        if ended.returncode != 0 and not may_fail:
            raise Failed(f"{program} exited with {ended.returncode}: {(ended.stdout + ended.stderr)[-2000:]}")
        return ended.stdout

    def testkit(self, *arguments, seconds=120):
        """A testkit tool run to its end: its JSON object. Failed where the tool says that its answer is bad."""
        return json.loads(self.run("testkit", *arguments, seconds=seconds).strip().splitlines()[-1])

    def write_config(self, name, content):
        path = self.path(name)
        with open(path, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1)  # JSON is YAML
        return path

    def end(self):
        for started in self.processes:
            started.end_by_force()

    def tails(self):
        return "\n".join(started.tail() for started in self.processes)

    # relayd

    def relayd(self, upstream_port, name="relayd", exporter=None, memory_mib=256, core=None):
        """relayd as deploy/agent.yaml has it, with the addresses of this stage over it, HTTP too; `exporter` adds keys to the
        exporter. The memory limit is far from what a scenario needs, or, with None, the file's own."""
        ports = {key: free_port() for key in ("grpc", "http", "metrics", "health")}
        protocols = {protocol: {"endpoint": local(ports[protocol])} for protocol in ("grpc", "http")}
        overlay = {
            "receivers": {"otlp": {"protocols": protocols}},
            "exporters": {"otlp_grpc": {"endpoint": local(upstream_port), **(exporter or {})}},
            "extensions": {"health_check": {"endpoint": local(ports["health"])}},
            "service": {"telemetry": prometheus_on(ports["metrics"])},
        }
        if memory_mib is not None:
            overlay["processors"] = {"memory_limiter": {"limit_mib": memory_mib, "spike_limit_mib": memory_mib // 5}}
        config = self.write_config(f"{name}.yaml", overlay)
        started = self.start(name, "relayd", "--config", AGENT_CONFIG, "--config", config, core=core)
        started.ports = ports
        for key in ("grpc", "http", "metrics"):
            started.wait_listening(ports[key])
        wait_until(lambda: _is_ok(f"http://{local(ports['health'])}/"), 10, f"{name} to be healthy")
        return started

    # the Collector

    def collector(self, exporters, name="collector", ports=None, batch=True, core=None):
        """A Collector that gives what it receives to `exporters`, a dict as in its configuration; `ports` of a former one to take
        its place."""
        ports = ports or {"grpc": free_port(), "metrics": free_port()}
        config = {
            "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": local(ports["grpc"]), "max_recv_msg_size_mib": 64}}}},
            "processors": {"batch": {"timeout": "200ms"}},
            "exporters": exporters,
            "service": {
                "telemetry": {**prometheus_on(ports["metrics"]), "logs": {"level": "warn"}},
                "pipelines": {
                    "traces": {
                        "receivers": ["otlp"],
                        "processors": ["batch"] if batch else [],
                        "exporters": list(exporters),
                    }
                },
            },
        }
        path = self.write_config(f"{name}.yaml", config)
        started = self.start(name, "otelcol", "--config", path, core=core)
        started.ports = ports
        started.wait_listening(ports["grpc"])
        started.wait_listening(ports["metrics"])
        return started

    # Jaeger

    def jaeger(self, name="jaeger"):
        """Jaeger v2 with its traces in memory; `.ports` has grpc (OTLP) and query."""
        ports = {key: free_port() for key in ("grpc", "query", "query_grpc", "metrics")}
        config = {
            "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": local(ports["grpc"])}}}},
            "exporters": {"jaeger_storage_exporter": {"trace_storage": "memory"}},
            "extensions": {
                "jaeger_storage": {"backends": {"memory": {"memory": {"max_traces": 200_000}}}},
                "jaeger_query": {
                    "storage": {"traces": "memory"},
                    "http": {"endpoint": local(ports["query"])},
                    "grpc": {"endpoint": local(ports["query_grpc"])},
                },
            },
            "service": {
                "extensions": ["jaeger_storage", "jaeger_query"],
                "telemetry": {**prometheus_on(ports["metrics"]), "logs": {"level": "warn"}},
                "pipelines": {"traces": {"receivers": ["otlp"], "processors": [], "exporters": ["jaeger_storage_exporter"]}},
            },
        }
        started = self.start(name, "jaeger", "--config", self.write_config(f"{name}.yaml", config))
        started.ports = ports
        started.wait_listening(ports["query"])
        started.wait_listening(ports["grpc"])
        return started

    # testkit's sink

    def sink(self, name="sink", dump=None, max_recv_mib=64, core=None):
        """testkit's receiver, which keeps the bytes of every message in the file `dump`."""
        port = free_port()
        arguments = ["sink", "--listen", local(port), "--max-recv-mib", max_recv_mib]
        arguments += ["--dump", dump] if dump else []
        started = self.start(name, "testkit", *arguments, core=core)
        started.port = port
        started.wait_listening(port)
        return started


def end_sink(sink):
    """Ends a sink and gives what it counted; Failed if it refused a message."""
    status = sink.stop()
    counted = sink.answer()
    if status != 0:
        raise Failed(f"{sink.name} refused messages: {counted}")
    return counted


def prometheus_on(port):
    return {"metrics": {"readers": [{"pull": {"exporter": {"prometheus": {"host": "127.0.0.1", "port": port}}}}]}}


def to_upstream(port, **more):
    """An exporter `otlp_grpc` of a Collector without TLS and compression."""
    return {"otlp_grpc": {"endpoint": local(port), "tls": {"insecure": True}, "compression": "none", **more}}


def _is_ok(url):
    try:
        get(url)
    except OSError:
        return False
    return True
