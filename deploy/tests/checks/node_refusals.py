"""What node/tracing refuses: by name, with the way out, and without a change of anything."""

from checks import node_root as nodes

# Each: what is done to a node of the newest version, the command, and what the refusal must say.
MANIFEST = nodes.APISERVER
DROPIN = "etc/crio/crio.conf.d"
ETCD_IMAGE = "image: registry.k8s.io/etcd:3.7.0-0"


def _edit(path, old, new):
    return lambda root: nodes.replace(root / path, old, new)


def _file(path, text):
    return lambda root: nodes.write(root / path, text)


def _says(name, said):
    return lambda root: nodes.program(root, name, said)


def _linked(root):
    (root / MANIFEST).rename(root / "elsewhere.yaml")
    (root / MANIFEST).symlink_to(root / "elsewhere.yaml")


def _none(root):
    for path in (*(root / "usr/bin").iterdir(), root / MANIFEST, root / nodes.ETCD):
        path.unlink()


def _reordered(root):
    """As somebody writes it by hand: the name first."""
    nodes.replace(
        root / MANIFEST,
        "  - command:\n    - kube-apiserver\n",
        "  - name: kube-apiserver\n    command:\n    - kube-apiserver\n",
    )


VERSIONS = [
    (_says("crio", "crio version 1.22.5"), ["crio 1.22.5", "1.23 to 1.36", "--version crio=1.36.0"]),
    (_says("crio", "crio version 1.40.0"), ["crio 1.40.0", "--version crio=1.36.0"]),
    (_says("kubelet", "Kubernetes v1.24.17"), ["kubelet 1.24.17", "1.25 to 1.37"]),
    (_says("kubelet", "Kubernetes v1.38.0"), ["kubelet 1.38.0", "--version kubelet=1.37.0"]),
    (
        _says("containerd", "containerd github.com/containerd/containerd 1.5.18"),
        ["containerd 1.5.18", "1.6 to 2.4"],
    ),
    (
        _says("containerd", "containerd github.com/containerd/containerd/v2 v2.5.0"),
        ["containerd 2.5.0", "containerd=2.4.0"],
    ),
    (
        _edit(MANIFEST, "kube-apiserver:v1.37.2", "kube-apiserver:v1.38.0"),
        ["kube-apiserver 1.38.0", "kube-apiserver=1.37.0"],
    ),
    (
        _edit(MANIFEST, "kube-apiserver:v1.37.2", "kube-apiserver:v1.21.14"),
        ["kube-apiserver 1.21.14", "1.22 to 1.37"],
    ),
    (_edit(nodes.ETCD, "etcd:3.7.0-0", "etcd:3.4.37-0"), ["etcd 3.4.37", "3.5 to 3.7"]),
    (_edit(nodes.ETCD, "etcd:3.7.0-0", "etcd:3.8.0-0"), ["etcd 3.8.0", "--version etcd=3.7.0"]),
    (
        _edit(nodes.ETCD, ETCD_IMAGE, "image: registry:5000/etcd@sha256:0123"),
        ["version of etcd", "etcd.yaml", "--version etcd=X.Y.Z"],
    ),
    (_says("crio", "what?"), ["version of crio", "what?", "--version crio=X.Y.Z"]),
]
FORMS = [
    (_reordered, ["kube-apiserver.yaml", "not in the form", "by hand"]),
    (_edit(MANIFEST, "    volumeMounts:\n", "    volumeMounts: []\n"), ["    volumeMounts:", "by hand"]),
    (_edit(MANIFEST, "  hostNetwork: true\n", "  - name: second\n    image: x\n  hostNetwork: true\n"),
     ["one container"]),
    (_edit(MANIFEST, "  hostNetwork: true\n", "  hostNetwork:\ttrue\n"), ["not in the form"]),
    (_edit(MANIFEST, "apiVersion: v1\n", "apiVersion: v1\n---\napiVersion: v1\n"), ["not in the form"]),
    (_linked, ["kube-apiserver.yaml", "is a link"]),
    (_edit(MANIFEST, "    - --allow-privileged=true\n", "    - --tracing-config-file=/x\n"),
     ["tracing already", "--tracing-config-file=/x"]),
    (_edit(MANIFEST, "    name: k8s-certs\n", "    name: tracing\n"), ["tracing already", "name: tracing"]),
    (_edit(nodes.ETCD, "    - --name=node-1\n", "    - --enable-distributed-tracing=true\n"),
     ["etcd.yaml", "tracing already"]),
    (_edit(nodes.ETCD, "    - --name=node-1\n", ""), ["etcd.yaml", "no --name="]),
    (_edit(nodes.KUBELET, "kind: KubeletConfiguration\n", "kind: KubeletConfiguration\ntracing: {}\n"),
     ["config.yaml", "tracing:"]),
    (_edit(nodes.KUBELET, "kind: KubeletConfiguration\n", ""), ["config.yaml", "kubelet/10-tracing.conf"]),
    (lambda root: (root / nodes.KUBELET).unlink(), ["config.yaml", "kubelet/10-tracing.conf"]),
    (_file(f"{DROPIN}/10-tracing.conf", "[crio.tracing]\n"), ["10-tracing.conf", "not from here"]),
    (_file(f"{DROPIN}/99-mine.conf", "[crio.tracing]\nenable_tracing = false\n"),
     ["99-mine.conf", "read after"]),
    (_file("etc/kubernetes/tracing/tracing.yaml", "kind: TracingConfiguration\n"),
     ["tracing.yaml", "not from here"]),
    (lambda root: (root / "etc/machine-config-daemon").mkdir(), ["OpenShift", "deploy/openshift"]),
    (_none, ["none of crio containerd kubelet", "README.md"]),
]  # fmt: skip
OPTIONS = [
    (["--component", "kube-proxy"], ["unknown component kube-proxy", "kube-apiserver"]),
    (["--component", "containerd"], ["containerd is not here", "--version containerd=X.Y.Z"]),
    (["--sampling-per-million", "1000001"], ["1000001", "0 to 1000000"]),
    (["--sampling-per-million", "1%"], ["1%"]),
    (["--endpoint", "http://127.0.0.1:4317"], ["http://127.0.0.1:4317", "HOST:PORT"]),
    (["--endpoint"], ["--endpoint needs a value"]),
    (["--version", "etcd=3.6"], ["etcd=3.6", "X.Y.Z"]),
    (["--version", "kube-proxy=1.2.3"], ["unknown component kube-proxy"]),
    (["--undo"], ["unknown option --undo", "--dry-run"]),
]


