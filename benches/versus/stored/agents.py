"""Who is measured, and how each is started: one configuration for all, with the keys that make each what it is.

Must never tune an agent for one cell.
"""

import dataclasses
import os
import shutil
import time

from process import wait_until
from reliability.around import Ports, is_healthy
from spill import around
from stage import local

MEMORY_MIB = 256
# For a backlog that is not what is measured: on disk as fast as the agent can.
UNSYNCED = {"fsync": False}


def _relayd(title, storage, **queue):
    return around.Agent("relayd", title, storage, MEMORY_MIB, queue)


def _collector(title, storage):
    return around.Agent("otelcol", title, storage, MEMORY_MIB)


AGENTS = {
    "relayd": _relayd("relayd, no storage", None),
    "relayd-waiting": _relayd("relayd, no storage, `wait_for_result`", None, wait_for_result=True),
    "relayd-storage": _relayd("**relayd, storage**", {}),
    "relayd-storage-queued": _relayd("relayd, storage, `acknowledge: when_queued`", {}, acknowledge="when_queued"),
    "relayd-storage-unsynced": _relayd("relayd, storage, `fsync: false`", UNSYNCED),
    "collector": _collector("Collector, no storage", None),
    "collector-storage": _collector("Collector, storage (its default: no fsync)", UNSYNCED),
    "collector-storage-fsync": _collector("Collector, storage, `fsync: true`", {"fsync": True}),
}
# What the goals compare.
OURS, OURS_WITHOUT, THEIRS = "relayd-storage", "relayd", "collector-storage-fsync"


def stores(agent):
    return agent.storage is not None


def unsynced(agent):
    """The same agent, which does not wait for its disk."""
    return dataclasses.replace(agent, storage=UNSYNCED)


class Running:
    """An agent on a directory of its own, which may be ended and started again there."""

    def __init__(self, stage, agent, label, upstream_port, directory, core):
        self.stage, self.agent, self.label, self.core = stage, agent, label, core
        self.upstream_port, self.directory, self.ports = upstream_port, directory, Ports()
        self.process = None

    def start(self, agent=None, wait=True):
        """As `agent` says, or as its own; without `wait` at once."""
        agent = agent or self.agent
        arguments = around.files(
            self.stage, agent, self.ports, self.upstream_port, self.directory, own={"min_free_mib": 0}, name=self.label
        )
        self.process = self.stage.start(self.label, agent.program, *arguments, core=self.core)
        if wait:
            for port in (self.ports.grpc, self.ports.metrics):
                self.process.wait_listening(port)
            wait_until(lambda: is_healthy(self.ports), 60, f"{agent.title} to be healthy")
        return self.process

    @property
    def endpoint(self):
        return local(self.ports.grpc)

    def kill(self):
        self.process.end_by_force()

    def bytes_on_disk(self):
        return sum(around.on_disk(self.directory).values()) if os.path.isdir(self.directory) else 0

    def end(self):
        """Ends it by force, and leaves nothing on the disk."""
        if self.process:
            self.process.end_by_force()
        shutil.rmtree(self.directory, ignore_errors=True)


def fdatasync_ms(directory, times=40):
    """How long the disk under `directory` takes to write and sync 4 KiB: (median, most) of some, in milliseconds."""
    path, took = os.path.join(directory, "fdatasync"), []
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        for place in range(times):
            os.pwrite(descriptor, bytes(4096), place * 4096)
            began = time.monotonic()
            os.fdatasync(descriptor)
            took.append((time.monotonic() - began) * 1e3)
    finally:
        os.close(descriptor)
        os.remove(path)
    took.sort()
    return took[len(took) // 2], took[-1]
