"""Two processes on one directory: a successor serves beside its predecessor, which leaves its backlog to it.

Must never end the old one before the new one serves.
"""

import random
import signal
import time

from process import Failed
from reliability.around import Load, Ports, start_agent, tally
from reliability.figures import of_tally
from spill.around import Door, files, finish, mib_on_disk

HANDED = "surge x{}: successor first on the same directory, upstream away"
KILLED = "surge x{}: the predecessor is killed instead"
HANDOVERS = (2, 20)  # short, full
LOAD = ("--clients", 40, "--rate", 200, "--retry-seconds", 120)
BETWEEN_SECONDS = 1.5
LISTENING_SECONDS = 10
# The upstream is there for so long between two of them, at one of two, so that a backlog is being drained when it is handed over.
THERE_SECONDS = 0.15
SEED = 8


def run(stage, full, agent):
    return _run(stage, HANDOVERS[full], agent, HANDED, signal.SIGTERM)


def killed(stage, full, agent):
    return _run(stage, HANDOVERS[full], agent, KILLED, signal.SIGKILL)


def _run(stage, handovers, agent, title, number):
    chance = random.Random(SEED)
    door, ports = Door(stage, is_open=False), Ports()
    directory = stage.path("storage")
    arguments = files(stage, agent, ports, door.port, directory)
    process = start_agent(stage, ports, arguments, "agent-0")
    load = Load(stage, ports, *LOAD)
    seconds, statuses, most_mib = [], [], 0.0
    for count in range(1, handovers + 1):
        time.sleep(BETWEEN_SECONDS)
        if chance.random() < 0.5:
            door.open()
            time.sleep(THERE_SECONDS)
        successor = start_agent(stage, ports, arguments, f"agent-{count}", wait=False)
        _wait_says_listening(successor)
        began = time.monotonic()
        process.send(number)
        statuses.append(process.wait(60))
        seconds.append(time.monotonic() - began)
        door.shut()
        most_mib = max(most_mib, mib_on_disk(directory))
        process = successor
    time.sleep(BETWEEN_SECONDS)
    door.open()
    told = load.end(180, signal.SIGTERM)
    stuck = []
    end = finish(stage, ports, arguments, process, directory, stuck)
    door.end()
    figures = of_tally(title.format(handovers), told, tally(stage, [load], [door]))
    said = ", ".join(f"{statuses.count(status)} x {status}" for status in sorted(set(statuses)))
    figures.besides = (
        f"{told['answers_refusing']} answers refusing, {told['attempts_broken']} attempts broken off; predecessors ended after at most "
        f"{max(seconds):.1f} s (exit {said}); at most {most_mib:.1f} MiB on disk; {end}"
    )
    figures.wrong += stuck
    if figures.refused:
        figures.wrong.append(f"{figures.refused} refused for good")
    if number == signal.SIGTERM and any(statuses):
        figures.wrong.append(f"exits {said}")
    return figures


def _wait_says_listening(successor):
    give_up = time.monotonic() + LISTENING_SECONDS
    while "listening" not in successor.log().lower():
        if not successor.is_running():
            raise Failed(f"no successor beside it: {successor.log().strip().splitlines()[-1][-250:]}")
        if time.monotonic() > give_up:
            raise Failed("the successor does not say that it listens")
        time.sleep(0.02)
