"""The scenario that keeps the comparison with the Collector alive: benches/compare in short.

Must never judge speed: two seconds on a shared machine are no measurement.
"""

import os
import sys

from process import Failed
from stage import REPOSITORY
from table import Row

SECONDS = 2


def short(stage):
    """relayd and the Collector under the same load, from 1 to 512 spans a request: relayd loses nothing; the figures are shown."""
    sys.path.insert(0, os.path.join(REPOSITORY, "benches", "compare"))
    import figures

    measured = figures.measure(stage, SECONDS, rounds=1)
    print(f"\n{figures.as_table(measured)}\n({SECONDS} s a cell; benches/compare/run measures properly)\n", flush=True)
    shares = []
    for spans in figures.SPANS_PER_REQUEST:
        relayd, collector = (measured[spans, peer] for peer in figures.PEERS)
        if relayd["lost"]:
            raise Failed(f"relayd lost {relayd['lost']} spans at {spans} spans a request")
        shares.append(f"1/{collector['us_per_request'] / max(relayd['us_per_request'], 1e-9):.1f}")
    total = int(sum(measured[spans, "relayd"]["accepted"] for spans in figures.SPANS_PER_REQUEST))
    row = Row("figures against the Collector", total, total, total, total)
    row.verdict = f"ok: CPU {', '.join(shares)} at {', '.join(map(str, figures.SPANS_PER_REQUEST))} spans a request"
    return row
