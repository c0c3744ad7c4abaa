"""node/: every snippet is read by what it is for, and node/tracing does, undoes and refuses what it should on
every version."""

import json
import re

import yaml

from checks import node_refusals, node_script
from checks import node_root as nodes

# The keys of [crio.tracing], as crio.conf(5) lists them.
CRIO_KEYS = {"enable_tracing", "tracing_endpoint", "tracing_sampling_rate_per_million"}
# The tables and keys of containerd 1.6 and 1.7 (tracing/plugin/otlp.go).
CONTAINERD_KEYS = {
    'plugins."io.containerd.tracing.processor.v1.otlp"': {"endpoint", "protocol", "insecure"},
    'plugins."io.containerd.internal.v1.tracing"': {"sampling_ratio", "service_name"},
    "": {"version"},
}


def _toml(text):
    """The tables of a file as simple as ours: all but comment, table, `key = value` is an error."""
    tables, name = {}, ""
    for line in text.splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if table := re.fullmatch(r"\[(.+)\]", line):
            name = table[1]
            assert name not in tables, f"table {name} twice"
            tables[name] = {}
            continue
        key, separator, value = line.partition(" = ")
        assert separator and key not in tables.setdefault(name, {}), f"not one key = value: {line!r}"
        tables[name][key] = json.loads(value)
    return tables


def _decode(tools, *argv, check=True):
    return tools.run([tools.path("decode"), *argv], check=check)


def _refused(tools, scratch, kind, text, wanted):
    bad = scratch / "bad"
    bad.write_text(text, encoding="utf-8")
    done = _decode(tools, kind, bad, check=False)
    assert done.returncode == 1 and wanted in done.stderr, (
        f"{kind} should refuse for {wanted!r}: {done.stderr}"
    )


def snippets_decode(tools):
    """Each snippet is decoded strictly by the code of what it is for; a typo or a rate out of range is not"""
    node, scratch = tools.deploy / "node", tools.scratch("node-snippets")
    files = [("TracingConfiguration", path) for path in sorted((node / "kube-apiserver").glob("*.yaml"))]
    assert len(files) == 3, files
    files += [
        ("KubeletConfiguration", node / "kubelet/10-tracing.conf"),
        ("kubeadm", node / "kubeadm/cluster-config-v1beta4.yaml"),
        ("kind", node / "kind/cluster.yaml"),
        ("etcd", node / "etcd/flags-3.6.env"),
        ("etcd", node / "etcd/flags-3.7.env"),
    ]
    for kind, path in files:
        _decode(tools, kind, path)
    for name in ("v1", "v1beta1", "v1alpha1"):
        text = (node / f"kube-apiserver/tracing-{name}.yaml").read_text(encoding="utf-8")
        assert f"apiserver.config.k8s.io/{name}\n" in text
        _refused(
            tools, scratch, "TracingConfiguration", text.replace("samplingRate", "samplngRate"), "samplngRate"
        )
        _refused(
            tools, scratch, "TracingConfiguration", text.replace("10000", "1000001"), "less than or equal"
        )
        _refused(tools, scratch, "TracingConfiguration", text.replace("127", "http://127"), "endpoint")
    kubelet = (node / "kubelet/10-tracing.conf").read_text(encoding="utf-8")
    _refused(tools, scratch, "KubeletConfiguration", kubelet.replace("  endpoint", "  endpont"), "endpont")
    _refused(tools, scratch, "KubeletConfiguration", kubelet.replace("10000", "-1"), "positive")
    kubeadm = (node / "kubeadm/cluster-config-v1beta4.yaml").read_text(encoding="utf-8")
    _refused(tools, scratch, "kubeadm", kubeadm.replace("extraVolumes", "extraVolume"), "extraVolume")
    _refused(tools, scratch, "kubeadm", kubeadm.replace("v1beta4", "v1beta3"), "v1beta3")
    kind = (node / "kind/cluster.yaml").read_text(encoding="utf-8")
    _refused(tools, scratch, "kind", kind.replace("extraMounts", "extraMount"), "extraMount")
    return f"{len(files)} files, 14 refusals"


def etcd_environment(tools):
    """etcd 3.7's own flags take the files of 3.6 and 3.7 and refuse those of 3.5 by name"""
    folder, scratch = tools.deploy / "node/etcd", tools.scratch("node-etcd")
    new = (folder / "flags-3.7.env").read_text(encoding="utf-8")
    old = (folder / "flags-3.5.env").read_text(encoding="utf-8")
    _refused(tools, scratch, "etcd", old, "no flag --experimental-enable-distributed-tracing")
    _refused(tools, scratch, "etcd", new.replace("SAMPLING_RATE=10000", "SAMPLING_RATE=1000001"), "1000000")
    _refused(tools, scratch, "etcd", new.replace("TRACING_ADDRESS", "TRACING_ADRESS"), "adress")
    settings = [re.findall(r"^ETCD_.*", text, re.M) for text in (old, new)]
    assert [line.replace("EXPERIMENTAL_", "") for line in settings[0]] == settings[1], (
        "3.5 says something else than 3.7"
    )
    assert settings[1] == re.findall(
        r"^ETCD_.*", (folder / "flags-3.6.env").read_text(encoding="utf-8"), re.M
    )
    return f"{len(settings[1])} variables, 3 refusals"


