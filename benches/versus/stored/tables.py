"""The tables of a run, in Markdown, and the goals that it has reached.

Must never call a goal reached that was not measured.
"""

import statistics

from versus.report import markdown, number
from versus.stored.agents import AGENTS, OURS, OURS_WITHOUT, THEIRS
from versus.stored.states import CASES, DEAD, DRAINING, HEALTHY

HEADINGS = (
    "state", "agent", "acknowledged spans/s", "p50 ms", "p99 ms", "CPU us/span", "bytes written per byte", "MiB most", "refused", "lost"
)
STARTS = ("backlog", "agent", "listening ms", "first acknowledgement ms", "MiB resident then", "MB read by then", "GB on disk", "s to make it")
DRAINS = ("agent", "GB", "s", "spans/s", "MB/s", "CPU us/span", "MiB resident: least, median, most", "bytes left on disk")
# Goals: with a healthy upstream of what no storage does; with a dead one times what the Collector does that syncs; a start.
HEALTHY_SHARE_MIN, DEAD_TIMES_MIN, START_TIMES_MAX, START_MS_MAX = 0.95, 10, 1.5, 100


def median(rounds, key):
    values = [figures[key] for figures in rounds if figures.get(key) is not None]
    return statistics.median(values) if values else None


def _spread(rounds, key, digits=2, times=1):
    values = [figures[key] * times for figures in rounds if figures.get(key) is not None]
    if not values:
        return "-"
    middle = number(statistics.median(values), digits)
    return middle if len(values) == 1 else f"{middle} ({number(min(values), digits)}-{number(max(values), digits)})"


def states(cells):
    """`cells`: {(case's name, agent's name): [figures of each round]}."""
    lines = []
    for case in CASES:
        for name, agent in AGENTS.items():
            found = cells.get((case.name, name))
            if not found:
                continue
            label = case.label
            if case.state == DRAINING:
                label += f"; backlog at {number(median(found, 'drained_spans_per_second'), 0)} spans/s"
            lines.append([
                label, agent.title, _spread(found, "spans_per_second", 0), _spread(found, "p50_us", 1, 1e-3),
                _spread(found, "p99_us", 1, 1e-3), _spread(found, "us_per_span"), _spread(found, "written_per_byte"),
                number(max(figures["peak_mib"] for figures in found), 0), number(sum(figures["refused"] for figures in found), 0),
                number(sum(figures["lost"] for figures in found), 0) if all("lost" in figures for figures in found) else "-",
            ])  # fmt: skip
    return markdown(HEADINGS, lines)


def starts(found):
    """`found`: {agent's name: [figures of each size]}."""
    lines = [
        [
            f"{one['size_gb']:g} GB", AGENTS[name].title, number(one["listening_ms"], 0), number(one["acknowledged_ms"], 0),
            number(one["start_mib"], 0), number(one["start_read_bytes"] / 1e6, 0), number(one["bytes"] / 1e9), number(one["grown_seconds"], 0),
        ]
        for name, sizes in found.items() for one in sizes
    ]  # fmt: skip
    return markdown(STARTS, sorted(lines, key=lambda line: float(line[0].split()[0])))


def drains(found):
    """`found`: {agent's name: figures}."""
    lines = [
        [
            AGENTS[name].title, number(one["bytes"] / 1e9), "not in time" if one["seconds"] is None else number(one["seconds"], 0),
            number(one["spans_per_second"], 0), number(one["mb_per_second"], 0), number(one["us_per_span"]),
            ", ".join(number(mib, 0) for mib in one["rss_mib"]), one["left_bytes"],
        ]
        for name, one in found.items() if one
    ]  # fmt: skip
    return markdown(DRAINS, lines)


def _ratio(cells, case, ours, theirs, key="spans_per_second"):
    one, other = (cells.get((case.name, name)) for name in (ours, theirs))
    if not one or not other or not median(other, key) or median(one, key) is None:
        return None
    return median(one, key) / median(other, key)


def goals(cells, started):
    """Every goal that this run has measured."""
    lines = []

    def add(goal, wanted, measured, reached):
        lines.append([goal, wanted, measured, "yes" if reached else "**no**"])

    for case in CASES:
        if case.state == HEALTHY:
            speed = _ratio(cells, case, OURS, OURS_WITHOUT)
            cost = _ratio(cells, case, OURS, OURS_WITHOUT, "us_per_span")
            if speed is not None:
                add(f"{case.label}: spans/s of no storage", "at least 0.95", number(speed), speed >= HEALTHY_SHARE_MIN)
            if cost is not None:
                add(f"{case.label}: CPU per span of no storage", "at most 1.05", number(cost), cost <= 2 - HEALTHY_SHARE_MIN)
            written = median(cells.get((case.name, OURS), []), "written_bytes")
            if written is not None:
                add(f"{case.label}: bytes written", "0", number(written, 0), written == 0)
        if case.state == DEAD and case.load.rate is None:
            times = _ratio(cells, case, OURS, THEIRS)
            if times is not None:
                add(f"{case.label}: times the Collector with fsync", "at least 10", number(times, 1), times >= DEAD_TIMES_MIN)
    sizes = started.get(OURS, [])
    if len(sizes) > 1:
        first, last = sizes[0], sizes[-1]
        times = last["listening_ms"] / first["listening_ms"]
        add(f"start on {last['size_gb']:g} GB: times that on {first['size_gb']:g} GB", "at most 1.5", number(times), times <= START_TIMES_MAX)
        most = max(one["listening_ms"] for one in sizes)
        add("start: ms until it listens", "under 100", number(most, 0), most < START_MS_MAX)
    return markdown(("goal", "wanted", "measured", "reached"), lines)
