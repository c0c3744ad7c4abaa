"""What node/tracing does on nodes of every version: the right rule, the same twice, all put back, no edit of
others lost."""

import shutil

import yaml

from checks import node_root as nodes

CONFIG = "etc/kubernetes/tracing/tracing.yaml"
DROPIN = "etc/crio/crio.conf.d/10-tracing.conf"
UNIT = "etc/systemd/system/containerd.service.d/10-otel.conf"
TOML = "etc/containerd/config.toml"


def _given(node):
    """Kubelets before 1.25 cannot trace: said with a version, the rest of the node is still tried."""
    return ["--version", "kubelet=1.25.0"] if node.get("kubelet") == "no rule" else []


def _command(root, file):
    return yaml.safe_load((root / file).read_text(encoding="utf-8"))["spec"]["containers"][0]["command"]


def _look(tools, root, node, before):
    """Everything that was written is what the version's rule says, and is read strictly by what it is for."""
    decode = tools.path("decode")
    for kind, path in (
        ("TracingConfiguration", CONFIG), ("KubeletConfiguration", nodes.KUBELET),
        ("Pod", nodes.APISERVER), ("Pod", nodes.ETCD),
    ):  # fmt: skip
        tools.run([decode, kind, root / path])
    assert f"/{node['api']}\n" in (root / CONFIG).read_text(encoding="utf-8")
    old = {
        path: yaml.safe_load(before[path][1])["spec"]["containers"][0]["command"]
        for path in (nodes.APISERVER, nodes.ETCD)
    }
    added = [flag for flag in _command(root, nodes.APISERVER) if flag not in old[nodes.APISERVER]]
    gate = ["--feature-gates=APIServerTracing=true"] if node["gate"] else []
    assert added == [f"--tracing-config-file=/{CONFIG}", *gate], added
    pod = yaml.safe_load((root / nodes.APISERVER).read_text(encoding="utf-8"))["spec"]
    assert pod["volumes"][0] == {
        "name": "tracing",
        "hostPath": {"path": "/etc/kubernetes/tracing", "type": "DirectoryOrCreate"},
    }
    mount = {"name": "tracing", "mountPath": "/etc/kubernetes/tracing", "readOnly": True}
    assert pod["containers"][0]["volumeMounts"][0] == mount
    prefix = f"--{node['prefix']}"
    flags = [
        f"{prefix}enable-distributed-tracing=true",
        f"{prefix}distributed-tracing-address=127.0.0.1:4317",
        f"{prefix}distributed-tracing-service-name=etcd",
        f"{prefix}distributed-tracing-instance-id=node-1",
    ]
    flags += [f"{prefix}distributed-tracing-sampling-rate=10000"] if node["rate"] else []
    command = _command(root, nodes.ETCD)
    assert command == ["etcd", *flags, *old[nodes.ETCD][1:]], command
    kubelet = yaml.safe_load((root / nodes.KUBELET).read_text(encoding="utf-8"))
    gates = kubelet.get("featureGates", {})
    assert gates == ({"KubeletTracing": True} if node["gate"] else {}), gates


def every_version(tools):
    """Kubernetes 1.22 to 1.37, etcd 3.5 to 3.7, both runtimes: the rule, twice the same, all put back"""
    for node in nodes.versions(tools):
        root = nodes.build(tools.scratch(f"node-{node['kubernetes']}"), tools, node)
        before = nodes.tree(root)
        nodes.tracing(tools, root, "enable", "--restart", *_given(node))
        on = nodes.tree(root)
        _look(tools, root, node, before)
        said = nodes.tracing(tools, root, "enable", "--restart", *_given(node))
        assert said.count("on, nothing to do") == 5 - 1, said
        assert nodes.tree(root) == on, f"{node['kubernetes']}: the second run changed something"
        changed = {path for path in before if before[path] != on[path]}
        assert not {path for path in changed if on[path][0] != before[path][0]}, "a mode was changed"
        for path in on:
            hidden = path.startswith(nodes.MANIFESTS) and path not in before
            assert not hidden, f"{path} is beside the manifests: the kubelet would run it"
        said = nodes.tracing(tools, root, "disable", "--restart")
        assert said.count("as it was before") == 4, said
        assert nodes.tree(root) == before, f"{node['kubernetes']}: not put back"
        assert "nothing to do" in nodes.tracing(tools, root, "disable", "--component", "etcd")
    return f"{len(nodes.versions(tools))} nodes"