def kind_patches(tools):
    """What kind makes of its patches is what kubeadm reads: as a list under v1beta4, strictly decoded"""
    scratch = tools.scratch("node-kind")
    cluster = yaml.safe_load((tools.deploy / "node/kind/cluster.yaml").read_text(encoding="utf-8"))
    (node,) = cluster["nodes"]
    mounts = {mount["containerPath"]: mount["hostPath"] for mount in node["extraMounts"]}
    for path in mounts.values():
        assert (tools.deploy / "node/kind" / path).is_file(), path
    cluster_patch, kubelet_patch = (yaml.safe_load(patch) for patch in node["kubeadmConfigPatches"])
    flags = cluster_patch["apiServer"]["extraArgs"]
    assert flags["tracing-config-file"] in mounts, "kube-apiserver's file is not mounted into the node"
    for part in (cluster_patch["apiServer"], cluster_patch["etcd"]["local"]):
        part["extraArgs"] = [{"name": name, "value": value} for name, value in part["extraArgs"].items()]
    for patch, version in (
        (cluster_patch, "kubeadm.k8s.io/v1beta4"),
        (kubelet_patch, "kubelet.config.k8s.io/v1beta1"),
    ):
        path = scratch / f"{patch['kind']}.yaml"
        path.write_text(yaml.safe_dump({"apiVersion": version, **patch}), encoding="utf-8")
        _decode(tools, "kubeadm", path)
    return f"{len(node['kubeadmConfigPatches'])} patches"


def kubeadm_patches(tools):
    """kubeadm's own code adds what patches/ has to manifests and loses nothing; a strategic patch would"""
    node = nodes.newest(tools)
    root = nodes.build(tools.scratch("node-patches"), tools, node)
    folder = tools.deploy / "node/kubeadm/patches"
    for target, file in (("kube-apiserver", nodes.APISERVER), ("etcd", nodes.ETCD)):
        patched = _decode(tools, "patch", folder, target, root / file).stdout
        (root / "patched").write_text(patched, encoding="utf-8")
        _decode(tools, "Pod", root / "patched")
        old, new = (
            (yaml.safe_load(text)["spec"]["containers"][0]["command"])
            for text in ((root / file).read_text(), patched)
        )
        assert new[: len(old)] == old and any("tracing" in flag for flag in new[len(old) :]), (
            f"{target}: {new}"
        )
    patched = _decode(tools, "patch", folder, "kubeletconfiguration", root / nodes.KUBELET).stdout
    (root / "patched").write_text(patched, encoding="utf-8")
    _decode(tools, "KubeletConfiguration", root / "patched")
    strategic = root / "strategic"
    strategic.mkdir()
    lost = {"spec": {"containers": [{"name": "etcd", "command": ["--enable-distributed-tracing=true"]}]}}
    (strategic / "etcd0+strategic.yaml").write_text(yaml.safe_dump(lost), encoding="utf-8")
    patched = yaml.safe_load(_decode(tools, "patch", strategic, "etcd", root / nodes.ETCD).stdout)
    assert len(patched["spec"]["containers"][0]["command"]) == 1, (
        "control: a strategic patch keeps the command"
    )
    return "3 targets"


def runtimes(tools):
    """CRI-O's and containerd's files have documented keys only, and systemd takes the drop-in file"""
    node = tools.deploy / "node"
    crio = _toml((node / "crio/10-tracing.conf").read_text(encoding="utf-8"))
    assert set(crio) == {"crio.tracing"} and set(crio["crio.tracing"]) == CRIO_KEYS, crio
    for name, keys in _toml((node / "containerd/tracing.toml").read_text(encoding="utf-8")).items():
        assert set(keys) <= CONTAINERD_KEYS[name], f"[{name}] {keys}"
    units = tools.scratch("node-units")
    nodes.write(units / "containerd.service", "[Service]\nExecStart=/bin/true\n")
    dropin = (node / "containerd/10-otel.conf").read_text(encoding="utf-8")
    nodes.write(units / "containerd.service.d/10-otel.conf", dropin)
    verify = [
        tools.path("systemd-analyze"),
        "verify",
        "--man=no",
        "--recursive-errors=no",
        units / "containerd.service",
    ]
    tools.run(verify)
    nodes.write(units / "containerd.service.d/10-otel.conf", dropin.replace("Environment", "Enviroment"))
    said = tools.run(verify, check=False)
    assert "Enviroment" in said.stderr, f"control: a misspelt key passes: {said.stderr}"
    return "3 files"


CHECKS = [snippets_decode, etcd_environment, kind_patches, kubeadm_patches, runtimes]
CHECKS += node_script.CHECKS + node_refusals.CHECKS
