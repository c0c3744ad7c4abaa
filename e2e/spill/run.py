"""The scenarios of spill/, who runs in them, and the page about them.

Must never leave a scenario out of the page.
"""

import functools

import side_by_side
from reliability.figures import Figures
from spill import broken, ended, filled, handed, killed, untouched
from spill.around import AGENTS
from spill.disks import may_mount

LEFT_OUT = "left out: it mounts file systems, which takes root"


def _mounting(scenario):
    """A scenario that needs root."""

    @functools.wraps(scenario)
    def run(stage, full, agent):
        return scenario(stage, full, agent) if may_mount() else Figures(stage.name, besides=LEFT_OUT)

    return run


# In the order of the table.
SCENARIOS = {
    "healthy": untouched.run,
    "killed": killed.run,
    "terminated": ended.run,
    "surge": handed.run,
    "surge-killed": handed.killed,
    "disk-full": _mounting(filled.run),
    "disk-read-only": _mounting(broken.read_only),
    "disk-failed": _mounting(broken.failed),
    "disk-frozen": _mounting(broken.frozen),
    "disk-slow": _mounting(broken.slow),
}


INTRODUCTION = """\
# Spilling to disk: what was shown

relayd and the Collector in the same place, each with `sending_queue.storage: file_storage`, while they are killed, their disk fills up, fails and stands
still, and their upstream comes and goes. Written by `e2e/run --full spill` from what it ran; do not edit. What it costs is in
[benches/RESULTS.md](../benches/RESULTS.md).

{when}

Both run `deploy/agent.yaml` with the batch in the exporter's queue (a `batch` processor before the Collector's queue holds in memory what it has
acknowledged), retries without an end, and a queue of a million requests; relayd with 32 MiB of memory, the Collector with the 160 that it needs to stand. The Collector
runs with `fsync: true` and without it, which is its default; relayd syncs unless it is told not to. relayd acknowledges when a request was delivered or is on disk,
the Collector when it is in its queue on disk.

Load is `testkit numbered`: clients with one call in flight each, as the SDKs have, whose spans bear numbers; they try again what the OTLP specification calls
retryable. Between agent and sink stands a relay of TCP connections that is killed (the upstream refuses) or stopped (it takes connections and answers nothing).
Full, failing and slow disks are file systems of the run's own: tmpfs, and ext4 on a loop device. Figures are spans:

- acknowledged: answered with OK;
- lost: of those, spans that are nowhere in the end;
- twice: spans that are there more often than once although their sender sent them once, or was refused before. OTLP delivers at least once: what is under way when a
  process or a connection is killed goes out again;
- refused: spans whose sender was told no, for good;
- slowest: from a request's first attempt to its acknowledgement.

What stands behind the Collector's figures, in its source (exporterhelper v0.161.0, `internal/queue/persistent_queue.go`): one that is killed while it starts loses
what its predecessor had taken off the queue, because `enqueueNotDispatchedReqs` deletes those requests before it puts them back one by one; with fsync that takes
long enough to be hit. On a full or failing disk `getNextItem` passes over each request that it cannot mark as taken off, and deletes it if it can. Two of them neither
share ports nor a directory. Its file does not shrink: "bytes left" is its size.

What stands behind relayd's: it notes on disk once a second what was delivered, so a kill sends up to a second's deliveries again; and where its disk turned
read-only it cannot note them at all. Where the disk stands still, who was given to it before the upstream came back waits until his own deadline; the next attempt is
served.

"""

FAMILY = side_by_side.Family(
    "spill-",
    SCENARIOS,
    {name: side_by_side.Agent(agent.program, agent.title, (agent,)) for name, agent in AGENTS.items()},
    "spill-results.md",
    INTRODUCTION,
)
