"""The Collector as a peer: what it listens on, what it batches, where it sends.

Must never differ from relayd's peer configuration in anything that costs: the same linger, the same limit of a message.
"""

from process import free_port
from stage import local, prometheus_on, to_upstream

LINGER = "200ms"
QUEUE_REQUESTS = 20_000
RECV_MIB_MAX = 64


def start(stage, name, upstream_port, load, core, has_batch_processor):
    """The Collector with otlp, batch, otlp; or with the exporter's own queue that batches, sized the same."""
    ports = {"grpc": free_port(), "metrics": free_port()} | ({"http": free_port()} if load.is_http else {})
    exporters = to_upstream(upstream_port, compression="gzip" if load.gzip_out else "none")
    if not has_batch_processor:
        batch = {"flush_timeout": LINGER, "min_size": 8192, "sizer": "items"}
        # Its default of 1,000 requests is full before a batch is when requests are small, and refuses the rest.
        exporters["otlp_grpc"]["sending_queue"] = {"queue_size": QUEUE_REQUESTS, "batch": batch}
    protocols = {"grpc": {"endpoint": local(ports["grpc"]), "max_recv_msg_size_mib": RECV_MIB_MAX}}
    if load.is_http:
        protocols["http"] = {"endpoint": local(ports["http"]), "max_request_body_size": RECV_MIB_MAX << 20}
    pipeline = {
        "receivers": ["otlp"], "processors": ["batch"] if has_batch_processor else [], "exporters": list(exporters),
    }  # fmt: skip
    config = {
        "receivers": {"otlp": {"protocols": protocols}},
        "processors": {"batch": {"timeout": LINGER}},
        "exporters": exporters,
        "service": {
            "telemetry": {**prometheus_on(ports["metrics"]), "logs": {"level": "warn"}}, "pipelines": {"traces": pipeline},
        },
    }  # fmt: skip
    started = stage.start(name, "otelcol", "--config", stage.write_config(f"{name}.yaml", config), core=core)
    started.ports = ports
    return started
