"""Turns OTLP/JSON requests into protobuf, into the JSON that grpcurl takes, and writes the descriptors that grpcurl needs, with
Google's protobuf library and OpenTelemetry's generated classes for Python.

usage: protobuf.py FILE OUTDIR   (an object: traces, metrics, logs -> request; writes SIGNAL.pb, SIGNAL.proto3.json, otlp.protoset)

Must never take a field that the classes do not know: a typo in a request would be silence at the far end.
"""

import base64
import json
import os
import sys

from google.protobuf import descriptor_pb2, json_format
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

SERVICES = {
    "traces": (trace_service_pb2, trace_service_pb2.ExportTraceServiceRequest),
    "metrics": (metrics_service_pb2, metrics_service_pb2.ExportMetricsServiceRequest),
    "logs": (logs_service_pb2, logs_service_pb2.ExportLogsServiceRequest),
}
# OTLP writes these in hex where proto3's JSON has base64 (OTLP specification, section JSON Protobuf Encoding).
IDS = ("traceId", "spanId", "parentSpanId")


def proto3(value):
    if isinstance(value, list):
        return [proto3(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {key: base64.b64encode(bytes.fromhex(one)).decode() if key in IDS else proto3(one) for key, one in value.items()}


def add_files(found, descriptor):
    """A file after those that it imports."""
    for imported in descriptor.dependencies:
        add_files(found, imported)
    if descriptor.name not in (one.name for one in found.file):
        descriptor.CopyToProto(found.file.add())


def main():
    source, folder = sys.argv[1:]
    with open(source, encoding="utf-8") as file:
        requests = json.load(file)
    protoset = descriptor_pb2.FileDescriptorSet()
    for signal, (module, request_class) in SERVICES.items():
        add_files(protoset, module.DESCRIPTOR)
        as_json = json.dumps(proto3(requests[signal]))
        with open(os.path.join(folder, f"{signal}.proto3.json"), "w", encoding="utf-8") as out:
            out.write(as_json)
        with open(os.path.join(folder, f"{signal}.pb"), "wb") as out:
            out.write(json_format.Parse(as_json, request_class()).SerializeToString())
    with open(os.path.join(folder, "otlp.protoset"), "wb") as out:
        out.write(protoset.SerializeToString())


if __name__ == "__main__":
    main()
