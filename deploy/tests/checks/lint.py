"""How the files below deploy/ are written: YAML, shell, Python; none pipes a download into a shell."""

import ast
import re

PYTHON_COLUMNS = 160
FILE_LINES = 350
# Of YAML, shell, or a template; the line that names the interpreter is none.
COMMENT = re.compile(r"\s*(#(?!!)|\{\{-? ?/\*)")
DOWNLOAD = re.compile(r"(curl|wget)\b[^\n|]*\|\s*(sudo\s+)?(ba|da|z)?sh\b")
TEXT = {
    ".yaml",
    ".yml",
    ".md",
    ".sh",
    ".py",
    ".tpl",
    ".txt",
    ".conf",
    ".service",
    ".socket",
    ".env",
    ".json",
    ".toml",
    "",
}


def _files(tools):
    """What git has, or would have, below deploy/."""
    listed = tools.run(
        ["git", "-C", tools.deploy, "ls-files", "--cached", "--others", "--exclude-standard"]
    ).stdout.splitlines()
    return [path for path in (tools.deploy / name for name in listed) if path.is_file()]


def _first_line(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.readline()


def _scripts(tools, interpreter):
    """Files that the interpreter runs: by their first line, or by their name."""
    wanted = {"python": (".py",), "sh": (".sh",)}[interpreter]
    found = [
        path
        for path in _files(tools)
        if path.suffix in wanted
        or (not path.suffix and re.match(rf"#!.*\b(ba)?{interpreter}", _first_line(path)))
    ]
    return sorted(set(found))


def _is_chart_template(path):
    return "templates" in path.parts and "helm" in path.parts


def yaml_files(tools):
    """yamllint has nothing to say about any YAML file; chart templates are seen rendered"""
    files = [
        path for path in _files(tools) if path.suffix in (".yaml", ".yml") and not _is_chart_template(path)
    ]
    assert len(files) >= 30, f"only {len(files)} files"
    tools.run(
        [tools.path("yamllint"), "--strict", "-c", tools.tests / "yamllint.yaml", "-f", "parsable", *files]
    )
    control = tools.scratch("lint") / "twice.yaml"
    control.write_text("# Control.\na: 1\na: 2\n", encoding="utf-8")
    assert tools.run(
        [tools.path("yamllint"), "-c", tools.tests / "yamllint.yaml", control], check=False
    ).returncode, "a key twice passes"
    return f"{len(files)} files"


def shell_scripts(tools):
    """shellcheck has nothing to say about any script, and each stops at the first error"""
    scripts = _scripts(tools, "sh")
    assert len(scripts) >= 2, scripts
    # Those without an interpreter of their own are sourced, and stop with who sources them.
    sourced = [path for path in scripts if not _first_line(path).startswith("#!")]
    check = [tools.path("shellcheck"), "--severity=style", "--external-sources", "--source-path=SCRIPTDIR"]
    tools.run([*check, *(path for path in scripts if path not in sourced)])
    if sourced:
        tools.run([*check, "--shell=bash", *sourced])
    for path in scripts:
        strict = re.search(r"^set -eu(o pipefail)?$", path.read_text(encoding="utf-8"), re.M)
        assert strict or path in sourced, f"{path}: no 'set -euo pipefail'"
    control = tools.scratch("lint") / "unquoted.sh"
    control.write_text("#!/bin/bash\nrm -rf $1/*\n", encoding="utf-8")
    assert tools.run([*check, control], check=False).returncode, "control: an unquoted path passes"
    return f"{len(scripts)} scripts"


def python_files(tools):
    """Every Python file compiles, says what it holds, keeps to 160 columns and 350 lines"""
    files = _scripts(tools, "python")
    assert len(files) >= 10, files
    problems = []
    for path in files:
        name, text = path.relative_to(tools.root), path.read_text(encoding="utf-8")
        if text and not ast.get_docstring(ast.parse(text, str(path))):
            problems.append(f"{name} does not say what it holds")
        lines = text.splitlines()
        problems += [
            f"{name}:{at}: {len(line)} columns"
            for at, line in enumerate(lines, 1)
            if len(line) > PYTHON_COLUMNS
        ]
        if len(lines) > FILE_LINES:
            problems.append(f"{name}: {len(lines)} lines")
    assert not problems, "\n".join(problems)
    return f"{len(files)} files"


def headers(tools):
    """Every YAML file and shell script says in its first lines what it holds"""
    files = [
        path
        for path in _files(tools)
        if path.suffix in (".yaml", ".yml") and "__snapshot__" not in path.parts
    ] + _scripts(tools, "sh")
    bare = [
        str(path.relative_to(tools.root)) for path in files
        if not any(COMMENT.match(line) for line in path.read_text(encoding="utf-8").splitlines()[:3])
    ]  # fmt: skip
    assert not bare, f"without a word on what they hold: {', '.join(bare)}"
    return f"{len(files)} files"


def downloads(tools):
    """No script and no page pipes a download into a shell"""
    files = [path for path in _files(tools) if path.suffix in TEXT and path.name != "lint.py"]
    for path in files:
        found = DOWNLOAD.search(path.read_text(encoding="utf-8", errors="replace"))
        assert not found, f"{path}: {found[0]}"
    assert DOWNLOAD.search("curl -sSL example.com/install | sudo bash"), "control"
    return f"{len(files)} files"


CHECKS = [yaml_files, shell_scripts, python_files, headers, downloads]
