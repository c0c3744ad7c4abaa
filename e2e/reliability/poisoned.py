"""One client of ten sends spans that no receiver takes that decodes them; what its neighbours lose by it, and what it costs the
upstream.

Must never let the poisonous client's own requests count as its neighbours'.
"""

from reliability.around import Load, Ports, Upstream, agent_files, settle, start_agent, stop_agent, tally
from reliability.figures import of_tally

POISONOUS = "one poisonous client among ten"
CLIENTS, RATE = 10, 100
SECONDS = (6, 30)  # short, full
# Calls at the upstream with the poison over those without it. Ten clients' requests of 200 ms are a batch; each that is poisoned is cut
# until the offender stands alone.
EXTRA_CALLS_FACTOR_MAX = 12


def run(stage, full):
    """Twice: without the poison, to have something to compare with, and with it."""
    seconds = SECONDS[full]
    clean, _, clean_calls, _ = _once(stage, "clean", seconds, [])
    told, counted, calls, refused = _once(stage, "poisoned", seconds, ["--poison-every", 1])
    neighbours = {**counted, "sent": _without_first(counted["clients"])}
    figures = of_tally(POISONOUS, told, neighbours)
    poisonous = counted["clients"]["numbered-0"]
    door = "refused it at the door" if poisonous["refused"] and not poisonous["acknowledged"] else "acknowledged the poison"
    figures.besides = (
        f"the nine neighbours; {door}; {calls} calls at the upstream ({refused} refused), {clean_calls} without poison; "
        f"slowest without it {clean['slowest_ms']:.0f} ms"
    )
    if calls > EXTRA_CALLS_FACTOR_MAX * clean_calls:
        figures.wrong.append(f"{calls} calls instead of {clean_calls}")
    return figures


def _once(stage, name, seconds, poison):
    upstream = Upstream(stage, f"{name}-upstream")
    ports = Ports()
    endpoint = {"endpoint": f"127.0.0.1:{upstream.port}"}
    agent = start_agent(stage, ports, agent_files(stage, ports, {"otlp_grpc": endpoint}, name=f"{name}-agent"), f"{name}-agent")
    load = Load(stage, ports, "--clients", CLIENTS, "--rate", RATE, "--seconds", seconds, *poison, name=f"{name}-load")
    told = load.end(seconds + 60)
    settle(ports)
    calls, refused = upstream.calls(), upstream.calls() - upstream.calls(rpc_response_status_code="OK")
    stop_agent(agent)
    upstream.end()
    return told, tally(stage, [load], [upstream]), calls, refused


def _without_first(clients):
    sums = {}
    for name, fate in clients.items():
        if not name.endswith("-0"):
            sums = {key: sums.get(key, type(value)()) + value for key, value in fate.items()}
    return sums
