"""SIGTERM while the upstream is away: it ends within seconds with 0, and the next start delivers everything.

Must never give it an upstream before it has ended.
"""

import time

from reliability.around import STOP_SECONDS, Load, Ports, start_agent, tally
from reliability.figures import of_tally
from process import Failed
from spill.around import Door, files, finish, mib_on_disk

ENDED = "SIGTERM x{}, upstream away"
TIMES = (2, 10)  # short, full
LOAD_SECONDS = 2.5
LOAD = ("--clients", 40, "--spans", 50, "--retry-seconds", 60)
# An agent's grace period on Kubernetes is 30 s.
ENDED_SECONDS = 10


def run(stage, full, agent):
    door, ports = Door(stage, is_open=False), Ports()
    directory = stage.path("storage")
    arguments = files(stage, agent, ports, door.port, directory)
    loads, took, statuses = [], [], []
    for number in range(TIMES[full]):
        process = start_agent(stage, ports, arguments)
        loads.append(Load(stage, ports, "--seconds", LOAD_SECONDS, "--name", f"load{number}", *LOAD, name=f"load-{number}"))
        time.sleep(LOAD_SECONDS * 0.8)
        began = time.monotonic()
        try:
            statuses.append(process.stop(seconds=STOP_SECONDS))
        except Failed:
            statuses.append("killed")
        took.append(time.monotonic() - began)
        mib = mib_on_disk(directory)
        # Those that were refused meanwhile find the next one.
        process = start_agent(stage, ports, arguments)
        loads[-1].told = loads[-1].end(90)
        if number == TIMES[full] - 1:
            door.open()
        else:
            process.stop(seconds=STOP_SECONDS)
    stuck = []
    end = finish(stage, ports, arguments, process, directory, stuck)
    door.end()
    all_told = {key: sum(load.told[key] for load in loads) for key in ("repeated", "answers_refusing", "attempts_broken")}
    all_told["slowest_ms"] = max(load.told["slowest_ms"] for load in loads)
    figures = of_tally(ENDED.format(TIMES[full]), all_told, tally(stage, loads, [door]))
    said = ", ".join(f"{statuses.count(status)} x {status}" for status in dict.fromkeys(statuses))
    figures.besides = (
        f"ended after at most {max(took):.1f} s (exit {said}) with up to {mib:.0f} MiB on disk; {all_told['answers_refusing']} answers "
        f"refusing; the last one: {end}"
    )
    if any(statuses) or max(took) > ENDED_SECONDS:
        figures.wrong.append(f"exits {said}, after {max(took):.1f} s")
    figures.wrong += stuck
    if figures.refused:
        figures.wrong.append(f"{figures.refused} spans refused for good")
    return figures
