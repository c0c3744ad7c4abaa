"""The metrics of a relayd that has everything which has metrics, was fed, and whose upstream is away.

Servers are on loopback, on ports that were free; the relayd is ended by its own handle.
"""

import contextlib
import socket
import subprocess
import time
import urllib.request

from checks import promql

# All that has metrics of its own: TLS in both directions, a name to look up, all signals, requests that stay unopened, a disk.
CONFIG = """
receivers:
  otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{grpc}"}}, http: {{endpoint: "127.0.0.1:{http}"}}}}}}
  otlp/tls: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{tls}", tls: {pair}}}}}}}
processors:
  memory_limiter: {{check_interval: 1s, limit_mib: 32}}
  batch: {{timeout: 200ms}}
exporters:
  otlp_grpc: {{endpoint: "localhost:{away}", tls: {{insecure: true}}, sending_queue: {{storage: file_storage}}}}
  otlp_grpc/tls: {{endpoint: "127.0.0.1:{away}", tls: {pair}}}
  otlp_grpc/unopened: {{endpoint: "127.0.0.1:{away}", tls: {{insecure: true}}, compressed_passthrough: alone}}
extensions:
  file_storage: {{directory: "{spool}", create_directory: true, min_free_mib: 0}}
service:
  extensions: [file_storage]
  pipelines:
    traces: {{receivers: [otlp, otlp/tls], processors: [memory_limiter, batch], exporters: [otlp_grpc]}}
    traces/tls: {{receivers: [otlp], processors: [memory_limiter, batch], exporters: [otlp_grpc/tls]}}
    metrics: {{receivers: [otlp], processors: [memory_limiter, batch], exporters: [otlp_grpc]}}
    logs: {{receivers: [otlp], processors: [memory_limiter, batch], exporters: [otlp_grpc]}}
    profiles: {{receivers: [otlp], processors: [memory_limiter], exporters: [otlp_grpc]}}
    traces/unopened: {{receivers: [otlp/tls], processors: [memory_limiter], exporters: [otlp_grpc/unopened]}}
  telemetry:
    metrics:
      readers:
        - pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {page}, without_type_suffix: true,
            without_units: true, without_scope_info: true}}}}}}
"""

_live = {}


def free_ports(count):
    """Ports of the loopback address that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def scrape(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        return promql.read_page(answer.read().decode())


def wait_for_page(port, relayd, log, condition, what):
    """The first page that is as wanted, within 30 s."""
    give_up = time.monotonic() + 30
    while time.monotonic() < give_up:
        assert relayd.poll() is None, f"relayd has ended:\n{log.read_text()[-2000:]}"
        with contextlib.suppress(OSError):
            page = scrape(port)
            if condition(page):
                return page
        time.sleep(0.1)
    raise AssertionError(f"waited 30 s in vain for {what}:\n{log.read_text()[-2000:]}")


def of(tools):
    """The page of a relayd that has everything, was fed, and whose upstream is away."""
    if _live:
        return _live
    folder = tools.scratch("monitoring")
    tools.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30",
               "-subj", "/CN=localhost",
               "-keyout", folder / "key.pem", "-out", folder / "cert.pem"])  # fmt: skip
    grpc, http, tls, away, page = free_ports(5)
    pair = f"{{cert_file: {folder}/cert.pem, key_file: {folder}/key.pem}}"
    config = folder / "config.yaml"
    spool = folder / "spool"
    config.write_text(CONFIG.format(grpc=grpc, http=http, tls=tls, away=away, page=page, pair=pair, spool=spool))
    log = folder / "relayd.log"
    with log.open("w") as output:
        relayd = subprocess.Popen(
            [tools.relayd, "--config", config, "--shutdown-timeout", "1s"],
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
        )
    try:
        wait_for_page(page, relayd, log, bool, "the first page")
        tools.run([tools.relayd, "send", "--endpoint", f"127.0.0.1:{grpc}", "--traces", "5"])
        wanted = {"relayd_exporter_address_up", "relayd_resolver_lookups"}
        _live.update(wait_for_page(page, relayd, log, wanted.issubset, "an address of the upstream"))
    finally:
        relayd.terminate()
        try:
            relayd.wait(20)
        except subprocess.TimeoutExpired:
            relayd.kill()
    return _live
