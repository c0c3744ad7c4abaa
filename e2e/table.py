"""The table that an e2e run ends with.

Must never call a row good by itself: a verdict comes from the checks of its scenario.
"""

import dataclasses

HEADINGS = ("scenario", "sent", "accepted", "delivered", "seen", "verdict")


@dataclasses.dataclass
class Row:
    """One line, in spans: what the sender saw acknowledged, what relayd counted as accepted and as delivered, what the far end
    holds. None where a figure has no meaning in the scenario."""

    scenario: str
    sent: int | None = None
    accepted: int | None = None
    delivered: int | None = None
    seen: int | None = None
    verdict: str = "ok"
    failed: bool = False

    def cells(self):
        figures = (self.sent, self.accepted, self.delivered, self.seen)
        return [self.scenario, *("-" if figure is None else str(figure) for figure in figures), self.verdict]


def render(headings, lines):
    """Columns as wide as need be; figures to the right."""
    lines = [[str(cell) for cell in line] for line in lines]
    widths = [max(len(line[column]) for line in [list(headings), *lines]) for column in range(len(headings))]

    def draw(line):
        cells = []
        for cell, width in zip(line, widths):
            is_figure = cell.replace(".", "", 1).isdigit() or cell == "-"
            cells.append(cell.rjust(width) if is_figure else cell.ljust(width))
        return " | ".join(cells).rstrip()

    return "\n".join([draw(headings), "-+-".join("-" * width for width in widths), *map(draw, lines)])