def _refusals(tools, cases):
    for number, (change, options, wanted) in enumerate(cases):
        root = nodes.build(tools.scratch("node-refused"), tools, nodes.newest(tools))
        change(root)
        said = nodes.tracing(tools, root, "enable", "--restart", *options, refused=True)
        missing = [word for word in wanted if word not in said]
        assert not missing, f"case {number}: the refusal does not say {missing}: {said}"
    return f"{len(cases)} refusals"


def unknown_versions(tools):
    """A version without a rule, or that cannot be told, is refused with the way out; said by hand it works"""
    said = _refusals(tools, [(change, [], wanted) for change, wanted in VERSIONS])
    root = nodes.build(tools.scratch("node-said"), tools, nodes.newest(tools))
    nodes.replace(root / nodes.ETCD, "etcd:3.7.0-0", "etcd:3.8.0-0")
    nodes.tracing(tools, root, "enable", "--restart", "--version", "etcd=3.7.0")
    assert "--enable-distributed-tracing=true" in (root / nodes.ETCD).read_text(encoding="utf-8")
    root = nodes.build(tools.scratch("node-said"), tools, nodes.newest(tools))
    digest = "image: registry:5000/k8s/etcd:3.5.9-0@sha256:0123"
    nodes.replace(root / nodes.ETCD, ETCD_IMAGE, digest)
    nodes.tracing(tools, root, "enable", "--restart", "--component", "etcd")
    text = (root / nodes.ETCD).read_text(encoding="utf-8")
    assert "--experimental-enable-distributed-tracing=true" in text and "sampling-rate" not in text
    return said


def foreign_files(tools):
    """Files that are not as kubeadm writes them, or that trace already, are left alone, and so is the node"""
    return _refusals(tools, [(change, [], wanted) for change, wanted in FORMS])


def bad_options(tools):
    """Unknown components, options and values are refused by name"""
    return _refusals(tools, [(lambda root: None, options, wanted) for options, wanted in OPTIONS])


CHECKS = [unknown_versions, foreign_files, bad_options]
