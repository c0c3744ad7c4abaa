"""An image archive, read and compared with what the image promises."""

import hashlib
import io
import json
import tarfile

FILES = {"LICENSE": (0o644, None), "relayd": (0o755, None), "otelcol": (0o777, "relayd"),
         "otelcol-contrib": (0o777, "relayd"), "otelcol-k8s": (0o777, "relayd")}  # fmt: skip


def read_archive(path):
    """({architecture: (config, manifest, {file: (member, content)})}, index, docker's manifest.json).

    Every digest and size is compared with its descriptor.
    """
    with tarfile.open(path) as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}
        members = tar.getmembers()
    assert all((member.mtime, member.uid, member.gid, member.uname) == (0, 0, 0, "") for member in members), (
        "times or users in the archive"
    )
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    used = set()

    def blob(descriptor):
        name = "blobs/" + descriptor["digest"].replace(":", "/")
        used.add(name)
        content = files[name]
        assert descriptor["digest"] == "sha256:" + hashlib.sha256(content).hexdigest(), (
            f"{name} has another digest"
        )
        assert descriptor["size"] == len(content), f"{name} has another size"
        return content

    index = json.loads(files["index.json"])
    [top] = index["manifests"]
    manifests = json.loads(blob(top))["manifests"] if "image.index" in top["mediaType"] else [top]
    images = {}
    for descriptor in manifests:
        manifest = json.loads(blob(descriptor))
        config = json.loads(blob(manifest["config"]))
        [layer] = manifest["layers"]
        assert config["rootfs"] == {"type": "layers", "diff_ids": [layer["digest"]]}
        assert (
            descriptor["platform"] == {"architecture": config["architecture"], "os": "linux"}
            and config["os"] == "linux"
        )
        blob(layer)
        with tarfile.open(fileobj=io.BytesIO(files["blobs/" + layer["digest"].replace(":", "/")])) as tar:
            content = {
                member.name: (member, tar.extractfile(member).read() if member.isfile() else None)
                for member in tar
            }
        images[config["architecture"]] = (config, manifest, content)
    docker = json.loads(files["manifest.json"])
    for entry in docker:
        assert {entry["Config"], *entry["Layers"]} <= used, "manifest.json names what is not there"
    assert {name for name in files if name.startswith("blobs/")} == used, "blobs that nothing refers to"
    return images, index, docker


def check_image(config, content, program):
    """What the image promises: files, owner, modes, links, user, entry point, labels."""
    assert content.keys() == FILES.keys(), f"files: {sorted(content)}"
    for name, (mode, target) in FILES.items():
        member, _ = content[name]
        assert (member.uid, member.gid, member.mtime, member.mode) == (0, 0, 0, mode), (
            f"{name}: {member.get_info()}"
        )
        assert (member.linkname or None) == target, f"{name} leads to {member.linkname}"
    assert content["relayd"][1] == program
    assert config["config"]["User"] == "10001:10001" and config["config"]["Entrypoint"] == ["/relayd"]
    assert config["config"].keys() == {"User", "Entrypoint", "WorkingDir", "Labels"}, (
        "an environment, ports or a volume"
    )
    labels = config["config"]["Labels"]
    assert (
        labels["org.opencontainers.image.licenses"] == "Apache-2.0"
        and labels["org.opencontainers.image.title"] == "relayd"
    )
    return labels["org.opencontainers.image.version"]
