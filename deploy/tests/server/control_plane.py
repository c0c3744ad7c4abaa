"""A Kubernetes control plane without its controllers: etcd and kube-apiserver as programs, a client of each kind, kubectl.

Must never be taken for a cluster: nothing schedules, runs or garbage-collects; what a check needs of that it does itself and says so.
"""

import json
import os
import subprocess

from process import Failed, wait_until

# Where kubeadm puts them; the run has a network of its own.
ETCD_PORT, APISERVER_PORT = 2379, 6443
START_SECONDS = 90
KUBECTL_SECONDS = 60
CERTIFICATE_DAYS = 2


def _openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60)


class Keys:
    """A certificate authority, the server's certificate, and an administrator's, in `folder`."""

    def __init__(self, folder):
        os.makedirs(folder)
        self.folder = folder
        _openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", CERTIFICATE_DAYS, "-subj", "/CN=test-ca",
                 "-keyout", self.path("ca.key"), "-out", self.path("ca.crt"))  # fmt: skip
        names = "DNS:localhost,DNS:kubernetes.default.svc,IP:127.0.0.1,IP:10.96.0.1"
        self._signed(
            "apiserver", "/CN=kube-apiserver", f"subjectAltName={names}\nextendedKeyUsage=serverAuth\n"
        )
        # kube-apiserver takes a caller's trace context from this group (and system:monitoring) alone.
        self._signed("admin", "/O=system:masters/CN=admin", "extendedKeyUsage=clientAuth\n")
        _openssl("genrsa", "-out", self.path("accounts.key"), 2048)
        _openssl("rsa", "-in", self.path("accounts.key"), "-pubout", "-out", self.path("accounts.pub"))

    def path(self, name):
        return os.path.join(self.folder, name)

    def _signed(self, name, subject, extensions):
        key, request, extended = self.path(f"{name}.key"), self.path(f"{name}.csr"), self.path(f"{name}.ext")
        with open(extended, "w", encoding="utf-8") as file:
            file.write(extensions)
        _openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", subject, "-keyout", key, "-out", request)
        _openssl("x509", "-req", "-in", request, "-CA", self.path("ca.crt"), "-CAkey", self.path("ca.key"), "-CAcreateserial",
                 "-days", CERTIFICATE_DAYS, "-out", self.path(f"{name}.crt"), "-extfile", extended)  # fmt: skip


class ControlPlane:
    """`etcd_environment` and `apiserver_flags` are added to what is plain: those that switch tracing on."""

    def __init__(self, stage, etcd_environment=None, apiserver_flags=()):
        self.stage, self.keys = stage, Keys(stage.path("keys"))
        self.kubeconfig = stage.write_config("kubeconfig", self._kubeconfig())
        client, peer = f"http://127.0.0.1:{ETCD_PORT}", "http://127.0.0.1:2380"
        self.etcd = stage.start(
            "etcd", "etcd", "--data-dir", stage.path("etcd.data"), "--log-level", "warn", "--unsafe-no-fsync",
            "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer,
            "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}", environment=etcd_environment,
        )  # fmt: skip
        self.etcd.wait_listening(ETCD_PORT)
        key = self.keys.path
        self.apiserver = stage.start(
            "kube-apiserver", "kube-apiserver", "--etcd-servers", client, "--bind-address", "127.0.0.1",
            "--advertise-address", "127.0.0.1", "--secure-port", APISERVER_PORT, "--endpoint-reconciler-type", "none",
            "--tls-cert-file", key("apiserver.crt"), "--tls-private-key-file", key("apiserver.key"),
            "--client-ca-file", key("ca.crt"), "--service-account-issuer", "https://kubernetes.default.svc",
            "--service-account-key-file", key("accounts.pub"), "--service-account-signing-key-file", key("accounts.key"),
            "--service-cluster-ip-range", "10.96.0.0/16", "--authorization-mode", "RBAC", "--profiling=false", "--allow-privileged=true", *apiserver_flags,
        )  # fmt: skip
        wait_until(self._is_ready, START_SECONDS, "kube-apiserver to be ready")

    def _kubeconfig(self):
        server = {
            "server": f"https://127.0.0.1:{APISERVER_PORT}",
            "certificate-authority": self.keys.path("ca.crt"),
        }
        user = {"client-certificate": self.keys.path("admin.crt"), "client-key": self.keys.path("admin.key")}
        return {
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": server}], "users": [{"name": "admin", "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
        }  # fmt: skip

    def _is_ready(self):
        if not self.apiserver.is_running():
            raise Failed(
                f"kube-apiserver ended with {self.apiserver.child.returncode}: {self.apiserver.tail()[-1500:]}"
            )
        return self.kubectl("get", "--raw", "/readyz", may_fail=True).stdout == "ok"

    def kubectl(self, *arguments, stdin=None, may_fail=False):
        """What kubectl said, as subprocess has it; Failed with its words if it exits with other than 0."""
        argv = [self.stage.programs["kubectl"], "--kubeconfig", self.kubeconfig, *map(str, arguments)]
        home = {"PATH": os.environ["PATH"], "HOME": self.stage.folder}
        try:
            ended = subprocess.run(
                argv,
                input=stdin,
                capture_output=True,
                text=True,
                timeout=KUBECTL_SECONDS,
                check=False,
                env=home,
            )
        except subprocess.TimeoutExpired:
            raise Failed(
                f"kubectl {' '.join(map(str, arguments))} still ran after {KUBECTL_SECONDS} s"
            ) from None
        if ended.returncode != 0 and not may_fail:
            raise Failed(
                f"kubectl {' '.join(map(str, arguments))} exited with {ended.returncode}: {ended.stderr.strip()[-1500:]}"
            )
        return ended

    def json(self, *arguments):
        return json.loads(self.kubectl(*arguments, "-o", "json").stdout)

    def objects(self):
        """(kind, namespace, name) of everything that is stored, but events and the servers' own leases."""
        kinds = self.kubectl("api-resources", "--verbs=list", "-o", "name").stdout.split()
        kinds = [kind for kind in kinds if not kind.startswith(("events", "leases.", "componentstatuses"))]
        found = self.json("get", ",".join(kinds), "--all-namespaces", "--ignore-not-found")["items"]
        return {(item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"]) for item in found}

    def finalize_namespace(self, name):
        """Ends a namespace that is being deleted, as the controller does that is not here, which waits until it is empty."""
        found = self.json("get", "namespace", name)
        if not found["metadata"].get("deletionTimestamp"):
            raise Failed(f"namespace {name} is not being deleted")
        left = {one for one in self.objects() if one[1] == name}
        if left:
            raise Failed(f"namespace {name} still holds {sorted(left)}")
        found["spec"]["finalizers"] = []
        self.kubectl(
            "replace", "--raw", f"/api/v1/namespaces/{name}/finalize", "-f", "-", stdin=json.dumps(found)
        )
