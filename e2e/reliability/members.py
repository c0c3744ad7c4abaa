"""Three Collectors behind one name, which are killed and replaced in turn under load; a replacement has another address, as a new
pod has.

Must never tell an agent more than its DNS server does.
"""

import time

from process import free_port
from reliability.around import Load, Ports, Upstream, agent_files, settle, start_agent, stop_agent, tally
from reliability.figures import of_tally
from reliability.names import NAME, Names

NAMED = "three upstreams behind a name, killed and replaced in turn"
RATE, CLIENTS = 200, 10
MEMBERS = 3
# (seconds of load before the first is killed, seconds between, how many are killed)
SHORT, FULL = (4, 3, 3), (20, 10, 9)
# From a kill until the name no longer has the address: an endpoint controller takes its time.
NOTICED_SECONDS = 0.5
SKEW_MAX = 2.0
# grpc-go asks for a name again after 30 s at the earliest: an agent on it gets the time to find the replacements.
STILL_SECONDS = 45


def run(stage, full):
    before, between, kills = FULL if full else SHORT
    port, hosts = free_port(), (f"127.0.0.{last}" for last in range(2, 255))
    members = [Upstream(stage, f"upstream-{number}", next(hosts), port) for number in range(MEMBERS)]
    everybody = list(members)
    names = Names(free_port(), [member.host for member in members])
    try:
        ports = Ports()
        endpoint = f"dns://127.0.0.1:{names.socket.getsockname()[1]}/{NAME}:{port}"
        # Many small batches, so that shares are not a matter of chance.
        files = agent_files(stage, ports, {"otlp_grpc": {"endpoint": endpoint}}, batch={"timeout": "20ms"})
        agent = start_agent(stage, ports, files)
        seconds = before + kills * between + between
        load = Load(stage, ports, "--clients", CLIENTS, "--rate", RATE, "--seconds", seconds)
        time.sleep(before)
        shares = sorted(member.spans() for member in members)
        for number in range(kills):
            started = time.monotonic()
            victim = members.pop(0)
            victim.kill()
            time.sleep(NOTICED_SECONDS)
            names.addresses = [member.host for member in members]
            members.append(Upstream(stage, f"upstream-{MEMBERS + number}", next(hosts), port))
            everybody.append(members[-1])
            names.addresses = [member.host for member in members]
            time.sleep(max(0, between - (time.monotonic() - started)))
        told = load.end(seconds + 90)
        settle(ports, seconds=90, still=STILL_SECONDS)
        ended = stop_agent(agent)
    finally:
        names.end()
    for member in everybody:
        member.end() if member in members else member.sink.stop()
    figures = of_tally(NAMED, told, tally(stage, [load], everybody))
    skew = shares[-1] / shares[0] if shares[0] else float("inf")
    figures.besides = f"skew {skew:.2f} before the first kill; {kills} killed; longest gap {told['longest_gap_ms']:.0f} ms; {ended}"
    if skew > SKEW_MAX:
        figures.wrong.append(f"skew {skew:.2f} of {shares}")
    if figures.refused:
        figures.wrong.append(f"{figures.refused} spans refused")
    return figures
