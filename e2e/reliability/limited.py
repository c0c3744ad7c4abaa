"""Upstreams that do not take everything: a limit on a message's size, and a memory limiter that refuses.

Must never make a batch that a limit would let through anyway.
"""

import signal
import time

from reliability.around import RETRY, Load, Ports, Upstream, agent_files, settle, start_agent, stop_agent, tally
from reliability.figures import of_tally
from process import Failed

TOO_LARGE = "upstream takes 1 MiB, one span has 2"
REFUSING = "upstream's memory_limiter refuses: UNAVAILABLE"
# As an extension, before a call is read. RESOURCE_EXHAUSTED without RetryInfo is not to be tried again (OTLP specification, section
# Failures).
EXHAUSTED = "upstream's memory_limiter refuses: RESOURCE_EXHAUSTED"
OPTED_IN = f"{EXHAUSTED}; relayd with retry_resource_exhausted"
MIB = 1 << 20
LARGE_SECONDS = (6, 30)  # short, full
# Requests of 400 KB, 4 MB a second: what comes in the second that a batch may wait is far above the limit.
BATCH = {"timeout": "1s"}
LARGE = ("--clients", 4, "--rate", 10, "--spans", 1000, "--span-bytes", 400, "--huge-bytes", 2 * MIB)

# Of the upstream's heap. What it needs without load is about 15 MiB.
LIMITER = {"check_interval": "100ms", "limit_mib": 60, "spike_limit_mib": 20}
AS_EXTENSION = {"extensions": {"memory_limiter": LIMITER}, "server": {"middlewares": [{"id": "memory_limiter"}]}}
# While what is behind it stands still, it queues until its limiter refuses.
QUEUE = {
    "sending_queue": {"queue_size": 100_000, "num_consumers": 10},
    "retry_on_failure": {"max_elapsed_time": "0s"},
    "timeout": "60s",
}
REFUSING_LOAD = ("--clients", 10, "--rate", 100, "--spans", 100, "--span-bytes", 400)
# (seconds before the standstill, of it, after it)
REFUSING_SECONDS = ((2, 8, 4), (10, 30, 20))


def too_large(stage, full):
    seconds = LARGE_SECONDS[full]
    upstream = Upstream(stage, "upstream", server={"max_recv_msg_size_mib": 1})
    ports = Ports()
    exporters = {"otlp_grpc": {"endpoint": f"127.0.0.1:{upstream.port}"}}
    agent = start_agent(stage, ports, agent_files(stage, ports, exporters, batch=BATCH))
    load = Load(stage, ports, "--seconds", seconds, *LARGE)
    told = load.end(seconds + 90)
    settle(ports)
    calls = {"refused as too large": upstream.calls(rpc_response_status_code="RESOURCE_EXHAUSTED"), "in all": upstream.calls()}
    ended = stop_agent(agent)
    upstream.end()
    counted = tally(stage, [load], [upstream])
    figures = of_tally(TOO_LARGE, told, counted)
    if told["huge"] is None:
        raise Failed("the huge span was not sent")
    figures.besides = f"{calls['refused as too large']} of {calls['in all']} calls refused by the upstream; {ended}"
    # The one that is above every limit cannot arrive.
    if counted["sent"]["lost"] == 1 and counted["sent"]["examples"] == [told["huge"]]:
        figures.wrong.clear()
        figures.besides = f"only the huge span; {figures.besides}"
    elif counted["sent"]["lost"] == 0:
        figures.wrong.append("a span of 2 MiB arrived through a limit of 1 MiB: nothing was shown")
    return figures


def refusing(stage, full):
    """The limiter as a processor."""
    return _refusing(stage, full, REFUSING, {"processors": {"memory_limiter": LIMITER}})


def exhausted(stage, full):
    """The limiter as an extension; both agents are to drop what it refuses."""
    figures = _refusing(stage, full, EXHAUSTED, AS_EXTENSION)
    if figures.lost:
        figures.wrong = [text for text in figures.wrong if "lost" not in text]
        figures.besides = f"dropped, as the specification says; {figures.besides}"
    return figures


def opted_in(stage, full):
    """The same, where relayd was told to try again."""
    keys = {"retry_on_failure": {**RETRY, "retry_resource_exhausted": True}} if stage.agent == "relayd" else {}
    return _refusing(stage, full, OPTED_IN, AS_EXTENSION, keys)


def _refusing(stage, full, name, limiter, keys=None):
    before, still, after = REFUSING_SECONDS[full]
    upstream = Upstream(stage, "upstream", exporter=QUEUE, **limiter)
    ports = Ports()
    endpoint = {"endpoint": f"127.0.0.1:{upstream.port}", **(keys or {})}
    agent = start_agent(stage, ports, agent_files(stage, ports, {"otlp_grpc": endpoint}))
    seconds = before + still + after
    load = Load(stage, ports, "--seconds", seconds, *REFUSING_LOAD)
    time.sleep(before)
    upstream.sink.send(signal.SIGSTOP)
    time.sleep(still)
    refused = upstream.calls() - upstream.calls(rpc_response_status_code="OK")
    upstream.sink.send(signal.SIGCONT)
    told = load.end(seconds + 90)
    settle(ports)
    ended = stop_agent(agent)
    upstream.end()
    figures = of_tally(name, told, tally(stage, [load], [upstream]))
    figures.besides = f"{refused} calls refused by the upstream; {ended}"
    if not refused:
        figures.wrong.append("the upstream's limiter refused nothing: nothing was shown")
    return figures
