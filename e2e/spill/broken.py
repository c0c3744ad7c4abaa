"""Disks that turn read-only, fail, stand still and are slow, while the upstream is away.

Must never repair what the agent is to live with.
"""

import signal
import time

from observe import Metrics
from process import Failed, wait_until
from reliability.around import Load, Ports, start_agent, stop_agent, tally
from reliability.figures import of_tally
from spill.around import Door, drain, files, finish, mib_on_disk
from spill.disks import Ext4, Tmpfs

READ_ONLY = "read-only when the upstream goes away, writable later"
FAILED = "disk fails (ext4 turns read-only) with a backlog on it"
FROZEN = "disk stands still with a backlog on it"
SLOW = "slow disk: {} writes a second, upstream away"
DISK_MIB = 256
SECONDS = (2, 6)  # short, full: each part
LOAD = ("--clients", 40, "--rate", 200, "--retry-seconds", 120, "--timeout-seconds", 10)
FRESH_LOAD = ("--clients", 10, "--rate", 50, "--retry-seconds", 8, "--timeout-seconds", 5)
# An address that refused connections is tried again after up to 10 s.
FRESH_SECONDS = 15
# Longer than the agent's longest pause before it tries the disk again.
HEALED_SECONDS = 60
WRITES_PER_SECOND, QUICK_WRITES_PER_SECOND = 20, 100_000


def read_only(stage, full, agent):
    """Nothing is open on it yet, as the upstream was healthy."""
    disk = Tmpfs(stage, "disk", DISK_MIB)
    try:
        return _read_only(stage, full, agent, disk)
    finally:
        disk.end()


def _read_only(stage, full, agent, disk):
    world = World(stage, agent, f"{disk.path}/storage")
    time.sleep(SECONDS[full])
    try:
        disk.remount("ro")
    except Failed as failure:
        # Who always writes has files open, and the kernel does not let it happen.
        world.end()
        raise Failed(f"the kernel does not make it read-only while files are open for writing: {failure}") from None
    world.door.shut()
    time.sleep(SECONDS[full])
    stored = mib_on_disk(world.directory)
    disk.remount("rw")
    began = time.monotonic()
    wait_until(lambda: mib_on_disk(world.directory) > stored, HEALED_SECONDS, "the disk to be used again")
    healed = time.monotonic() - began
    time.sleep(SECONDS[full])
    world.door.open()
    time.sleep(SECONDS[full])
    return world.judge(READ_ONLY, f"used again {healed:.1f} s after it was writable")


def failed(stage, full, agent):
    """It stays read-only: what is on it is read, new data goes through memory. Then the agent is started again on the repaired disk."""
    disk = Ext4(stage, "disk", DISK_MIB)
    try:
        world = World(stage, agent, f"{disk.path}/storage")
        world.door.shut()
        time.sleep(2 * SECONDS[full])
        disk.fail()
        time.sleep(SECONDS[full])
        world.door.open()
        time.sleep(2 * SECONDS[full])
        still_there = world.process.is_running()
        told = world.load.end(180, signal.SIGTERM)
        drained = drain(world.ports, 30)
        status = stop_agent(world.process)
        disk.repair()
        world.process = start_agent(stage, world.ports, world.arguments)
        word = (
            f"{'ran on' if still_there else 'ended by itself'}, {'not drained' if drained is None else f'drained after {drained:.1f} s'} "
            f"({status}); then started again on the repaired disk, where it cannot know what was delivered meanwhile"
        )
        figures = world.judge(FAILED, word, told)
        if not still_there or drained is None:
            figures.wrong.append(word)
        return figures
    finally:
        disk.end()


def frozen(stage, full, agent):
    """While it stands still, the upstream comes back: whoever sends then is served, whether or not those are who wait for the disk."""
    disk = Ext4(stage, "disk", DISK_MIB)
    try:
        world = World(stage, agent, f"{disk.path}/storage")
        world.door.shut()
        time.sleep(SECONDS[full])
        disk.freeze()
        time.sleep(SECONDS[full])
        before = _sent(world.ports)
        world.door.open()
        fresh = Load(stage, world.ports, "--name", "fresh", "--seconds", FRESH_SECONDS, *FRESH_LOAD, name="fresh")
        told_fresh = fresh.end(60)
        after = _sent(world.ports)
        passed = None if after is None or before is None else after - before
        world.door.shut()
        time.sleep(SECONDS[full])
        disk.thaw()
        time.sleep(SECONDS[full])
        world.door.open()
        said = "it does not answer for its metrics" if passed is None else f"{passed} spans delivered in {FRESH_SECONDS} s"
        served = f"{told_fresh['spans']} spans acknowledged to new senders, the slowest after {told_fresh['slowest_ms'] / 1e3:.1f} s"
        figures = world.judge(FROZEN, f"while it stood still, with the upstream there: {said}, {served}", more=[fresh])
        if not told_fresh["spans"]:
            figures.wrong.append("new senders were not served while the disk stood still")
        return figures
    finally:
        disk.end()


def slow(stage, full, agent):
    disk = Ext4(stage, "disk", DISK_MIB)
    try:
        world = World(stage, agent, f"{disk.path}/storage")
        disk.slow_down(world.process.pid, WRITES_PER_SECOND)
        world.door.shut()
        time.sleep(3 * SECONDS[full])
        mib = mib_on_disk(world.directory)
        world.door.open()
        time.sleep(2 * SECONDS[full])
        disk.slow_down(world.process.pid, QUICK_WRITES_PER_SECOND)  # whoever has to write to give out would take minutes
        return world.judge(SLOW.format(WRITES_PER_SECOND), f"{mib:.1f} MiB on disk when the upstream was back")
    finally:
        disk.end()


class World:
    """An agent under load, its upstream there."""

    def __init__(self, stage, agent, directory):
        self.stage, self.agent, self.directory = stage, agent, directory
        self.door, self.ports = Door(stage), Ports()
        self.arguments = files(stage, agent, self.ports, self.door.port, directory, own={"min_free_mib": 0})
        self.process = start_agent(stage, self.ports, self.arguments)
        self.load = Load(stage, self.ports, *LOAD)

    def end(self):
        self.load.end(180, signal.SIGTERM)
        self.process.stop()

    def judge(self, title, besides, told=None, more=()):
        """Waits until everything is delivered, and counts."""
        told = told or self.load.end(180, signal.SIGTERM)
        stuck = []
        end = finish(self.stage, self.ports, self.arguments, self.process, self.directory, stuck)
        self.door.end()
        figures = of_tally(title, told, tally(self.stage, [self.load, *more], [self.door]))
        figures.besides = (
            f"{besides}; {told['answers_refusing']} answers refusing, {told['attempts_broken']} attempts broken off, "
            f"longest gap {told['longest_gap_ms'] / 1e3:.1f} s; {end}"
        )
        figures.wrong += stuck
        if figures.refused:
            figures.wrong.append(f"{figures.refused} refused for good")
        return figures


def _sent(ports):
    """None where the agent does not say: it may wait for its disk."""
    try:
        return Metrics(ports.metrics).sum("otelcol_exporter_sent_spans")
    except OSError:
        return None
