"""The checks of a live kube-apiserver: each takes the Server that they share, leaves nothing behind, and returns what it saw.

Must never leave an object: each check finds the server as the first did.
"""

import json
import os
import re
import subprocess

import yaml
from process import Failed
from stage import REPOSITORY

DEPLOY = os.path.join(REPOSITORY, "deploy")
# What the chart's versions are where there is no earlier release to take.
EARLIER_VERSION = "0.0.9"
WORKLOADS = ("DaemonSet", "Deployment")


def installs():
    """Name -> path of every install file."""
    folder = os.path.join(DEPLOY, "install")
    return {
        name.removesuffix(".yaml"): os.path.join(folder, name)
        for name in sorted(os.listdir(folder))
        if name.endswith(".yaml")
    }


def overlays():
    folder = os.path.join(DEPLOY, "kustomize", "overlays")
    return {name: os.path.join(folder, name) for name in sorted(os.listdir(folder))}


def documents(text):
    return [document for document in yaml.safe_load_all(text) if document]


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def chart_folder():
    return os.path.join(DEPLOY, "helm", "relayd")


class Server:
    """A control plane with the operators' kinds, and what it holds before anything is installed."""

    def __init__(self, plane, helm):
        self.plane, self.helm = plane, helm
        plane.kubectl("apply", "--server-side", "-f", os.path.join(DEPLOY, "tests", "server", "crds.yaml"))
        plane.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        self.empty = self.settled()

    def sweep(self, *namespaces):
        """Deletes all that is in namespaces, and these, as the namespace controller does."""
        for kind, namespace, name in sorted(one for one in self.plane.objects() if one[1] in namespaces):
            self.plane.kubectl(
                "delete",
                kind,
                name,
                "-n",
                namespace,
                "--wait=false",
                "--grace-period=0",
                "--ignore-not-found",
            )
        self.delete("namespace", *namespaces)

    def settled(self):
        """What is stored, once it stays the same: the API services of new kinds come a moment later."""
        found = None
        for _ in range(20):
            last, found = found, self.plane.objects()
            if found == last:
                return found
        raise Failed("what kube-apiserver holds keeps changing")

    def delete(self, *arguments, stdin=None):
        """Deletes what was applied, plays the namespace controller, and is Failed if anything is left."""
        self.plane.kubectl("delete", "--wait=false", *arguments, stdin=stdin)
        for namespace in self.plane.json("get", "namespaces")["items"]:
            if namespace["metadata"].get("deletionTimestamp"):
                self.plane.finalize_namespace(namespace["metadata"]["name"])
        left, gone = self.plane.objects() - self.empty, self.empty - self.plane.objects()
        if left or gone:
            raise Failed(
                f"after the deletion {sorted(map(str, left))} are left, and {sorted(map(str, gone))} are gone with it"
            )


def _apply(server, *arguments, stdin=None):
    """kubectl apply; Failed if it says anything but what it applied: a warning of the server's is for the user to read."""
    said = server.plane.kubectl("apply", *arguments, stdin=stdin)
    if said.stderr.strip():
        raise Failed(f"kubectl apply {' '.join(arguments)} says: {said.stderr.strip()[:500]}")
    return len(said.stdout.splitlines())


def _check_applied(server, apply, source, stdin=None):
    """Applies, applies again without effect, compares, looks at the agents as they are stored, deletes: how many objects there were."""
    count = _apply(server, *apply, *source, stdin=stdin)
    compared = server.plane.kubectl(
        "diff", *(["--server-side"] if "--server-side" in apply else []), *source, stdin=stdin, may_fail=True
    )
    if compared.returncode != 0 or compared.stdout:
        raise Failed(
            f"kubectl diff is not empty after {' '.join(apply)} {' '.join(source)}: {compared.stdout[:800]}{compared.stderr[:300]}"
        )
    # Warnings of a change that is only tried would be those that an upgrade shows.
    _apply(server, *apply, "--dry-run=server", *source, stdin=stdin)
    _check_agents(server)
    server.delete(*source, stdin=stdin)
    return count


def _check_agents(server):
    """The agents' DaemonSets as they are stored: what the server fills in must not be what keeps the pods from replacing each other."""
    found = server.plane.json("get", "daemonsets", "--all-namespaces")["items"]
    if not found:
        raise Failed("no DaemonSet is stored")
    for one in found:
        spec, rollout = one["spec"]["template"]["spec"], one["spec"]["updateStrategy"].get("rollingUpdate")
        ports = [port for container in spec["containers"] for port in container.get("ports", [])]
        if any(port.get("hostPort") for port in ports):
            raise Failed(f"the stored DaemonSet {one['metadata']['name']} has host ports: {ports}")
        stored = (spec.get("hostNetwork"), spec.get("dnsPolicy"), rollout)
        if stored != (True, "ClusterFirstWithHostNet", {"maxSurge": 1, "maxUnavailable": 0}):
            raise Failed(
                f"the stored DaemonSet {one['metadata']['name']} has (hostNetwork, dnsPolicy, rollingUpdate) {stored}"
            )


def install_files(server):
    """Each install file: applied by the server without a warning, kubectl diff empty, no hostPort stored, deleted without a remnant."""
    counts = {
        name: _check_applied(server, ["--server-side"], ["-f", path]) for name, path in installs().items()
    }
    return _counted(counts)


