"""The figures of one run of one agent, the table of them, and the page that is written out of it.

Must never leave out a run because its figures are bad.
"""

import dataclasses

HEADINGS = ("scenario", "agent", "acknowledged", "lost", "twice", "refused", "slowest ms", "besides")


@dataclasses.dataclass
class Figures:
    """In spans. `lost`: acknowledged to their sender and nowhere. `twice`: more often there than once although the sender sent them
    once or was refused before. `refused`: told their sender, for good. `slowest_ms`: from a request's first attempt to its
    acknowledgement. `repeated`: requests sent again because an answer was lost with its connection. `besides` is in words what only this scenario has. `wrong`: what relayd must not do."""

    scenario: str
    agent: str = ""
    acknowledged: int | None = None
    lost: int | None = None
    twice: int | None = None
    refused: int | None = None
    slowest_ms: float | None = None
    repeated: int = 0
    besides: str = ""
    wrong: list = dataclasses.field(default_factory=list)

    def cells(self):
        counts = (self.acknowledged, self.lost, self.twice, self.refused, self.slowest_ms)
        figures = ["-" if figure is None else f"{figure:.0f}" for figure in counts]
        repeated = f"; {self.repeated} requests sent again because an answer was lost" if self.repeated else ""
        return [self.scenario, self.agent, *figures, self.besides + repeated]


def of_tally(scenario, load, tally):
    """Figures of a `testkit numbered` and its `tally`, both JSON objects; what nobody may do is noted as wrong."""
    sent = tally["sent"]
    figures = Figures(scenario, "", sent["acknowledged"], sent["lost"], sent["twice"], sent["refused"], load["slowest_ms"], load["repeated"])
    if sent["lost"]:
        figures.wrong.append(f"{sent['lost']} spans lost, such as (client, request, span) {sent['examples']}")
    if sent["acknowledged"] == 0:
        figures.wrong.append("nothing was acknowledged: nothing was shown")
    return figures
