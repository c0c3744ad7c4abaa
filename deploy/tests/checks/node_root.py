"""Nodes for the checks of node/tracing: a folder with the files and programs of one, from fixtures/node."""

import json
import pathlib
import subprocess

MANIFESTS = "etc/kubernetes/manifests"
APISERVER = f"{MANIFESTS}/kube-apiserver.yaml"
ETCD = f"{MANIFESTS}/etcd.yaml"
KUBELET = "var/lib/kubelet/config.yaml"
STATE = "var/lib/relayd-tracing"
# The images in the manifests of each form, which the versions of a node replace.
IMAGES = {"1.26": ("v1.26.15", "3.5.10-0"), "1.37": ("v1.37.2", "3.7.0-0")}


def fixtures(tools):
    return tools.root / "deploy/tests/fixtures/node"


def versions(tools):
    return json.loads((fixtures(tools) / "versions.json").read_text(encoding="utf-8"))["nodes"]


def newest(tools):
    return versions(tools)[-1]


def write(path, text, mode=0o644):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def program(root, name, said):
    """A program that answers --version, and anything else with a failure."""
    script = f"#!/bin/sh\n[ \"$1\" = --version ] || exit 9\ncat <<'X'\n{said}\nX\n"
    write(root / "usr/bin" / name, script, 0o755)


def build(root, tools, node):
    """The files of one node of versions.json below `root`."""
    form = fixtures(tools) / f"kubeadm-{node['form']}"
    kubernetes, etcd = IMAGES[node["form"]]
    for name, old, new in (
        ("kube-apiserver", f"kube-apiserver:{kubernetes}", f"kube-apiserver:v{node['kubernetes']}"),
        ("etcd", f"etcd:{etcd}", f"etcd:{node['etcd']}"),
    ):
        text = (form / f"{name}.manifest").read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{form}/{name}.manifest has no image {old}"
        write(root / MANIFESTS / f"{name}.yaml", text.replace(old, new), 0o600)
    write(root / KUBELET, (form / "kubelet.config").read_text(encoding="utf-8"))
    program(root, "kubelet", f"Kubernetes v{node['kubernetes']}")
    runtime, said = node["runtime"]
    program(root, runtime, said)
    if runtime == "crio":
        (root / "etc/crio/crio.conf.d").mkdir(parents=True)
    else:
        write(root / "etc/containerd/config.toml", 'version = 2\nroot = "/var/lib/containerd"\n')
    return root


def tracing(tools, root, *arguments, refused=False):
    """Runs node/tracing on `root`; what it said. `refused`: it must refuse and change nothing."""
    before = tree(root) if refused else None
    argv = [str(tools.deploy / "node/tracing"), arguments[0], "--root", str(root), *arguments[1:]]
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, check=False
    )
    if not refused:
        assert done.returncode == 0 and not done.stderr, (
            f"{argv}: {done.returncode} {done.stdout} {done.stderr}"
        )
        return done.stdout
    assert done.returncode == 1, f"{argv} was not refused: {done.returncode} {done.stdout} {done.stderr}"
    assert done.stderr.startswith("tracing: "), f"{argv}: {done.stderr}"
    assert tree(root) == before, f"{argv} was refused and still changed something"
    return done.stderr


def tree(root):
    """Every file and folder below `root`: mode and content."""
    found = {}
    for path in sorted(pathlib.Path(root).rglob("*")):
        content = path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(root))] = (path.lstat().st_mode, content)
    return found


def without_state(files):
    return {name: file for name, file in files.items() if not f"{name}/".startswith(f"{STATE}/")}


def replace(path, old, new):
    """Changes a file in place, as an editor would."""
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{path} has no {old!r}"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
