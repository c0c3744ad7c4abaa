"""Kubernetes objects as the checks see them: where deploy/ has them, and what is in them."""

import functools

import yaml

# What `helm template` is called with; the rendered files of deploy/install hold the same names.
RELEASE = "relayd"
NAMESPACE = "relayd"
# The profile whose objects belong in a namespace of another name.
NAMESPACES = {"values-article.yaml": "otel"}
CLUSTER_SCOPED = {
    "Namespace",
    "ClusterRole",
    "ClusterRoleBinding",
    "PriorityClass",
    "SecurityContextConstraints",
    "CustomResourceDefinition",
}


class _Loader(yaml.CSafeLoader):
    """YAML in which no mapping has a key twice: the API server would take the last one and say nothing."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            name = self.construct_object(key, deep=True)
            if name in seen:
                raise yaml.YAMLError(f"line {key.start_mark.line + 1}: '{name}' stands here twice")
            seen.add(name)
        return super().construct_mapping(node, deep)


def load(text):
    """The objects of a multi-document YAML text."""
    return [document for document in yaml.load_all(text, Loader=_Loader) if document is not None]


def chart(tools):
    return tools.deploy / "helm" / "relayd"


def template(tools, *arguments, release=RELEASE, namespace=NAMESPACE, check=True):
    """What `helm template` said."""
    return tools.run(
        [tools.path("helm"), "template", release, chart(tools), "--namespace", namespace, *arguments],
        check=check,
    )


@functools.cache
def cases(tools):
    """The values files that the chart is rendered with: name -> path. Profiles and what ci/ adds."""
    profiles = sorted(chart(tools).glob("values-*.yaml"))
    extra = sorted((chart(tools) / "ci").glob("*-values.yaml"))
    assert (
        len(profiles) >= 5 and len(extra) >= 5
    ), f"the chart has {len(profiles)} profiles and {len(extra)} files in ci/"
    return {
        "values.yaml": None,
        **{path.name if path in profiles else f"ci/{path.name}": path for path in (*profiles, *extra)},
    }


@functools.cache
def values(tools):
    """What each values file says: name -> values."""
    paths = cases(tools).items()
    return {
        name: (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path else {} for name, path in paths
    }


@functools.cache
def charts(tools):
    """What the chart makes of every values file: name -> objects."""
    made = {}
    for name, path in cases(tools).items():
        namespace = NAMESPACES.get(path and path.name, NAMESPACE)
        made[name] = load(template(tools, *(["-f", path] if path else []), namespace=namespace).stdout)
    return made


@functools.cache
def installs(tools):
    """The files of deploy/install: name -> objects."""
    files = sorted((tools.deploy / "install").glob("*.yaml"))
    assert files, "deploy/install has no *.yaml"
    return {f"install/{path.name}": load(path.read_text(encoding="utf-8")) for path in files}


@functools.cache
def overlays(tools):
    """What kustomize makes of its base and its overlays: name -> objects."""
    folder = tools.deploy / "kustomize"
    found = [folder / "base", *sorted(path.parent for path in folder.glob("overlays/*/kustomization.yaml"))]
    assert len(found) > 1, "deploy/kustomize has no overlays"
    return {
        str(path.relative_to(tools.deploy)): load(tools.run([tools.path("kustomize"), "build", path]).stdout)
        for path in found
    }


def everything(tools):
    """All that deploy/ makes: name -> objects."""
    return {**installs(tools), **charts(tools), **overlays(tools)}


def name_of(thing):
    """An object's name for people."""
    return f"{thing['kind']} {thing['metadata'].get('namespace', '-')}/{thing['metadata']['name']}"


def key_of(thing, namespace=NAMESPACE):
    """What makes an object that object; one without a namespace is where it would be applied."""
    group = thing["apiVersion"].rpartition("/")[0]
    scope = "" if thing["kind"] in CLUSTER_SCOPED else thing["metadata"].get("namespace", namespace)
    return group, thing["kind"], scope, thing["metadata"]["name"]


def pod_template(thing):
    """The pod template (metadata and spec) of an object, or None."""
    spec = thing.get("spec", {})
    match thing["kind"]:
        case "Pod":
            return thing
        case "DaemonSet" | "Deployment" | "StatefulSet" | "ReplicaSet" | "Job":
            return spec["template"]
        case "CronJob":
            return spec["jobTemplate"]["spec"]["template"]
    return None


def workloads(things):
    return [thing for thing in things if thing["kind"] in ("DaemonSet", "Deployment", "StatefulSet")]


def containers(pod):
    """Every container of a pod template, whatever list it is in."""
    spec = pod["spec"]
    return [*spec.get("initContainers", []), *spec["containers"], *spec.get("ephemeralContainers", [])]


def component(thing):
    return thing["metadata"].get("labels", {}).get("app.kubernetes.io/component", "")


def dig(value, *path):
    """What is at a path, or None."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def walk(value, path=()):
    """Every (path, value) below and at `value`."""
    yield path, value
    if isinstance(value, dict):
        for key, below in value.items():
            yield from walk(below, (*path, key))
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from walk(below, (*path, index))
