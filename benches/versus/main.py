"""Measures relayd and everything that a user could pick instead, in turn, and writes tables of ratios.

Must never compare times of two runs or two machines; the ratio is the figure.
"""

import argparse
import datetime
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys

import process
from process import Failed
from stage import REPOSITORY, Stage
from versus import cell, chart, goals, growth, held, plan, report, usage
from versus.peers import DEFAULT_PEERS, PEERS
from versus.results import OTHERS_BUSY_MAX, Results

PROGRAMS = os.path.join(REPOSITORY, "e2e", "programs")
# What is compared, and what is run by name only, as it has a chart of its own.
TABLES = plan.TABLES | {growth.TABLE.name: growth.TABLE}
SECONDS, ROUNDS = 6, 3


def names_of(text, known, what):
    names = list(dict.fromkeys(name for name in text.split(",") if name))
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"no {what} {', '.join(unknown)}; there are {', '.join(known)}")
    return names


def _arguments():
    parser = argparse.ArgumentParser(
        prog="benches/versus/run", description="relayd and what one could pick instead, under the same load, side by side"
    )
    alone = f"{growth.TABLE.name} alone"
    parser.add_argument(
        "--seconds", type=float, help=f"of load in each cell (default {SECONDS}; {alone}: {growth.SECONDS})"
    )
    parser.add_argument(
        "--rounds", type=int, help=f"the tables have medians of so many (default {ROUNDS}; {alone}: {growth.ROUNDS})"
    )
    parser.add_argument(
        "--peers", type=lambda text: names_of(text, list(PEERS), "peer"), default=list(DEFAULT_PEERS),
        help=f"some of {', '.join(PEERS)}; default: all but haproxy-tcp",
    )  # fmt: skip
    parser.add_argument(
        "--table", type=lambda text: names_of(text, [*TABLES, "all"], "table"), default=["all"],
        help=f"some of {', '.join(TABLES)}, or all (default), which leaves {growth.TABLE.name} out",
    )  # fmt: skip
    parser.add_argument("--out", default=os.path.join(REPOSITORY, "target", "versus"), help="folder (default target/versus)")
    parser.add_argument("--chart", help=f"SVG that the table {growth.TABLE.name} is drawn in; default: growth.svg in --out")
    parser.add_argument("--programs", help="JSON object: name of a program -> its path; default: e2e/programs builds them")
    arguments = parser.parse_args()
    if "all" in arguments.table:
        arguments.table = list(plan.TABLES) + [name for name in arguments.table if name == growth.TABLE.name]
    is_alone = arguments.table == [growth.TABLE.name]
    if arguments.seconds is None:
        arguments.seconds = growth.SECONDS if is_alone else SECONDS
    if arguments.rounds is None:
        arguments.rounds = growth.ROUNDS if is_alone else ROUNDS
    if not 0.2 <= arguments.seconds <= 600 or not 1 <= arguments.rounds <= 100:
        parser.error("--seconds is 0.2 to 600 and --rounds 1 to 100")
    return arguments


def _programs(peers, given):
    """Paths of what the peers need; Failed with the names of those that cannot be had."""
    needed = list(dict.fromkeys(PEERS[name].program for name in peers if PEERS[name].program))
    if given:
        programs = json.loads(given)
    else:
        built = subprocess.run([PROGRAMS, "--only", *needed], stdout=subprocess.PIPE, text=True, check=False)
        if built.returncode != 0:
            raise Failed(
                f"what is said above stands in the way of a peer (one of {', '.join(needed)}); --peers leaves peers out"
            )
        programs = json.loads(built.stdout)
    missing = [name for name in ("relayd", "testkit", *needed) if not os.access(programs.get(name, ""), os.X_OK)]
    if missing:
        raise Failed(f"not there: {', '.join(missing)}; --peers leaves peers out")
    return programs


def _check_testkit(stage, peers, tables):
    """A testkit older than this script would fail in every cell; say so before."""
    if "tcp" in peers and "tcp-relay" not in stage.run("testkit", "--help"):
        raise Failed("this testkit has no tcp-relay, which the peer 'tcp' is; --peers leaves it out")
    if any(case.load and case.load.is_http for table in tables for case in table.cases):
        if "--protocol" not in stage.run("testkit", "load", "--help"):
            raise Failed("this testkit has no `load --protocol`, which OTLP/HTTP needs; --table leaves it out")
    if "recorded" in (table.name for table in tables) and "--recorded-source" not in stage.run("testkit", "load", "--help"):
        raise Failed("this testkit has no `load --recorded-source`, which the table 'recorded' needs; --table leaves it out")


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        models = [line.split(":", 1)[1].strip() for line in info if line.startswith("model name")]
    with open("/proc/sys/net/ipv4/tcp_congestion_control", encoding="utf-8") as control:
        congestion = control.read().strip()
    model = models[0] if models else platform.machine()
    return f"{len(models)} cores of {model}, Linux {platform.release()}, TCP {congestion}"


