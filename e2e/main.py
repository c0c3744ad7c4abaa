"""Runs the e2e scenarios and prints the table.

usage: main.py --programs JSON --out DIR [--only WORD] [--full WORD [--agents WORD]] [--agent relayd|otelcol]

Must never end with 0 when a scenario has failed.
"""

import argparse
import json
import os
import shutil
import sys
import time
import traceback

import process
from process import Failed
from reliability.run import FAMILY as RELIABILITY
from scenarios import bad_http, bad_input, clients, figures, guarded, outage, profiled, replayed, shown, shutdown, tls
from side_by_side import Runs
from spill.run import FAMILY as SPILL
from stage import Stage
from table import HEADINGS, Row, render

# In the order of the table: the plain way first, so that what is broken everywhere is seen early.
SCENARIOS = {
    "validate": shutdown.validate,
    "replay": replayed.replay,
    "replay-large": replayed.large,
    "replay-merged": replayed.merged,
    "telemetrygen-collector-jaeger": shown.through_collector,
    "telemetrygen-jaeger": shown.directly,
    "etcd": shown.etcd_traces,
    "clients-telemetrygen": clients.telemetrygen,
    "clients-python": clients.python_sdk,
    "clients-javascript": clients.javascript_sdk,
    "clients-curl": clients.curl,
    "clients-curl-recorded": clients.curl_recorded,
    "clients-grpcurl": clients.grpcurl,
    "clients-profiles": profiled.through,
    "guarded": guarded.received,
    "collector-stopped": outage.stopped,
    "collector-killed": outage.killed,
    "reconnects": replayed.reconnects,
    "shutdown": shutdown.under_load,
    "bad-input": bad_input.refused,
    "bad-http": bad_http.refused,
    "tls-refused": tls.refused,
    "tls-rotation": tls.rotation,
    "tls-upstream": tls.upstream,
    "figures": figures.short,
}


def run(name, scenario, out, programs, agent):
    """One scenario in a stage of its own: its row."""
    stage = Stage(name, out, programs, agent)
    started = time.monotonic()
    try:
        row = scenario(stage)
    except Failed as failure:
        row = Row(name, verdict=f"FAILED: {str(failure).splitlines()[0][:150]}", failed=True)
        print(f"--- {name} FAILED: {failure}\n{stage.tails()}\n--- logs: {stage.folder}", flush=True)
    except Exception:  # whatever breaks, the other scenarios still run and the table says so
        row = Row(name, verdict=f"FAILED: {traceback.format_exc().splitlines()[-1][:150]}", failed=True)
        print(f"--- {name} FAILED\n{traceback.format_exc()}\n{stage.tails()}\n--- logs: {stage.folder}", flush=True)
    finally:
        stage.end()
    print(f"[{time.monotonic() - started:5.1f} s] {name}: {row.verdict}", flush=True)
    return row


def main():
    parser = argparse.ArgumentParser(description="e2e scenarios of relayd")
    parser.add_argument("--programs", required=True, help="JSON object: name of a program -> its path")
    parser.add_argument("--out", required=True, help="folder for logs and dumps; emptied first")
    parser.add_argument("--only", action="append", help="run the scenarios whose name has this word in it")
    parser.add_argument(
        "--full", action="append", default=[],
        help="run those scenarios alone, in their long form, with every agent: reliability, spill, or one of their scenarios",
    )  # fmt: skip
    parser.add_argument("--agents", action="append", default=[], help="of the long form: the agents whose name has this word in it")
    parser.add_argument(
        "--agent", default="relayd", choices=("relayd", "otelcol"), help="what stands where relayd does among real clients"
    )
    parser.add_argument(
        "--earlier", action="append", default=[], help="figures.jsonl of another run, for the page of those that run in parts"
    )
    arguments = parser.parse_args()
    programs = json.loads(arguments.programs)
    for name, path in programs.items():
        if not os.access(path, os.X_OK):
            sys.exit(f"{name}: {path} is not an executable file")
    shutil.rmtree(arguments.out, ignore_errors=True)
    os.makedirs(arguments.out)
    process.clean_up_at_exit()
    families = [Runs(family, arguments.full, arguments.agents, arguments.earlier) for family in (RELIABILITY, SPILL)]
    scenarios = SCENARIOS | {name: scenario for runs in families for name, scenario in runs.scenarios().items()}
    words = (arguments.only or []) + arguments.full
    chosen = {name: scenario for name, scenario in scenarios.items() if not words or any(word in name for word in words)}
    if not chosen:
        sys.exit(f"no scenario is called like that; there are {', '.join(scenarios)}")
    rows = [run(name, scenario, arguments.out, programs, arguments.agent) for name, scenario in chosen.items()]
    for runs in families:
        runs.show()
    print(f"\n{render(HEADINGS, [row.cells() for row in rows])}\n", flush=True)
    failed = [row for row in rows if row.failed]
    print(f"{len(rows) - len(failed)} of {len(rows)} scenarios passed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
