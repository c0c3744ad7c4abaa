"""Runs the end-to-end scenarios of deploy/ and prints the table.

usage: main.py --programs JSON --out DIR [--full] [--only WORD] [--image FILE] [--last-run FILE]

Must never end with 0 when a scenario has failed, nor call a scenario run that was left out.
"""

import argparse
import dataclasses
import json
import os
import shutil
import sys
import time
import traceback

# The e2e runs' own modules and the server stage's; tools/python has no other path.
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path += [os.path.join(HERE, "..", "server"), os.path.join(HERE, "..", "..", "..", "e2e")]

import process
from last_run import page
from node import Node
from process import Failed
from cases import container_runtime, control_plane_traces, helm_test, loopback, recorded_crio, rollouts
from stage import Stage
from table import Row, render

HEADINGS = ("scenario", "s", "sent", "accepted", "delivered", "seen", "verdict")
# Name -> (function of a Run, the programs without which it is left out). The quick ones first.
SCENARIOS = {
    "loopback": (loopback.every_spelling, ()),
    "crio": (recorded_crio.through, ()),
    "helm-test": (helm_test.answers, ("helm",)),
    "rollouts": (rollouts.surge, ()),
    "control-plane-gateway": (control_plane_traces.through_gateway, ("kube-apiserver",)),
    "control-plane-collector": (control_plane_traces.through_collector, ("kube-apiserver",)),
    "containerd": (container_runtime.a_pod, ("containerd", "cri-probe")),
}


@dataclasses.dataclass
class Run:
    """What a scenario gets. `full` asks for its long form."""

    stage: Stage
    node: Node
    full: bool
    image: str | None


def run(name, scenario, out, programs, node, arguments):
    """One scenario in a stage of its own: its row and its seconds."""
    stage = Stage(name, out, programs)
    started = time.monotonic()
    try:
        row = scenario(Run(stage, node, arguments.full, arguments.image))
        row.scenario = name
    except Exception as failure:  # whatever breaks, the other scenarios still run and the table says so
        words = str(failure) if isinstance(failure, Failed) else traceback.format_exc()
        row = Row(
            name,
            verdict=f"FAILED: {words.strip().splitlines()[0 if isinstance(failure, Failed) else -1][:150]}",
            failed=True,
        )
        print(f"--- {name} FAILED: {words}\n{stage.tails()}\n--- logs: {stage.folder}", flush=True)
    finally:
        stage.end()
    row.seconds = time.monotonic() - started
    print(f"[{row.seconds:5.1f} s] {name}: {row.verdict}", flush=True)
    return row


def main():
    parser = argparse.ArgumentParser(description="end-to-end scenarios of deploy/")
    parser.add_argument("--programs", required=True, help="JSON object: name of a program -> its path")
    parser.add_argument("--out", required=True, help="folder for logs and dumps; emptied first")
    parser.add_argument("--full", action="store_true", help="the long forms of all scenarios")
    parser.add_argument("--only", action="append", help="run the scenarios whose name has this word in it")
    parser.add_argument("--image", help="archive of deploy/container's image, to run as a pod of containerd")
    parser.add_argument("--last-run", help="page to write after a full run in which all scenarios passed")
    arguments = parser.parse_args()
    programs = json.loads(arguments.programs)
    for name, path in programs.items():
        if not os.access(path, os.X_OK):
            sys.exit(f"{name}: {path} is not an executable file")
    words = arguments.only or [""]
    asked = {name: one for name, one in SCENARIOS.items() if any(word in name for word in words)}
    if not asked:
        sys.exit(f"no scenario is called like that; there are {', '.join(SCENARIOS)}")
    chosen = {
        name: function for name, (function, needs) in asked.items() if all(need in programs for need in needs)
    }
    left_out = [name for name in asked if name not in chosen]
    shutil.rmtree(arguments.out, ignore_errors=True)
    os.makedirs(arguments.out)
    process.clean_up_at_exit()
    node = Node(arguments.out)
    rows = [
        run(name, function, arguments.out, programs, node, arguments) for name, function in chosen.items()
    ]
    lines = [[cells[0], f"{row.seconds:.0f}", *cells[1:]] for row in rows for cells in [row.cells()]]
    print(f"\n{render(HEADINGS, lines)}\n", flush=True)
    failed = [row for row in rows if row.failed]
    if left_out:
        print(
            f"left out, because their programs are not built: {', '.join(left_out)} (deploy/tests/e2e/run --full builds them)"
        )
    print(f"{len(rows) - len(failed)} of {len(rows)} scenarios passed", flush=True)
    if arguments.full and arguments.last_run and set(chosen) == set(SCENARIOS) and not failed:
        with open(arguments.last_run, "w", encoding="utf-8") as file:
            file.write(page(HEADINGS, lines, programs))
        print(f"written: {arguments.last_run}", flush=True)
    return 1 if failed or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
