"""The scenario that keeps the comparison with the Collector alive: a corner of benches/versus in short.

Must never judge speed: a second on a shared machine is no measurement.
"""

import os
import sys

from process import Failed
from stage import REPOSITORY
from table import Row, render

SECONDS = 1
PEERS = ("relayd", "collector")
HEADINGS = ("spans/request", "peer", "CPU us/request", "of the Collector", "spans/s", "limited by", "lost", "MiB idle, peak")


def short(stage):
    """relayd and the Collector under the same load, from 1 to 512 spans a request: relayd loses nothing; figures are shown."""
    sys.path.append(os.path.join(REPOSITORY, "benches"))
    from versus import cell, plan, report
    from versus.results import Results, ratio

    table, results = plan.TABLES["saturated"], Results()
    for case in table.cases:
        for peer in table.peers_of(case, PEERS):
            figures = cell.measure(stage, peer, case.load, SECONDS, f"{peer.name}-{case.name}")
            results.add(table, case, peer, 1, SECONDS, figures)
    lines, shares, accepted = [], [], 0
    for case in table.cases:
        relayd, collector = (results.cell(table.name, case.label, name) for name in PEERS)
        shares.append(report.share(ratio(relayd, collector, "us_per_request")))
        accepted += relayd.median("spans")
        if relayd.median("lost"):
            raise Failed(f"relayd lost {relayd.median('lost')} spans at {case.label} spans a request")
        for name, found in zip(PEERS, (relayd, collector)):
            share = shares[-1] if name == "relayd" else "1"
            figures = [report.number(found.median(key), 0) for key in ("spans_per_second", "lost")]
            memory = f"{found.median('idle_mib'):.1f}, {found.median('peak_mib'):.1f}"
            cost = report.number(found.median("us_per_request"))
            lines.append([case.label, name, cost, share, figures[0], found.bottleneck(), figures[1], memory])
    print(f"\n{render(HEADINGS, lines)}\n({SECONDS} s a cell; benches/versus/run measures properly)\n", flush=True)
    row = Row("figures against the Collector", accepted, accepted, accepted, accepted)
    row.verdict = f"ok: CPU {', '.join(shares)} at {', '.join(case.label for case in table.cases)} spans a request"
    return row
