"""Runs the checks of a live kube-apiserver and prints the table.

usage: main.py --programs JSON --out DIR [--only WORD]...

Must never end with 0 when a check has failed.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
import traceback

# The e2e runs' own modules; tools/python has no other path.
sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "e2e"))

import admission
import checks
import process
from control_plane import ControlPlane
from process import Failed
from stage import Stage
from table import render

CHECKS = {
    "install": checks.install_files,
    "install-by-client": checks.install_files_by_client,
    "overlays": checks.kustomize_overlays,
    "host-ports": admission.host_ports,
    "pod-security": admission.pod_security,
    "upgrade": checks.upgrade,
    "chart": checks.chart,
    "openshift-nodes": checks.openshift_nodes,
}


def run(name, check, server):
    """(name, seconds, what was seen, whether it failed)"""
    started = time.monotonic()
    try:
        seen, failed = f"ok: {check(server)}", False
    except Exception as failure:  # whatever breaks, the other checks still run and the table says so
        words = str(failure) if isinstance(failure, Failed) else traceback.format_exc()
        seen, failed = (
            f"FAILED: {words.strip().splitlines()[0 if isinstance(failure, Failed) else -1][:150]}",
            True,
        )
        print(f"--- {name} FAILED: {words}", flush=True)
    seconds = time.monotonic() - started
    print(f"[{seconds:5.1f} s] {name}: {seen}", flush=True)
    return name, f"{seconds:.0f}", seen, failed


def main():
    parser = argparse.ArgumentParser(description="checks of deploy/ on a live kube-apiserver")
    parser.add_argument("--programs", required=True, help="JSON object: name of a program -> its path")
    parser.add_argument("--out", required=True, help="folder for logs; emptied first")
    parser.add_argument("--only", action="append", help="run the checks whose name has this word in it")
    arguments = parser.parse_args()
    programs = json.loads(arguments.programs)
    for name, path in programs.items():
        if not os.access(path, os.X_OK):
            sys.exit(f"{name}: {path} is not an executable file")
    words = arguments.only or [""]
    chosen = {name: check for name, check in CHECKS.items() if any(word in name for word in words)}
    if not chosen:
        sys.exit(f"no check is called like that; there are {', '.join(CHECKS)}")
    if os.getpid() != 1:
        sys.exit("this is not in namespaces of its own; start it with deploy/tests/server/run")
    shutil.rmtree(arguments.out, ignore_errors=True)
    os.makedirs(arguments.out)
    process.clean_up_at_exit()
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True, timeout=30)
    stage = Stage("control-plane", arguments.out, programs)
    started = time.monotonic()
    plane = ControlPlane(stage)

    def helm(*words):
        home = {"KUBECONFIG": plane.kubeconfig}
        return stage.run("helm", *words, seconds=120, environment=home)

    server = checks.Server(plane, helm)
    print(
        f"[{time.monotonic() - started:5.1f} s] kube-apiserver is ready; it holds {len(server.empty)} objects",
        flush=True,
    )
    rows = [run(name, check, server) for name, check in chosen.items()]
    stage.end()
    print(f"\n{render(('check', 's', 'seen'), [row[:3] for row in rows])}\n", flush=True)
    failed = sum(row[3] for row in rows)
    print(f"{len(rows) - failed} of {len(rows)} checks passed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
