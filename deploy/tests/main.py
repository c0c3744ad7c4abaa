"""Runs the checks of deploy/ and prints the table.

usage: main.py --tools DIR [--slow] [--only WORD]...

Must never end with 0 when a check has failed, when a module is missing, or when nothing was run.
"""

import argparse
import importlib
import pathlib
import sys
import textwrap
import time
import traceback

from tools import Tools

HERE = pathlib.Path(__file__).resolve().parent
# In the order of the table: what others build on first, so that what is broken everywhere is seen early.
MODULES = (
    "schemas", "chart", "agent", "manifests", "wiring", "network", "upgrades", "drift", "configs", "lint",
    "node", "openshift", "systemd", "image", "monitoring",
)  # fmt: skip
WIDTH = 100


def load(slow):
    """(module, check's name, check) of every module, with those of SLOW if asked for, and what is wrong with the modules."""
    checks, wrong = [], []
    for name in MODULES:
        if not (HERE / "checks" / f"{name}.py").is_file():
            wrong.append((name, "-", f"deploy/tests/checks/{name}.py is missing"))
            continue
        try:
            module = importlib.import_module(f"checks.{name}")
            found = module.CHECKS + (getattr(module, "SLOW", []) if slow else [])
        except Exception:  # the other modules still run and the table says so
            wrong.append((name, "-", f"cannot be loaded: {traceback.format_exc().splitlines()[-1]}"))
            print(f"--- {name}\n{traceback.format_exc()}", flush=True)
            continue
        for check in found:
            if not check.__doc__:
                wrong.append((name, check.__name__, "has no docstring that says what it shows"))
            checks.append((name, check.__name__, check))
        if not found:
            wrong.append((name, "-", "has no checks"))
    return checks, wrong


def run(module, name, check, tools):
    """One check: its row of the table, and whether it failed."""
    started = time.monotonic()
    try:
        said = check(tools)
        failed = not isinstance(said, str) or not said
        said = "FAILED: returned nothing that says what it looked at" if failed else said
    except Exception as error:  # whatever breaks, the other checks still run and the table says so
        failed = True
        said = f"FAILED: {str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__}"
        trace = "" if isinstance(error, AssertionError) and str(error) else traceback.format_exc()
        print(f"--- {module}.{name} FAILED: {check.__doc__}\n{trace}{error}\n", flush=True)
    return (module, name, f"{time.monotonic() - started:.1f}", said), failed


def render(rows):
    headings = ("module", "check", "s", "shown")
    rows = [
        (module, name, seconds, textwrap.shorten(said, WIDTH, placeholder=" ..."))
        for module, name, seconds, said in rows
    ]
    widths = [max(len(row[column]) for row in [headings, *rows]) for column in range(4)]

    def draw(row):
        return f"{row[0]:<{widths[0]}} | {row[1]:<{widths[1]}} | {row[2]:>{widths[2]}} | {row[3]}"

    return "\n".join([draw(headings), "-+-".join("-" * width for width in widths), *map(draw, rows)])


def main():
    parser = argparse.ArgumentParser(description="checks of deploy/ that need no cluster")
    parser.add_argument("--tools", required=True, help="folder that tools/build has filled")
    parser.add_argument("--root", help="the checkout to look at (default: the one that this file is in)")
    parser.add_argument("--slow", action="store_true", help="those of several minutes, too")
    parser.add_argument(
        "--only", action="append", default=[], help="run the checks whose module or name has this word in it"
    )
    arguments = parser.parse_args()
    if not __debug__:
        sys.exit("asserts are off (python -O or PYTHONOPTIMIZE): nothing would be checked")
    tools = Tools(arguments.root or HERE.parent.parent, arguments.tools)

    checks, wrong = load(arguments.slow)
    chosen = [
        row
        for row in checks
        if not arguments.only or any(word in f"{row[0]}.{row[1]}" for word in arguments.only)
    ]
    # What is wrong with a module that was not asked for is not in the way.
    wrong = [
        row
        for row in wrong
        if not arguments.only or any(word in f"{row[0]}.{row[1]}" for word in arguments.only)
    ]
    if not chosen and not wrong:
        sys.exit(
            "no check is called like that; there are "
            + ", ".join(f"{module}.{name}" for module, name, _ in checks)
        )
    rows, failures = [], 0
    for module, name, check in chosen:
        row, failed = run(module, name, check, tools)
        rows.append(row)
        failures += failed
    rows += [(module, name, "0.0", f"FAILED: {said}") for module, name, said in wrong]
    failures += len(wrong)
    print(f"\n{render(rows)}\n\n{len(rows) - failures} passed, {failures} failed", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    sys.exit(main())
