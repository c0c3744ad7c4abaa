"""Runs otlp-conformance against relayd and the Collector in the same configurations, and writes docs/conformance.md.

Must never give one of them a configuration that the other does not get, except where the table says so.
"""

import argparse
import dataclasses
import json
import os
import shutil
import subprocess
import sys

import process
from conformance_table import unite, write_table
from process import Failed, free_port, is_listening
from stage import REPOSITORY, Stage, local, prometheus_on

SIGNALS = ("traces", "metrics", "logs", "profiles")
MIB = 1 << 20
# The suite's own bound is 4 minutes.
SUITE_SECONDS = 300
# So that retries are seen within an item's time; the multiplier stays the default.
RETRY = {"initial_interval": "200ms", "max_interval": "2s"}
NAMES = {"relayd": "relayd", "collector": "Collector v0.161"}


@dataclasses.dataclass
class Run:
    """One configuration: `configure` gives the YAML as a dict and what the suite is told besides the addresses."""

    name: str
    says: str  # for readers of the table
    configure: object
    only: str = ""  # items; empty for all
    excepted: str = ""  # items that other runs decide


def receiver(ports, grpc=None, http=None):
    protocols = {
        "grpc": {"endpoint": local(ports["grpc"]), **(grpc or {})},
        "http": {"endpoint": local(ports["http"]), **(http or {})},
    }
    return {"otlp": {"protocols": protocols}}


def grpc_exporter(ports, **more):
    return {"endpoint": local(ports["upstream_grpc"]), "tls": {"insecure": True}, "retry_on_failure": RETRY, **more}


def http_exporter(ports, **more):
    return {"endpoint": f"http://{local(ports['upstream_http'])}", "retry_on_failure": RETRY, **more}


def configuration(receivers, exporters, metrics_port):
    pipeline = {"receivers": ["otlp"], "exporters": list(exporters)}
    return {
        "receivers": receivers,
        "exporters": exporters,
        "service": {
            "telemetry": {**prometheus_on(metrics_port), "logs": {"level": "error"}},
            "pipelines": {signal: pipeline for signal in SIGNALS},
        },
    }


def upstreams(ports, *kinds):
    return [word for kind in kinds for word in (f"--upstream-{kind}", local(ports[f"upstream_{kind}"]))]


def both_exporters(ports):
    queue = {"sending_queue": {"num_consumers": 4, "queue_size": 1000}}
    exporters = {"otlp_grpc": grpc_exporter(ports, **queue), "otlp_http": http_exporter(ports, **queue)}
    told = upstreams(ports, "grpc", "http") + ["--has", "parallel=4", "--has", "pid=PID", "--lacks", "env-headers"]
    told += ["--has", f"metrics={local(ports['metrics'])}/metrics"]
    return configuration(receiver(ports), exporters, ports["metrics"]), told


def waits_for_result(ports):
    exporters = {"otlp_grpc": grpc_exporter(ports, sending_queue={"enabled": False}, retry_on_failure={"enabled": False})}
    told = upstreams(ports, "grpc") + ["--has", "wait-for-result"]
    return configuration(receiver(ports), exporters, ports["metrics"]), told


def small_limits(ports):
    receivers = receiver(ports, {"max_recv_msg_size_mib": 1}, {"max_request_body_size": MIB})
    told = upstreams(ports, "grpc") + ["--has", f"limit={MIB}"]
    return configuration(receivers, {"otlp_grpc": grpc_exporter(ports)}, ports["metrics"]), told


def small_requests(ports):
    batch = {"sizer": "bytes", "min_size": 1, "max_size": MIB, "flush_timeout": "100ms"}
    queue = {"sending_queue": {"sizer": "bytes", "queue_size": 32 * MIB, "batch": batch}}
    exporters = {"otlp_grpc": grpc_exporter(ports, **queue), "otlp_http": http_exporter(ports, **queue)}
    told = upstreams(ports, "grpc", "http") + ["--has", f"export-limit={MIB}"]
    return configuration(receiver(ports), exporters, ports["metrics"]), told


def signal_urls(ports):
    base = f"http://{local(ports['upstream_http'])}"
    urls = {"endpoint": f"{base}/base/", "metrics_endpoint": base, "logs_endpoint": f"{base}/custom/logs"}
    exporters = {"otlp_http": http_exporter(ports, **urls)}
    return configuration(receiver(ports), exporters, ports["metrics"]), upstreams(ports, "http") + ["--has", "signal-urls"]


def schemes(ports):
    plain = grpc_exporter(ports, endpoint=f"http://{local(ports['upstream_grpc'])}", tls={"insecure": False})
    secure = grpc_exporter(ports, endpoint=f"https://{local(ports['upstream_tls'])}", tls={"insecure": True})
    exporters = {"otlp_grpc/plain": plain, "otlp_grpc/secure": secure}
    told = upstreams(ports, "grpc", "tls") + ["--has", "schemes"]
    return configuration(receiver(ports), exporters, ports["metrics"]), told


def default_ports(ports):
    ports |= {"grpc": 4317, "http": 4318}
    receivers = {"otlp": {"protocols": {"grpc": None, "http": None}}}
    told = upstreams(ports, "grpc") + ["--has", "default-ports"]
    return configuration(receivers, {"otlp_grpc": grpc_exporter(ports)}, ports["metrics"]), told


