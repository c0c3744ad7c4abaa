"""What systemd does with relayd.socket and relayd.service, for the checks, on ports of their own: holds the
listeners, starts relayd with them, waits for READY=1, stops it with SIGTERM, starts the next one."""

import contextlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

START_SECONDS = STOP_SECONDS = 30
PORTS = (4317, 4318, 13133, 8888)
# What systemd sets between fork and exec: descriptors from 3 on, and the process that they are for.
EXEC = (
    "import os, sys; n = int(sys.argv[1]); fds = [int(a) for a in sys.argv[2:2 + n]];"
    "high = [os.dup2(fd, 200 + i) for i, fd in enumerate(fds)];"
    "[os.dup2(fd, 3 + i) for i, fd in enumerate(high)];"
    "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(n));"
    "n or [os.environ.pop(name) for name in ('LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES')];"
    "os.closerange(3 + n, 256); os.execv(sys.argv[2 + n], sys.argv[2 + n:])"
)


def _streams(tools):
    """The ListenStream= lines of relayd.socket: (host, port)."""
    text = (tools.deploy / "systemd/relayd.socket").read_text(encoding="utf-8")
    found = re.findall(r"^ListenStream=\[?([0-9.:]+?)\]?:(\d+)$", text, re.M)
    assert len(found) == len(re.findall("^ListenStream=", text, re.M)) >= 4, found
    return [(host, int(port)) for host, port in found]


def _free_ports():
    """Four ports that are free on both families."""
    while True:
        with contextlib.ExitStack() as stack:
            taken = [stack.enter_context(socket.socket()) for _ in PORTS]
            for one in taken:
                one.bind(("127.0.0.1", 0))
            ports = [one.getsockname()[1] for one in taken]
            try:
                for port in ports:
                    stack.enter_context(socket.create_server(("::1", port), family=socket.AF_INET6))
            except OSError:
                continue
            return dict(zip(PORTS, ports))


