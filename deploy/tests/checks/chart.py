"""The chart by itself: lint, what it refuses, its unit tests, and the keys of values, schema and README."""

import copy
import json
import re

import jsonschema
import objects
import schema
import yaml

# What may stand below these keys is not the chart's to say.
FREE = {"config"}
# Kubernetes' own shapes: the schema knows keys of them that values.yaml need not set.
SHAPES = {"resources"}
# Values of other types than the default's, by the default's type; none of them may pass for any key.
WRONG = {
    bool: ("yes", 1, [], {}),
    int: ("many", 1.5, True, [], {}),
    str: (True, [], {}),
    list: ("one", 7, True, {"a": "b"}),
    dict: ("one", 7, True, ["a"]),
}


def _read(path):
    return path.read_text(encoding="utf-8")


def _values(tools):
    return yaml.safe_load(_read(objects.chart(tools) / "values.yaml"))


def _schema(tools):
    return json.loads(_read(objects.chart(tools) / "values.schema.json"))


def _leaves(values, path=()):
    """(path, default) of every key that has no keys below it."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def _set(values, path, value):
    changed = copy.deepcopy(values)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


def lint(tools):
    """`helm lint --strict` has nothing to say about the chart with any values file"""
    cases = objects.cases(tools)
    for name, path in cases.items():
        said = tools.run(
            [tools.path("helm"), "lint", "--strict", objects.chart(tools), *(["-f", path] if path else [])]
        ).stdout
        assert "[WARNING]" not in said and "0 chart(s) failed" in said, f"{name}: {said}"
    return f"{len(cases)} values files"


def wrong_values_are_refused(tools):
    """Values that are wrong together are refused in the words that each file of ci/refused expects"""
    files = sorted((objects.chart(tools) / "ci" / "refused").glob("*.yaml"))
    assert len(files) >= 10, f"only {len(files)} files"
    for path in files:
        expected = re.match(r"# expected: (.+)", _read(path))
        assert expected, f"{path.name} does not begin with '# expected: WORDS'"
        said = objects.template(tools, "-f", path, check=False)
        assert said.returncode, f"{path.name} is taken"
        assert expected[1] in " ".join(
            said.stderr.split()
        ), f"{path.name}: expected '{expected[1]}', helm said: {said.stderr}"
    return f"{len(files)} files"


def wrong_types_are_refused(tools):
    """The schema refuses every key of values.yaml with a value of another type, and unknown keys anywhere"""
    values, closed = _values(tools), jsonschema.Draft7Validator(_schema(tools))
    assert closed.is_valid(values), next(closed.iter_errors(values)).message
    tried = 0
    leaves = list(_leaves(values))
    assert len(leaves) >= 80, f"only {len(leaves)} keys"
    for path, default in leaves:
        for wrong in WRONG[type(default)]:
            assert not closed.is_valid(_set(values, path, wrong)), f"{'.'.join(path)}: {wrong!r} passes"
            tried += 1
    for path, value in objects.walk(values):
        if (
            isinstance(value, dict)
            and not FREE & set(path)
            and not any(isinstance(part, int) for part in path)
        ):
            # Where labels are free, a list is still none of their values.
            assert not closed.is_valid(
                _set(values, (*path, "unknownKey"), ["x"])
            ), f"{'.'.join(path) or 'top'}: an unknown key passes"
            tried += 1
    return f"{tried} wrong values of {len(leaves)} keys"


def helm_asks_the_schema(tools):
    """Control: helm itself refuses what the schema does, by the key's name"""
    cases = (
        ("agent.listn=all", "listn"),
        ("agent.enabled=maybe", "/agent/enabled"),
        ("profile=big", "/profile"),
        ("colour=red", "colour"),
    )
    for given, word in cases:
        said = objects.template(tools, "--set", given, check=False)
        assert said.returncode and word in said.stderr, f"--set {given}: {said.stderr or 'taken'}"
    said = objects.template(tools, "--kube-version", "1.27.0", check=False)
    assert said.returncode and "kubeVersion" in said.stderr, f"Kubernetes 1.27: {said.stderr or 'taken'}"
    return f"{len(cases) + 1} cases"


def unit_tests(tools):
    """The chart's own unit tests pass, and every template is named by a suite"""
    chart = objects.chart(tools)
    # A copy: the program writes its snapshots beside the tests.
    scratch = tools.scratch("unittest") / "relayd"
    tools.run(["cp", "-R", chart, scratch])
    said = tools.run([tools.path("helm-unittest"), "--strict", scratch]).stdout
    counted = re.search(r"Tests:\s+(\d+) passed, (\d+) total", said)
    assert counted and counted[1] == counted[2] and int(counted[1]) >= 20, said
    suites = [yaml.safe_load_all(_read(path)) for path in (chart / "tests").glob("*_test.yaml")]
    named = {
        value.removeprefix("templates/")
        for documents in suites for document in documents
        for path, value in objects.walk(document)
        if isinstance(value, str) and {"template", "templates"} & set(path)
    }  # fmt: skip
    missing = {
        str(path.relative_to(chart / "templates")) for path in (chart / "templates").rglob("*.yaml")
    } - named
    assert not missing, f"no suite names {', '.join(sorted(missing))}"
    return f"{counted[1]} tests"


