"""SIGHUP under load, each time with another configuration.

Must never count a reload that did not happen: the agent's configuration is seen to have changed.
"""

import signal
import time

from reliability.around import Load, Ports, Upstream, agent_files, is_healthy, settle, start_agent, stop_agent, tally
from reliability.around import without_listener
from reliability.figures import of_tally
from process import Failed, wait_until
from stage import local

RELOADED = "SIGHUP x{} under load"
RELOADS = (5, 20)  # short, full
BETWEEN_SECONDS = 2
LOAD = ("--clients", 10, "--rate", 100)


def run(stage, full):
    reloads = RELOADS[full]
    upstream = Upstream(stage, "upstream")
    ports = Ports()
    exporters = {"otlp_grpc": {"endpoint": f"127.0.0.1:{upstream.port}"}}
    agent = start_agent(stage, ports, agent_files(stage, ports, exporters))
    probe = stage.start("probe", "testkit", "probe", "--endpoint", local(ports.grpc))
    load = Load(stage, ports, *LOAD)
    time.sleep(1)
    for number in range(reloads):
        # Another linger: the same files, other contents.
        agent_files(stage, ports, exporters, batch={"timeout": f"{100 + number}ms"})
        agent.send(signal.SIGHUP)
        time.sleep(BETWEEN_SECONDS)
        if not agent.is_running():
            raise Failed(f"the agent ended at SIGHUP {number + 1}: {agent.child.returncode}")
    wait_until(lambda: is_healthy(ports), 20, "the agent to be healthy after the last SIGHUP")
    told = load.end(90, signal.SIGTERM)
    probe.stop()
    probed = probe.answer()
    settle(ports)
    ended = stop_agent(agent)
    upstream.end()
    figures = of_tally(RELOADED.format(reloads), told, tally(stage, [load], [upstream]))
    figures.besides = f"{told['attempts_broken']} attempts broken off; {without_listener(probed)}; {ended}"
    if "reload" not in agent.log().lower():
        figures.wrong.append("the agent does not speak of a reload")
    if "not in this version" in agent.log():
        figures.wrong.append("the agent does not reload")
    if figures.twice or figures.refused or probed["refused"]:
        figures.wrong.append(f"{figures.twice} twice, {figures.refused} refused, {probed['refused']} connections refused")
    return figures
