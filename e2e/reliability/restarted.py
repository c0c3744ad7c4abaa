"""The agent is restarted again and again under load from telemetrygen, from a program on the OpenTelemetry SDK for Go with its
default settings, and from numbered clients.

Must never restart before the last successor serves.
"""

import re
import signal
import time

from process import Failed
from reliability.around import STOP_SECONDS, Load, Ports, Upstream, agent_files, settle, start_agent, stop_agent, tally
from reliability.around import without_listener
from reliability.figures import of_tally
from stage import local

OVERLAPPING = "restarted x{}: successor first, then SIGTERM"
ONE_AFTER_THE_OTHER = "restarted x{}: SIGTERM, then the successor"
RESTARTS = (5, 50)  # short, full
# From one restart to the next, as far as the restart itself does not take longer.
PERIOD_SECONDS = 2.5
SDK_RATE = 200  # spans a second
SPANS_PER_TRACE = 2  # telemetrygen's, a parent and a child
NUMBERED = ("--clients", 10, "--rate", 100)


def overlapping(stage, full):
    return _run(stage, RESTARTS[full], OVERLAPPING, _successor_first)


def one_after_the_other(stage, full):
    return _run(stage, RESTARTS[full], ONE_AFTER_THE_OTHER, _terminate_first)


def _run(stage, restarts, name, restart):
    upstream = Upstream(stage, "upstream")
    ports = Ports()
    files = agent_files(stage, ports, {"otlp_grpc": {"endpoint": f"127.0.0.1:{upstream.port}"}})
    agent = start_agent(stage, ports, files, "agent-0")
    endpoint = local(ports.grpc)
    probe = stage.start("probe", "testkit", "probe", "--endpoint", endpoint)
    load = Load(stage, ports, *NUMBERED)
    sdk = stage.start(
        "go-sdk", "go-sdk", "--service", "go-sdk", "--rate", SDK_RATE,
        environment={"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{endpoint}"},
    )  # fmt: skip
    generator = stage.start(
        "telemetrygen", "telemetrygen", "traces", "--otlp-insecure", "--otlp-endpoint", endpoint, "--service", "telemetrygen",
        "--duration", f"{(restarts + 1) * PERIOD_SECONDS}s", "--workers", 2, "--rate", SDK_RATE / 2,
    )  # fmt: skip
    next_at, statuses = time.monotonic(), []
    for number in range(1, restarts + 1):
        next_at = max(next_at + PERIOD_SECONDS, time.monotonic())
        time.sleep(max(0, next_at - time.monotonic()))
        agent = restart(stage, agent, ports, files, f"agent-{number}", statuses)
    generator.wait(120)
    sdk.stop()
    told = load.end(90, signal.SIGTERM)
    probe.stop()
    settle(ports)
    statuses.append(stop_agent(agent))
    upstream.end()
    counted = tally(stage, [load], [upstream])
    return _judge(of_tally(name.format(restarts), told, counted), told, counted, probe.answer(), sdk.answer(), generator, statuses)


def _successor_first(stage, agent, ports, files, name, statuses):
    """The successor listens on the same ports before its predecessor is told to end. For an agent that cannot, it is said."""
    successor = start_agent(stage, ports, files, name, wait=False)
    # Nothing outside tells the two apart: what the successor says of itself does.
    give_up = time.monotonic() + 10
    while "listening" not in successor.log().lower():
        if not successor.is_running():
            raise Failed(f"a successor cannot listen on the same ports: {successor.log().strip().splitlines()[-1][-200:]}")
        if time.monotonic() > give_up:
            raise Failed("the successor does not say that it listens")
        time.sleep(0.02)
    statuses.append(_ended(agent))
    return successor


def _terminate_first(stage, agent, ports, files, name, statuses):
    statuses.append(_ended(agent))
    return start_agent(stage, ports, files, name)


def _ended(agent):
    try:
        return f"exit {agent.stop(seconds=STOP_SECONDS)}"
    except Failed:
        return "killed"


def _judge(figures, told, counted, probed, sdk, generator, statuses):
    nothing = {"spans": 0, "distinct": 0}
    of_sdk, of_generator = (counted["services"].get(name, nothing) for name in ("go-sdk", "telemetrygen"))
    missing = sdk["ended"] - of_sdk["distinct"]
    generated = sum(map(int, re.findall(r'"traces": (\d+)', generator.log()))) * SPANS_PER_TRACE
    generator_missing = generated - of_generator["distinct"]
    said = {status: statuses.count(status) for status in sorted(set(statuses))}
    figures.besides = (
        f"{without_listener(probed)}; "
        f"Go SDK: {sdk['ended']} spans, {missing} missing (dropped by its queue {sdk['ended'] - sdk['handed']}, export failed "
        f"{sdk['handed'] - sdk['exported']}), {of_sdk['spans'] - of_sdk['distinct']} twice, {sdk['errors']} errors told; "
        f"telemetrygen: {generated} spans, {generator_missing} missing, {of_generator['spans'] - of_generator['distinct']} twice; "
        f"{', '.join(f'{times} times {status}' for status, times in said.items())}"
    )
    if generated == 0:
        figures.wrong.append("telemetrygen does not say what it sent")
    if missing or sdk["errors"]:
        figures.wrong.append(f"{missing} spans of the Go SDK missing, errors {sdk['told']}")
    if generator_missing:
        figures.wrong.append(f"{generator_missing} spans of telemetrygen missing")
    if figures.refused:
        figures.wrong.append(f"{figures.refused} spans refused")
    if any(status != "exit 0" for status in statuses):
        figures.wrong.append(f"exits: {said}")
    return figures
