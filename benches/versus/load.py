"""A cell's load: what is sent, over how many connections, how fast; and its arguments for `testkit load`.

Must never hold anything of a peer: the same load goes to all.
"""

import dataclasses

SOURCES = ("crio", "kube-apiserver-etcd", "containerd")
GRPC, HTTP_PROTOBUF, HTTP_JSON = "grpc", "http/protobuf", "http/json"


@dataclasses.dataclass(frozen=True)
class Load:
    """`rate` is in requests per second over all connections; None: closed loop. `source` names a recording that is sent instead
    of generated spans; `span_bytes` is the size of each generated one, about. `gzip_out` asks the peer to compress what it sends
    on, as far as it can. `protocol` is one of `testkit load --protocol`; over HTTP calls on one connection are pipelined."""

    spans: int = 10
    connections: int = 4
    in_flight: int = 8
    rate: float | None = None
    source: str | None = None
    gzip: bool = False
    gzip_out: bool = False
    span_bytes: int | None = None
    protocol: str = GRPC

    def arguments(self, endpoint, seconds):
        """Of `testkit load`."""
        arguments = ["--endpoint", endpoint, "--seconds", seconds, "--connections", self.connections]
        arguments += ["--in-flight", self.in_flight]
        arguments += ["--protocol", self.protocol] if self.is_http else []
        if self.source:
            arguments += ["--recorded", "--recorded-source", self.source]
        else:
            arguments += ["--spans-per-request", self.spans]
            arguments += ["--span-bytes", self.span_bytes] if self.span_bytes else []
        arguments += [] if self.rate is None else ["--rate", self.rate]
        return arguments + (["--gzip"] if self.gzip else [])

    @property
    def is_http(self):
        return self.protocol != GRPC

    @property
    def name(self):
        """For file names and errors: what tells this load from others."""
        name = f"{self.source or f'{self.spans}spans'}-{self.connections}x{self.in_flight}"
        name += f"-{self.span_bytes}bytes" if self.span_bytes else ""
        name += f"-{self.rate:g}rps" if self.rate else ""
        name += f"-{self.protocol.replace('/', '-')}" if self.is_http else ""
        return name + ("-gzip" if self.gzip else "") + ("-gzipout" if self.gzip_out else "")