class Manager:
    def __init__(self, tools, name, held, traced, extra):
        self.relayd, self.folder, self.traced = tools.relayd, tools.scratch(name), traced
        self.strace = tools.path("strace") if traced else None
        self.ports, self.process = _free_ports(), None
        self.streams = [(host, self.ports[port]) for host, port in _streams(tools)]
        text = (tools.deploy / "systemd/agent.yaml").read_text(encoding="utf-8")
        # Nothing leaves: the spans are counted and thrown away.
        text = text.replace("exporters: [otlp_grpc]", "exporters: [debug]")
        text = re.sub(r"  otlp_grpc:\n(    .*\n)+", "  debug: {}\n", text)
        for port, other in self.ports.items():
            text, count = re.subn(rf"(?<=[: ]){port}$", str(other), text, flags=re.M)
            assert count == 1, f"agent.yaml has {count} times the port {port}"
        (self.folder / "agent.yaml").write_text(text, encoding="utf-8")
        self.listeners = []
        for host, port in (
            self.streams + ([("127.0.0.1", _free_ports()[8888])] if extra else []) if held else []
        ):
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self.listeners.append(socket.create_server((host, port), family=family, backlog=4096))
        self.notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        # Short: the name of a unix socket has 107 bytes at most.
        self.notify_path = f"/tmp/relayd-notify-{os.getpid()}-{id(self)}"
        self.notified.bind(self.notify_path)
        self.log = self.folder / "relayd.log"

    def port(self, port, host="127.0.0.1"):
        return host, self.ports[port]

    def listening(self):
        """The addresses with one of our ports that somebody on this host listens on, as the kernel has it."""
        found = set()
        for name, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
            for line in pathlib.Path(f"/proc/net/{name}").read_text(encoding="ascii").splitlines()[1:]:
                _, local, _, state = line.split()[:4]
                host, port = local.split(":")
                if state == "0A" and int(port, 16) in self.ports.values():
                    # Words of 32 bits in the byte order of the machine.
                    words = (bytes.fromhex(host[at : at + 8]) for at in range(0, len(host), 8))
                    packed = b"".join(word[::-1] if sys.byteorder == "little" else word for word in words)
                    found.add((socket.inet_ntop(family, packed), int(port, 16)))
        return found

    def start(self, ready=True):
        self.notified.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while self.notified.recv(4096):
                pass
        fds = [str(listener.fileno()) for listener in self.listeners]
        command = [self.relayd, "--config", str(self.folder / "agent.yaml")]
        if self.traced:
            # -D: relayd stays the process that LISTEN_PID names and that is told to end.
            command = [
                self.strace,
                "-D",
                "-f",
                "-A",
                "-o",
                str(self.folder / "strace"),
                *command,
            ]
        environment = {
            **os.environ,
            "NOTIFY_SOCKET": self.notify_path,
            "LISTEN_PID": "",
            "LISTEN_FDS": "",
            "LISTEN_FDNAMES": "",
        }
        if fds:
            environment["LISTEN_FDNAMES"] = ":".join(["relayd.socket"] * len(fds))
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", EXEC, str(len(fds)), *fds, *command],
                pass_fds=[listener.fileno() for listener in self.listeners], env=environment,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        if ready:
            self._await(b"READY=1")

    def _await(self, state):
        end = time.monotonic() + START_SECONDS
        self.notified.settimeout(0.2)
        while time.monotonic() < end:
            assert self.process.poll() is None, (
                f"relayd ended: {self.log.read_text(encoding='utf-8')[-2000:]}"
            )
            with contextlib.suppress(TimeoutError):
                if state in self.notified.recv(4096).splitlines():
                    return
        raise AssertionError(
            f"no {state!r} within {START_SECONDS} s: {self.log.read_text(encoding='utf-8')[-2000:]}"
        )

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            assert self.process.wait(timeout=STOP_SECONDS) == 0, self.log.read_text(encoding="utf-8")[-2000:]

    def restart(self, pause=0):
        """`pause`: how long nothing runs, for what is to be seen of a gap."""
        self.stop()
        time.sleep(pause)
        self.start()

    def failed(self):
        """relayd's last words, of a start that must fail."""
        assert self.process.wait(timeout=START_SECONDS) != 0, "it did not fail"
        return self.log.read_text(encoding="utf-8")

    def trace(self):
        self.stop()
        return (self.folder / "strace").read_text(encoding="utf-8", errors="replace")

    def end(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for one in (*self.listeners, self.notified):
            one.close()
        pathlib.Path(self.notify_path).unlink(missing_ok=True)


@contextlib.contextmanager
def started(tools, name, held=True, traced=False, extra=False, ready=True):
    """A manager whose relayd is ready. `held`: it holds the sockets; `extra`: one that no receiver is for."""
    manager = Manager(tools, name, held, traced, extra)
    try:
        manager.start(ready)
        yield manager
    finally:
        manager.end()


@contextlib.contextmanager
def activated(tools, name):
    """systemd-socket-activate in the manager's place: it becomes relayd at the first connection."""
    manager = Manager(tools, name, False, False, False)
    try:
        program = tools.path("systemd-socket-activate")
        listen = [
            f"--listen=[{host}]:{port}" if ":" in host else f"--listen={host}:{port}"
            for host, port in manager.streams
        ]
        config = str(manager.folder / "agent.yaml")
        with open(manager.log, "ab") as log:
            manager.process = subprocess.Popen(
                [program, *listen, manager.relayd, "--config", config],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + START_SECONDS
        while manager.log.read_text(encoding="utf-8").count("Listening on") < len(listen):
            assert time.monotonic() < end and manager.process.poll() is None, manager.log.read_text(
                encoding="utf-8"
            )
            time.sleep(0.05)
        yield manager
        manager.stop()
    finally:
        manager.end()
