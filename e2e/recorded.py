"""The recorded payloads of testkit/payloads, and large requests made of them.

Must never decode a span: requests are joined and cut at the fields above it (protobuf wire format, length-delimited fields).
"""

import glob
import gzip
import os

from stage import REPOSITORY

# ExportTraceServiceRequest.resource_spans; ResourceSpans.resource, .scope_spans; ScopeSpans.scope, .spans (OTLP, trace.proto)
RESOURCE_SPANS, RESOURCE, SCOPE_SPANS, SCOPE, SPANS = 1, 1, 2, 1, 2
LENGTH_DELIMITED = 2


def _varint_at(data, at):
    value, shift = 0, 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _varint(value):
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _fields(message):
    """(number, content) of every field of a message that has length-delimited fields only."""
    at = 0
    while at < len(message):
        tag, at = _varint_at(message, at)
        if tag & 7 != LENGTH_DELIMITED:
            raise ValueError(f"wire type {tag & 7} in a message of sub-messages")
        length, at = _varint_at(message, at)
        yield tag >> 3, message[at : at + length]
        at += length


def _field(number, content):
    return _varint(number << 3 | LENGTH_DELIMITED) + _varint(len(content)) + content


def messages():
    """All recorded requests."""
    found = []
    for path in sorted(glob.glob(os.path.join(REPOSITORY, "testkit", "payloads", "*.pb.gz"))):
        with gzip.open(path) as file:
            data, at = file.read(), 0
        while at < len(data):
            length, at = _varint_at(data, at)
            found.append(data[at : at + length])
            at += length
    return found


def as_one_request(times):
    """All recordings, `times` over, as one request: the bytes of requests one after the other are a request."""
    return b"".join(messages()) * times


def _inside(parents, number):
    """The contents of field `number` of all `parents`, in order."""
    return [content for parent in parents for found, content in _fields(parent) if found == number]


def as_one_resource(times):
    """All scopes of the recordings, `times` over, under the first resource: can only be cut inside its ResourceSpans."""
    all_resource_spans = _inside(messages(), RESOURCE_SPANS)
    resource, scopes = _inside(all_resource_spans, RESOURCE)[0], _inside(all_resource_spans, SCOPE_SPANS)
    content = _field(RESOURCE, resource) + b"".join(_field(SCOPE_SPANS, one) for one in scopes) * times
    return _field(RESOURCE_SPANS, content)


def as_one_scope(times):
    """All spans of the recordings, `times` over, under the first resource and scope: can only be cut between its spans."""
    all_resource_spans = _inside(messages(), RESOURCE_SPANS)
    scopes = _inside(all_resource_spans, SCOPE_SPANS)
    scope, spans = _inside(scopes, SCOPE)[0], _inside(scopes, SPANS)
    content = _field(SCOPE, scope) + b"".join(_field(SPANS, one) for one in spans) * times
    return _field(RESOURCE_SPANS, _field(RESOURCE, _inside(all_resource_spans, RESOURCE)[0]) + _field(SCOPE_SPANS, content))


def write_messages(path, requests):
    """A file for `testkit replay --file`: every message after its length as a varint."""
    with open(path, "wb") as file:
        for request in requests:
            file.write(_varint(len(request)) + request)
