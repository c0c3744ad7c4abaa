"""The project's goals in figures, and which of them a run has reached.

Must never call a goal reached that was not measured: it is left out.
"""

from versus.peers import FLOOR, PROXIES, REFERENCE
from versus.report import best_proxy, markdown, number, share
from versus.results import ratio

# CPU per request of relayd as a share of the Collector's, by spans per request; and times the best proxy's.
OF_COLLECTOR = {"1": 1 / 6.5, "10": 1 / 10, "100": 1 / 17, "512": 1 / 20}
TIMES_BEST_PROXY = {"1": 0.6, "10": 0.65, "100": 1.05, "512": 1.2}
# 100 spans per request, compressed by the sender, and opened; or passed on as they came.
GZIP_OPENED_OF_COLLECTOR = {"100 spans, gzip in, plain out": 1 / 5, "100 spans, gzip in and out": 1 / 5}
GZIP_OPENED_TOO_OF_COLLECTOR, GZIP_UNOPENED_OF_COLLECTOR = {"100 spans": 1 / 5}, {"100 spans": 1 / 90}
# 1,000 requests per second of 10 spans over 200 connections.
TRICKLE_OF_COLLECTOR, TRICKLE_TIMES_TCP = 1 / 8, 1 / 2
IDLE_SWITCHES_PER_SECOND_MAX = 1
IDLE_MIB_MAX, PEAK_MIB_MAX = 8, 32
# p99 of acknowledgement with linger 0 above that of a plain TCP relay.
ADDED_P99_US_MAX = 300
# CPU per span at any number of connections, times that at one.
FLAT_TIMES_MAX = 1.15
SECOND_CORE_TIMES_MIN = 1.9

HEADINGS = ("goal", "wanted", "measured", "reached")


def _at_most(name, wanted, measured, shown=number):
    """One line; none if there is nothing measured."""
    if measured is None:
        return []
    return [[name, f"at most {shown(wanted)}", shown(measured), "yes" if measured <= wanted else "no"]]


def _shares(results, table, goals, what, peer="relayd"):
    lines = []
    for case, wanted in goals.items():
        relayd, collector = (results.cell(table, case, name) for name in (peer, REFERENCE))
        lines += _at_most(f"{what}{case}: of the Collector", wanted, ratio(relayd, collector, "us_per_request"), share)
    return lines


def _times_proxy(results, table, goals, what):
    lines = []
    for case, wanted in goals.items():
        if not all(results.cell(table, case, name) for name in PROXIES):
            continue  # the better one may be the one that is missing
        proxy = best_proxy(results, table, case)
        measured = ratio(results.cell(table, case, "relayd"), proxy, "us_per_request")
        lines += _at_most(f"{what}{case}: times the best proxy", wanted, measured)
    return lines


def _trickle(results):
    by_peer = {}
    for case, peer, cell in results.cells("trickle"):
        by_peer.setdefault(case.split()[0].rstrip(","), {})[peer] = cell
    busy, idle = by_peer.get("1,000", {}), by_peer.get("idle", {})
    relayd = busy.get("relayd")
    lines = _at_most(
        "CPU at a node's trickle: of the Collector", TRICKLE_OF_COLLECTOR,
        ratio(relayd, busy.get(REFERENCE), "us_per_request"), share,
    )  # fmt: skip
    lines += _at_most(
        "CPU at a node's trickle: times the TCP relay", TRICKLE_TIMES_TCP,
        ratio(relayd, busy.get(FLOOR), "us_per_request"),
    )  # fmt: skip
    if "relayd" in idle:
        measured = idle["relayd"].median("switches_per_second")
        lines += _at_most("idle: context switches per second", IDLE_SWITCHES_PER_SECOND_MAX, measured)
    return lines


def _memory(results):
    cells = [cell for _, _, cell in results.cells(peer="relayd")]
    idle = max((value for cell in cells for value in cell.values("idle_mib")), default=None)
    peak = max((value for cell in cells for value in cell.values("peak_mib")), default=None)
    return _at_most("MiB resident, idle", IDLE_MIB_MAX, idle) + _at_most("MiB resident, most of all cells", PEAK_MIB_MAX, peak)


def _latency(results):
    added = None
    for case, _, cell in results.cells("moderate", "relayd-linger0"):
        floor = results.cell("moderate", case, FLOOR)
        added = cell.median("p99_us") - floor.median("p99_us") if floor else None
    return _at_most("p99 of acknowledgement, linger 0, over the TCP relay, us", ADDED_P99_US_MAX, added)


def _flat(results):
    costs = {case: cell.median("us_per_span") for case, _, cell in results.cells("connections", "relayd")}
    one = costs.get("1")
    if not one or len(costs) < 2:
        return []
    at, most = max(costs.items(), key=lambda cost: cost[1])
    return _at_most(f"CPU per span at up to 10,000 connections (most: at {at}), times that at 1", FLAT_TIMES_MAX, most / one)


def _second_core(results):
    lines = []
    for spans in (10, 100):
        one, two = (results.cell("cores", f"{spans} spans, {cores}", "relayd") for cores in ("1 core", "2 cores"))
        measured = ratio(two, one, "spans_per_second_at_100")
        if measured is not None:
            reached = "yes" if measured >= SECOND_CORE_TIMES_MIN else "no"
            name = f"second core, {spans} spans: times the throughput (by CPU per request)"
            lines.append([name, f"at least {number(SECOND_CORE_TIMES_MIN)}", number(measured), reached])
    return lines


def as_markdown(results):
    """Every goal that this run has measured."""
    lines = _shares(results, "saturated", OF_COLLECTOR, "CPU, spans per request ")
    lines += _times_proxy(results, "saturated", TIMES_BEST_PROXY, "CPU, spans per request ")
    lines += _shares(results, "gzip", GZIP_OPENED_OF_COLLECTOR, "CPU, ")
    lines += _shares(results, "passthrough", GZIP_OPENED_TOO_OF_COLLECTOR, "CPU, gzip in and out, opened, ")
    lines += _shares(results, "passthrough", GZIP_UNOPENED_OF_COLLECTOR, "CPU, gzip in and out, unopened, ", "relayd-alone")
    lines += _trickle(results) + _memory(results) + _latency(results) + _flat(results) + _second_core(results)
    return f"### Goals\n\n{markdown(HEADINGS, lines)}\n" if lines else ""
