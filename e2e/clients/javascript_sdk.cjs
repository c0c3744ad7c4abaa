// Says through the OpenTelemetry SDK for JavaScript what a file of OTLP/JSON requests says, and exits with 1 if an export failed.
//
// usage: javascript_sdk.cjs FILE   (an object: traces, metrics, logs -> request; where to and how is in OTEL_EXPORTER_OTLP_*, as in
// any program)
//
// Must never build a request itself: everything goes through the API, the SDK and its OTLP exporters.
"use strict";

const fs = require("node:fs");
const api = require("@opentelemetry/api");
const { resourceFromAttributes } = require("@opentelemetry/resources");
const { BatchSpanProcessor, TracerProvider } = require("@opentelemetry/sdk-trace");
const { BatchLogRecordProcessor, LoggerProvider } = require("@opentelemetry/sdk-logs");
const { MeterProvider, PeriodicExportingMetricReader } = require("@opentelemetry/sdk-metrics");

const NEVER_MILLIS = 3_600_000;
const PACKAGES = { grpc: "grpc", "http/protobuf": "proto", "http/json": "http" };
const failed = [];

/** The exporter of the protocol that OTEL_EXPORTER_OTLP_PROTOCOL names, made to remember exports that failed. */
function exporterOf(signal, name) {
  const kind = PACKAGES[process.env.OTEL_EXPORTER_OTLP_PROTOCOL];
  const exporter = new (require(`@opentelemetry/exporter-${signal}-otlp-${kind}`)[name])();
  const inner = exporter.export.bind(exporter);
  exporter.export = (items, done) =>
    inner(items, (result) => {
      if (result.code !== 0) failed.push(`${name}: ${result.error}`);
      done(result);
    });
  return exporter;
}

function value(anyValue) {
  const [[kind, content]] = Object.entries(anyValue);
  if (kind === "intValue") return Number(content);
  if (kind === "arrayValue") return content.values.map(value);
  if (kind === "kvlistValue") return attributes(content.values);
  if (kind === "bytesValue") return new Uint8Array(Buffer.from(content, "base64"));
  return content;
}

function attributes(pairs) {
  return Object.fromEntries((pairs ?? []).map((pair) => [pair.key, value(pair.value)]));
}

/** Seconds and nanoseconds: a number would not hold them. */
function hrTime(nano) {
  return [Number(nano.slice(0, -9)), Number(nano.slice(-9))];
}

function spanContext(item, spanId) {
  const traceState = item.traceState ? api.createTraceState(item.traceState) : undefined;
  return { traceId: item.traceId, spanId, traceFlags: api.TraceFlags.SAMPLED, traceState };
}

function within(item, spanId) {
  return api.trace.setSpanContext(api.ROOT_CONTEXT, spanContext(item, spanId));
}

function saySpans(resource, scope, spans) {
  let current;
  const provider = new TracerProvider({
    resource,
    idGenerator: { generateTraceId: () => current.traceId, generateSpanId: () => current.spanId },
    spanProcessors: [new BatchSpanProcessor({ exporter: exporterOf("trace", "OTLPTraceExporter") })],
  });
  const tracer = provider.getTracer(scope.name, scope.version);
  for (const item of spans) {
    current = item;
    const span = tracer.startSpan(
      item.name,
      {
        kind: item.kind - 1,
        attributes: attributes(item.attributes),
        links: item.links.map((link) => ({ context: spanContext(link, link.spanId), attributes: attributes(link.attributes) })),
        startTime: hrTime(item.startTimeUnixNano),
      },
      item.parentSpanId ? within(item, item.parentSpanId) : api.ROOT_CONTEXT,
    );
    for (const event of item.events) span.addEvent(event.name, attributes(event.attributes), hrTime(event.timeUnixNano));
    if (item.status.code) span.setStatus(item.status);
    span.end(hrTime(item.endTimeUnixNano));
  }
  return provider;
}

function sayMetrics(resource, scope, metrics) {
  const reader = new PeriodicExportingMetricReader({
    exporter: exporterOf("metrics", "OTLPMetricExporter"),
    exportIntervalMillis: NEVER_MILLIS,
  });
  const provider = new MeterProvider({ resource, readers: [reader] });
  const meter = provider.getMeter(scope.name, scope.version);
  for (const { name, unit, description, sum, gauge, histogram } of metrics) {
    const options = { unit, description };
    if (sum) {
      const counter = meter.createCounter(name, { ...options, valueType: api.ValueType.INT });
      for (const point of sum.dataPoints) counter.add(Number(point.asInt), attributes(point.attributes));
    } else if (gauge) {
      const instrument = meter.createGauge(name, options);
      for (const point of gauge.dataPoints) instrument.record(point.asDouble, attributes(point.attributes));
    } else {
      const advice = { explicitBucketBoundaries: histogram.dataPoints[0].explicitBounds };
      const instrument = meter.createHistogram(name, { ...options, advice });
      for (const point of histogram.dataPoints) {
        for (const measured of measurements(point)) instrument.record(measured, attributes(point.attributes));
      }
    }
  }
  return provider;
}

/** Four that give the point's least, largest, sum and one count a bucket. */
function measurements({ min, max, sum, explicitBounds }) {
  const second = explicitBounds[0] + 0.5;
  return [min, second, sum - min - second - max, max];
}

function sayRecords(resource, scope, records) {
  const provider = new LoggerProvider({
    resource,
    processors: [new BatchLogRecordProcessor({ exporter: exporterOf("logs", "OTLPLogExporter") })],
  });
  const logger = provider.getLogger(scope.name, scope.version);
  for (const item of records) {
    logger.emit({
      timestamp: hrTime(item.timeUnixNano),
      observedTimestamp: hrTime(item.observedTimeUnixNano),
      severityNumber: item.severityNumber,
      severityText: item.severityText,
      body: value(item.body),
      attributes: attributes(item.attributes),
      eventName: item.eventName,
      context: within(item, item.spanId),
    });
  }
  return provider;
}

async function main() {
  const requests = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
  const levels = [
    ["traces", "resourceSpans", "scopeSpans", "spans", saySpans],
    ["metrics", "resourceMetrics", "scopeMetrics", "metrics", sayMetrics],
    ["logs", "resourceLogs", "scopeLogs", "logRecords", sayRecords],
  ];
  for (const [signal, byResource, byScope, items, say] of levels) {
    const [underResource] = requests[signal][byResource];
    const [underScope] = underResource[byScope];
    const resource = resourceFromAttributes(attributes(underResource.resource.attributes));
    const provider = say(resource, underScope.scope, underScope[items]);
    // Exports what is there; metrics once more than a flush would if both were asked for.
    await provider.shutdown();
  }
}

main()
  .catch((error) => failed.push(String(error)))
  .finally(() => {
    for (const failure of failed) console.error(failure);
    process.exitCode = failed.length ? 1 : 0;
  });