def _header(arguments, tables):
    """What one must know to measure it again."""
    peers = "" if arguments.peers == list(DEFAULT_PEERS) else f" --peers {','.join(arguments.peers)}"
    names = "" if [table.name for table in tables] == list(plan.TABLES) else f" --table {','.join(table.name for table in tables)}"
    command = f"benches/versus/run --seconds {arguments.seconds:g} --rounds {arguments.rounds}{peers}{names}"
    date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    return {
        "command": command, "called": shlex.join(sys.argv), "machine": machine(), "date": date,
        "seconds": arguments.seconds, "rounds": arguments.rounds,
    }  # fmt: skip


def measure(stage, results, tables, chosen, seconds, rounds):
    """Every peer under every load of the tables, in turn so that what else the machine does meets all."""
    todo, done = plan.cells(tables, chosen) * rounds, 0
    for round_number in range(1, rounds + 1):
        for table in tables:
            for case in table.cases:
                for peer in table.peers_of(case, chosen):
                    done += 1
                    print(f"[{done}/{todo}] {table.name}: {case.label}: {peer.title}", file=sys.stderr, flush=True)
                    label = f"{table.name}-{case.name}-{peer.name}-{round_number}"
                    cell_seconds = seconds * case.factor
                    begun = len(stage.processes)
                    try:
                        figures = _measure_one(stage, case, peer, cell_seconds, label)
                    except Failed as failure:
                        tails = "\n".join(started.tail() for started in stage.processes[begun:])
                        print(f"failed: {failure}\n{tails}", file=sys.stderr, flush=True)
                        why = str(failure).splitlines()[0]
                        results.add(table, case, peer, round_number, cell_seconds, failure=why)
                        continue
                    results.add(table, case, peer, round_number, cell_seconds, figures)


def _measure_one(stage, case, peer, seconds, label):
    if case.load is None:
        return cell.measure_idle(stage, peer, seconds, label)
    if case.held_spans:
        return held.measure(stage, case.load, case.held_spans, label)
    return cell.measure(stage, peer, case.load, seconds, label, case.cores, case.exporters)


def as_text(header, results, tables):
    """All tables."""
    some, of_all = report.disturbed(results)
    text = [
        f"## `{header['command']}`",
        f"{header['date']}, {header['machine']}. Peer alone on core {cell.PEER_CORE}, load and sink on core {cell.LOAD_CORE}; "
        f"{header['seconds']:g} s a cell, medians of {header['rounds']} interleaved rounds with least and most; no compression "
        "but where it says so. CPU is user and system time until all is delivered, per request accepted. A cell that is not "
        "limited by its peer says of the peer's throughput only what its CPU does: \"at 100 %\". In "
        f"{some} of {of_all} measurements something else used more than {OTHERS_BUSY_MAX * 100:.0f} % of a core.",
    ]
    text += [report.as_markdown(results, table) for table in tables]
    text.append(goals.as_markdown(results))
    return "\n\n".join(part.strip() for part in text if part) + "\n"


def main():
    arguments = _arguments()
    tables = [TABLES[name] for name in arguments.table]
    chosen = [name for name in arguments.peers if any(name in table.peers for table in tables)]
    out = os.path.abspath(arguments.out)
    os.makedirs(out, exist_ok=True)
    logs, lines = os.path.join(out, "logs"), os.path.join(out, "cells.jsonl")
    # Only what an earlier run has left: the folder may hold other things.
    shutil.rmtree(logs, ignore_errors=True)
    for name in ("cells.jsonl", "tables.md", "run.json"):
        if os.path.exists(os.path.join(out, name)):
            os.remove(os.path.join(out, name))
    process.clean_up_at_exit()
    header, results = _header(arguments, tables), Results(lines)
    try:
        if (os.cpu_count() or 1) < 2:
            raise Failed("the peer and the load need a core each; this machine has one")
        stage = Stage("logs", out, _programs(chosen, arguments.programs))
        _check_testkit(stage, chosen, tables)
        with open(os.path.join(out, "run.json"), "w", encoding="utf-8") as file:
            json.dump(header, file, indent=1)
        open_files_max = usage.allow_open_files(plan.open_files_needed(tables))
        tables = [plan.fitted(table, open_files_max) for table in tables]
        measure(stage, results, tables, chosen, arguments.seconds, arguments.rounds)
    except Failed as failure:
        print(f"benches/versus/run: {failure}", file=sys.stderr)
        return 1
    text = as_text(header, results, tables)
    with open(os.path.join(out, "tables.md"), "w", encoding="utf-8") as file:
        file.write(text)
    if growth.TABLE.name in arguments.table:
        chart.write(lines, arguments.chart or os.path.join(out, "growth.svg"), header)
    print(text)
    return 1 if results.failures else 0


if __name__ == "__main__":
    sys.exit(main())
