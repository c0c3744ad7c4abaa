"""Child processes of an e2e run: start, wait, stop, and what they left in their logs.

Must never signal a process that it did not start, and must never wait without a bound.
"""

import atexit
import ctypes
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import time

# Below the kernel's ephemeral range (32768 and up), so that a port stays free for a peer that is stopped and started again.
# RELAY_E2E_PORTS=FIRST-LAST has runs beside each other on one machine keep apart.
PORTS_FIRST, PORTS_LAST = map(int, os.environ.get("RELAY_E2E_PORTS", "21000-30999").split("-"))
PORTS = range(PORTS_FIRST, PORTS_LAST + 1)
# How long a peer may take to end after SIGTERM before it is killed.
STOP_SECONDS = 30
# Lines of a log shown when a scenario has failed.
TAIL_LINES = 15
TAIL_COLUMNS = 300
PR_SET_PDEATHSIG = 1

_started = []
_ports_given = set()


class Failed(Exception):
    """A scenario did not show what it should; the text is for the table."""


def free_port():
    """A TCP port that nobody listens on, on no address, and that this run has not given to another peer."""
    for port in random.sample(PORTS, min(200, len(PORTS))):
        if port in _ports_given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("0.0.0.0", port))  # bound and never listened on: nobody is let in
            except OSError:
                continue
        _ports_given.add(port)
        return port
    raise Failed(f"no free port between {PORTS_FIRST} and {PORTS_LAST}")


def wait_until(condition, seconds, what):
    """Calls `condition` until it gives something true, and gives that; Failed after `seconds`."""
    give_up = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > give_up:
            raise Failed(f"waited {seconds} s in vain for {what}")
        time.sleep(0.1)


def is_listening(port, host="127.0.0.1"):
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


def _die_with_parent():
    # A run that is killed outright must not leave peers behind.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Process:
    """A running program; its output goes to NAME.out and NAME.log in `folder`. `environment` is added to ours."""

    def __init__(self, name, argv, folder, core=None, environment=None):
        self.name = name
        self.out_path = os.path.join(folder, f"{name}.out")
        self.log_path = os.path.join(folder, f"{name}.log")
        pinned = [] if core is None else ["taskset", "-c", str(core)]
        self.argv = [*pinned, *map(str, argv)]
        # Appending: a peer that is started again goes on in its log.
        with open(self.out_path, "ab") as out, open(self.log_path, "ab") as log:
            self.child = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=out, stderr=log, cwd=folder, preexec_fn=_die_with_parent,
                env=None if environment is None else {**os.environ, **environment},
            )  # fmt: skip
        _started.append(self)

    @property
    def pid(self):
        return self.child.pid

    def is_running(self):
        return self.child.poll() is None

    def wait_listening(self, port, seconds=30, host="127.0.0.1"):
        """Waits until the program accepts connections on `port`; Failed if it ends before."""

        def listening():
            if not self.is_running():
                raise Failed(f"{self.name} ended with {self.child.returncode} instead of listening on {port}")
            return is_listening(port, host)

        wait_until(listening, seconds, f"{self.name} to listen on {port}")

    def send(self, number):
        if self.is_running():
            self.child.send_signal(number)

    def wait(self, seconds):
        """The exit status; Failed if the program has not ended after `seconds`."""
        if self.is_running():
            # Told at once: the module's own wait with a timeout looks every 50 ms.
            descriptor = os.pidfd_open(self.pid)
            try:
                if not select.select([descriptor], [], [], seconds)[0]:
                    raise Failed(f"{self.name} still runs after {seconds} s")
            finally:
                os.close(descriptor)
        return self.child.wait()

    def stop(self, number=signal.SIGTERM, seconds=STOP_SECONDS):
        """Ends the program by a signal and gives its exit status; SIGKILL and Failed if it does not obey."""
        self.send(number)
        try:
            return self.wait(seconds)
        except Failed:
            self.child.kill()
            self.child.wait()
            raise

    def end_by_force(self):
        if self.is_running():
            self.child.kill()
            self.child.wait()

    def answer(self):
        """The JSON object that testkit's tools print as their last line."""
        with open(self.out_path, encoding="utf-8") as out:
            lines = out.read().strip().splitlines()
        if not lines:
            raise Failed(f"{self.name} printed nothing (exit status {self.child.poll()})")
        return json.loads(lines[-1])

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def tail(self):
        return "\n".join(f"  {self.name}| {line[:TAIL_COLUMNS]}" for line in self.log().splitlines()[-TAIL_LINES:])


def _end_all():
    for process in _started:
        process.end_by_force()


def _on_signal(number, _frame):
    sys.exit(128 + number)


def clean_up_at_exit():
    """Ends every child when this process ends, also by ctrl-c or SIGTERM."""
    atexit.register(_end_all)
    signal.signal(signal.SIGTERM, _on_signal)
    signal.signal(signal.SIGINT, _on_signal)
