"""Pods as processes: what a kubelet makes of a pod's manifest, as far as relayd's needs it: network and mount namespaces, a root
of the image's files alone, ConfigMaps, emptyDirs, the downward API, user, arguments, probes.

Must never give a pod anything that its manifest does not ask for; what it cannot do is refused by name.
"""

import os
import re
import shlex
import subprocess
import time

from observe import get
from process import Failed, Process, wait_until

READY_SECONDS = 30
PROBE_SECONDS = 10
# What a root needs for programs that are not static.
LIBRARIES = ("/lib", "/lib64", "/usr/lib")
# The files of an image and its entry point, by what its name ends with before the tag; the programs are the stage's.
IMAGES = {
    "relayd": (
        "relayd",
        {
            "/relayd": "relayd",
            **{f"/{name}": "relayd" for name in ("otelcol", "otelcol-contrib", "otelcol-k8s")},
        },
    ),
    "jaeger": ("jaeger", {"/jaeger": "jaeger"}),
    "opentelemetry-collector-contrib": ("otelcol", {"/otelcol": "otelcol", "/otelcol-contrib": "otelcol"}),
}

SETUP = """\
set -eu
root={root}
mount -t tmpfs -o mode=755 tmpfs "$root"
bind() {{ # bind SOURCE PATH: read-only
  if [ -d "$1" ]; then mkdir -p "$root$2"; else mkdir -p "$(dirname "$root$2")"; touch "$root$2"; fi
  mount --bind "$1" "$root$2"
  mount -o remount,bind,ro "$root$2"
}}
mkdir -p "$root/dev" "$root/proc"
mount --bind /proc "$root/proc"
# Those that every OCI runtime gives a container, but for the terminal.
for one in null zero full random urandom; do touch "$root/dev/$one"; mount --bind "/dev/$one" "$root/dev/$one"; done
bind /etc/resolv.conf /etc/resolv.conf
bind {hosts} /etc/hosts
{mounts}
{read_only}
exec env -i {environment} /usr/bin/setpriv --no-new-privs /usr/sbin/chroot --userspec={user} --groups={group} "$root" {argv}
"""


def image_of(container):
    name = container["image"].split("@")[0].rsplit(":", 1)[0].rsplit("/", 1)[-1]
    if name not in IMAGES:
        raise Failed(f"there is nothing to run for image {container['image']}")
    return IMAGES[name]


def is_static(path):
    with open(path, "rb") as file:
        return b"/ld-linux" not in file.read(4096)


