"""A healthy upstream: not one byte is written.

Must never take the agent's word for it: the kernel's count, the directory, and every system call that names or writes a file.
"""

import os
import re
import shutil
import time

from reliability.around import Load, Ports, start_agent, stop_agent, tally
from reliability.figures import of_tally
from spill.around import Door, drain, files, on_disk

HEALTHY = "healthy upstream: what is written"
SECONDS = (4, 30)  # short, full
LOAD = ("--clients", 40, "--rate", 400)
# What makes, changes or syncs a file. Sockets are written to with others, and a log line is a write to standard error.
CALLS = (
    "open,openat,openat2,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,truncate,ftruncate,fallocate,"
    "pwrite64,pwritev,pwritev2,fsync,fdatasync,sync_file_range"
)
WRITES = re.compile(r"\b(creat|mkdir|mkdirat|rename|renameat2?|link|linkat|symlink|symlinkat|f?truncate|fallocate|pwrite\w*|f\w*sync|"
                    r"sync_file_range)\(|\bopen\w*\(.*(O_WRONLY|O_RDWR|O_CREAT)")


def run(stage, full, agent):
    door, ports = Door(stage), Ports()
    directory = stage.path("storage")
    os.makedirs(directory)
    process = start_agent(stage, ports, files(stage, agent, ports, door.port, directory))
    strace, trace = shutil.which("strace"), stage.path("strace.txt")
    if strace:
        stage.programs = {**stage.programs, "strace": strace}
        traced = stage.start("strace", "strace", "-f", "-qq", "-e", f"trace={CALLS}", "-o", trace, "-p", process.pid)
        time.sleep(1)
        # Where a process may not be looked into but by root (kernel.yama.ptrace_scope), the other two have to do.
        strace = strace if traced.is_running() else None
    before = written_bytes(process.pid)
    load = Load(stage, ports, "--seconds", SECONDS[full], *LOAD)
    told = load.end(SECONDS[full] + 60)
    drain(ports)
    written = written_bytes(process.pid) - before
    found = on_disk(directory)
    calls = []
    if strace:
        traced.stop()
        with open(trace, encoding="utf-8", errors="replace") as lines:
            calls = [line.strip() for line in lines if WRITES.search(line)]
    ended = stop_agent(process)
    afterwards = on_disk(directory)
    door.end()
    figures = of_tally(HEALTHY, told, tally(stage, [load], [door]))
    by_name = {}
    for line in calls:
        name = re.search(r"(\w+)\(", line)[1]
        by_name[name] = by_name.get(name, 0) + 1
    named = ", ".join(f"{times} {name}" for name, times in sorted(by_name.items())) or "no call that makes, writes or syncs a file"
    looked = f"{len(afterwards)} files, {sum(afterwards.values())} bytes after the end"
    figures.besides = (
        f"{written} bytes written to disks while {figures.acknowledged} spans passed (/proc/PID/io); "
        f"{named if strace else 'no strace, or it may not attach'}; {len(found)} files, {sum(found.values())} bytes in the directory, {looked}; {ended}"
    )
    if written or found or calls or afterwards:
        figures.wrong.append(f"{written} bytes written, files {sorted(found)[:5]} {sorted(afterwards)[:5]}, calls {calls[:3]}")
    if figures.twice or figures.refused:
        figures.wrong.append(f"{figures.twice} twice, {figures.refused} refused")
    return figures


def written_bytes(pid):
    """What a process has had written to disks (proc(5), /proc/PID/io: write_bytes, counted when a page of a file is dirtied)."""
    with open(f"/proc/{pid}/io", encoding="ascii") as counts:
        return next(int(line.split()[1]) for line in counts if line.startswith("write_bytes:"))
