"""Turns OTLP/JSON requests into protobuf and into the JSON that grpcurl takes, and writes the descriptors that grpcurl needs, with
Google's protobuf library and OpenTelemetry's generated classes for Python.

usage: protobuf.py FOLDER...   (reads asked.json of each, an object: traces, metrics, logs, profiles -> request; writes SIGNAL.json,
SIGNAL.pb, SIGNAL.proto3.json and otlp.protoset beside it)

Must never take a field that the classes do not know: a typo in a request would be silence at the far end.
"""

import base64
import json
import os
import sys

from google.protobuf import descriptor_pb2, json_format
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.profiles.v1development import profiles_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

SERVICES = {
    "traces": (trace_service_pb2, trace_service_pb2.ExportTraceServiceRequest),
    "metrics": (metrics_service_pb2, metrics_service_pb2.ExportMetricsServiceRequest),
    "logs": (logs_service_pb2, logs_service_pb2.ExportLogsServiceRequest),
    "profiles": (profiles_service_pb2, profiles_service_pb2.ExportProfilesServiceRequest),
}
# OTLP writes these in hex where proto3's JSON has base64 (OTLP specification, section JSON Protobuf Encoding).
IDS = ("traceId", "spanId", "parentSpanId", "profileId")


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


def write(folder, name, content):
    with open(os.path.join(folder, name), "wb") as out:
        out.write(content)


def encode(folder):
    with open(os.path.join(folder, "asked.json"), encoding="utf-8") as file:
        requests = json.load(file)
    protoset = descriptor_pb2.FileDescriptorSet()
    for signal, request in requests.items():
        module, request_class = SERVICES[signal]
        add_files(protoset, module.DESCRIPTOR)
        as_proto3 = json.dumps(proto3(request))
        write(folder, f"{signal}.json", json.dumps(request).encode())
        write(folder, f"{signal}.proto3.json", as_proto3.encode())
        write(folder, f"{signal}.pb", json_format.Parse(as_proto3, request_class()).SerializeToString())
    write(folder, "otlp.protoset", protoset.SerializeToString())


if __name__ == "__main__":
    for given in sys.argv[1:]:
        encode(given)
