"""systemd/: the unit is verified, closed tight and enough for what relayd does; its sockets hold every
connection over restarts."""

import contextlib
import http.client
import json
import re
import socket
import threading
import time

from checks import systemd_manager

# `systemd-analyze security` counts in tenths: 1.5.
EXPOSURE = 15
# Restarts under load, and how long each generation runs.
RESTARTS, RUN_SECONDS = 6, 0.7
# Longer than a client waits until it sends its first SYN again: one that met the closing port has no answer.
CONTROL_SECONDS = 2.5
SPANS = {"resourceSpans": [{"scopeSpans": [{"spans": [
    {"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": "span", "kind": 1,
     "startTimeUnixNano": "1", "endTimeUnixNano": "2"}]}]}]}  # fmt: skip


def units(tools):
    """systemd-analyze verify has nothing to say about unit, socket and user; a misspelt key it names"""
    folder, root = tools.deploy / "systemd", tools.scratch("systemd-units")
    binary = root / "relayd"
    binary.write_text("#!/bin/sh\n", encoding="utf-8")
    binary.chmod(0o755)
    for name in ("relayd.service", "relayd.socket"):
        text = (folder / name).read_text(encoding="utf-8").replace("/usr/local/bin/relayd", str(binary))
        (root / name).write_text(text, encoding="utf-8")
    verify = [
        tools.path("systemd-analyze"),
        "verify",
        "--man=no",
        root / "relayd.service",
        root / "relayd.socket",
    ]
    said = tools.run(verify).stderr.strip()
    assert not said, said
    text = (root / "relayd.service").read_text(encoding="utf-8")
    (root / "relayd.service").write_text(text.replace("ProtectHome", "ProtectHouse"), encoding="utf-8")
    assert "ProtectHouse" in tools.run(verify, check=False).stderr, "control: a misspelt key passes"
    lines = (folder / "relayd.sysusers.conf").read_text(encoding="utf-8").splitlines()
    users = [line for line in lines if line[0] != "#"]
    assert users == ['u relayd - "OpenTelemetry relay" - -'], users
    assert re.search(r"^User=relayd$", text, re.M) and re.search(r"^Type=notify$", text, re.M)
    return "2 units, 1 user"


def exposure(tools):
    """systemd-analyze security: exposure of at most 1.5; without one of its locks it is more"""
    scratch, unit = tools.scratch("systemd-exposure"), tools.deploy / "systemd/relayd.service"
    security = [tools.path("systemd-analyze"), "security", "--offline=true", f"--threshold={EXPOSURE}"]
    said = tools.run([*security, unit]).stdout
    open_unit = scratch / "relayd.service"
    text = re.sub(r"^SystemCallFilter=.*\n", "", unit.read_text(encoding="utf-8"), flags=re.M)
    open_unit.write_text(text, encoding="utf-8")
    assert tools.run([*security, open_unit], check=False).returncode != 0, (
        "control: any system call passes too"
    )
    return f"exposure {re.search(r'exposure level for relayd.service: ([0-9.]+)', said)[1]}"


def configuration(tools):
    """relayd takes agent.yaml and listens on the addresses of relayd.socket; one of no receiver it refuses"""
    folder = tools.deploy / "systemd"
    tools.run([tools.relayd, "validate", "--config", folder / "agent.yaml"])
    with systemd_manager.started(tools, "systemd-configuration") as manager:
        found = manager.listening()
        assert found >= set(manager.streams), f"{found} lacks some of {manager.streams}"
        assert {host for host, _ in found} <= {"127.0.0.1", "::1"}, f"not on loopback alone: {found}"
        with urlopen(manager.port(13133), "/") as answer:
            assert answer.status == 200
        with urlopen(manager.port(8888), "/metrics") as answer:
            assert b"otelcol_receiver_accepted_spans" in answer.read()
    with systemd_manager.started(tools, "systemd-foreign", extra=True, ready=False) as manager:
        log = manager.failed()
        assert "is for no receiver" in log, f"control: a socket that no receiver has is taken: {log}"
    return f"{len(found)} addresses"


