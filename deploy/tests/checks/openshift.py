"""openshift/: the machine configurations carry node/crio's file, Ignition and OpenShift's schemas take them,
and no pool is forgotten."""

import base64
import json

import yaml

import schema

DROPIN = "/etc/crio/crio.conf.d/10-tracing.conf"


def _objects(tools):
    paths = sorted((tools.deploy / "openshift").glob("*.yaml"))
    found = [thing for path in paths for thing in yaml.safe_load_all(path.read_text(encoding="utf-8"))]
    assert len(found) == 5, [thing["kind"] for thing in found]
    return found


def _of_kind(tools, kind):
    return [thing for thing in _objects(tools) if thing["kind"] == kind]


def machine_configs(tools):
    """Ignition 3.2 takes both, for master and worker; the file in them is node/crio's, byte for byte"""
    scratch, roles = tools.scratch("openshift-ignition"), set()
    wanted = (tools.deploy / "node/crio/10-tracing.conf").read_bytes()
    for thing in _of_kind(tools, "MachineConfig"):
        role = thing["metadata"]["labels"]["machineconfiguration.openshift.io/role"]
        roles.add(role)
        assert thing["metadata"]["name"] == f"99-{role}-crio-tracing"
        path = scratch / f"{role}.json"
        path.write_text(json.dumps(thing["spec"]["config"]), encoding="utf-8")
        tools.run([tools.path("decode"), "Ignition", path])
        (file,) = thing["spec"]["config"]["storage"]["files"]
        assert file["path"] == DROPIN and file["mode"] == 0o644, file
        prefix, _, coded = file["contents"]["source"].partition(";base64,")
        assert prefix == "data:text/plain;charset=utf-8", prefix
        assert base64.b64decode(coded, validate=True) == wanted, (
            f"{role}: not what node/crio/10-tracing.conf holds"
        )
    assert roles == {"master", "worker"}, roles
    for number, (old, new) in enumerate(
        [("3.2.0", "9.9.9"), (DROPIN, "crio.conf"), ('"overwrite"', '"overwrit"')]
    ):
        path = scratch / f"bad{number}.json"
        path.write_text(
            (scratch / "master.json").read_text(encoding="utf-8").replace(old, new), encoding="utf-8"
        )
        assert tools.run([tools.path("decode"), "Ignition", path], check=False).returncode == 1, (
            f"control: {new} passes"
        )
    return f"{len(wanted)} bytes, 3 refusals"


def kubelet_configs(tools):
    """What a KubeletConfig gives to the kubelet is decoded strictly by the kubelet's code, for both pools"""
    scratch, pools = tools.scratch("openshift-kubelet"), set()
    for thing in _of_kind(tools, "KubeletConfig"):
        ((label, value),) = thing["spec"]["machineConfigPoolSelector"]["matchLabels"].items()
        assert value == "", label
        pools.add(label)
        body = {"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration"}
        path = scratch / f"{thing['metadata']['name']}.json"
        path.write_text(json.dumps({**body, **thing["spec"]["kubeletConfig"]}), encoding="utf-8")
        tools.run([tools.path("decode"), "KubeletConfiguration", path])
        snippet = yaml.safe_load((tools.deploy / "node/kubelet/10-tracing.conf").read_text(encoding="utf-8"))
        assert thing["spec"]["kubeletConfig"]["tracing"] == snippet["tracing"]
    assert pools == {
        f"pools.operator.machineconfiguration.openshift.io/{pool}" for pool in ("master", "worker")
    }
    return f"{len(pools)} pools"


def disruption_policy(tools):
    """The policy is for the file that the machine configurations write, and restarts CRI-O, not the node"""
    (thing,) = _of_kind(tools, "MachineConfiguration")
    assert thing["metadata"] == {"name": "cluster"}, "it is the cluster's only one, of no namespace"
    (policy,) = thing["spec"]["nodeDisruptionPolicy"]["files"]
    assert policy["path"] == DROPIN
    assert policy["actions"] == [{"type": "Restart", "restart": {"serviceName": "crio.service"}}]
    return "1 file"


def schemas(tools):
    """OpenShift's own schemas take every object and refuse a misspelt key"""
    for thing in _objects(tools):
        error = schema.error(tools, thing)
        assert error is None, f"{thing['kind']} {thing['metadata']['name']}: {error}"
        spec = thing["spec"]
        bad = {
            **thing,
            "spec": {**{key: value for key, value in spec.items() if key != next(iter(spec))}, "konfig": 1},
        }
        assert schema.error(tools, bad), f"control: {thing['kind']} takes spec.konfig"
    return f"{len(_objects(tools))} objects"


CHECKS = [machine_configs, kubelet_configs, disruption_policy, schemas]
