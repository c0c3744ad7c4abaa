"""Scenarios about TLS gone wrong: peers that must be refused, files that are rotated, upstreams that must not be trusted. Nothing else
on the process notices, and nothing is lost.

Must never wait for a rotation without new handshakes: files are looked at when there is one.
"""

import ssl
import time

import otlp
from handshake import handshake
from observe import Metrics, check_each_once, spans_in_file
from process import Failed, wait_until
from stage import local
from table import Row
from written import Written

ALPN = {"grpc": "h2", "http": "http/1.1"}
RELOAD = {"reload_interval": "200ms"}
# The reload interval, and room for a machine that is busy.
ROTATED_SECONDS = 15
# telemetrygen's traces have two spans; the bad peers are through before its load is.
LOAD_SPANS_PER_SECOND = 100
REFUSED_LOAD_SECONDS, ROTATION_LOAD_SECONDS = 9, 15
FEW_TRACES = 20
# Several times the interval between attempts to connect.
HELD_SECONDS = 4
# How the start of a TLS session ends at a server that does not speak it.
NOT_TLS = ("WRONG_VERSION_NUMBER", "UNEXPECTED_EOF_WHILE_READING", "RECORD_LAYER_FAILURE", "reset", "closed")
HANDSHAKE_FAILURES, RELOAD_FAILURES = "relayd_tls_handshake_failures", "relayd_tls_reload_failures"
UPSTREAM_HANDSHAKE_FAILURES = "relayd_upstream_tls_handshake_failures"


class _Bad:
    """A peer that must be refused, by the receivers of one `security`."""

    def __init__(self, name, security, reasons, words=None, ca="ca", pair=None, newest=None):
        self.name, self.security, self.ca, self.pair, self.newest = name, security, ca, pair, newest
        # Of the failure as OpenSSL names it at the peer, and in relayd's log.
        self.reasons, self.words = reasons, words


BAD = [
    _Bad("wrong CA", "tls", ["CERTIFICATE_VERIFY_FAILED"], "does not trust the CA", ca="other-ca"),
    _Bad("no client certificate", "mtls", ["TLSV13_ALERT_CERTIFICATE_REQUIRED"], "has no client certificate"),
    _Bad(
        "expired client certificate",
        "mtls",
        ["SSLV3_ALERT_CERTIFICATE_EXPIRED"],
        "certificate has expired",
        pair="client-expired",
    ),
    _Bad("client of another CA", "mtls", ["TLSV1_ALERT_UNKNOWN_CA"], "not signed by a CA", pair="client-other"),
    _Bad(
        "TLS 1.1",
        "tls",
        # The second is rustls's, which misses an extension of TLS 1.2 before it looks at the version.
        ["TLSV1_ALERT_PROTOCOL_VERSION", "SSLV3_ALERT_HANDSHAKE_FAILURE"],
        "TLS version",
        newest=ssl.TLSVersion.TLSv1_1,
    ),
]


class _Load:
    """telemetrygen on the side, by gRPC over mTLS: one connection that goes on for some seconds."""

    def __init__(self, stage, agent, certificates, seconds):
        self.spans, path = seconds * LOAD_SPANS_PER_SECOND, certificates.path
        self.process = stage.start(
            "load", "telemetrygen", "traces", "--otlp-endpoint", local(agent.ports["mtls"]["grpc"]), "--service", "load",
            "--traces", self.spans // 2, "--child-spans", 1, "--rate", LOAD_SPANS_PER_SECOND, "--ca-cert", path("ca.pem"),
            "--mtls", "--client-cert", path("client.pem"), "--client-key", path("client.key"),
        )  # fmt: skip
        begun = lambda: otlp.counted(Metrics(agent.ports["metrics"]), "traces")[0] > 0
        wait_until(begun, otlp.ARRIVE_SECONDS, "the first span of the load")

    def finish(self):
        if not self.process.is_running():
            raise Failed("the load ended before what it was to be undisturbed by: nothing was shown")
        if self.process.wait(60) != 0:
            raise Failed(f"the load on the side was disturbed: {self.process.tail()}")


def refused(stage):
    """A CA that the peer does not trust, a missing, expired or foreign client certificate, an old version, plaintext to a TLS port
    and TLS to a plaintext one, by gRPC and HTTP: each is refused with the alert that says why, counted, and logged in words. A sender
    on the side loses nothing."""
    certificates = otlp.Certificates(stage)
    collector = otlp.collector_behind(stage, certificates)
    agent = otlp.agent(stage, collector, certificates)
    load, wrong = _Load(stage, agent, certificates, REFUSED_LOAD_SECONDS), []
    for bad in BAD:
        for protocol in otlp.PROTOCOLS:
            wrong += _wrong_end(stage, agent, certificates, bad, protocol)
    wrong += _wrong_port(stage, agent, certificates)
    load.finish()
    good = _check_arrived(collector, load.spans)
    if stage.agent == "relayd":
        wrong += [f"{bad.name}: relayd's log does not say {bad.words!r}" for bad in BAD if bad.words not in agent.log()]
        wrong += [] if "does not speak TLS" in agent.log() else ["plaintext to a TLS port is not in relayd's log"]
    return _finish(stage, agent, collector, "TLS refused beside good", good, wrong, f"{len(BAD)} kinds by gRPC and HTTP")