def as_the_snippets(tools):
    """What is written is what the files beside the script hold"""
    node, compared = tools.deploy / "node", 0
    for wanted in nodes.versions(tools):
        root = nodes.build(tools.scratch("node-snippet"), tools, wanted)
        nodes.tracing(tools, root, "enable", "--restart", *_given(wanted))
        pairs = {
            CONFIG: f"kube-apiserver/tracing-{wanted['api']}.yaml",
            DROPIN: "crio/10-tracing.conf",
            UNIT: "containerd/10-otel.conf",
        }
        for path, snippet in pairs.items():
            if (root / path).exists():
                assert (root / path).read_bytes() == (node / snippet).read_bytes(), f"{path} is not {snippet}"
                compared += 1
        if (root / TOML).exists() and not (root / UNIT).exists():
            lines = (node / "containerd/tracing.toml").read_text(encoding="utf-8").splitlines()[2:]
            assert (root / TOML).read_text(encoding="utf-8").endswith("\n".join(lines) + "\n"), (
                "config.toml is not tracing.toml"
            )
            compared += 1
    root = nodes.build(tools.scratch("node-snippet"), tools, nodes.newest(tools))
    folder = root / "etc/kubernetes/kubelet.conf.d"
    nodes.write(
        root / "etc/default/kubelet",
        'KUBELET_EXTRA_ARGS="--config-dir=/etc/kubernetes/kubelet.conf.d -v=2"\n',
    )
    before = nodes.tree(root)
    nodes.tracing(tools, root, "enable", "--component", "kubelet")
    assert (folder / "10-tracing.conf").read_bytes() == (node / "kubelet/10-tracing.conf").read_bytes()
    assert nodes.tree(root)[nodes.KUBELET] == before[nodes.KUBELET], (
        "with a --config-dir config.yaml is left alone"
    )
    nodes.tracing(tools, root, "disable")
    assert nodes.tree(root) == before
    return f"{compared + 1} files"


def nothing_by_itself(tools):
    """--dry-run changes nothing and prints what enable does; static pods are touched with --restart alone"""
    root = nodes.build(tools.scratch("node-dry"), tools, nodes.newest(tools))
    before = nodes.tree(root)
    said = nodes.tracing(tools, root, "enable", "--dry-run")
    assert nodes.tree(root) == before, "--dry-run changed something"
    for line in (
        f"+    - --tracing-config-file=/{CONFIG}",
        "+    - --enable-distributed-tracing=true",
        "+enable_tracing = true",
    ):
        assert line in said, f"--dry-run does not show {line}"
    said = nodes.tracing(tools, root, "enable")
    assert said.count("held back") == 2 and "systemctl restart crio kubelet" in said, said
    now = nodes.tree(root)
    assert all(now[path] == before[path] for path in (nodes.APISERVER, nodes.ETCD)) and CONFIG not in now
    nodes.tracing(tools, root, "enable", "--restart")
    on = nodes.tree(root)
    said = nodes.tracing(tools, root, "disable", "--dry-run")
    assert nodes.tree(root) == on and f"-    - --tracing-config-file=/{CONFIG}" in said
    assert nodes.tracing(tools, root, "disable").count("held back") == 2
    nodes.tracing(tools, root, "disable", "--restart")
    assert nodes.tree(root) == before
    return "2 static pods held back"


def other_values(tools):
    """Rate and endpoint arrive in every file; a new rate starts kube-apiserver again; all is put back"""
    root = nodes.build(tools.scratch("node-values"), tools, nodes.newest(tools))
    nodes.program(root, "containerd", "containerd github.com/containerd/containerd/v2 v2.4.2 x")
    before = nodes.tree(root)
    nodes.tracing(tools, root, "enable", "--restart")
    manifest = (root / nodes.APISERVER).read_bytes()
    options = [
        "--sampling-per-million",
        "250000",
        "--endpoint",
        "[::1]:14317",
        "--http-endpoint",
        "localhost:14318",
    ]
    said = nodes.tracing(tools, root, "enable", "--restart", *options)
    assert said.count("on") >= 5 and (root / nodes.APISERVER).read_bytes() != manifest, (
        "kube-apiserver would keep its old rate"
    )
    for path in (DROPIN, CONFIG, nodes.ETCD, nodes.KUBELET):
        text = (root / path).read_text(encoding="utf-8")
        assert "250000" in text and "[::1]:14317" in text and "127.0.0.1:4317" not in text, path
    text = (root / UNIT).read_text(encoding="utf-8")
    assert '=0.25"' in text and "http://localhost:14318" in text, text
    tools.run([tools.path("decode"), "TracingConfiguration", root / CONFIG])
    said = nodes.tracing(tools, root, "show")
    assert said.count(" on: ") == 5 and "1.37.2" in said, said
    nodes.tracing(tools, root, "disable", "--restart")
    assert nodes.tree(root) == before
    return "5 components"


