"""Runs a scenario, in its long form with both agents, keeps the figures of all that ran, and shows them.

Must never let the Collector's figures fail a run, nor hide that it could not be run.
"""

import functools
import os
import platform
import subprocess
import time
import traceback

from process import Failed
from reliability import fanned, limited, members, poisoned, reloaded, restarted, stalled
from reliability.around import AGENTS
from reliability.figures import HEADINGS, Figures
from stage import REPOSITORY, Stage
from table import Row, render

PREFIX = "reliability-"
# In the order of the table.
SCENARIOS = {
    "members": members.run,
    "too-large": limited.too_large,
    "refusing": limited.refusing,
    "exhausted": limited.exhausted,
    "exhausted-opted-in": limited.opted_in,
    "poison": poisoned.run,
    "restart-overlapping": restarted.overlapping,
    "restart-in-turn": restarted.one_after_the_other,
    "fan-out": fanned.run,
    "stalled-32": functools.partial(stalled.run, limit_mib=32),
    "stalled-64": functools.partial(stalled.run, limit_mib=64),
    "reload": reloaded.run,
}


class Runs:
    """The figures of a run of e2e; `full` words choose scenarios that run in their long form."""

    def __init__(self, full):
        self.full, self.found, self.ran_full = full, [], set()

    def scenarios(self):
        """Name -> function of a stage, as main.py wants them."""
        return {f"{PREFIX}{name}": functools.partial(self._both, name, scenario) for name, scenario in SCENARIOS.items()}

    def _both(self, name, scenario, stage):
        full = any(word in f"{PREFIX}{name}" for word in self.full)
        found = [self._one(scenario, stage, agent, full) for agent in (AGENTS if full else [stage.agent])]
        self.found += found
        self.ran_full |= {name} if full else set()
        first, *others = found
        row = Row(first.scenario, first.acknowledged, first.acknowledged)
        if first.acknowledged is not None:
            row.seen = first.acknowledged - first.lost
        row.verdict = f"ok: {'; '.join(map(_in_short, [first, *others]))}"
        if first.wrong and first.agent == AGENTS["relayd"]:
            row.verdict, row.failed = f"FAILED: {'; '.join(first.wrong)}"[:250], True
        return row

    def _one(self, scenario, stage, agent, full):
        own = Stage(agent, stage.folder, stage.programs, agent)
        started = time.monotonic()
        try:
            figures = scenario(own, full)
        except Failed as failure:
            print(f"--- {stage.name}, {agent}: {failure}\n{own.tails()}\n--- logs: {own.folder}", flush=True)
            figures = Figures(stage.name, besides=f"not run to its end: {failure}", wrong=[str(failure)])
        except Exception as failure:  # whatever breaks, the other agent still runs
            print(f"--- {stage.name}, {agent}\n{traceback.format_exc()}\n{own.tails()}", flush=True)
            figures = Figures(stage.name, besides=f"not run to its end: {failure!r}", wrong=[repr(failure)])
        finally:
            own.end()
        figures.agent = AGENTS[agent]
        print(f"[{time.monotonic() - started:5.1f} s] {stage.name}, {AGENTS[agent]}: {' | '.join(figures.cells()[2:])}", flush=True)
        if figures.wrong:
            print(f"          wrong: {'; '.join(figures.wrong)}", flush=True)
        return figures

    def show(self):
        """Prints the table, and writes docs/reliability.md where every scenario ran in full."""
        if not self.found:
            return
        print(f"\n{render(HEADINGS, [one.cells() for one in self.found])}\n", flush=True)
        if self.ran_full == set(SCENARIOS):
            path = os.path.join(REPOSITORY, "docs", "reliability.md")
            with open(path, "w", encoding="utf-8") as file:
                file.write(page(self.found))
            print(f"written: {path}", flush=True)


def _in_short(figures):
    if figures.acknowledged is None:
        return f"{figures.agent}: {figures.besides[:120]}"
    return f"{figures.agent}: lost {figures.lost}, twice {figures.twice}, refused {figures.refused}"


INTRODUCTION = """\
# Reliability

relayd and the Collector in the same place, on the same configuration (`deploy/agent.yaml`, with addresses and what the scenario needs over it), while
upstreams fail, move, refuse and fill up, and while the agent itself is restarted. Written by `e2e/run --full reliability` from what it ran; do not edit.

{when}

Load is `testkit numbered`: clients with one call in flight each, as the SDKs have, whose spans bear numbers; they try again what the OTLP specification
calls retryable, for up to a minute. Upstreams are Collectors that pass on before they answer. Figures are spans:

- acknowledged: answered with OK;
- lost: of those, spans that are nowhere in the end;
- twice: spans that are there more often than once although their sender sent them once, or was refused before. OTLP delivers at least once: an upstream
  that is killed between taking and answering gets its last calls again by another way;
- refused: spans whose sender was told no, for good;
- slowest: from a request's first attempt to its acknowledgement.

"""


def page(found):
    commit = subprocess.run(
        ["git", "-C", REPOSITORY, "describe", "--always", "--dirty"], capture_output=True, text=True, timeout=20, check=False
    ).stdout.strip()
    when = f"{time.strftime('%Y-%m-%d', time.gmtime())}, commit {commit}, {os.cpu_count()} cores, {platform.system()} {platform.release()}."
    lines = [INTRODUCTION.format(when=when) + f"| {' | '.join(HEADINGS)} |", f"| --- | --- |{' ---: |' * 5} --- |"]
    lines += [f"| {' | '.join(cell.replace('|', '/') for cell in one.cells())} |" for one in found]
    wrong = [f"- {one.scenario}: {text}" for one in found if one.agent == AGENTS["relayd"] for text in one.wrong]
    lines += ["", "## Where relayd falls short", "", *(wrong or ["Nowhere in this run."])]
    return "\n".join(lines) + "\n"
