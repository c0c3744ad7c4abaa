#!/usr/bin/env python3
"""Takes what calculate.py needs out of a run of `benches/versus/run --table growth` and prints it as JSON.

Must never mix two runs: machine and date are those of the one folder that it reads.

usage: docs/scaling/read_figures.py target/versus > docs/scaling/figures.json
"""

import json
import os
import statistics
import sys


def read(folder):
    """(header of the run, {(dimension, peer): {value: figures}}), figures being medians of the rounds."""
    with open(os.path.join(folder, "run.json"), encoding="utf-8") as file:
        header = json.load(file)
    rounds = {}
    with open(os.path.join(folder, "cells.jsonl"), encoding="utf-8") as lines:
        for line in map(json.loads, lines):
            if line["table"] == "growth" and "figures" in line:
                dimension, _, value = line["case"].partition(": ")
                key = (dimension, line["peer"], int(value.replace(",", "")))
                rounds.setdefault(key, []).append(line["figures"])
    cells = {}
    for (dimension, peer, value), found in rounds.items():
        cells.setdefault((dimension, peer), {})[value] = {
            key: statistics.median(figures[key] for figures in found)
            for key, example in found[0].items()
            if isinstance(example, (int, float))
        }
    return header, cells


def rows(cells, dimension, peer, *keys, by=None):
    """[[value, figure, ...]] of one dimension; `by` names the figure to use instead of the value that was asked for."""
    found = cells.get((dimension, peer))
    if not found:
        sys.exit(f"the run has no '{dimension}' of {peer}: was it of the table growth, with relayd and the Collector?")
    return [
        [round(figures[by], 1) if by else value, *(round(figures[key], 4) for key in keys)]
        for value, figures in sorted(found.items())
    ]


def figures_of(peer, cells):
    """One peer's costs by rate and by size of request."""
    at_rate = ("us_per_request", "switches_per_second", "peak_mib")
    return {
        "by_rate": rows(cells, "requests per second", peer, *at_rate, by="requests_per_second"),
        "by_request": rows(cells, "spans per request", peer, "us_per_request"),
    }


def main(folder):
    header, cells = read(folder)
    print(
        json.dumps(
            {
                "run": {key: header[key] for key in ("command", "date", "machine")},
                "columns": {
                    "by_rate": ["requests/s", "CPU us/request", "context switches/s", "peak MiB resident"],
                    "by_request": ["spans/request", "CPU us/request, saturated"],
                    "by_connections": ["connections", "CPU us/request, saturated", "peak MiB resident"],
                    "bytes_by_request": ["spans/request", "bytes/request"],
                    "by_held": ["spans held", "MiB resident while held"],
                },
                "relayd": figures_of("relayd", cells)
                | {"by_connections": rows(cells, "connections", "relayd", "us_per_request", "peak_mib")},
                "collector": figures_of("collector", cells),
                "bytes_by_request": rows(cells, "spans per request", "relayd", "message_bytes"),
                "by_held": [
                    [figures["held_spans"], round(figures["held_mib"], 1)]
                    for _, figures in sorted(cells.get(("spans held", "relayd"), {}).items())
                    if "held_mib" in figures
                ],
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: docs/scaling/read_figures.py FOLDER > docs/scaling/figures.json")
    main(sys.argv[1])
