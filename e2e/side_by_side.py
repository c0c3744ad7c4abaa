"""Runs a scenario, in its long form with every agent, keeps the figures of all that ran, and shows them.

Must never let another agent's figures fail a run, nor hide that it could not be run.
"""

import dataclasses
import functools
import json
import os
import platform
import subprocess
import time
import traceback

from process import Failed
from reliability.figures import HEADINGS, Figures
from stage import REPOSITORY, Stage
from table import Row, render

OURS = "relayd"


@dataclasses.dataclass(frozen=True)
class Family:
    """Scenarios of one kind: `scenarios` from a name to a function of a stage, of whether it is the long form, and of what `agents`
    has behind the program and the title; relayd is the first of them. `introduction` begins the page `page` below docs/."""

    prefix: str
    scenarios: dict
    agents: dict
    page: str
    introduction: str


@dataclasses.dataclass(frozen=True)
class Agent:
    """`program` runs, `title` is what tables call it; `arguments` are more for the scenario."""

    program: str
    title: str
    arguments: tuple = ()


class Runs:
    """The figures of a run of e2e; `full` words choose scenarios that run in their long form, with the agents whose name has one of the
    words `only_agents`, or with all. `earlier` are files of figures that the page takes as this run's own: the long form takes hours."""

    def __init__(self, family: Family, full, only_agents=(), earlier=()):
        self.family, self.full, self.found = family, full, []
        self.agents = {
            name: agent for name, agent in family.agents.items() if not only_agents or any(word in name for word in only_agents)
        }
        # (scenario, agent) -> figures of its long form.
        self.ran_full = {}
        for path in earlier:
            with open(path, encoding="utf-8") as lines:
                self._take(map(json.loads, lines))

    def _take(self, lines):
        for line in lines:
            family, full, name, agent = (line.pop(key) for key in ("family", "full", "name", "of"))
            if family == self.family.prefix and full:
                self.ran_full[(name, agent)] = Figures(**line)

    def scenarios(self):
        """Name -> function of a stage, as main.py wants them."""
        named = self.family.scenarios.items()
        return {f"{self.family.prefix}{name}": functools.partial(self._all, name, scenario) for name, scenario in named}

    def _all(self, name, scenario, stage):
        full = any(word in f"{self.family.prefix}{name}" for word in self.full)
        agents = self.agents if full else self._of_program(stage.agent)
        found = [self._one(name, scenario, stage, agent, full) for agent in agents]
        self.found += found
        self.ran_full |= {(name, agent): figures for agent, figures in zip(agents, found)} if full else {}
        first, *others = found
        for other in others:
            if first.acknowledged is not None or other.acknowledged is None:
                other.scenario = first.scenario  # also where it did not come to its end
        row = Row(first.scenario, first.acknowledged, first.acknowledged)
        if first.acknowledged is not None:
            row.seen = first.acknowledged - first.lost
        row.verdict = f"ok: {'; '.join(map(_in_short, [first, *others]))}"
        if first.wrong and first.agent == self.family.agents[OURS].title:
            row.verdict, row.failed = f"FAILED: {'; '.join(first.wrong)}"[:250], True
        return row

    def _of_program(self, program):
        return [name for name, agent in self.family.agents.items() if agent.program == program][:1]

    def _one(self, name, scenario, stage, agent_name, full):
        agent = self.family.agents[agent_name]
        own = Stage(agent_name, stage.folder, stage.programs, agent.program)
        started = time.monotonic()
        try:
            figures = scenario(own, full, *agent.arguments)
        except Failed as failure:
            print(f"--- {stage.name}, {agent_name}: {failure}\n{own.tails()}\n--- logs: {own.folder}", flush=True)
            figures = Figures(stage.name, besides=f"not run to its end: {failure}", wrong=[str(failure)])
        except Exception as failure:  # whatever breaks, the other agent still runs
            print(f"--- {stage.name}, {agent_name}\n{traceback.format_exc()}\n{own.tails()}", flush=True)
            figures = Figures(stage.name, besides=f"not run to its end: {failure!r}", wrong=[repr(failure)])
        finally:
            own.end()
        figures.agent = agent.title
        took = time.monotonic() - started
        print(f"[{took:5.1f} s] {stage.name}, {agent.title}: {' | '.join(figures.cells()[2:])}", flush=True)
        if figures.wrong:
            print(f"          wrong: {'; '.join(figures.wrong)}", flush=True)
        with open(os.path.join(os.path.dirname(stage.folder), "figures.jsonl"), "a", encoding="utf-8") as lines:
            key = {"family": self.family.prefix, "full": full, "name": name, "of": agent_name}
            lines.write(json.dumps({**key, **dataclasses.asdict(figures)}) + "\n")
        return figures

    def show(self):
        """Prints the table, and writes the page where every scenario ran in full with every agent."""
        if not self.found:
            return
        print(f"\n{render(HEADINGS, [one.cells() for one in self.found])}\n", flush=True)
        wanted = [(name, agent) for name in self.family.scenarios for agent in self.family.agents]
        if all(key in self.ran_full for key in wanted):
            path = os.path.join(REPOSITORY, "docs", self.family.page)
            with open(path, "w", encoding="utf-8") as file:
                file.write(page(self.family, [self.ran_full[key] for key in wanted]))
            print(f"written: {path}", flush=True)


def _in_short(figures):
    if figures.acknowledged is None:
        return f"{figures.agent}: {figures.besides[:120]}"
    return f"{figures.agent}: lost {figures.lost}, twice {figures.twice}, refused {figures.refused}"


def page(family, found):
    commit = subprocess.run(
        ["git", "-C", REPOSITORY, "describe", "--always", "--dirty"], capture_output=True, text=True, timeout=20, check=False
    ).stdout.strip()
    when = f"{time.strftime('%Y-%m-%d', time.gmtime())}, commit {commit}, {os.cpu_count()} cores, {platform.system()} {platform.release()}."
    lines = [family.introduction.format(when=when) + f"| {' | '.join(HEADINGS)} |", f"| --- | --- |{' ---: |' * 5} --- |"]
    lines += [f"| {' | '.join(cell.replace('|', '/') for cell in one.cells())} |" for one in found]
    wrong = [f"- {one.scenario}: {text}" for one in found if one.agent == family.agents[OURS].title for text in one.wrong]
    lines += ["", "## Where relayd falls short", "", *(wrong or ["Nowhere in this run."])]
    return "\n".join(lines) + "\n"
