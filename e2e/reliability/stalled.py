"""An upstream that takes connections and never answers: how much memory the agent uses, against the bound that it is given.

Must never take the agent's own figure alone: resident memory is the kernel's.
"""

import signal
import time

from observe import Metrics
from reliability.around import Load, Ports, Upstream, agent_files, settle, start_agent, stop_agent, tally
from reliability.figures import of_tally

STALLED = "upstream stands still, memory_limiter {} MiB"
SECONDS = (6, 30)  # short, full
# 64 connections with requests of 64 KB as fast as they are answered.
LOAD = ("--clients", 64, "--spans", 160, "--span-bytes", 400, "--retry-seconds", 120)
# What a process has beside what it holds: program, stacks, buffers of connections.
BESIDE_MIB = 24


def run(stage, full, limit_mib):
    seconds = SECONDS[full]
    upstream = Upstream(stage, "upstream")
    ports = Ports()
    endpoint = {"endpoint": f"127.0.0.1:{upstream.port}"}
    agent = start_agent(stage, ports, agent_files(stage, ports, {"otlp_grpc": endpoint}, memory_mib=limit_mib))
    idle = _mib(agent, "VmRSS")
    upstream.collector.send(signal.SIGSTOP)
    load = Load(stage, ports, "--seconds", seconds, *LOAD)
    held, until = 0, time.monotonic() + seconds
    while time.monotonic() < until:
        held = max(held, Metrics(ports.metrics).sum("relayd_held_bytes"))
        time.sleep(0.1)
    peak_stalled = _mib(agent, "VmHWM")
    upstream.collector.send(signal.SIGCONT)
    told = load.end(150)
    settle(ports)
    peak = _mib(agent, "VmHWM")
    ended = stop_agent(agent)
    upstream.end()
    figures = of_tally(STALLED.format(limit_mib), told, tally(stage, [load], [upstream]))
    spoken = f", {held / (1 << 20):.1f} held at most by its own count" if held else ""
    figures.besides = f"resident {idle:.0f} MiB idle, {peak_stalled:.0f} at most while it stood still, {peak:.0f} in all{spoken}; {ended}"
    if held > limit_mib << 20:
        figures.wrong.append(f"{held} bytes held of {limit_mib} MiB")
    if peak > limit_mib + BESIDE_MIB:
        figures.wrong.append(f"{peak:.0f} MiB resident with a bound of {limit_mib}")
    return figures


def _mib(process, key):
    """VmRSS or VmHWM (proc(5), /proc/PID/status)."""
    with open(f"/proc/{process.pid}/status", encoding="utf-8") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(f"{key}:")) / 1024
