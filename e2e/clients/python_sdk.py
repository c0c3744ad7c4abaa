"""Says through the OpenTelemetry SDK for Python what a file of OTLP/JSON requests says, and exits with 1 if an export failed.

usage: python_sdk.py FILE   (an object: traces, metrics, logs -> request; where to and how is in OTEL_EXPORTER_OTLP_*, as in any
program)

Must never build a request itself: everything goes through the API, the SDK and its OTLP exporters.
"""

import base64
import importlib
import json
import os
import sys

from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator

NEVER_MILLIS = 3_600_000
FAILED = []


def exporter_of(package, name):
    """The exporter's class of the protocol that OTEL_EXPORTER_OTLP_PROTOCOL names, made to remember exports that failed."""
    protocol = {"grpc": "grpc", "http/protobuf": "http"}[os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"]]
    base = getattr(importlib.import_module(f"opentelemetry.exporter.otlp.proto.{protocol}.{package}"), name)

    class Remembering(base):
        def export(self, *arguments, **more):
            result = super().export(*arguments, **more)
            if result.name != "SUCCESS":
                FAILED.append(f"{name}: {result}")
            return result

    return Remembering()


class Given(IdGenerator):
    """Gives the ids of one span after the other."""

    def __init__(self):
        self.span = None

    def generate_span_id(self):
        return int(self.span["spanId"], 16)

    def generate_trace_id(self):
        return int(self.span["traceId"], 16)


def value(any_value):
    (kind, content), *_ = any_value.items()
    if kind == "intValue":
        return int(content)
    if kind == "arrayValue":
        return [value(one) for one in content["values"]]
    if kind == "kvlistValue":
        return attributes(content["values"])
    if kind == "bytesValue":
        return base64.b64decode(content)
    return content


def attributes(pairs):
    return {pair["key"]: value(pair["value"]) for pair in pairs or []}


def span_context(item, span_id):
    state = [tuple(one.split("=")) for one in item.get("traceState", "").split(",") if one]
    return trace.SpanContext(
        int(item["traceId"], 16), int(span_id, 16), True, trace.TraceFlags(1), trace.TraceState(state)
    )  # fmt: skip


def within(item, span_id):
    return trace.set_span_in_context(trace.NonRecordingSpan(span_context(item, span_id)))


def say_spans(resource, scope, spans):
    ids = Given()
    provider = TracerProvider(resource=resource, id_generator=ids)
    provider.add_span_processor(BatchSpanProcessor(exporter_of("trace_exporter", "OTLPSpanExporter")))
    tracer = provider.get_tracer(scope["name"], scope["version"])
    for item in spans:
        ids.span = item
        span = tracer.start_span(
            item["name"],
            within(item, item["parentSpanId"]) if "parentSpanId" in item else trace.set_span_in_context(trace.INVALID_SPAN),
            trace.SpanKind(item["kind"] - 1),
            attributes(item["attributes"]),
            [trace.Link(span_context(link, link["spanId"]), attributes(link["attributes"])) for link in item["links"]],
            int(item["startTimeUnixNano"]),
        )
        for event in item["events"]:
            span.add_event(event["name"], attributes(event.get("attributes")), int(event["timeUnixNano"]))
        status = item["status"]
        if status:
            span.set_status(trace.StatusCode(status["code"]), status.get("message"))
        span.end(int(item["endTimeUnixNano"]))
    return provider


def say_metrics(resource, scope, metrics):
    reader = PeriodicExportingMetricReader(exporter_of("metric_exporter", "OTLPMetricExporter"), NEVER_MILLIS)
    provider = MeterProvider([reader], resource)
    meter = provider.get_meter(scope["name"], scope["version"])
    for metric in metrics:
        names = (metric["name"], metric["unit"], metric["description"])
        if "sum" in metric:
            counter = meter.create_counter(*names)
            for point in metric["sum"]["dataPoints"]:
                counter.add(int(point["asInt"]), attributes(point["attributes"]))
        elif "gauge" in metric:
            gauge = meter.create_gauge(*names)
            for point in metric["gauge"]["dataPoints"]:
                gauge.set(point["asDouble"], attributes(point["attributes"]))
        else:
            points = metric["histogram"]["dataPoints"]
            histogram = meter.create_histogram(*names, explicit_bucket_boundaries_advisory=points[0]["explicitBounds"])
            for point in points:
                for measured in measurements(point):
                    histogram.record(measured, attributes(point["attributes"]))
    return provider


def measurements(point):
    """Four that give the point's least, largest, sum and one count a bucket."""
    low, high = point["min"], point["max"]
    second = point["explicitBounds"][0] + 0.5
    return [low, second, point["sum"] - low - second - high, high]


def say_records(resource, scope, records):
    provider = LoggerProvider(resource)
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter_of("_log_exporter", "OTLPLogExporter")))
    logger = provider.get_logger(scope["name"], scope["version"])
    for item in records:
        logger.emit(
            LogRecord(
                timestamp=int(item["timeUnixNano"]),
                observed_timestamp=int(item["observedTimeUnixNano"]),
                context=within(item, item["spanId"]),
                severity_number=SeverityNumber(item["severityNumber"]),
                severity_text=item["severityText"],
                body=value(item["body"]),
                attributes=attributes(item["attributes"]),
                event_name=item["eventName"],
            )
        )
    return provider


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        requests = json.load(file)
    levels = (
        ("traces", "resourceSpans", "scopeSpans", "spans", say_spans),
        ("metrics", "resourceMetrics", "scopeMetrics", "metrics", say_metrics),
        ("logs", "resourceLogs", "scopeLogs", "logRecords", say_records),
    )
    for signal, by_resource, by_scope, items, say in levels:
        (under_resource,) = requests[signal][by_resource]
        (under_scope,) = under_resource[by_scope]
        resource = Resource(attributes(under_resource["resource"]["attributes"]))
        provider = say(resource, under_scope["scope"], under_scope[items])
        # Exports what is there; metrics once more than a flush would if both were asked for.
        provider.shutdown()
    for failure in FAILED:
        print(failure, file=sys.stderr)
    sys.exit(1 if FAILED else 0)


if __name__ == "__main__":
    main()
