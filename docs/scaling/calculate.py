#!/usr/bin/env python3
"""What a fleet costs: agents, gateways, network, and what follows, from the measured figures in figures.json beside it.

Must never go beyond what was measured without saying so: below the least and above the most measured point the cost per request
stays as it is there.
"""

import argparse
import bisect
import json
import math
import os

FIGURES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "figures.json")
# What a full TCP segment of 1448 bytes takes on Ethernet: 1538 bytes, gaps included.
WIRE_OVERHEAD = 1538 / 1448
# A batch upstream is at most so large (relayd's default; what a gRPC server takes).
BATCH_BYTES_MAX = 4 << 20
# The size of request that the rates were measured with.
RATE_SPANS = 10
# For one that fails or is replaced.
GATEWAYS_MIN = 2


def interpolate(points, at, column=1):
    """Between two measured points a line on logarithmic axes; the first or last point's value outside."""
    xs = [point[0] for point in points]
    if at <= xs[0]:
        return points[0][column]
    if at >= xs[-1]:
        return points[-1][column]
    above = bisect.bisect_right(xs, at)
    (x0, y0), (x1, y1) = ((points[i][0], points[i][column]) for i in (above - 1, above))
    share = math.log(at / x0) / math.log(x1 / x0)
    return y0 * (y1 / y0) ** share


def agent(peer, requests_per_second, spans):
    """(cores, context switches per second, MiB) of one agent. The rate decides, as nearly all of it is waking up; what a request
    of another size than the rates' takes more or less comes from the saturated sizes."""
    more = interpolate(peer["by_request"], spans) - interpolate(peer["by_request"], RATE_SPANS)
    us = max(interpolate(peer["by_rate"], requests_per_second) + more, interpolate(peer["by_request"], spans))
    memory = next((point[3] for point in peer["by_rate"] if point[0] >= requests_per_second), peer["by_rate"][-1][3])
    return requests_per_second * us / 1e6, interpolate(peer["by_rate"], requests_per_second, 2), memory


def gateway_us(figures, spans, connections):
    """CPU microseconds of one request at a busy gateway core: by its size, and what many connections add to each."""
    by_connections = figures["relayd"]["by_connections"]
    few = min(point[1] for point in by_connections)
    added = interpolate(by_connections, connections) - few
    return interpolate(figures["relayd"]["by_request"], spans) + added


def fleet(figures, options, nodes):
    """Every figure of one fleet, by the name of its row."""
    rate = options.spans_per_second / options.spans_per_request
    spans_all = nodes * options.spans_per_second
    cores, switches, memory = agent(figures["relayd"], rate, options.spans_per_request)
    of_collector = agent(figures["collector"], rate, options.spans_per_request)

    # An agent sends what has come within its linger, and never less than one request of a source.
    batch = max(options.spans_per_request, options.spans_per_second * options.linger_seconds)
    batch = min(batch, BATCH_BYTES_MAX / options.bytes_per_span)
    connections_max = figures["relayd"]["by_connections"][-1][0]
    connections = min(nodes, connections_max)
    busy = spans_all * gateway_us(figures, batch, connections) / batch / 1e6
    best = spans_all * interpolate(figures["relayd"]["by_request"], 100) / 100 / 1e6
    usable = 1 - options.headroom
    bits = options.bytes_per_span * WIRE_OVERHEAD * 8
    gbit = spans_all * bits / 1e9
    needed = {
        "CPU": math.ceil(busy / usable / options.gateway_cores),
        "network": math.ceil(gbit / (options.nic_gbit * usable)),
        "connections": math.ceil(nodes / (connections_max * options.gateway_cores)),
        "one to fail": GATEWAYS_MIN,
    }
    decides = max(needed, key=needed.get)
    behind = spans_all / options.collector_spans_per_core / usable
    return {
        "spans/s, all nodes": f"{spans_all:,.0f}",
        "agent: CPU per node, millicores": f"{cores * 1e3:.2f}",
        "agents: CPU in all, cores": number(cores * nodes),
        "the same with Collectors as agents": f"{number(of_collector[0] * nodes)} ({of_collector[0] / cores:.1f} times)",
        "agent: context switches/s per node": f"{switches:.0f}",
        "agent: MiB resident per node": f"{memory:.1f} (Collector {of_collector[2]:.0f})",
        "agents: GiB resident in all": f"{number(memory * nodes / 1024)} (Collector {number(of_collector[2] * nodes / 1024)})",
        "agent: network out per node, Mbit/s": f"{options.spans_per_second * bits / 1e6:.2f}",
        "spans per request at the gateway": f"{batch:.0f}",
        "gateways: cores, at that size": f"{number(busy)} busy, {number(busy / usable)} with headroom",
        "gateways: cores, at 100 spans per request, few connections": f"{number(best)} busy, {number(best / usable)} with headroom",
        "gateway: MiB resident per core, at most": f"{interpolate(figures['relayd']['by_connections'], connections, 2):.0f}",
        "gateways: network, Gbit/s in, and as much out": number(gbit),
        f"gateways of {options.gateway_cores} cores and {options.nic_gbit:g} Gbit/s": f"{needed[decides]} ({decides})",
        "CPU, network, connections alone would need": ", ".join(str(needed[key]) for key in ("CPU", "network", "connections")),
        "what follows: cores at least, with headroom": number(behind),
    }


