"""The chart of the table `growth`: one panel for each dimension, drawn from the lines of JSON of a run, as an SVG.

Must never smooth or fit: a line joins what was measured, and each point bears its value. No library: shapes and text only.

usage: python3 benches/versus/chart.py CELLS.jsonl CHART.svg   (draws a run again; RUN.json beside the cells is its caption)
"""

import dataclasses
import json
import math
import os
import statistics
import sys
from xml.sax.saxutils import escape

WIDTH, HEIGHT, COLUMNS = 400, 300, 3
LEFT, RIGHT, TOP, BOTTOM = 62, 24, 52, 48
HEAD, FOOT = 64, 44
# Contrast of at least 4.5 on the background, which the chart brings along for dark pages.
BACKGROUND, PANEL, INK, FAINT, GRID = "#f6f7f9", "#ffffff", "#1b1f24", "#57606a", "#e1e4e8"
COLOURS = {"relayd": "#0a5ec2", "collector": "#b3470b"}
SUBTITLE = "Unless it varies: 10 spans of about 500 bytes a request, 4 connections with 8 calls in flight, closed loop."
TITLES = {"relayd": "relayd", "collector": "Collector"}
# Names of series above and below their points, so that two in one panel stay apart.
ABOVE, BELOW = -9, 17


@dataclasses.dataclass(frozen=True)
class Panel:
    """`dimension` is that of versus.growth; `cost` the figure's key; `x` that of what was reached where the label is a wish;
    `splits`: the calls in flight on a connection change on the way."""

    dimension: str
    title: str
    x_title: str
    y_title: str
    cost: str = "us_per_span"
    x: str | None = None
    log_x: bool = True
    log_y: bool = False
    splits: bool = False


