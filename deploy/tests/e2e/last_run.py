"""The page that a full run leaves behind: when it was, of which commit, with what, and its table.

Must never be written by a run that left something out or failed.
"""

import os
import platform
import re
import subprocess
import time

from stage import REPOSITORY

# What says which version of a program ran: the arguments, and the line of the answer.
VERSIONS = {
    "kube-apiserver": ["--version"],
    "etcd": ["--version"],
    "containerd": ["--version"],
    "runc": ["--version"],
    "otelcol": ["--version"],
    "jaeger": ["version"],
    "helm": ["version", "--short"],
    "relayd": ["--version"],
}

INTRODUCTION = """\
# The last full run of deploy/tests/e2e

Written by `deploy/tests/run e2e --full`; do not edit. CI runs the short form.

{when}

Programs: {programs}.

Figures are spans: sent by whom the scenario starts, accepted and delivered by the agents, seen in Jaeger or at the far end.

"""


def _said(*argv):
    ended = subprocess.run([*map(str, argv)], capture_output=True, text=True, timeout=30, check=False)
    return (ended.stdout or ended.stderr).strip()


def page(headings, lines, programs):
    commit = _said("git", "-C", REPOSITORY, "describe", "--always", "--dirty")
    when = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    system = f"{os.cpu_count()} cores, {platform.system()} {platform.release()}"
    versions = [_version(name, _said(programs[name], *arguments)) for name, arguments in VERSIONS.items()]
    text = INTRODUCTION.format(when=f"{when} UTC, commit {commit}, {system}.", programs=", ".join(versions))
    text += f"| {' | '.join(headings)} |\n| {' | '.join('---' for _ in headings)} |\n"
    return text + "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)


def _version(name, words):
    found = re.search(r"v?\d+\.\d+[\w.+-]*", words)
    return f"{name} {found[0] if found else 'of unknown version'}"