def number(value):
    """Three figures; what is less than a hundredth is nothing that one plans with."""
    if value < 0.01:
        return "under 0.01"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _positive(text):
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError("must be above 0")
    return value


def _arguments():
    parser = argparse.ArgumentParser(
        prog="docs/scaling/calculate.py", description="what a fleet of relayd agents costs, by measured figures"
    )
    parser.add_argument("--nodes", default="10,1000,100000", help="one or several numbers (default 10,1000,100000)")
    parser.add_argument("--spans-per-second", type=_positive, default=50, help="of each node (default 50)")
    parser.add_argument("--spans-per-request", type=_positive, default=10, help="as the sources on a node send (default 10)")
    parser.add_argument("--bytes-per-span", type=_positive, help="default: as measured, by spans per request")
    parser.add_argument("--linger-seconds", type=float, default=0.2, help="the agents' batch timeout (default 0.2)")
    parser.add_argument("--headroom", type=float, default=0.5, help="share of cores and network left free (default 0.5)")
    parser.add_argument("--gateway-cores", type=int, default=2, help="of each gateway (default 2)")
    parser.add_argument("--nic-gbit", type=_positive, default=10, help="of each gateway, in each direction (default 10)")
    parser.add_argument(
        "--collector-spans-per-core", type=_positive, help="of what follows; default: the Collector's, as measured"
    )
    parser.add_argument("--figures", default=FIGURES, help="default: figures.json beside this script")
    options = parser.parse_args()
    try:
        options.nodes = [int(count) for count in options.nodes.split(",")]
    except ValueError:
        parser.error("--nodes is a number, or several with commas")
    if min(options.nodes) < 1 or options.gateway_cores < 1:
        parser.error("--nodes and --gateway-cores are 1 or more")
    if not 0 <= options.headroom < 1 or options.linger_seconds < 0:
        parser.error("--headroom is 0 or more and below 1, --linger-seconds 0 or more")
    return options


def main():
    options = _arguments()
    with open(options.figures, encoding="utf-8") as file:
        figures = json.load(file)
    if options.bytes_per_span is None:
        options.bytes_per_span = interpolate(figures["bytes_by_request"], options.spans_per_request) / options.spans_per_request
    if options.collector_spans_per_core is None:
        # Gateways send large batches: the largest that was measured with it.
        spans, us = figures["collector"]["by_request"][-1]
        options.collector_spans_per_core = spans * 1e6 / us
    run = figures["run"]
    print(f"Measured by `{run['command']}`, {run['date']}, {run['machine']}.")
    print(
        f"{options.spans_per_second:g} spans/s per node in requests of {options.spans_per_request:g}, "
        f"{options.bytes_per_span:.0f} bytes a span; {options.headroom * 100:.0f} % of cores and network left free; "
        f"what follows takes {options.collector_spans_per_core:,.0f} spans/s per core.\n"
    )
    fleets = [fleet(figures, options, nodes) for nodes in options.nodes]
    print("| nodes | " + " | ".join(f"{nodes:,}" for nodes in options.nodes) + " |")
    print("| --- " * (1 + len(fleets)) + "|")
    for row in fleets[0]:
        print(f"| {row} | " + " | ".join(found[row] for found in fleets) + " |")


if __name__ == "__main__":
    main()
