"""What was measured: all rounds of all cells, their medians and spread, and the lines of JSON they are kept as.

Must never mix two runs: times of different runs do not compare.
"""

import dataclasses
import json
import statistics


# Shares of a core: from where on a side was busy, and from where on what else the machine did disturbs a measurement.
BUSY, OTHERS_BUSY_MAX = 0.9, 0.05


@dataclasses.dataclass
class Results:
    """`rounds`: (table, case's label, peer's name) -> the figures of each round that came to an end; `failures`: the same key ->
    what went wrong."""

    path: str | None = None
    rounds: dict = dataclasses.field(default_factory=dict)
    failures: dict = dataclasses.field(default_factory=dict)

    def add(self, table, case, peer, round_number, seconds, figures=None, failure=None):
        """One cell, with its figures or with why there are none; written at once."""
        key = (table.name, case.label, peer.name)
        if figures is None:
            self.failures[key] = failure
        else:
            self.rounds.setdefault(key, []).append(figures)
        if self.path:
            line = {
                "table": table.name, "case": case.label, "peer": peer.name, "round": round_number, "seconds": seconds,
                "cores": case.cores, "load": dataclasses.asdict(case.load) if case.load else None,
            }  # fmt: skip
            line |= {"failure": failure} if figures is None else {"figures": figures}
            with open(self.path, "a", encoding="utf-8") as lines:
                lines.write(json.dumps(line) + "\n")

    def cell(self, table, case, peer):
        """By their names; None if there is none."""
        found = self.rounds.get((table, case, peer))
        return Cell(found) if found else None

    def cells(self, table=None, peer=None):
        """Those of a table and of a peer: (case's label, peer's name, Cell)."""
        for (of_table, case, of_peer), found in self.rounds.items():
            if table in (None, of_table) and peer in (None, of_peer):
                yield case, of_peer, Cell(found)


@dataclasses.dataclass(frozen=True)
class Cell:
    """All rounds of one cell."""

    rounds: list

    def values(self, key):
        return [figures[key] for figures in self.rounds if figures.get(key) is not None]

    def median(self, key):
        """None where no round has it."""
        values = self.values(key)
        return statistics.median(values) if values else None

    def most(self, key):
        return max(self.values(key), default=None)

    def bottleneck(self):
        """Which side was busy, by its own clocks: only a peer with BUSY of its core shows what it can do."""
        peer, load = self.median("peer_busy"), self.median("load_busy")
        if peer is None:
            return "load and sink"
        if self.most("cores_shared"):
            return "shared cores"
        if peer >= BUSY:
            return "peer"
        if load >= BUSY:
            return "load-bound"
        return "others" if self.median("others_busy") > OTHERS_BUSY_MAX else "neither"


def ratio(cell, other, key):
    """Of two medians; None where one is missing."""
    ours, theirs = (one.median(key) if one else None for one in (cell, other))
    return ours / theirs if ours is not None and theirs else None
