"""What a check is given: where things are, and how a program is run."""

import functools
import json
import os
import pathlib
import shutil
import subprocess

# How long a program that a check runs may take, unless the check says otherwise.
RUN_SECONDS = 120
BUILD_SECONDS = 1800
# Lines of a failed program's output that are shown.
TAIL_LINES = 40


class Failed(AssertionError):
    """A program did not end as it should; the text holds its end of output."""


class Tools:
    def __init__(self, root, built):
        self.root = pathlib.Path(root)
        self.deploy = self.root / "deploy"
        self.tests = self.deploy / "tests"
        self.out = self.tests / "out"
        self._built = pathlib.Path(built)

    def path(self, name):
        """A program that tools/build made (`schemas` is a folder), else one of that name on PATH."""
        built = self._built / name
        if built.exists():
            return str(built)
        found = shutil.which(name)
        assert found, f"{name} is neither among what deploy/tests/tools/build makes nor on PATH"
        return found

    @functools.cached_property
    def relayd(self):
        """The daemon of this checkout, built as the tests build it."""
        self.run(["cargo", "build", "--locked", "-q", "-p", "relayd"], cwd=self.root, timeout=BUILD_SECONDS)
        metadata = self.run(["cargo", "metadata", "--format-version", "1", "--no-deps"], cwd=self.root).stdout
        return os.path.join(json.loads(metadata)["target_directory"], "debug", "relayd")

    def scratch(self, name):
        """A fresh folder that git ignores; it stays, for whoever looks into a failure."""
        folder = self.out / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def run(self, argv, **options):
        """subprocess.run that expects success: text, captured, bounded in time; Failed shows the output."""
        options = {"check": True, "text": True, "capture_output": True, "timeout": RUN_SECONDS, **options}
        checked = options.pop("check")
        if "input" not in options:
            options.setdefault("stdin", subprocess.DEVNULL)
        argv = [str(part) for part in argv]
        try:
            done = subprocess.run(argv, check=False, **options)
        except subprocess.TimeoutExpired:
            raise Failed(f"{' '.join(argv)[:300]}: not ended after {options['timeout']} s") from None
        if checked and done.returncode:
            tail = "\n".join(f"{done.stdout or ''}{done.stderr or ''}".splitlines()[-TAIL_LINES:])
            raise Failed(f"{' '.join(argv)[:300]}: exit status {done.returncode}\n{tail}")
        return done
