"""Two exporters on a pipeline, one of whose upstreams is not there.

Must never wait for the dead one: what is shown is that the other gets everything in time.
"""

import signal
import time

from observe import Metrics
from process import free_port
from reliability.around import Load, Ports, Upstream, agent_files, start_agent, tally
from reliability.figures import of_tally

FAN_OUT = "two exporters, one dead"
SECONDS = (10, 60)  # short, full
LOAD = ("--clients", 10, "--rate", 100, "--spans", 100, "--span-bytes", 400)  # 4 MB a second
MEMORY_MIB = 64
# The Collector's is 1000 requests; both agents are given less, so that it is full within a short run.
QUEUE = {"sending_queue": {"queue_size": 10, "num_consumers": 4}}
IN_TIME_SECONDS = 5


def run(stage, full):
    seconds = SECONDS[full]
    upstream = Upstream(stage, "upstream")
    ports = Ports()
    exporters = {
        "otlp_grpc": {"endpoint": f"127.0.0.1:{upstream.port}", **QUEUE},
        "otlp_grpc/dead": {"endpoint": f"127.0.0.1:{free_port()}", **QUEUE},
    }
    agent = start_agent(stage, ports, agent_files(stage, ports, exporters, memory_mib=MEMORY_MIB))
    load = Load(stage, ports, "--seconds", seconds, "--retry-seconds", 20, *LOAD)
    told = load.end(seconds + 60)
    ended_at, wanted = time.monotonic(), told["spans"]
    while upstream.spans() < wanted and time.monotonic() - ended_at < IN_TIME_SECONDS:
        time.sleep(0.1)
    late = time.monotonic() - ended_at
    given_up = Metrics(ports.metrics).sum("otelcol_exporter_enqueue_failed_spans")
    # In order it would wait for the dead one for as long as it drains.
    agent.stop(signal.SIGKILL)
    upstream.end()
    figures = of_tally(FAN_OUT, told, tally(stage, [load], [upstream]))
    figures.besides = (
        f"at the healthy one {late:.1f} s after the last answer; {told['answers_refusing']} answers refusing, each sent again; "
        f"{given_up} spans not taken by a queue"
    )
    if figures.refused or figures.twice:
        figures.wrong.append(f"{figures.refused} spans refused and {figures.twice} twice because of the dead one")
    if not given_up:
        figures.wrong.append("the dead one's queue was never full: nothing was shown")
    if late >= IN_TIME_SECONDS:
        figures.wrong.append(f"not all was there after {IN_TIME_SECONDS} s")
    return figures