def containerd_default(tools):
    """Both tables that `containerd config default` writes are filled in place, nothing else changes"""
    root = nodes.build(tools.scratch("node-toml"), tools, nodes.newest(tools))
    nodes.program(root, "containerd", "containerd github.com/containerd/containerd 1.7.12")
    (root / TOML).parent.mkdir()
    shutil.copy(nodes.fixtures(tools) / "containerd-1.7.toml", root / TOML)
    before = nodes.tree(root)
    nodes.tracing(tools, root, "enable", "--component", "containerd", "--sampling-per-million", "1000000")
    old, new = before[TOML][1].decode().splitlines(), (root / TOML).read_text(encoding="utf-8").splitlines()
    ours = [
        '    endpoint = ""',
        '    protocol = ""',
        "    sampling_ratio = 1.0",
        '    service_name = "containerd"',
    ]
    written = ['    endpoint = "http://127.0.0.1:4318"', '    protocol = "http/protobuf"', *ours[2:]]
    assert sorted(new) == sorted([line for line in old if line not in ours] + written), new
    nodes.tracing(tools, root, "disable")
    assert nodes.tree(root) == before
    nodes.replace(root / TOML, 'endpoint = ""', 'endpoint = "http://collector:4318"')
    said = nodes.tracing(tools, root, "enable", "--component", "containerd", refused=True)
    assert "endpoint for traces already" in said, said
    nodes.replace(root / TOML, "version = 2", "version = 1")
    assert "version 2" in nodes.tracing(tools, root, "enable", "--component", "containerd", refused=True)
    (root / TOML).unlink()
    before = nodes.tree(root)
    nodes.tracing(tools, root, "enable", "--component", "containerd")
    assert "nothing to do" in nodes.tracing(tools, root, "enable", "--component", "containerd")
    nodes.tracing(tools, root, "disable")
    assert nodes.tree(root) == before
    return "2 tables"


def edits_of_others(tools):
    """What somebody changed since is neither overwritten nor undone; after kubeadm upgrade there is --anew"""
    root = nodes.build(tools.scratch("node-edits"), tools, nodes.newest(tools))
    before = nodes.tree(root)
    nodes.tracing(tools, root, "enable", "--restart")
    for path in (DROPIN, nodes.KUBELET, nodes.ETCD, nodes.APISERVER, CONFIG):
        kept = (root / path).read_bytes()
        (root / path).write_bytes(kept + b"# mine\n")
        for command in ("enable", "disable"):
            said = nodes.tracing(tools, root, command, "--restart", refused=True)
            assert path in said and "changed since by somebody" in said, said
        assert "changed since" in nodes.tracing(tools, root, "show")
        (root / path).write_bytes(kept)
    # As an upgrade leaves it: written anew, without our flags.
    upgraded = before[nodes.APISERVER][1].replace(b"v1.37.2", b"v1.37.3")
    (root / nodes.APISERVER).write_bytes(upgraded)
    said = nodes.tracing(tools, root, "enable", "--restart", refused=True)
    assert "--anew" in said, said
    nodes.tracing(tools, root, "enable", "--restart", "--anew")
    assert f"--tracing-config-file=/{CONFIG}" in _command(root, nodes.APISERVER)
    nodes.tracing(tools, root, "disable", "--restart")
    now = nodes.tree(root)
    assert now.pop(nodes.APISERVER)[1] == upgraded, "the old version's manifest came back"
    assert now == {path: file for path, file in before.items() if path != nodes.APISERVER}
    # Ended between its record and its write: the next run goes on from there, either way.
    for command in ("enable", "disable"):
        nodes.tracing(tools, root, "enable", "--restart")
        wanted = (
            nodes.tree(root)
            if command == "enable"
            else {**before, nodes.APISERVER: (before[nodes.APISERVER][0], upgraded)}
        )
        (root / nodes.ETCD).write_bytes(before[nodes.ETCD][1])
        nodes.tracing(tools, root, command, "--restart")
        assert nodes.tree(root) == wanted, f"{command} after a run that was ended"
    return "5 files"


CHECKS = [
    every_version,
    as_the_snippets,
    nothing_by_itself,
    other_values,
    containerd_default,
    edits_of_others,
]
