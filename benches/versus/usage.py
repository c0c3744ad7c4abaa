"""What the kernel says a process or a core has used: CPU time, memory, context switches, open files.

Must never round: the kernel's nanoseconds are given as seconds; only the split in user and system comes in its ticks.
"""

import ctypes
import dataclasses
import os
import resource
import time

from process import Failed

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
# Open files that a peer needs beside its connections.
FILES_BESIDE = 256

_libc = ctypes.CDLL(None, use_errno=True)


@dataclasses.dataclass(frozen=True)
class Cpu:
    """CPU time of a process since its start, all threads, also ended ones, in seconds."""

    total: float
    user: float
    system: float

    def __sub__(self, earlier):
        return Cpu(self.total - earlier.total, self.user - earlier.user, self.system - earlier.system)

    @property
    def user_share(self):
        """Of the total; None where it is too little for ticks to say."""
        ticked = self.user + self.system
        return self.user / ticked if ticked * TICKS_PER_SECOND >= 5 else None


def cpu_seconds(pid):
    """The process's CPU clock (clock_getcpuclockid(3)); user and system from /proc/PID/stat, fields 14 and 15 (proc(5))."""
    clock = ctypes.c_int()
    if _libc.clock_getcpuclockid(ctypes.c_int(pid), ctypes.byref(clock)) != 0:
        raise Failed(f"process {pid} has no CPU clock: has it ended?")
    try:
        total = time.clock_gettime(clock.value)
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
    except OSError as error:
        raise Failed(f"process {pid} has ended: {error}") from None
    return Cpu(total, int(fields[11]) / TICKS_PER_SECOND, int(fields[12]) / TICKS_PER_SECOND)


def ended_children_cpu_seconds():
    """CPU time of all children that have ended and been waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def memory_mib(pid, key):
    """VmRSS or VmHWM of a process (proc(5), /proc/PID/status)."""
    return _status(f"/proc/{pid}", (f"{key}:",)) / 1024


def context_switches(pid):
    """Of all threads that a process has now, asked for and forced (proc(5), /proc/PID/task/TID/status)."""
    keys = ("voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:")
    count = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            count += _status(f"/proc/{pid}/task/{thread}", keys)
        except OSError:
            pass  # ended in between
    return count


def _status(folder, keys):
    found = []
    with open(f"{folder}/status", encoding="utf-8") as status:
        for line in status:
            if line.startswith(keys):
                found.append(int(line.split()[1]))
    if len(found) != len(keys):
        raise Failed(f"{folder}/status lacks {' or '.join(keys)}")
    return sum(found)


def core_busy_seconds():
    """Seconds since boot in which each core was not idle, stolen ones included: {core: seconds} (proc(5), /proc/stat)."""
    busy = {}
    with open("/proc/stat", encoding="utf-8") as stat:
        for line in stat:
            name, *fields = line.split()
            if name.startswith("cpu") and name != "cpu":
                user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[:8])
                busy[int(name[3:])] = (user + nice + system + irq + softirq + steal) / TICKS_PER_SECOND
    return busy


def open_sockets(pid):
    """How many sockets a process has open."""
    count = 0
    for number in os.listdir(f"/proc/{pid}/fd"):
        try:
            count += os.readlink(f"/proc/{pid}/fd/{number}").startswith("socket:")
        except OSError:
            pass  # closed in between
    return count


def allow_open_files(wanted):
    """Raises this process's limit of open files, which every peer inherits, to `wanted` or as near as is allowed; gives what it
    is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))
    except (ValueError, OSError):  # the hard limit takes a privilege to raise
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def open_files_for(connections):
    """What a relay with a connection out for each that comes in has open."""
    return 2 * connections + FILES_BESIDE


def connections_for(open_files):
    """The inverse."""
    return (open_files - FILES_BESIDE) // 2