def _wrong_end(stage, agent, certificates, bad, protocol):
    """What is wrong with how a bad peer's handshake ends, in words."""
    path, port = certificates.path, agent.ports[bad.security][protocol]
    pair = (path(f"{bad.pair}.pem"), path(f"{bad.pair}.key")) if bad.pair else None
    before = _failures(agent)
    ended = handshake(port, path(f"{bad.ca}.pem"), pair, ALPN[protocol], bad.newest)
    wrong = [] if ended in bad.reasons else [f"{bad.name} by {protocol} ends with {ended} instead of {bad.reasons}"]
    code = _curl(stage, f"https://{local(port)}/v1/traces", path(f"{bad.ca}.pem"), pair, bad.newest)
    wrong += [] if code == "000" else [f"{bad.name} by {protocol}: curl was answered with {code}"]
    if stage.agent == "relayd" and _failures(agent) < before + 2:
        wrong.append(f"{bad.name} by {protocol} is not counted")
    return wrong


def _curl(stage, url, ca, pair=None, newest=None):
    """The HTTP status that curl sees, "000" for none."""
    flags = ["--cert", pair[0], "--key", pair[1]] if pair else []
    flags += ["--tls-max", "1.1", "--tlsv1.0", "--ciphers", "DEFAULT@SECLEVEL=0"] if newest else []
    return stage.run(
        "curl", "--silent", "--max-time", 10, "--cacert", ca, *flags, "--header", "content-type: application/json", "--data", "{}",
        "--output", stage.path("curl.answer"), "--write-out", "%{http_code}", url, may_fail=True,
    )  # fmt: skip


def _wrong_port(stage, agent, certificates):
    """Plaintext to TLS, and TLS to plaintext: what is wrong with how they end, in words."""
    wrong, ca = [], certificates.path("ca.pem")
    for protocol in otlp.PROTOCOLS:
        before = _failures(agent)
        # What Go's server says to it, in plaintext, is 400.
        code = _curl(stage, f"http://{local(agent.ports['tls'][protocol])}/v1/traces", ca)
        if code not in ("000", "400"):
            wrong.append(f"plaintext to a TLS port by {protocol} is answered with {code}")
        if stage.agent == "relayd" and _failures(agent) < before + 1:
            wrong.append(f"plaintext to a TLS port by {protocol} is not counted")
        ended = handshake(agent.ports["plain"][protocol], ca, alpn=ALPN[protocol])
        if ended not in NOT_TLS:
            wrong.append(f"TLS to a plaintext port by {protocol} ends with {ended}")
    return wrong


def _failures(agent):
    return Metrics(agent.ports["metrics"]).sum(HANDSHAKE_FAILURES)


def rotation(stage):
    """The receivers' certificate is replaced as Kubernetes does it, under load: by garbage, by a certificate without its key, by a
    good one. The old one stays in use until the good one is there, a counter and a log line tell, connections that are open go on,
    and no span is lost."""
    certificates = otlp.Certificates(stage)
    collector = otlp.collector_behind(stage, certificates)
    pair = lambda certificate, key: {"tls.crt": certificate, "tls.key": key}
    read = certificates.read
    live = otlp.Rotated(stage.path("live"), pair(read("server.pem"), read("server.key")))
    server = {"cert_file": live.path("tls.crt"), "key_file": live.path("tls.key"), **RELOAD}
    agent = otlp.agent(stage, collector, certificates, server=server)
    load, wrong, failures = _Load(stage, agent, certificates, ROTATION_LOAD_SECONDS), [], 0
    for name, content in (
        ("garbage", pair(b"garbage", b"garbage")),
        ("half of a certificate", pair(read("server-next.pem")[:200], read("server-next.key"))),
        ("a certificate without its key", pair(read("server-next.pem"), read("server.key"))),
    ):
        live.replace(content)
        failures = _wait_reload_failure(agent, certificates, failures, name)
        wrong += [f"{name}: {shown}" for shown in _shown(agent, certificates) if shown != "server"]
    if "tls.crt" not in agent.log():
        wrong.append("relayd's log does not name the file")
    live.replace(pair(read("server-next.pem"), read("server-next.key")))
    wait_until(lambda: set(_shown(agent, certificates)) == {"server-next"}, ROTATED_SECONDS, "the new certificate to be in use")
    load.finish()
    good = _check_arrived(collector, load.spans)
    return _finish(
        stage, agent, collector, "TLS rotated under load", good, wrong, "old one kept while the new was bad, none lost"
    )