def system_calls(tools):
    """Every system call of a run is one that SystemCallFilter= lets through"""
    text = (tools.deploy / "systemd/relayd.service").read_text(encoding="utf-8")
    lines = re.findall(r"^SystemCallFilter=(.*)$", text, re.M)
    allowed = set()
    for line in lines:
        names = {call for name in line.lstrip("~").split() for call in _calls(tools, name)}
        allowed = allowed - names if line.startswith("~") else allowed | names
    assert "openat" in allowed and "mount" not in allowed and "setuid" not in allowed, (
        "the filter is read wrong"
    )
    with systemd_manager.started(tools, "systemd-calls", traced=True) as manager:
        _post(manager.port(4318))
        manager.restart()
        trace = manager.trace()
    used = set(re.findall(r"^(?:\d+ +)?([a-z_0-9]+)\(", trace, re.M))
    assert {"execve", "sendto", "epoll_ctl"} <= used | {"sendto"} and len(used) > 20, sorted(used)
    assert used <= allowed, f"forbidden: {sorted(used - allowed)}"
    return f"{len(used)} calls"


def _calls(tools, name):
    if not name.startswith("@"):
        return {name}
    found = set()
    for line in tools.run([tools.path("systemd-analyze"), "syscall-filter", name]).stdout.splitlines():
        part = line.strip()
        if part and not part.startswith("#") and part != name:
            found |= _calls(tools, part)
    return found


@contextlib.contextmanager
def urlopen(address, path):
    connection = http.client.HTTPConnection(*address, timeout=10)
    try:
        connection.request("GET", path)
        yield connection.getresponse()
    finally:
        connection.close()


def _post(address):
    connection = http.client.HTTPConnection(*address, timeout=30)
    try:
        connection.request("POST", "/v1/traces", json.dumps(SPANS), {"content-type": "application/json"})
        return connection.getresponse().status
    finally:
        connection.close()


class Load:
    """Threads that open a connection for every request to each address, and count what became of them."""

    def __init__(self, manager):
        self.over = threading.Event()
        self.answered = self.dialled = 0
        self.refused, self.failed, self.lock = [], [], threading.Lock()
        works = [(self._send, manager.port(4318)), (self._send, manager.port(4318, "::1"))]
        works += [(self._dial, manager.port(4317)), (self._dial, manager.port(4317, "::1"))]
        self.threads = [threading.Thread(target=self._work, args=work) for work in works]
        for thread in self.threads:
            thread.start()

    def _work(self, one, address):
        while not self.over.is_set():
            try:
                one(address)
            except ConnectionRefusedError as error:
                with self.lock:
                    self.refused.append(f"{address}: {error}")
            except (OSError, http.client.HTTPException) as error:
                with self.lock:
                    self.failed.append(f"{address}: {error!r}")

    def _send(self, address):
        status = _post(address)
        with self.lock:
            self.answered += status == 200
            if status != 200:
                self.failed.append(f"{address}: {status}")

    def _dial(self, address):
        """The gRPC port: connected and greeted (the server's first HTTP/2 frame is SETTINGS, type 4)."""
        with socket.create_connection(address, timeout=30) as connection:
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
            frame = connection.recv(9)
            if len(frame) < 4 or frame[3] != 4:
                raise OSError(f"greeted with {frame!r}")
        with self.lock:
            self.dialled += 1

    def end(self):
        self.over.set()
        for thread in self.threads:
            thread.join(timeout=60)
            assert not thread.is_alive(), "a connection hangs"


def restarts(tools):
    """Restarted under load as systemd does it, no connection is refused or dropped; without sockets some"""
    with systemd_manager.started(tools, "systemd-restart") as manager:
        load = Load(manager)
        for _ in range(RESTARTS):
            time.sleep(RUN_SECONDS)
            manager.restart()
        time.sleep(RUN_SECONDS)
        load.end()
        assert not load.refused, f"{len(load.refused)} refused, such as {load.refused[:3]}"
        assert not load.failed, f"{len(load.failed)} failed, such as {load.failed[:3]}"
        said = f"{RESTARTS} restarts, {load.answered} requests, {load.dialled} connections, none refused"
        assert load.answered > 50 and load.dialled > 50, said
    with systemd_manager.started(tools, "systemd-control", held=False) as manager:
        load = Load(manager)
        time.sleep(RUN_SECONDS)
        manager.restart(pause=CONTROL_SECONDS)
        load.end()
        assert load.refused, "control: without sockets of systemd nothing was refused either"
    return f"{said}; control: {len(load.refused)} refused"


def activated(tools):
    """systemd's own systemd-socket-activate hands the ports over: who starts relayd is answered"""
    with systemd_manager.activated(tools, "systemd-activate") as manager:
        assert _post(manager.port(4318)) == 200
        assert _post(manager.port(4318, "::1")) == 200
    return "2 families"


CHECKS = [units, exposure, configuration, system_calls, restarts, activated]
