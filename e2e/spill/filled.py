"""A file system of 64 MiB that really fills up, while the upstream is away.

Must never make room but where it says so.
"""

import collections
import json
import os
import signal
import time

from process import Failed
from reliability.around import Load, Ports, start_agent, tally
from reliability.figures import of_tally
from spill.around import Door, files, finish, free_bytes
from spill.disks import MIB, Tmpfs

FULL = "disk of 64 MiB full, upstream away"
DISK_MIB, OTHERS_MIB = 64, 24
# More than memory has room for, 400 KB each, one under way of each client.
LOAD = ("--clients", 128, "--spans", 1000, "--span-bytes", 400, "--retry-seconds", 120, "--timeout-seconds", 20)
FULL_SECONDS = (4, 15)  # short, full
# Full: less is left, and it stays as much for a while. The largest write may not fit in it.
FULL_BYTES, STILL_SECONDS = 16 * MIB, 1.5
# Longer than the agent's longest pause before it tries the disk again.
ROOM_SEEN_SECONDS = 60
UNAVAILABLE, TIMED_OUT = "14", "timeout"


def run(stage, full, agent):
    disk = Tmpfs(stage, "disk", DISK_MIB)
    try:
        return _run(stage, full, agent, disk.path)
    finally:
        disk.end()


def _run(stage, full, agent, mounted):
    directory, others = os.path.join(mounted, "storage"), os.path.join(mounted, "others")
    with open(others, "wb") as file:
        file.write(bytes(OTHERS_MIB * MIB))
    door, ports = Door(stage, is_open=False), Ports()
    arguments = files(stage, agent, ports, door.port, directory, own={"min_free_mib": 0})
    process = start_agent(stage, ports, arguments)
    load = Load(stage, ports, *LOAD)
    _wait_full(mounted, "the disk to be full")
    time.sleep(FULL_SECONDS[full])
    codes = _codes(stage, ports)
    os.remove(others)
    began = time.monotonic()
    _wait_full(mounted, "the room that was made to be used", ROOM_SEEN_SECONDS)
    used_after = time.monotonic() - began - STILL_SECONDS
    time.sleep(FULL_SECONDS[full])
    codes += _codes(stage, ports)
    still_there = process.is_running()
    door.open()
    time.sleep(FULL_SECONDS[full])
    told, stuck = load.end(180, signal.SIGTERM), []
    end = finish(stage, ports, arguments, process, directory, stuck)
    door.end()
    figures = of_tally(FULL, told, tally(stage, [load], [door]))
    figures.wrong += stuck
    said = ", ".join(f"{times} x {code}" for code, times in sorted(codes.items())) or "none"
    figures.besides = (
        f"calls of an impatient load while it was full, by how they ended: {said}; room that was made used after {used_after:.1f} s; "
        f"{told['answers_refusing']} answers refusing, each sent again; {end}"
    )
    if not codes[UNAVAILABLE] or set(codes) - {UNAVAILABLE, TIMED_OUT}:
        figures.wrong.append(f"calls while it was full were to end with UNAVAILABLE: {said}")
    if figures.refused or not still_there:
        figures.wrong.append(f"{figures.refused} spans refused for good, still there: {still_there}")
    return figures


def _wait_full(mounted, what, seconds=120):
    """Waits until the room has shrunk and shrinks no more."""
    give_up, last, since = time.monotonic() + seconds, None, time.monotonic()
    while time.monotonic() < give_up:
        left, now = free_bytes(mounted), time.monotonic()
        if left != last:
            last, since = left, now
        if left < FULL_BYTES and now - since > STILL_SECONDS:
            return
        time.sleep(0.05)
    raise Failed(f"waited {seconds} s in vain for {what}: {last} bytes are free")


def _codes(stage, ports):
    """Status, or what else went wrong, -> how many calls of an impatient load ended with it."""
    said = stage.run(
        "testkit", "load", "--endpoint", f"127.0.0.1:{ports.grpc}", "--connections", 4, "--in-flight", 4,
        "--spans-per-request", 1000, "--seconds", 2, "--timeout-seconds", 3, may_fail=True,
    )  # fmt: skip
    return collections.Counter(json.loads(said.strip().splitlines()[-1])["errors"])
