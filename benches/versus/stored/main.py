"""Measures what a queue on disk costs, agents in turn, and writes tables.

Must never leave a backlog on the disk.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import time

import process
from process import Failed
from stage import REPOSITORY, Stage
from versus import cell
from versus.main import PROGRAMS, machine, names_of
from versus.stored import backlog, states, tables
from versus.stored.agents import AGENTS, OURS, fdatasync_ms, stores

SECONDS, ROUNDS = 5, 2
SIZES_GB = (0.1, 1, 5)
STARTING = (OURS, "collector-storage")
PARTS = ("states", "starts")
# On top of the largest backlog: bbolt's file has more pages than it needs.
ROOM_TIMES = 1.6


def _arguments():
    parser = argparse.ArgumentParser(prog="benches/versus/stored/run", description="what a queue on disk costs, side by side")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"of load in each cell (default {SECONDS})")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"the tables have medians of so many (default {ROUNDS})")
    parser.add_argument(
        "--agents", type=lambda text: names_of(text, list(AGENTS), "agent"), default=list(AGENTS), help=f"some of {', '.join(AGENTS)}"
    )
    parser.add_argument(
        "--cases", type=lambda text: names_of(text, [case.name for case in states.CASES], "case"),
        default=[case.name for case in states.CASES], help=f"some of {', '.join(case.name for case in states.CASES)}",
    )  # fmt: skip
    parser.add_argument(
        "--parts", type=lambda text: names_of(text, list(PARTS), "part"), default=list(PARTS),
        help="states (each upstream), starts (on a backlog, which is then drained); default both",
    )  # fmt: skip
    parser.add_argument(
        "--sizes", type=lambda text: [float(size) for size in text.split(",")], default=list(SIZES_GB),
        help="GB of backlog that is started on, ascending; the last one is drained (default 0.1,1,5)",
    )  # fmt: skip
    parser.add_argument("--out", default=os.path.join(REPOSITORY, "target", "stored"), help="folder (default target/stored)")
    parser.add_argument("--directory", help="where the agents' queues lie, on the disk that is measured; default: in --out")
    parser.add_argument("--programs", help="JSON object: name of a program -> its path; default: e2e/programs builds them")
    arguments = parser.parse_args()
    if not 0.5 <= arguments.seconds <= 600 or not 1 <= arguments.rounds <= 100 or arguments.sizes != sorted(arguments.sizes):
        parser.error("--seconds is 0.5 to 600, --rounds 1 to 100, --sizes ascending")
    return arguments


def _programs(given):
    if given:
        return json.loads(given)
    built = subprocess.run([PROGRAMS, "--only", "otelcol"], stdout=subprocess.PIPE, text=True, check=False)
    if built.returncode != 0:
        raise Failed("what is said above stands in the way")
    return json.loads(built.stdout)


def _measure_states(stage, arguments, keep):
    cells = {}
    for number in range(1, arguments.rounds + 1):
        for case in states.CASES:
            if case.name not in arguments.cases:
                continue
            for name in arguments.agents:
                agent = AGENTS[name]
                if not stores(agent) and not case.memory_too:
                    continue
                label = f"{case.name}-{name}-{number}"
                print(f"[{time.strftime('%H:%M:%S')}] {number}/{arguments.rounds} {case.label}: {agent.title}", file=sys.stderr, flush=True)
                begun = len(stage.processes)
                try:
                    figures = states.measure(stage, agent, case, arguments.seconds, arguments.directory, label)
                except (Failed, OSError) as failure:
                    tails = "\n".join(started.tail() for started in stage.processes[begun:])
                    print(f"failed: {failure}\n{tails}", file=sys.stderr, flush=True)
                    keep({"part": "states", "case": case.name, "agent": name, "round": number, "failure": str(failure)[:300]})
                    continue
                cells.setdefault((case.name, name), []).append(figures)
                keep({"part": "states", "case": case.name, "agent": name, "round": number, "figures": figures})
    return cells


def _measure_starts(stage, arguments, keep):
    started, drained = {}, {}
    for name in arguments.agents:
        if name not in STARTING:
            continue
        room = shutil.disk_usage(arguments.directory).free / backlog.GB
        sizes = [size for size in arguments.sizes if size * ROOM_TIMES < room]
        print(f"[{time.strftime('%H:%M:%S')}] starts on {sizes} GB ({room:.0f} GB free): {AGENTS[name].title}", file=sys.stderr, flush=True)
        started[name], why = [], None
        try:
            drained[name] = backlog.measure(stage, AGENTS[name], sizes, arguments.directory, f"starts-{name}", started[name])
        except (Failed, OSError) as failure:
            why = str(failure)[:300]
            print(f"failed: {why}", file=sys.stderr, flush=True)
        keep({"part": "starts", "agent": name, "starts": started[name], "drain": drained.get(name), "failure": why})
    return started, drained


def as_text(header, cells, started, drained):
    text = [
        f"## `{header['command']}`",
        f"{header['date']}, {header['machine']}; 4 KiB and fdatasync on the disk of the queues: {header['fdatasync_ms'][0]:.1f} ms (median), "
        f"{header['fdatasync_ms'][1]:.1f} ms (most). Agent alone on core {cell.PEER_CORE}, load and sink on core {cell.LOAD_CORE}; "
        f"{header['seconds']:g} s a cell, medians of {header['rounds']} interleaved rounds with least and most.",
    ]
    text += [tables.states(cells)] if cells else []
    text += [tables.starts(started), tables.drains(drained)] if started else []
    text += ["### Goals", tables.goals(cells, started)]
    return "\n\n".join(text) + "\n"


def main():
    arguments = _arguments()
    out = os.path.abspath(arguments.out)
    arguments.directory = os.path.abspath(arguments.directory or os.path.join(out, "queues"))
    for folder in (os.path.join(out, "logs"), arguments.directory):
        shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(arguments.directory)
    lines = os.path.join(out, "cells.jsonl")
    if os.path.exists(lines):
        os.remove(lines)

    def keep(line):
        with open(lines, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    process.clean_up_at_exit()
    try:
        stage = Stage("logs", out, _programs(arguments.programs))
        header = {
            "command": "benches/versus/stored/run " + shlex.join(sys.argv[1:]), "machine": machine(),
            "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), "seconds": arguments.seconds, "rounds": arguments.rounds,
            "fdatasync_ms": fdatasync_ms(arguments.directory),
        }  # fmt: skip
        keep(header)
        cells = _measure_states(stage, arguments, keep) if "states" in arguments.parts else {}
        started, drained = _measure_starts(stage, arguments, keep) if "starts" in arguments.parts else ({}, {})
    except Failed as failure:
        print(f"benches/versus/stored/run: {failure}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(arguments.directory, ignore_errors=True)
    text = as_text(header, cells, started, drained)
    with open(os.path.join(out, "tables.md"), "w", encoding="utf-8") as file:
        file.write(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
