"""Scenarios that end in Jaeger: telemetrygen and etcd as sources, the Collector between or not.

Must never count a trace instead of its spans.
"""

import time

from observe import accepted_spans, check_each_once, last_line, spans_in_file, spans_in_jaeger
from process import Failed, free_port, wait_until
from stage import local, to_upstream
from table import Row

WORKERS, TRACES, CHILD_SPANS = 2, 500, 4
# etcd's exporter sends after 5 s at the latest (OpenTelemetry SDK, batch span processor, schedule delay).
ETCD_QUIET_SECONDS = 7
ETCD_OPERATIONS = 50
# A span sent twice would come right behind; the Collector's batches wait 200 ms.
SETTLE_SECONDS = 0.5
OPERATIONS_PER_KEY = 5


def through_collector(stage):
    """telemetrygen -> relayd -> Collector -> Jaeger and a file: every span once in both."""
    jaeger = stage.jaeger()
    file = stage.path("spans.jsonl")
    exporters = {**to_upstream(jaeger.ports["grpc"]), "file": {"path": file, "flush_interval": "200ms"}}
    collector = stage.collector(exporters)
    relayd = stage.relayd(collector.ports["grpc"])
    sent = _generate(stage, relayd, "e2e-collector")
    row = _finish(relayd, jaeger, "e2e-collector", "telemetrygen > relayd > Collector > Jaeger", sent)
    collector.stop()
    check_each_once(spans_in_file(file), sent, "the Collector's file exporter")
    row.verdict = "ok: each once in Jaeger and in the Collector's file"
    return row


def directly(stage):
    """telemetrygen -> relayd -> Jaeger: every span once."""
    jaeger = stage.jaeger()
    relayd = stage.relayd(jaeger.ports["grpc"])
    sent = _generate(stage, relayd, "e2e-direct")
    row = _finish(relayd, jaeger, "e2e-direct", "telemetrygen > relayd > Jaeger", sent)
    row.verdict = "ok: each once in Jaeger"
    return row


def etcd_traces(stage):
    """etcd traces its own work (puts, gets, transactions by etcdctl) to relayd -> Collector -> Jaeger: what relayd accepted is
    what Jaeger has of service etcd."""
    jaeger = stage.jaeger()
    collector = stage.collector(to_upstream(jaeger.ports["grpc"]))
    relayd = stage.relayd(collector.ports["grpc"])
    client, peer = free_port(), free_port()
    etcd = stage.start(
        "etcd", "etcd", "--data-dir", stage.path("etcd.data"), "--log-level", "warn",
        "--listen-client-urls", f"http://{local(client)}", "--advertise-client-urls", f"http://{local(client)}",
        "--listen-peer-urls", f"http://{local(peer)}", "--initial-advertise-peer-urls", f"http://{local(peer)}",
        "--initial-cluster", f"default=http://{local(peer)}",
        "--enable-distributed-tracing", "--distributed-tracing-address", local(relayd.ports["grpc"]),
        "--distributed-tracing-sampling-rate", 1_000_000,
        "--distributed-tracing-service-name", "etcd", "--distributed-tracing-instance-id", "e2e",
    )  # fmt: skip
    etcd.wait_listening(client)
    _work_in_etcd(stage, client)
    accepted = _wait_until_quiet(relayd)
    etcd.stop()
    if accepted < ETCD_OPERATIONS:
        raise Failed(f"{ETCD_OPERATIONS} operations gave {accepted} spans")
    row = _finish(relayd, jaeger, "etcd", "etcd > relayd > Collector > Jaeger", None)
    row.verdict = f"ok: each once in Jaeger, from {ETCD_OPERATIONS} operations"
    return row


def _generate(stage, relayd, service):
    # Without its own batches, telemetrygen waits for the answer to every span: exact counts at full speed.
    stage.run(
        "telemetrygen", "traces", "--otlp-insecure", "--otlp-endpoint", local(relayd.ports["grpc"]), "--service", service,
        "--workers", WORKERS, "--traces", TRACES, "--child-spans", CHILD_SPANS, "--rate", 0, "--batch=false",
    )  # fmt: skip
    return WORKERS * TRACES * (1 + CHILD_SPANS)


def _work_in_etcd(stage, port):
    def etcdctl(*arguments, stdin=""):
        stage.run("etcdctl", "--endpoints", local(port), *arguments, seconds=20, stdin=stdin)

    for number in range(ETCD_OPERATIONS // OPERATIONS_PER_KEY):
        key = f"/registry/pods/default/e2e-{number}"
        etcdctl("put", key, "pending")
        etcdctl("get", key)
        # As kube-apiserver updates: if it is still what was read, put, else get. (Three blocks: compare, success, failure.)
        etcdctl("txn", stdin=f'value("{key}") = "pending"\n\nput {key} running\n\nget {key}\n\n')
        etcdctl("get", "--prefix", "/registry/pods")
        etcdctl("del", key)


def _wait_until_quiet(relayd):
    """Accepted spans, once they have not changed for longer than etcd may hold spans back."""
    give_up = time.monotonic() + 60
    last, since = -1, time.monotonic()
    while time.monotonic() - since < ETCD_QUIET_SECONDS:
        if time.monotonic() > give_up:
            raise Failed("etcd still sends spans after 60 s")
        now = accepted_spans(relayd.ports["metrics"])
        if now != last:
            last, since = now, time.monotonic()
        time.sleep(0.2)
    return last


def _finish(relayd, jaeger, service, name, sent):
    """Ends relayd, whose line must say that all was delivered, and looks for every span in Jaeger. `sent` is None where only
    relayd knows."""
    accepted = accepted_spans(relayd.ports["metrics"])
    if relayd.stop() != 0:
        raise Failed("relayd did not exit with 0")
    figures = last_line(relayd)
    expected = figures["received"] if sent is None else sent
    # etcd sends what it still has when it ends, after the last scrape; everybody else has sent it all.
    if not expected == figures["received"] == figures["delivered"] or (sent is not None and accepted != sent):
        raise Failed(f"{expected} spans were sent, {accepted} accepted, but relayd says {figures}")
    query = jaeger.ports["query"]
    wait_until(lambda: sum(spans_in_jaeger(query, service).values()) >= expected, 20, f"{expected} spans of {service} in Jaeger")
    time.sleep(SETTLE_SECONDS)
    found = spans_in_jaeger(query, service)
    check_each_once(found, expected, "Jaeger")
    return Row(name, sent, figures["received"], figures["delivered"], len(found))
