"""The image from scratch (check 17): static, reproducible, with nothing else in it, and it runs where nothing else is.

The static program is a release build in cargo's own target directory, so it is made once; `runs` needs root, for
unshare and chroot.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import platform
import re
import shutil
import struct

from checks.image_archive import FILES, check_image, read_archive

BUILD_SECONDS = 3600
BYTES_MAX = 20_000_000
# These ask shared libraries, of the very C library that was linked in: an image from scratch has none. Not every linker
# warns of that (rust-lld does not), so the symbols are looked at.
NAME_SERVICE = re.compile(r"getaddrinfo|gethostby\w+|getpw(nam|uid)\w*|getgr(nam|gid)\w*|getservby\w+")
# Certificate authorities that stay, whatever the year's list is.
ROOTS = (b"ISRG Root X1", b"DigiCert Global Root G2")
EM_AARCH64 = 183
PT_INTERP = 3

# In namespaces of its own: the image's files, read-only, the folder for the socket that the pod has, the configuration,
# and nothing else: no /proc, /dev or /sys.
INSIDE = r"""
root=$1
mount --bind "$root" "$root"
mount -o remount,ro,bind "$root"
mount -t tmpfs -o uid=10001,gid=10001,mode=0700 tmpfs "$root/run/relayd"
if touch "$root/written" 2>/dev/null; then echo "the root can be written to" >&2; exit 1; fi
ip link set lo up
inside() { exec chroot --userspec=10001:10001 "$root" "$@"; }
health() { (inside /relayd health --socket /run/relayd/health.sock); }
for name in relayd otelcol otelcol-contrib otelcol-k8s; do (inside "/$name" --version); done
(inside /relayd validate --config /etc/relayd/config.yaml)
if health 2>/dev/null; then echo "health is 0 while nothing runs" >&2; exit 1; fi
inside /otelcol --config /etc/relayd/config.yaml >"$2" 2>&1 &
started=$!
for _ in $(seq 100); do
  if health 2>/dev/null; then break; fi
  sleep 0.1
done
health || { cat "$2" >&2; exit 1; }
(inside /relayd send --endpoint localhost:4317 --traces 3)
kill -TERM "$started"
wait "$started"
if health 2>/dev/null; then echo "health is 0 after the end" >&2; exit 1; fi
"""
CONFIG = """
receivers: {otlp: {protocols: {grpc: {endpoint: 127.0.0.1:4317}, http: {endpoint: 127.0.0.1:4318}}}}
processors: {memory_limiter: {check_interval: 1s, limit_mib: 32}, batch: {timeout: 200ms}}
exporters: {debug: {}, otlp_grpc: {endpoint: "collector.example:4317", sending_queue: {enabled: true}}}
extensions: {health_check: {endpoint: /run/relayd/health.sock, transport: unix}}
service:
  extensions: [health_check]
  pipelines:
    traces: {receivers: [otlp], processors: [memory_limiter, batch], exporters: [debug]}
    metrics: {receivers: [otlp], processors: [memory_limiter, batch], exporters: [otlp_grpc]}
  telemetry: {metrics: {level: none}}