RESULTS = "G09 G10 G14 H08 H12 H13"
RUNS = [
    Run("exporters", "`otlp_grpc` and `otlp_http` exporters in every pipeline, 4 consumers each", both_exporters, excepted="X02"),
    Run("results", "an `otlp_grpc` exporter without queue and retry: the sender waits for the upstream", waits_for_result, RESULTS),
    Run("limits", "`max_recv_msg_size_mib: 1`, `max_request_body_size: 1048576`", small_limits, "G04 G05 G06 H06 H09"),
    Run("requests", "`sending_queue.batch` with `sizer: bytes`, `max_size: 1048576`", small_requests, "X02"),
    Run("urls", "`otlp_http` with a base endpoint, and an own URL for metrics and for logs", signal_urls, "X22"),
    Run("schemes", "`http://` with `insecure: false`, `https://` with `insecure: true`", schemes, "X23"),
    Run("ports", "receivers without an endpoint", default_ports, "G02 H15"),
]


def one(run, system, programs, out):
    """The suite's report on one system in one configuration; None where it could not be run, which is said."""
    stage = Stage(f"{system}-{run.name}", out, programs)
    ports = {name: free_port() for name in ("grpc", "http", "metrics", "upstream_grpc", "upstream_http", "upstream_tls")}
    content, told = run.configure(ports)
    if any(is_listening(ports[name]) for name in ("grpc", "http")):
        print(f"{system}, {run.name}: another program listens on {ports['grpc']} or {ports['http']}: not run", flush=True)
        return None
    program = {"relayd": "relayd", "collector": "otelcol"}[system]
    arguments = ["--config", stage.write_config("config.yaml", content)]
    arguments += ["--feature-gates=service.profilesSupport"] if system == "collector" else []
    try:
        started = stage.start(system, program, *arguments)
        for name in ("grpc", "http"):
            started.wait_listening(ports[name])
        told = [word.replace("PID", str(started.pid)) for word in told]
        argv = [programs["otlp-conformance"], "--grpc", local(ports["grpc"]), "--http", local(ports["http"])]
        argv += [*told, "--against", NAMES[system], "--json", stage.path("report.json")]
        argv += ["--only", *run.only.split()] if run.only else []
        argv += ["--except", *run.excepted.split()] if run.excepted else []
        print(f"\n--- {NAMES[system]}, {run.name}: {run.says}", flush=True)
        ended = subprocess.run(argv, timeout=SUITE_SECONDS, check=False)
        if ended.returncode not in (0, 1):
            raise Failed(f"otlp-conformance ended with {ended.returncode}")
        with open(stage.path("report.json"), encoding="utf-8") as report:
            return {"run": run.name, **json.load(report)}
    except (Failed, subprocess.TimeoutExpired) as failure:
        print(f"{system}, {run.name}: not run: {failure}\n{stage.tails()}", flush=True)
        return None
    finally:
        stage.end()


def main():
    parser = argparse.ArgumentParser(description="OTLP conformance of relayd and of the Collector")
    parser.add_argument("--programs", required=True, help="JSON object: name of a program -> its path")
    parser.add_argument("--out", required=True, help="folder for logs and reports; emptied first")
    parser.add_argument("--only", choices=list(NAMES), help="one of the two alone; the table is not written then")
    parser.add_argument("--run", action="append", help="the configurations whose name has this word in it")
    parser.add_argument("--no-table", action="store_true", help="do not write docs/conformance.md")
    arguments = parser.parse_args()
    programs = json.loads(arguments.programs)
    beside_testkit = os.path.join(os.path.dirname(programs["testkit"]), "otlp-conformance")
    programs.setdefault("otlp-conformance", beside_testkit)
    shutil.rmtree(arguments.out, ignore_errors=True)
    os.makedirs(arguments.out)
    process.clean_up_at_exit()
    runs = [run for run in RUNS if not arguments.run or any(word in run.name for word in arguments.run)]
    systems = [arguments.only] if arguments.only else list(NAMES)
    united, incomplete = {}, []
    for system in systems:
        reports = [one(run, system, programs, arguments.out) for run in runs]
        incomplete += [f"{system}-{run.name}" for run, report in zip(runs, reports) if not report]
        united[system] = unite([report for report in reports if report])
    print()
    for system, rows in united.items():
        counts = {word: sum(row["outcome"] == word for row in rows.values()) for word in ("pass", "fail", "skip")}
        print(f"{NAMES[system]}: {counts['pass']} passed, {counts['fail']} failed, {counts['skip']} skipped")
    if len(systems) == len(NAMES) and not arguments.run and not arguments.no_table:
        path = os.path.join(REPOSITORY, "docs", "conformance.md")
        write_table(path, united, NAMES, [(run.name, run.says) for run in runs])
        print(f"written: {path}")
    ours = united.get("relayd", {}).values()
    bad = [row["id"] for row in ours if row["outcome"] == "fail" or (row["outcome"] == "skip" and not arguments.run)]
    if bad:
        print(f"relayd does not pass {' '.join(bad)}")
    if incomplete:
        print(f"not run: {' '.join(incomplete)}")
    return 1 if bad or incomplete else 0


if __name__ == "__main__":
    sys.exit(main())
