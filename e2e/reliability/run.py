"""The scenarios of reliability/, who runs in them, and the page about them.

Must never leave a scenario out of the page.
"""

import functools

from reliability import fanned, limited, members, poisoned, reloaded, restarted, stalled
from reliability.around import AGENTS
from side_by_side import Agent, Family

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

In the restarts and reloads `testkit probe` opens a new connection every 5 ms beside the load: without a listener is from one that was refused, or that the
kernel let knock again after a second, to the next that was taken at once. The program on the OpenTelemetry SDK for Go has its default settings
(`e2e/peers/modules/go-sdk`); telemetrygen batches, as it does by default. "Exit 0" is relayd's word that nothing was lost.

Agents are told where the upstreams are by a DNS server of the run's own. Where a row says "at the door", the Collector decodes what it receives, so it refuses
by itself what relayd hands on unread. "Skew" is the largest share of the three upstreams over the smallest.

"""

FAMILY = Family(
    "reliability-", SCENARIOS, {program: Agent(program, title) for program, title in AGENTS.items()}, "reliability.md", INTRODUCTION
)