def install_files_by_client(server):
    """The same as `kubectl apply -f` does it without --server-side."""
    counts = {name: _check_applied(server, [], ["-f", path]) for name, path in installs().items()}
    return _counted(counts)


def kustomize_overlays(server):
    """Each overlay by `kubectl apply -k`, as an install file."""
    counts = {
        name: _check_applied(server, ["--server-side"], ["-k", path]) for name, path in overlays().items()
    }
    return _counted(counts)


def _counted(counts):
    if not counts:
        raise Failed("there is nothing to apply")
    return ", ".join(f"{name} {count} objects" for name, count in counts.items())


def upgrade(server):
    """Each install file over that of the last release: no immutable field is changed, and what is stored then is what a first
    installation stores."""
    tag = _last_release()
    notes = []
    for name, path in installs().items():
        now = read(path)
        before = _at_release(tag, name) if tag else _as_earlier(now)
        if before is None or before == now:
            continue
        _apply(server, "--server-side", "-f", "-", stdin=before)
        _apply(server, "--server-side", "-f", path)
        compared = server.plane.kubectl("diff", "--server-side", "-f", path, may_fail=True)
        if compared.returncode != 0:
            raise Failed(f"kubectl diff is not empty after the upgrade of {name}: {compared.stdout[:800]}")
        server.delete("-f", path)
        notes.append(name)
    if not notes:
        raise Failed("no install file was upgraded")
    _check_immutable(server)
    since = (
        f"since {tag}"
        if tag
        else f"from the same files of version {EARLIER_VERSION}, because no release has install files yet"
    )
    return f"{len(notes)} files {since}; a changed selector is refused"


def _git(*arguments):
    return subprocess.run(
        ["git", "-C", REPOSITORY, *arguments], capture_output=True, text=True, timeout=30, check=False
    )


def _last_release():
    for tag in _git("tag", "--sort=-version:refname", "--merged").stdout.split():
        if _git("cat-file", "-e", f"{tag}:deploy/install").returncode == 0:
            return tag
    return None


def _at_release(tag, name):
    found = _git("show", f"{tag}:deploy/install/{name}.yaml")
    return found.stdout if found.returncode == 0 else None


def _as_earlier(text):
    """An install file as an earlier version's: other versions in labels and image, another configuration and its checksum."""
    version = yaml.safe_load(read(os.path.join(chart_folder(), "Chart.yaml")))["version"]
    text = text.replace(f'"{version}"', f'"{EARLIER_VERSION}"').replace(
        f"relayd:{version}", f"relayd:{EARLIER_VERSION}"
    )
    text = re.sub(r"checksum/config: \w{8}", "checksum/config: 00000000", text)
    return text.replace("timeout: 200ms", "timeout: 100ms")


def _check_immutable(server):
    """A label in a selector that changes with the version is what an upgrade fails on."""
    text = read(installs()["kubernetes"])
    found = documents(text)
    for one in found:
        if one["kind"] in WORKLOADS:
            version = {"app.kubernetes.io/version": EARLIER_VERSION}
            one["spec"]["selector"]["matchLabels"] |= version
            one["spec"]["template"]["metadata"]["labels"] |= version
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": found})
    server.plane.kubectl("apply", "--server-side", "-f", "-", stdin=listed)
    said = server.plane.kubectl("apply", "--server-side", "-f", installs()["kubernetes"], may_fail=True)
    server.delete("-f", "-", stdin=listed)
    if said.returncode == 0 or "immutable" not in said.stderr:
        raise Failed(f"another selector was taken: {said.stderr[:400]}")


def chart(server):
    """helm install, upgrade, uninstall of the chart with its default values: nothing is left."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "relayd"}}
    server.plane.kubectl("apply", "-f", "-", stdin=json.dumps(namespace))
    try:
        server.helm("install", "relayd", chart_folder(), "--namespace", "relayd")
        stored = server.plane.objects() - server.empty
        _check_agents(server)
        server.helm(
            "upgrade", "relayd", chart_folder(), "--namespace", "relayd", "--set", "gateway.replicas=3"
        )
        replicas = [
            one["spec"]["replicas"]
            for one in server.plane.json("get", "deployments", "-n", "relayd")["items"]
        ]
        if 3 not in replicas:
            raise Failed(f"helm upgrade left the replicas {replicas}")
        server.helm("uninstall", "relayd", "--namespace", "relayd")
        left = {one for one in server.plane.objects() - server.empty if one[1]}
        if left:
            raise Failed(f"helm uninstall leaves {sorted(map(str, left))}")
    finally:
        server.sweep("relayd")
    return f"{len(stored)} objects"


def openshift_nodes(server):
    """deploy/openshift's own files: applied, kubectl diff empty, deleted."""
    folder = os.path.join(DEPLOY, "openshift")
    files = sorted(name for name in os.listdir(folder) if name.endswith(".yaml"))
    for name in files:
        source = ["-f", os.path.join(folder, name)]
        _apply(server, "--server-side", *source)
        compared = server.plane.kubectl("diff", "--server-side", *source, may_fail=True)
        if compared.returncode != 0:
            raise Failed(
                f"kubectl diff is not empty after {name}: {compared.stdout[:800]}{compared.stderr[:300]}"
            )
        server.delete(*source)
    if not files:
        raise Failed("there is nothing to apply")
    return f"{len(files)} files"