def _shown(agent, certificates):
    """The name in the certificate of each receiver with TLS, or why there was none."""
    path = certificates.path
    pair = (path("client.pem"), path("client.key"))
    return [
        handshake(agent.ports[security][protocol], path("ca.pem"), pair, ALPN[protocol])
        for security in ("tls", "mtls")
        for protocol in otlp.PROTOCOLS
    ]


def _wait_reload_failure(agent, certificates, before, name):
    """The counter, once it is past `before`: every look is a handshake's."""

    def counted():
        _shown(agent, certificates)
        failures = Metrics(agent.ports["metrics"]).sum(RELOAD_FAILURES)
        return failures if failures > before else None

    return wait_until(counted, ROTATED_SECONDS, f"{name} to be counted by {RELOAD_FAILURES}")


def upstream(stage):
    """An upstream whose CA is not trusted, and one to which our client certificate has expired: what is sent there is held and nothing
    is told to them, while the third exporter delivers. Once the files are right, all that was held arrives, each span once."""
    certificates = otlp.Certificates(stage)
    collector = otlp.collector_behind(stage, certificates)
    read = certificates.read
    files = lambda ca, client: {"ca.crt": read(f"{ca}.pem"), "tls.crt": read(f"{client}.pem"), "tls.key": read(f"{client}.key")}
    live = otlp.Rotated(stage.path("live"), files("other-ca", "client-expired"))
    pair = {"cert_file": live.path("tls.crt"), "key_file": live.path("tls.key")}
    again = {"retry_on_failure": {"initial_interval": "200ms", "max_interval": "1s", "max_elapsed_time": "0s"}}
    onward = {
        "tls": {"tls": {"ca_file": live.path("ca.crt"), **RELOAD}, **again},
        "mtls": {"tls": {"ca_file": certificates.path("ca.pem"), **pair, **RELOAD}, **again},
    }
    agent = otlp.agent(stage, collector, certificates, onward=onward)
    for security in otlp.SECURITIES:
        stage.run(
            "telemetrygen", "traces", "--otlp-insecure-skip-verify", *(["--otlp-insecure"] if security == "plain" else []),
            "--otlp-endpoint", local(agent.ports[security]["grpc"]), "--service", security, "--traces", FEW_TRACES,
            "--child-spans", 1, "--rate", 0, *_mutual(certificates, security),
        )  # fmt: skip
    spans = 2 * FEW_TRACES
    _check_arrived(collector, spans)
    time.sleep(HELD_SECONDS)
    wrong, held = [], set(Written(collector.file).items["traces"])
    if held != {"plain"}:
        wrong.append(f"upstreams that are not to be trusted, or do not trust, got spans: {held}")
    for words in ("not signed by a CA that is trusted here", "our certificate has expired"):
        wrong += [] if words in agent.log() else [f"relayd's log does not say {words!r}"]
    if Metrics(agent.ports["metrics"]).sum(UPSTREAM_HANDSHAKE_FAILURES) < 2:
        wrong.append("handshakes that failed are not counted")
    live.replace(files("ca", "client"))
    good = _check_arrived(collector, len(otlp.SECURITIES) * spans)
    return _finish(
        stage, agent, collector, "TLS towards upstreams", good, wrong, "held until certificates were right, then delivered"
    )


def _mutual(certificates, security):
    path = certificates.path
    return ["--mtls", "--client-cert", path("client.pem"), "--client-key", path("client.key")] if security == "mtls" else []


def _check_arrived(collector, spans):
    """Waits until the Collector has written as many spans, each once; gives how many."""
    otlp.arrived(collector, spans)
    check_each_once(spans_in_file(collector.file), spans, "the Collector's file")
    return spans


def _finish(stage, agent, collector, name, spans, wrong, what):
    accepted, sent = otlp.counted(Metrics(agent.ports["metrics"]), "traces")
    if (accepted, sent) != (spans, spans):
        wrong.append(f"{spans} spans were sent, but {stage.agent} accepted {accepted} and sent {sent}")
    if agent.stop() != 0:
        wrong.append(f"{stage.agent} did not exit with 0")
    collector.stop()
    if wrong:
        raise Failed(f"{len(wrong)} wrong: " + "; ".join(wrong))
    return Row(name, spans, accepted, sent, spans, f"ok: {what}")