PANELS = (
    Panel(
        "connections", "Connections", "connections (8 calls in flight each, one from 512 on)", "CPU µs per span", splits=True
    ),
    Panel("spans per request", "Size of requests", "spans per request", "CPU µs per span", log_y=True),
    Panel("bytes per span", "Size of spans", "bytes per span", "CPU µs per span", log_y=True),
    Panel(
        "requests per second", "Rate", "requests per second, reached; 10 spans, 200 connections", "CPU µs per request",
        "us_per_request", "requests_per_second", log_y=True,
    ),
    Panel("exporters", "Exporters in one pipeline", "exporters, each to an upstream of its own", "CPU µs per span", log_x=False),
    Panel(
        "spans held", "Depth of the queue", "spans held while the upstream is away; MiB resident then",
        "CPU µs per span, in and out", log_x=False,
    ),
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Scale:
    """From values to places; `low` to `high` lie between `start` and `end`."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool

    def at(self, value):
        if self.is_log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self):
        if self.is_log:
            return [10.0**power for power in range(math.ceil(math.log10(self.low)), math.floor(math.log10(self.high)) + 1)]
        step = _round_step((self.high - self.low) / 4)
        return [step * number for number in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]


def _round_step(rough):
    power = 10 ** math.floor(math.log10(rough))
    return next(times * power for times in (1, 2, 5, 10) if times * power >= rough * 0.999)


def shown(value):
    """Three figures, without an exponent; thousands as k."""
    if value >= 10_000:
        return f"{value / 1000:,.0f}k"
    if value >= 1_000:
        return f"{value / 1000:.3g}k"
    return f"{value:.3g}"


def read_points(lines, panel):
    """{peer: [(x, cost, calls in flight on a connection, MiB while spans are held or None)]}, medians of the rounds, by x."""
    rounds, calls = {}, {}
    for line in lines:
        dimension, _, value = line["case"].partition(": ")
        if line["table"] == "growth" and dimension == panel.dimension and "figures" in line:
            key = (line["peer"], float(value.replace(",", "")))
            rounds.setdefault(key, []).append(line["figures"])
            calls[key] = line["load"]["in_flight"] if panel.splits else None
    points = {}
    for (peer, wanted), found in rounds.items():
        x = statistics.median(figures[panel.x] for figures in found) if panel.x else wanted
        cost = statistics.median(figures[panel.cost] for figures in found)
        points.setdefault(peer, []).append((x, cost, calls[(peer, wanted)], found[0].get("held_mib")))
    return {peer: sorted(found, key=lambda point: point[0]) for peer, found in points.items()}


def _text(x, y, text, size=11, colour=FAINT, anchor="middle", more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}"{more}>{escape(text)}</text>'


def _line(x1, y1, x2, y2, colour=GRID):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _scales(panel, points, left, top):
    xs = [x for found in points.values() for x, *_ in found]
    costs = [cost for found in points.values() for _, cost, *_ in found]
    right, bottom = left + WIDTH - LEFT - RIGHT, top + HEIGHT - TOP - BOTTOM
    if panel.log_x:
        x_scale = Scale(min(xs) / 1.6, max(xs) * 1.6, left, right, True)
    else:
        x_scale = Scale(min(xs) - 0.08 * max(xs), max(xs) * 1.08, left, right, False)
    if panel.log_y:
        y_scale = Scale(min(costs) / 2.3, max(costs) * 1.9, bottom, top, True)
    else:
        y_scale = Scale(0, max(costs) * 1.3, bottom, top, False)
    return x_scale, y_scale


def _axes(panel, points, x_scale, y_scale):
    left, right, bottom, top = x_scale.start, x_scale.end, y_scale.start, y_scale.end
    drawn = []
    for tick in y_scale.ticks():
        drawn.append(_line(left, y_scale.at(tick), right, y_scale.at(tick)))
        drawn.append(_text(left - 6, y_scale.at(tick) + 4, shown(tick), anchor="end"))
    # Where it was measured; a linear axis of few points needs no others.
    values = x_scale.ticks() if x_scale.is_log else sorted({x for found in points.values() for x, *_ in found})
    for value in values:
        drawn.append(_line(x_scale.at(value), bottom, x_scale.at(value), bottom + 4, FAINT))
        drawn.append(_text(x_scale.at(value), bottom + 17, shown(value)))
    drawn.append(_line(left, bottom, right, bottom, FAINT))
    drawn.append(_text((left + right) / 2, bottom + 36, panel.x_title))
    at = f' transform="rotate(-90 {left - 42:.1f} {(top + bottom) / 2:.1f})"'
    drawn.append(_text(left - 42, (top + bottom) / 2, panel.y_title, more=at))
    return drawn


def _series(peer, found, x_scale, y_scale, place):
    colour = COLOURS[peer]
    places = [(x_scale.at(x), y_scale.at(cost)) for x, cost, *_ in found]
    drawn = []
    for (x1, y1), (x2, y2), before, after in zip(places, places[1:], found, found[1:]):
        # No line between points that differ in more than the panel's dimension.
        if before[2] == after[2]:
            at = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
            drawn.append(f'<line {at} stroke="{colour}" stroke-width="2" stroke-linecap="round"/>')
    for (x, y), (_, cost, _, memory) in zip(places, found):
        drawn.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2" fill="{colour}"/>')
        drawn.append(_text(x, y + place, shown(cost), 11, colour))
        if memory is not None:
            drawn.append(_text(x, y_scale.start - 8, f"{memory:.0f} MiB", 11))
    return drawn


def _panel(panel, lines, x, y):
    points = read_points(lines, panel)
    drawn = [f'<rect x="{x + 6}" y="{y + 6}" width="{WIDTH - 12}" height="{HEIGHT - 12}" rx="6" fill="{PANEL}" stroke="{GRID}"/>']
    drawn.append(_text(x + 20, y + 30, panel.title, 14, INK, "start", ' font-weight="600"'))
    if not points:
        return [*drawn, _text(x + WIDTH / 2, y + HEIGHT / 2, "not measured")]
    x_scale, y_scale = _scales(panel, points, x + LEFT, y + TOP)
    drawn += _axes(panel, points, x_scale, y_scale)
    for peer in sorted(points, key=list(COLOURS).index):
        place = ABOVE if len(points) == 1 or peer != "relayd" else BELOW
        drawn += _series(peer, points[peer], x_scale, y_scale, place)
    return drawn


def _legend(x, y):
    drawn = []
    for peer, colour in COLOURS.items():
        drawn.append(f'<circle cx="{x}" cy="{y - 4}" r="4" fill="{colour}"/>')
        drawn.append(_text(x + 10, y, TITLES[peer], 13, INK, "start"))
        x += 90
    return drawn


def draw(lines, header):
    """The whole chart as text; `header` as run.json has it."""
    rows = math.ceil(len(PANELS) / COLUMNS)
    width, height = COLUMNS * WIDTH, HEAD + rows * HEIGHT + FOOT
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif" role="img" '
        'aria-label="CPU time against connections, size of requests and spans, rate, exporters and depth of the queue">',
        f'<rect width="{width}" height="{height}" fill="{BACKGROUND}"/>',
        _text(20, 30, "How cost grows: CPU time, user and system, until all is delivered", 18, INK, "start", ' font-weight="600"'),
        _text(20, 52, SUBTITLE, 12.5, FAINT, "start"),
        *_legend(width - 200, 30),
    ]  # fmt: skip
    for number, panel in enumerate(PANELS):
        drawn += _panel(panel, lines, number % COLUMNS * WIDTH, HEAD + number // COLUMNS * HEIGHT)
    if header:
        text = f"{header['command']} · {header['date']} · {header['machine']} · peer on one core, load and sink on the other"
        drawn.append(_text(20, height - 18, text, 11.5, FAINT, "start"))
    return "\n".join([*drawn, "</svg>"]) + "\n"


def write(cells_path, chart_path, header=None):
    """Draws a run's cells."""
    with open(cells_path, encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    with open(chart_path, "w", encoding="utf-8") as file:
        file.write(draw(lines, header))


def main(cells_path, chart_path):
    run = os.path.join(os.path.dirname(os.path.abspath(cells_path)), "run.json")
    header = None
    if os.path.exists(run):
        with open(run, encoding="utf-8") as file:
            header = json.load(file)
    write(cells_path, chart_path, header)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python3 benches/versus/chart.py CELLS.jsonl CHART.svg")
    main(sys.argv[1], sys.argv[2])
