"""Objects against the schemas of Kubernetes by version, of OpenShift and of the operators.

The schemas are closed, so that what is misspelt is refused.
"""

import functools
import json
import pathlib

import jsonschema
import kubernetes_validate

# The versions that deploy/ promises to work with.
VERSIONS = tuple(f"1.{minor}" for minor in range(28, 38))
_CORE = pathlib.Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"


@functools.cache
def _definitions(version):
    text = (_CORE / f"v{version}.0-local-strict" / "_definitions.json").read_text(encoding="utf-8")
    return json.loads(text)["$defs"], {}


def _inlined(node, version, path=()):
    """A schema with every reference put in place: looking references up takes ten times as long as the rest.

    A definition that holds itself (that of a CustomResourceDefinition does) stays open.
    """
    if isinstance(node, list):
        return [_inlined(item, version, path) for item in node]
    if not isinstance(node, dict):
        return node
    # Properties may be called $ref and description too: theirs are mappings.
    if not isinstance(node.get("$ref"), str):
        return {key: _inlined(value, version, path) for key, value in node.items()}
    definitions, done = _definitions(version)
    name = node["$ref"].rpartition("/")[2]
    if name in path:
        return {}
    if name not in done:
        done[name] = _inlined(definitions[name], version, (*path, name))
    return done[name]


@functools.cache
def _core(api_version, kind, version):
    group, _, api = api_version.rpartition("/")
    name = "-".join(part for part in (kind.lower(), group.split(".")[0], api) if part)
    path = _CORE / f"v{version}.0-local-strict" / f"{name}.json"
    if not path.is_file():
        return None
    schema = json.loads(path.read_text(encoding="utf-8"))
    # The file's name has only the first label of the group; the schema has it whole.
    if api_version not in schema["properties"]["apiVersion"].get("enum", [api_version]):
        return None
    return jsonschema.Draft202012Validator(_inlined(schema, version))


@functools.cache
def _other(folder, api_version, kind):
    path = pathlib.Path(folder) / f"{api_version.replace('/', '-')}-{kind}.json"
    return (
        jsonschema.Draft202012Validator(json.loads(path.read_text(encoding="utf-8")))
        if path.is_file()
        else None
    )


def is_core(thing):
    """Whether any of the versions has the kind."""
    return any(_core(thing["apiVersion"], thing["kind"], version) for version in VERSIONS)


def _first(validator, thing):
    error = next(validator.iter_errors(thing), None)
    return (
        error
        and f"{'.'.join(str(part) for part in error.absolute_path) or 'the object'}: {error.message[:200]}"
    )


def core_error(thing, version):
    """What Kubernetes `version` would refuse in an object of its own, or None."""
    validator = _core(thing["apiVersion"], thing["kind"], version)
    return (
        _first(validator, thing)
        if validator
        else f"Kubernetes {version} has no {thing['apiVersion']} {thing['kind']}"
    )


def other_error(tools, thing):
    """What OpenShift or an operator would refuse in an object of its own, or None."""
    validator = _other(tools.path("schemas"), thing["apiVersion"], thing["kind"])
    return (
        _first(validator, thing)
        if validator
        else f"no schema of {thing['apiVersion']} {thing['kind']} is known"
    )


def error(tools, thing, version=VERSIONS[-1]):
    """What the API server that owns the kind would refuse, or None."""
    return core_error(thing, version) if is_core(thing) else other_error(tools, thing)


def unique(objects):
    """The objects without repetitions: most values files render most objects alike."""
    return list({json.dumps(thing, sort_keys=True): thing for thing in objects}.values())
