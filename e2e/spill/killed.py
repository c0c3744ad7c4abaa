"""kill -9 at random moments under load, again and again, while the upstream comes and goes.

Must never count what the sender was not told: acknowledged is what was answered with OK, to the last span.
"""

import random
import signal
import time

from process import Failed, is_listening
from reliability.around import Load, Ports, start_agent, tally
from reliability.figures import of_tally
from spill.around import Door, files, finish, generated, mib_on_disk, telemetrygen

KILLED = "kill -9 x{}, upstream comes and goes"
KILLS = (8, 300)  # short, full
SEED = 8
# Seconds from the agent's start to its end: also while it starts, reads back, drains.
LIFE_SECONDS = (0.1, 2.2)
# Of the upstream: how long it is there, and how long not.
THERE_SECONDS, AWAY_SECONDS = (0.2, 1.5), (0.2, 2.0)
# One end of five begins with SIGTERM; the kill comes in the midst of the drain.
TERMINATED_FIRST, DRAINED_SECONDS = 0.2, 0.6
LOAD = ("--clients", 40, "--rate", 200, "--retry-seconds", 120, "--timeout-seconds", 10)
TRACES_PER_SECOND = 50
# What the load is for after the last kill.
AFTERWARDS_SECONDS = 2


def run(stage, full, agent):
    kills, chance = KILLS[full], random.Random(SEED)
    door, ports = Door(stage), Ports()
    directory = stage.path("storage")
    arguments = files(stage, agent, ports, door.port, directory)
    seen = Seen()
    process = _start(stage, ports, arguments, seen)
    load = Load(stage, ports, *LOAD)
    generator = telemetrygen(stage, ports, kills * (sum(LIFE_SECONDS) / 2 + 0.2) + AFTERWARDS_SECONDS, TRACES_PER_SECOND)
    upstream = Upstream(door, chance)
    for _ in range(kills):
        ends_at = process.started_at + chance.uniform(*LIFE_SECONDS)
        while time.monotonic() < ends_at:
            upstream.turn_when_due()
            seen.note_listening(process, ports)
            time.sleep(0.005)
        if chance.random() < TERMINATED_FIRST:
            process.send(signal.SIGTERM)
            time.sleep(chance.uniform(0, DRAINED_SECONDS))
        if process.is_running():
            process.stop(signal.SIGKILL)
            seen.killed += 1
        elif process.child.returncode == -signal.SIGTERM and not seen.is_listening:
            seen.killed += 1  # it had not begun yet
        else:
            seen.ended.append(process.child.returncode)
        seen.most_mib = max(seen.most_mib, mib_on_disk(directory))
        process = _start(stage, ports, arguments, seen)
    door.open()
    process.wait_listening(ports.grpc)
    time.sleep(AFTERWARDS_SECONDS)
    told = load.end(180, signal.SIGTERM)
    generator.wait(180)
    stuck = []
    seen.end = finish(stage, ports, arguments, process, directory, stuck)
    door.end()
    counted = tally(stage, [load], [door])
    figures = of_tally(KILLED.format(kills), told, counted)
    figures.wrong += stuck
    return _judge(figures, told, counted, generator, seen)


class Seen:
    """Of the agents: how many were killed, what those that ended by themselves said, how long it took until one listened."""

    def __init__(self):
        self.killed, self.ended, self.starts_ms, self.is_listening, self.most_mib = 0, [], [], False, 0.0
        self.end = ""

    def note_listening(self, process, ports):
        if self.is_listening or not process.is_running():
            return
        if is_listening(ports.grpc):
            self.starts_ms.append((time.monotonic() - process.started_at) * 1e3)
            self.is_listening = True


class Upstream:
    """The door, which is turned when it is time."""

    def __init__(self, door, chance):
        self.door, self.chance, self.is_there = door, chance, True
        self.next_at = time.monotonic() + chance.uniform(*THERE_SECONDS)

    def turn_when_due(self):
        if time.monotonic() < self.next_at:
            return
        if not self.is_there:
            self.door.open()
        elif self.chance.random() < 0.5:
            self.door.shut()
        else:
            self.door.stand_still()
        self.is_there = not self.is_there
        self.next_at = time.monotonic() + self.chance.uniform(*(THERE_SECONDS if self.is_there else AWAY_SECONDS))


def _start(stage, ports, arguments, seen):
    started = start_agent(stage, ports, arguments, wait=False)
    started.started_at = time.monotonic()
    seen.is_listening = False
    return started


def _judge(figures, told, counted, generator, seen):
    of_generator = counted["services"].get("telemetrygen", {"spans": 0, "distinct": 0})
    made = generated(generator)
    missing = made - of_generator["distinct"]
    # What the SDK has given up, it says so.
    sdk_errors = generator.log().count("traces export:")
    starts = sorted(seen.starts_ms) or [0]
    unclean = [code for code in seen.ended if code != 0]
    figures.besides = (
        f"{seen.killed} killed, {len(seen.ended)} ended before ({len(unclean)} not with 0); listening after "
        f"{starts[len(starts) // 2]:.0f} ms (median), {starts[-1]:.0f} ms (most); at most {seen.most_mib:.0f} MiB on disk; "
        f"telemetrygen: {made} spans, {missing} missing, {of_generator['spans'] - of_generator['distinct']} twice, "
        f"{sdk_errors} exports given up; {told['answers_refusing']} answers refusing, {told['attempts_broken']} attempts broken off; {seen.end}"
    )
    if seen.killed == 0:
        raise Failed("nothing was killed")
    if made == 0:
        figures.wrong.append("telemetrygen does not say what it sent")
    if missing and not sdk_errors:
        figures.wrong.append(f"{missing} spans of telemetrygen missing")
    if unclean:
        figures.wrong.append(f"agents that ended by themselves: {unclean}")
    if figures.refused:
        figures.wrong.append(f"{figures.refused} spans refused for good")
    return figures