class Pod:
    """A pod with one container, from its `template` (metadata, spec); `address` is its own, or None for the node's network."""

    def __init__(self, stage, name, template, configs, node, namespace, address=None):
        spec = template["spec"]
        if len(spec["containers"]) != 1 or spec.get("initContainers"):
            raise Failed(f"{name} has more than one container")
        self.stage, self.name, self.spec, self.namespace = stage, name, spec, namespace
        self.container = spec["containers"][0]
        self.labels = template["metadata"].get("labels", {})
        self.address = address or node.address
        self.netns = None if spec.get("hostNetwork") else node.network(name, address)
        if self.netns is None and address is not None:
            raise Failed(f"{name} is on the host's network and cannot have an address of its own")
        security = {**spec.get("securityContext", {}), **self.container.get("securityContext", {})}
        # OpenShift and images of others name no user here; theirs is as unprivileged.
        self.user, self.group = security.get("runAsUser", 10001), security.get("runAsGroup", 10001)
        entry, files = image_of(self.container)
        self.environment = self._environment(node)
        script = self._script(configs, files, entry, security)
        path = stage.path(f"{name}.sh")
        with open(path, "w", encoding="utf-8") as file:
            file.write(script)
        enter = ["nsenter", f"--net=/run/netns/{self.netns}"] if self.netns else []
        self.started = time.time()
        self.process = Process(name, [*enter, "unshare", "--mount", "sh", path], stage.folder)
        stage.processes.append(self.process)

    def _environment(self, node):
        """The container's, in order, with the downward API."""
        fields = {
            "status.hostIP": node.address, "status.podIP": self.address, "spec.nodeName": node.name,
            "metadata.name": self.name, "metadata.namespace": self.namespace,
        }  # fmt: skip
        found = {}
        for one in self.container.get("env", []):
            if "value" in one:
                found[one["name"]] = self._expanded(one["value"], found)
            else:
                path = one.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
                if path not in fields:
                    raise Failed(f"{self.name}: environment {one['name']} comes from {one.get('valueFrom')}")
                found[one["name"]] = fields[path]
        return found

    @staticmethod
    def _expanded(text, environment):
        return re.sub(r"\$\(([A-Za-z_]\w*)\)", lambda found: environment.get(found[1], found[0]), str(text))

    def _script(self, configs, files, entry, security):
        root = self.stage.path(f"{self.name}.root")
        os.makedirs(root, exist_ok=True)
        mounts = [
            f"bind {shlex.quote(self.stage.programs[program])} {path}" for path, program in files.items()
        ]
        if not all(is_static(self.stage.programs[program]) for program in files.values()):
            mounts += [f"bind {library} {library}" for library in LIBRARIES if os.path.isdir(library)]
        volumes = {volume["name"]: volume for volume in self.spec.get("volumes", [])}
        for mount in self.container.get("volumeMounts", []):
            mounts.append(self._mount(volumes[mount["name"]], mount["mountPath"], configs))
        command = self.container.get("command") or [f"/{entry}"]
        argv = [
            self._expanded(word, self.environment) for word in [*command, *self.container.get("args", [])]
        ]
        # As a kubelet writes it; a pod of the host's network gets the host's, which has the first two lines, too.
        hosts = self.stage.path(f"{self.name}.hosts")
        with open(hosts, "w", encoding="utf-8") as file:
            file.write(
                f"127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n{self.address} {self.name}\n"
            )
        return SETUP.format(
            hosts=shlex.quote(hosts),
            root=shlex.quote(root), mounts="\n".join(mounts), user=f"{self.user}:{self.group}", group=self.group,
            read_only='mount -o remount,ro "$root"' if security.get("readOnlyRootFilesystem") else "",
            environment=" ".join(shlex.quote(f"{name}={value}") for name, value in self.environment.items()),
            argv=" ".join(map(shlex.quote, argv)),
        )  # fmt: skip

    def _mount(self, volume, path, configs):
        if "emptyDir" in volume:
            return f'mkdir -p "$root{path}"; mount -t tmpfs -o mode=777 tmpfs "$root{path}"'
        if "configMap" not in volume:
            raise Failed(f"{self.name}: volume {volume}")
        folder = self.stage.path(f"{self.name}.{volume['name']}")
        os.makedirs(folder, exist_ok=True)
        for key, text in configs[self.namespace, volume["configMap"]["name"]].items():
            with open(os.path.join(folder, key), "w", encoding="utf-8") as file:
                file.write(text)
        return f"bind {shlex.quote(folder)} {path}"

    def execute(self, *argv, seconds=PROBE_SECONDS):
        """Runs a program of the image in the pod, as `kubectl exec` does: its exit code and what it said."""
        inside = [
            "nsenter",
            "--target",
            self.process.pid,
            "--mount",
            "--net",
            "--root",
            "--wdns=/",
            "-S",
            self.user,
            "-G",
            self.group,
        ]
        ended = subprocess.run(
            [*map(str, inside), "--", *argv],
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            env=self.environment,
        )
        return ended.returncode, (ended.stdout + ended.stderr).strip()

    def probe(self, kind):
        """Whether the container's probe of a kind succeeds, and its words."""
        found = self.container.get(kind)
        if not found:
            raise Failed(f"{self.name} has no {kind}")
        if "exec" in found:
            code, words = self.execute(*found["exec"]["command"])
            return code == 0, words
        if "httpGet" not in found:
            raise Failed(f"{self.name}: a {kind} of another kind: {found}")
        named = {port.get("name"): port["containerPort"] for port in self.container.get("ports", [])}
        asked = found["httpGet"]
        try:
            return True, get(
                f"http://{self.address}:{named.get(asked['port'], asked['port'])}{asked.get('path', '/')}"
            )
        except OSError as error:
            return False, str(error)

    def wait_ready(self, seconds=READY_SECONDS):
        def ready():
            if not self.process.is_running():
                raise Failed(
                    f"{self.name} ended with {self.process.child.returncode}: {self.process.tail()[-1500:]}"
                )
            return self.probe("readinessProbe")[0]

        wait_until(ready, seconds, f"{self.name} to be ready")
        return self
