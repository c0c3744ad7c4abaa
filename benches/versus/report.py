"""The tables as Markdown, ready for benches/RESULTS.md.

Must never print a figure without its spread where a round could have given another, nor a throughput without who limited it.
"""

from versus.peers import FLOOR, PEERS, PROXIES, REFERENCE
from versus.results import OTHERS_BUSY_MAX, ratio


def number(value, digits=None):
    """Three figures, or as many decimals as asked for; "-" for None."""
    if value is None:
        return "-"
    if digits is None:
        digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"


def spread(cell, key, digits=None):
    """Median and, with several rounds, least and most."""
    values, median = cell.values(key), number(cell.median(key), digits)
    if len(values) < 2:
        return median
    return f"{median} ({number(min(values), digits)}-{number(max(values), digits)})"


def share(value):
    """1/x, as the goals are written."""
    return "-" if value is None else f"1/{1 / value:.1f}" if value < 1 else f"{value:.1f}"


def best_proxy(results, table, case):
    """The cell of the proxy that costs least here."""
    found = [results.cell(table, case, name) for name in PROXIES]
    return min((cell for cell in found if cell), key=lambda cell: cell.median("us_per_request"), default=None)


def percent(value):
    return "-" if value is None else f"{value * 100:.0f} %"


def user_system(cell):
    """User and system microseconds per request; "-" where the clock's ticks do not tell."""
    user, total = cell.median("user_share"), cell.median("us_per_request")
    return "-" if user is None else f"{number(total * user)} + {number(total * (1 - user))}"


def _against(results, table, case, cell):
    reference, floor = (results.cell(table, case, name) for name in (REFERENCE, FLOOR))
    proxy = best_proxy(results, table, case)
    shared = [share(ratio(cell, reference, "us_per_request"))]
    return shared + [number(ratio(cell, other, "us_per_request")) for other in (proxy, floor)]


AGAINST = ("of the Collector", "x best proxy", "x TCP relay")
COST = (
    "CPU us/request", "user + system", "us/span", "us/MB", *AGAINST, "spans/s", "peer's core, load's", "limited by",
    "spans/s at 100 %", "MiB idle, peak", "lost", "refused",
)  # fmt: skip
LATENCY = ("p50 us", "p99 us", "p99.9 us", "p99 over TCP relay, us", "CPU us/request", *AGAINST, "requests/s", "lost", "refused")
TRICKLE = (
    "CPU us/request", *AGAINST, "CPU ms/s", "context switches/s", "p50 us", "p99 us", "MiB idle, peak", "lost", "refused",
)  # fmt: skip

TRANSPORT = (
    "CPU us/request", "user + system", "us/span", "of the Collector", "x base", "bytes/request", "spans/s",
    "peer's core, load's", "limited by", "spans/s at 100 %", "MiB idle, peak", "lost", "refused",
)  # fmt: skip
GROWTH = (
    "CPU us/span", "us/request", "of the Collector", "in + out", "bytes/request", "requests/s", "peer's core", "limited by",
    "context switches/s", "MiB idle, peak", "MiB when held", "lost", "refused",
)  # fmt: skip


def _loss(cell):
    return [number(cell.most("lost"), 0), number(cell.most("refused"), 0)]


def _memory(cell):
    return f"{number(cell.median('idle_mib'), 1)}, {number(cell.most('peak_mib'), 1)}"


def _busy(cell):
    return f"{percent(cell.median('peer_busy'))}, {percent(cell.median('load_busy'))}"


def _cost(results, table, case, cell, _base):
    return [
        spread(cell, "us_per_request"), user_system(cell), spread(cell, "us_per_span"), number(cell.median("us_per_mb")),
        *_against(results, table, case, cell), spread(cell, "spans_per_second", 0), _busy(cell), cell.bottleneck(),
        number(cell.median("spans_per_second_at_100"), 0), _memory(cell), *_loss(cell),
    ]  # fmt: skip


def _latency(results, table, case, cell, _base):
    floor = results.cell(table, case, FLOOR)
    added = cell.median("p99_us") - floor.median("p99_us") if floor else None
    return [
        *(spread(cell, key, 0) for key in ("p50_us", "p99_us", "p999_us")), number(added, 0),
        spread(cell, "us_per_request"), *_against(results, table, case, cell), number(cell.median("requests_per_second"), 0),
        *_loss(cell),
    ]  # fmt: skip


def _trickle(results, table, case, cell, _base):
    if cell.median("requests") is None:
        against = ["-", "-", "-", "-"]
    else:
        against = [spread(cell, "us_per_request"), *_against(results, table, case, cell)]
    return [
        *against, spread(cell, "cpu_ms_per_second"), spread(cell, "switches_per_second"),
        number(cell.median("p50_us"), 0), number(cell.median("p99_us"), 0), _memory(cell), *_loss(cell),
    ]  # fmt: skip


def _transport(results, table, case, cell, base):
    against = share(ratio(cell, results.cell(table, case, REFERENCE), "us_per_request"))
    return [
        spread(cell, "us_per_request"), user_system(cell), spread(cell, "us_per_span"), against,
        number(ratio(cell, base, "us_per_request")), number(cell.median("message_bytes"), 0),
        spread(cell, "spans_per_second", 0), _busy(cell), cell.bottleneck(),
        number(cell.median("spans_per_second_at_100"), 0), _memory(cell), *_loss(cell),
    ]  # fmt: skip


def _growth(results, table, case, cell, _base):
    against = share(ratio(cell, results.cell(table, case, REFERENCE), "us_per_request"))
    split = [cell.median("us_per_span_in"), cell.median("us_per_span_out")]
    parts = "-" if None in split else " + ".join(map(number, split))
    limited = "-" if cell.median("load_busy") is None else cell.bottleneck()
    return [
        spread(cell, "us_per_span"), spread(cell, "us_per_request"), against, parts, number(cell.median("message_bytes"), 0),
        spread(cell, "requests_per_second", 0), percent(cell.median("peer_busy")), limited,
        number(cell.median("switches_per_second"), 0), _memory(cell), number(cell.median("held_mib"), 1), *_loss(cell),
    ]  # fmt: skip


COLUMNS = {
    "cost": (COST, _cost), "latency": (LATENCY, _latency), "trickle": (TRICKLE, _trickle), "growth": (GROWTH, _growth),
    "transport": (TRANSPORT, _transport),
}  # fmt: skip


def markdown(headings, lines):
    rows = [list(headings), ["---"] * len(headings), *lines]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)


def as_markdown(results, table):
    """One table with its title, its note, and what did not come to an end."""
    headings, columns = COLUMNS[table.columns]
    lines = []
    for case in table.cases:
        for name, peer in PEERS.items():
            cell = results.cell(table.name, case.label, name)
            if cell:
                base = results.cell(table.name, case.base, name)
                lines.append([case.label, peer.title, *columns(results, table.name, case.label, cell, base)])
    failed = [
        f"Failed: {PEERS[peer].title}, {case}: {why}"
        for (of_table, case, peer), why in results.failures.items()
        if of_table == table.name
    ]
    text = [f"### {table.title}", table.note, markdown([table.heading, "peer", *headings], lines), *failed]
    return "\n\n".join(part for part in text if part) + "\n"


def disturbed(results):
    """How many cells others used more than OTHERS_BUSY_MAX of a core in, of how many; idle ones are not looked at."""
    shares = [share for _, _, cell in results.cells() for share in cell.values("others_busy")]
    return sum(share > OTHERS_BUSY_MAX for share in shares), len(shares)