def templates_are_used(tools):
    """Every template file makes an object with some values file"""
    made = set()
    for path in objects.cases(tools).values():
        made |= set(
            re.findall(
                r"^# Source: relayd/templates/(\S+)$",
                objects.template(tools, *(["-f", path] if path else [])).stdout,
                re.M,
            )
        )
    templates = objects.chart(tools) / "templates"
    missing = {str(path.relative_to(templates)) for path in templates.rglob("*.yaml")} - made
    assert not missing, f"no values file makes use of {', '.join(sorted(missing))}"
    return f"{len(made)} templates"


# As an object, because `helm template` prints no notes.
NOTES = """{{- define "notes.text" }}%s{{ end }}
apiVersion: v1
kind: ConfigMap
metadata: {name: notes}
data: {text: {{ include "notes.text" . | toJson }}}
"""


def notes(tools):
    """NOTES.txt renders with every values file, with nothing left blank"""
    scratch = tools.scratch("notes") / "relayd"
    tools.run(["cp", "-R", objects.chart(tools), scratch])
    text = _read(scratch / "templates" / "NOTES.txt")
    (scratch / "templates" / "notes.yaml").write_text(NOTES.replace("%s", text), encoding="utf-8")
    for name, path in objects.cases(tools).items():
        said = tools.run(
            [tools.path("helm"), "template", objects.RELEASE, scratch, "--namespace", objects.NAMESPACE,
             "--show-only", "templates/notes.yaml", *(["-f", path] if path else [])])  # fmt: skip
        text = objects.load(said.stdout)[0]["data"]["text"]
        assert text.strip() and "<no value>" not in text and "%!" not in text, f"{name}: {text or 'no notes'}"
    return f"{len(objects.cases(tools))} values files"


def _compare(values, node, whole, path, problems):
    """Keys of values.yaml against the properties of the schema, down to the chart's last own key."""
    node = whole["definitions"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node
    properties = node.get("properties")
    if not properties or not isinstance(values, dict) or not values or SHAPES & set(path):
        return
    for key in values.keys() ^ (properties.keys() - {"global"}):
        problems.append(
            f"{'.'.join((*path, key))} is only in {'values.yaml' if key in values else 'the schema'}"
        )
    for key in values.keys() & properties.keys():
        _compare(values[key], properties[key], whole, (*path, key), problems)


def keys_agree(tools):
    """values.yaml, values.schema.json and the table of README.md have the same keys and defaults"""
    values, whole, problems = _values(tools), _schema(tools), []
    _compare(values, whole, whole, (), problems)
    rows = re.findall(
        r"^\| ([A-Za-z0-9._/-]+) \| `(.*?)` \| (.*) \|$", _read(objects.chart(tools) / "README.md"), re.M
    )
    table = {key: yaml.safe_load(default) for key, default, _ in rows}
    leaves = {".".join(path): value for path, value in _leaves(values)}
    # A key with a dot of its own is one row, named as its path is.
    for key in table.keys() ^ leaves.keys():
        problems.append(f"{key} is only in {'values.yaml' if key in leaves else 'README.md'}")
    problems += [
        f"{key} is {leaves[key]!r}, and {table[key]!r} in README.md"
        for key in table.keys() & leaves.keys()
        if table[key] != leaves[key]
    ]
    assert not problems, "; ".join(sorted(problems))
    assert len(leaves) >= 80, f"only {len(leaves)} keys"
    return f"{len(leaves)} keys"


def versions_agree(tools):
    """appVersion is the crate's and the image's version; kubeVersion is the oldest that the schemas check"""
    about = yaml.safe_load(_read(objects.chart(tools) / "Chart.yaml"))
    cargo = re.search(
        r'^version = "(.+)"$',
        _read(tools.root / "relayd" / "Cargo.toml") + _read(tools.root / "Cargo.toml"),
        re.M,
    )[1]
    assert about["appVersion"] == cargo, f"appVersion {about['appVersion']}, relayd {cargo}"
    assert about["kubeVersion"].startswith(f">={schema.VERSIONS[0]}."), f"kubeVersion {about['kubeVersion']}"
    assert not about.get("dependencies"), "a chart with dependencies cannot be rendered without network"
    agent = next(thing for thing in objects.charts(tools)["values.yaml"] if thing["kind"] == "DaemonSet")
    image = agent["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image == f"localhost/relayd:{cargo}", image
    return f"{cargo}, Kubernetes {about['kubeVersion']}"


def copies_agree(tools):
    """The chart's copies of deploy/monitoring are equal to the originals"""
    files = sorted(path.name for path in (objects.chart(tools) / "files").iterdir())
    assert files == ["alerts.yaml", "dashboard.json"], files
    for name in files:
        original = tools.deploy / "monitoring" / name
        assert (
            original.read_bytes() == (objects.chart(tools) / "files" / name).read_bytes()
        ), f"{name}: run deploy/render --all"
    return ", ".join(files)


CHECKS = [
    lint, wrong_values_are_refused, wrong_types_are_refused, helm_asks_the_schema, unit_tests,
    templates_are_used, notes, keys_agree, versions_agree, copies_agree,
]  # fmt: skip