"""

_built = {}


def binary(tools):
    """The stripped static program, with its symbols where cargo put it: both paths."""
    if not _built:
        out = tools.scratch("image") / "relayd"
        tools.run([tools.deploy / "container" / "build-binary", out], timeout=BUILD_SECONDS)
        metadata = tools.run(["cargo", "metadata", "--format-version", "1", "--no-deps"], cwd=tools.root).stdout
        triple = f"{platform.machine()}-unknown-linux-gnu"
        _built["out"] = out
        _built["symbols"] = pathlib.Path(json.loads(metadata)["target_directory"]) / triple / "release" / "relayd"
    return _built["out"], _built["symbols"]


def build_image(tools, out, *arguments, check=True, **options):
    return tools.run(
        [tools.deploy / "container" / "build-image", *arguments[:-1], out, *arguments[-1]],
        check=check,
        **options,
    )


def program_headers(data):
    """The kinds of an ELF file's segments."""
    (offset,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    return {struct.unpack_from("<I", data, offset + index * size)[0] for index in range(count)}


# -- the program


def static(tools):
    """The program has no interpreter, no name service of the C library, no path of this machine, and has CA roots."""
    out, symbols = binary(tools)
    data = out.read_bytes()
    assert PT_INTERP not in program_headers(data), "it wants a dynamic linker"
    assert PT_INTERP in program_headers(pathlib.Path("/bin/sh").read_bytes()), (
        "the check sees no interpreter in /bin/sh either"
    )
    assert len(data) < BYTES_MAX, f"{len(data)} bytes"
    names = {line.split()[-1] for line in tools.run(["nm", symbols]).stdout.splitlines()}
    assert {"main", "malloc", "connect"} <= names, "the program with symbols has none"
    asked = sorted(name for name in names if NAME_SERVICE.fullmatch(name))
    assert not asked, f"linked in, and of no use without shared libraries: {', '.join(asked)}"
    missing = [root.decode() for root in ROOTS if root not in data]
    assert not missing, f"certificate roots are not compiled in: {missing}"
    home = pathlib.Path(os.environ.get("CARGO_HOME") or pathlib.Path.home() / ".cargo")
    for path in {str(tools.root), str(symbols.parents[2]), str(home), str(pathlib.Path.home())} - {"/"}:
        assert f"{path}/".encode() not in data, f"{path} is in the program"
    assert b"/crates/" in data, "no path of a crate either: the check looks for nothing"
    return f"{len(data) / 1e6:.1f} MB, {len(names)} symbols"


def licences(tools):
    """The terms of every crate that is linked in are in the image; the bill of materials names the same crates."""
    out, _ = binary(tools)
    terms = out.with_name("relayd.LICENSE").read_text()
    bill = json.loads(out.with_name("relayd.cdx.json").read_text())
    crates = {(each["name"], each["version"]) for each in bill["components"]}
    lock = (tools.root / "Cargo.lock").read_text()
    locked = set(re.findall(r'name = "(.+)"\nversion = "(.+)"\nsource', lock))
    ours = {(name, version) for name, version in crates if (name, version) not in locked}
    assert {name for name, _ in ours} == {"relay-core"}, f"not in Cargo.lock: {ours}"
    linked = {name for name, _ in crates}
    assert {"rustls", "tokio", "libmimalloc-sys", "zstd-sys", "hickory-resolver"} <= linked, (
        f"only {len(linked)} crates"
    )
    assert not {"testkit", "criterion", "proptest", "tonic", "serde_derive"} & linked, (
        "what is not linked in is named"
    )
    assert terms.startswith((tools.root / "LICENSE").read_text().strip())
    for name, version in crates - ours:
        assert re.search(rf"^{re.escape(name)} {re.escape(version)}\s+\S", terms, re.MULTILINE), (
            f"no terms of {name} {version}"
        )
    for words in (
        "Permission is hereby granted, free of charge",
        "Brian Smith",
        "Microsoft Corporation",
        "Meta Platforms",
        "GNU C Library",
    ):
        assert words in terms, f"the terms have no '{words}'"
    return f"{len(crates)} crates, {len(terms) // 1000} kB of terms"


# -- the archive


def archive(tools):
    """Two archives of one binary are equal, whatever time, user mask and place, and hold what they should."""
    out, _ = binary(tools)
    folder = out.parent
    build_image(tools, folder / "first.tar", [out])
    os.utime(out, (1, 1))
    moved = folder / "elsewhere" / "relayd"
    moved.parent.mkdir()
    shutil.copy(out, moved)
    shutil.copy(out.with_name("relayd.LICENSE"), moved.with_name("relayd.LICENSE"))
    build_image(
        tools,
        folder / "second.tar",
        [moved],
        env={**os.environ, "TZ": "Pacific/Auckland"},
        umask=0o077,
        cwd="/",
    )
    first = (folder / "first.tar").read_bytes()
    assert first == (folder / "second.tar").read_bytes(), "the same binary gave another archive"
    assert len(first) < BYTES_MAX, f"{len(first)} bytes"
    images, index, docker = read_archive(folder / "first.tar")
    [(config, _, content)] = images.values()
    version = check_image(config, content, out.read_bytes())
    assert f'version = "{version}"' in (tools.root / "Cargo.toml").read_text(), f"labelled {version}"
    names = index["manifests"][0]["annotations"]
    assert names["io.containerd.image.name"] == f"localhost/relayd:{version}", names
    assert docker[0]["RepoTags"] == [f"localhost/relayd:{version}"]
    other = dict(content, shell=content["relayd"])
    with contextlib.suppress(AssertionError):
        check_image(config, other, out.read_bytes())
        raise RuntimeError("not noticed: a file more")
    return f"{len(first) / 1e6:.1f} MB, {index['manifests'][0]['digest'][:19]}"


def architectures(tools):
    """Two binaries make an index of two platforms; what cannot become an image is refused with the way out."""
    out, _ = binary(tools)
    folder = out.parent
    # No machine of the other kind is here: the same program, said to be for it.
    data = bytearray(out.read_bytes())
    struct.pack_into("<H", data, 18, EM_AARCH64 if platform.machine() == "x86_64" else 62)
    other = folder / "other"
    other.write_bytes(data)
    shutil.copy(out.with_name("relayd.LICENSE"), folder / "other.LICENSE")
    build_image(tools, folder / "both.tar", "--name", "registry.example:5000/a/relayd:1", [out, other])
    images, index, docker = read_archive(folder / "both.tar")
    assert images.keys() == {"amd64", "arm64"}, f"architectures: {sorted(images)}"
    for (config, _, content), program in zip(images.values(), (out.read_bytes(), bytes(data)), strict=True):
        check_image(config, content, program)
    assert index["manifests"][0]["annotations"]["io.containerd.image.name"] == "registry.example:5000/a/relayd:1"
    assert len(docker) == 1, "an engine that reads manifest.json would load the last architecture"
    bare = folder / "bare"
    shutil.copy(out, bare)
    riscv = folder / "riscv"
    struct.pack_into("<H", data, 18, 243)
    riscv.write_bytes(data)
    refusals = (
        (["/bin/sh"], "linked dynamically", "build-binary"),
        ([tools.root / "LICENSE"], "not a 64-bit", "build-binary"),
        ([out, out], "second binary for", "one for each"),
        ([bare], "bare.LICENSE: missing", "build-binary"),
        ([riscv], "machine 243", "amd64, arm64"),
        ([folder / "nobody"], "No such file", "nobody"),
    )
    for binaries, what, way_out in refusals:
        done = build_image(tools, folder / "never.tar", binaries, check=False)
        assert done.returncode == 1 and what in done.stderr and way_out in done.stderr, (
            f"{binaries}: {done.returncode} {done.stderr}"
        )
    done = build_image(tools, folder / "never.tar", "--name", "relayd", [out], check=False)
    assert done.returncode == 2 and "localhost/relayd:" in done.stderr, done.stderr
    done = tools.run(
        [tools.deploy / "container" / "build-binary", "--arch", "s390x", folder / "never"], check=False
    )
    assert done.returncode == 1 and "amd64 and arm64" in done.stderr, done.stderr
    assert not (folder / "never.tar").exists()
    return f"2 platforms in one index, {len(refusals) + 2} refusals"


# -- it runs


def runs(tools):
    """Alone in a read-only root, as 10001, it has all its names, validates, serves, is healthy, and ends with 0."""
    assert os.geteuid() == 0, "needs root, for unshare and chroot: sudo deploy/tests/run fast --only image.runs"
    out, _ = binary(tools)
    folder = tools.scratch("image-root")
    root = folder / "root"
    build_image(tools, folder / "image.tar", [out])
    [(_, _, content)] = read_archive(folder / "image.tar")[0].values()
    for name, (member, data) in content.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if member.issym():
            path.symlink_to(member.linkname)
        else:
            path.write_bytes(data)
            path.chmod(member.mode)
    for mount in ("run/relayd", "etc/relayd"):
        (root / mount).mkdir(parents=True)
    (root / "etc/relayd/config.yaml").write_text(CONFIG)
    log = folder / "relayd.log"
    spaces = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"]
    done = tools.run([*spaces, "bash", "-euo", "pipefail", "-c", INSIDE, "inside", root, log])
    versions = [line for line in done.stdout.splitlines() if " version " in line]
    assert len(versions) == 4, f"versions: {done.stdout}"
    said = log.read_text()
    assert "shutdown complete" in said and re.search(r"accepted [1-9]\d* spans", said), said[-1000:]
    left = {str(path.relative_to(root)) for path in root.rglob("*")}
    assert left == {*FILES, "run", "run/relayd", "etc", "etc/relayd", "etc/relayd/config.yaml"}, (
        f"files were made: {left}"
    )
    return versions[0]


# -- built twice


def reproducible(tools):
    """Built from a copy elsewhere, with another target directory and cargo home, it is the same program."""
    out, _ = binary(tools)
    folder = tools.scratch("image-again")
    copy = folder / "a" / "longer" / "way" / "relay"
    for name in tools.run(["git", "ls-files", "-z"], cwd=tools.root).stdout.split("\0"):
        if name and (tools.root / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(tools.root / name, copy / name)
    home = pathlib.Path(os.environ.get("CARGO_HOME") or pathlib.Path.home() / ".cargo")
    (folder / "cargo").symlink_to(home)
    target = folder / "target"
    again = folder / "relayd"
    environment = {
        **os.environ,
        "CARGO_TARGET_DIR": str(target),
        "CARGO_HOME": str(folder / "cargo"),
        "TZ": "Pacific/Auckland",
    }
    try:
        tools.run([copy / "deploy/container/build-binary", again], env=environment, timeout=BUILD_SECONDS)
    finally:
        shutil.rmtree(target, ignore_errors=True)
    for suffix in ("", ".LICENSE", ".cdx.json"):
        same = again.with_name("relayd" + suffix).read_bytes() == out.with_name("relayd" + suffix).read_bytes()
        assert same, f"relayd{suffix} differs: {out} and {again}"
    return hashlib.sha256(again.read_bytes()).hexdigest()[:16]


CHECKS = [static, licences, archive, architectures, runs]
# A second release build: minutes.
SLOW = [reproducible]
