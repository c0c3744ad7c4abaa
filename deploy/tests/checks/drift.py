"""What is committed rendered is what the chart makes, and kustomize makes the same objects."""

import filecmp
import json
import re

import objects

# Folders and files that deploy/render --all writes to.
WRITTEN = ("install", "kustomize", "helm/relayd")


def _copy(tools, name):
    """A checkout that holds what deploy/render reads and writes."""
    scratch = tools.scratch(name) / "deploy"
    scratch.mkdir()
    for part in ("helm", "install", "kustomize", "monitoring", "render"):
        tools.run(["cp", "-R", tools.deploy / part, scratch / part])
    return scratch


def _render(tools, deploy, *arguments, check=True):
    return tools.run(
        [deploy / "render", *arguments],
        env={"HELM": tools.path("helm"), "PATH": "/usr/local/bin:/usr/bin:/bin"},
        check=check,
    )


def _differences(left, right):
    """Files below WRITTEN that are not the same in both checkouts."""
    found = []
    for part in WRITTEN:
        names = {
            str(path.relative_to(side))
            for side in (left, right)
            for path in (side / part).rglob("*")
            if path.is_file()
        }
        found += [
            name for name in sorted(names)
            if not all((side / name).is_file() for side in (left, right))
            or not filecmp.cmp(left / name, right / name, shallow=False)
        ]  # fmt: skip
    return found


def rendered_files(tools):
    """deploy/render --all changes nothing in install/, kustomize/ and the chart; a stray edit is seen"""
    scratch = _copy(tools, "drift")
    _render(tools, scratch, "--all")
    found = _differences(tools.deploy, scratch)
    assert not found, f"deploy/render --all changes {', '.join(found)}"
    edited = scratch / "install" / "kubernetes.yaml"
    edited.write_text(
        edited.read_text(encoding="utf-8").replace("hostNetwork: true", "hostNetwork: false"),
        encoding="utf-8",
    )
    assert _differences(tools.deploy, scratch) == ["install/kubernetes.yaml"], "control: an edit is not seen"
    _render(tools, scratch, "--all")
    assert not _differences(tools.deploy, scratch), "control: rendering again does not undo an edit"
    counts = [
        f"{len(list((tools.deploy / part).rglob('*.*')))} files of {part}/"
        for part in ("install", "kustomize")
    ]
    return ", ".join(counts)


def render_names_its_profiles(tools):
    """deploy/render NAME prints install/NAME.yaml; an unknown name is refused with the list of names"""
    refused = _render(tools, tools.deploy, "nonsense", check=False)
    names = re.search(r"one of: (.+)", refused.stderr)
    assert refused.returncode and names, refused.stderr
    files = {path.stem for path in (tools.deploy / "install").glob("*.yaml")}
    assert {
        name.strip() for name in names[1].split(",")
    } == files, f"{names[1]}; install/ has {sorted(files)}"
    demanded = {"kubernetes", "single-node", "openshift", "ha", "article", "otelcol-gateway", "agent-only"}
    assert files >= demanded, f"missing: {demanded - files}"
    for name in sorted(files):
        printed = _render(tools, tools.deploy, name).stdout
        assert printed == (tools.deploy / "install" / f"{name}.yaml").read_text(encoding="utf-8"), name
    return f"{len(files)} names"


def _difference(left, right):
    """Where two objects differ first."""
    left, right = (
        {path: value for path, value in objects.walk(it) if not isinstance(value, (dict, list)) or not value}
        for it in (left, right)
    )
    for path in sorted({*left, *right}, key=str):
        if left.get(path, "nothing") != right.get(path, "nothing"):
            values = [side.get(path, "nothing") for side in (left, right)]
            return f"{'.'.join(map(str, path))}: {values[0]!r} and {values[1]!r}"
    return "order"


def overlays_equal_helm(tools):
    """kustomize's base and overlays make the objects of install/, one by one and field by field"""
    installs, compared = objects.installs(tools), 0
    for name, things in objects.overlays(tools).items():
        # The base is the default profile.
        wanted = {
            objects.key_of(thing): thing
            for thing in installs[f"install/{name.rpartition('/')[2].replace('base', 'kubernetes')}.yaml"]
        }
        made = {objects.key_of(thing): thing for thing in things}
        assert len(made) == len(things), f"{name}: an object twice"
        assert (
            made.keys() == wanted.keys()
        ), f"{name}: only in one of both: {sorted(made.keys() ^ wanted.keys())}"
        for key, thing in made.items():
            assert json.dumps(thing, sort_keys=True) == json.dumps(
                wanted[key], sort_keys=True
            ), f"{name}: {objects.name_of(thing)}: {_difference(thing, wanted[key])} (kustomize and helm)"
            compared += 1
    assert compared >= 40, f"only {compared} objects"
    return f"{compared} objects of {len(objects.overlays(tools))} kustomizations"


CHECKS = [rendered_files, render_names_its_profiles, overlays_equal_helm]
