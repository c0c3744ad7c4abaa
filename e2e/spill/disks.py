"""File systems of a scenario's own: they fill up, turn read-only, stand still, are slow.

Must never be seen by the rest of the machine: they are mounted in a mount namespace of this run, and are gone with it.
"""

import ctypes
import os
import subprocess

from process import Failed

CLONE_NEWNS = 0x00020000  # linux/sched.h
MIB = 1 << 20
COMMAND_SECONDS = 30
BLKIO = "/sys/fs/cgroup/blkio"

_libc = ctypes.CDLL(None, use_errno=True)
_is_private = False


def may_mount():
    return os.geteuid() == 0


def run(*argv):
    """A command that must succeed."""
    try:
        ended = subprocess.run(argv, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(f"{' '.join(argv)}: {error}") from None
    if ended.returncode != 0:
        raise Failed(f"{' '.join(argv)}: exit {ended.returncode}: {(ended.stdout + ended.stderr).strip()[-300:]}")
    return ended.stdout.strip()


def _make_private():
    """This thread, from which all peers are started, gets mounts of its own."""
    global _is_private
    if _is_private:
        return
    if _libc.unshare(CLONE_NEWNS) != 0:
        raise Failed(f"no mount namespace: {os.strerror(ctypes.get_errno())}")
    run("mount", "--make-rprivate", "/")
    _is_private = True


class Disk:
    """A mounted file system at `path`; its end is `end`, always."""

    def __init__(self, stage, name):
        self.path = stage.path(name)
        os.makedirs(self.path, exist_ok=True)
        _make_private()

    def end(self):
        # Lazily: whoever still has files open on it is ended after it.
        run("umount", "-l", self.path)


class Tmpfs(Disk):
    """`mib` of memory; full is ENOSPC."""

    def __init__(self, stage, name, mib):
        super().__init__(stage, name)
        run("mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", self.path)

    def remount(self, how):
        run("mount", "-o", f"remount,{how}", self.path)


class Ext4(Disk):
    """ext4 on a loop device; it turns read-only at its first error, as root file systems do."""

    def __init__(self, stage, name, mib):
        super().__init__(stage, name)
        self.image, self.group = stage.path(f"{name}.img"), None
        with open(self.image, "wb") as image:
            image.truncate(mib * MIB)
        run("mkfs.ext4", "-q", "-F", self.image)
        self.is_frozen = False
        self.mount()

    def mount(self):
        run("mount", "-o", "loop,errors=remount-ro", self.image, self.path)
        self.device = os.path.basename(run("findmnt", "-n", "-o", "SOURCE", self.path))

    def fail(self):
        """As the kernel does when it has found an error on it: read-only from now on, whatever is open for writing."""
        with open(f"/sys/fs/ext4/{self.device}/trigger_fs_error", "w", encoding="ascii") as trigger:
            trigger.write("1")

    def repair(self):
        """As whoever looks after the machine does, when nobody has it open."""
        run("umount", self.path)
        # 1: errors corrected.
        subprocess.run(["e2fsck", "-fy", self.image], capture_output=True, timeout=COMMAND_SECONDS, check=False)
        self.mount()

    def freeze(self):
        """Whatever writes waits, and cannot be interrupted."""
        run("fsfreeze", "-f", self.path)
        self.is_frozen = True

    def thaw(self):
        if self.is_frozen:
            run("fsfreeze", "-u", self.path)
            self.is_frozen = False

    def slow_down(self, pid, writes_per_second):
        """So many writes of the process `pid` reach the device per second."""
        self.group = f"{BLKIO}/relay-e2e-{os.getpid()}"
        os.makedirs(self.group, exist_ok=True)
        number = os.stat(f"/dev/{self.device}").st_rdev
        with open(f"{self.group}/blkio.throttle.write_iops_device", "w", encoding="ascii") as limit:
            limit.write(f"{os.major(number)}:{os.minor(number)} {writes_per_second}")
        with open(f"{self.group}/cgroup.procs", "w", encoding="ascii") as members:
            members.write(str(pid))

    def end(self):
        self.thaw()
        super().end()
        os.remove(self.image)
        if self.group:
            with open(f"{self.group}/cgroup.procs", encoding="ascii") as members:
                for pid in members.read().split():
                    with open(f"{BLKIO}/cgroup.procs", "w", encoding="ascii") as everybody:
                        everybody.write(pid)
            os.rmdir(self.group)
