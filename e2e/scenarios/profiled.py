"""The scenario of profiles: the one signal whose requests cannot be joined, since each has indices into its own dictionary.

Must never send one request alone: what is to be seen is that many at a time stay apart.
"""

import os

import profiles
from otlp import ARRIVE_SECONDS, Through
from process import Failed, wait_until
from scenarios.clients import CLIENTS, ENCODINGS

REQUESTS = 8
SERVICE = f"opentelemetry.proto.collector.profiles.{profiles.STABILITY}.ProfilesService/Export"


def through(stage):
    """curl (JSON and protobuf) and grpcurl, requests in quick succession, each with a dictionary of its own: every sample arrives with
    its stack, its values and its attributes."""
    way = Through(stage, signals=("profiles",))
    asked = {
        f"{sender}-{number}": profiles.request(sender, number) for sender in (*ENCODINGS, "grpcurl") for number in range(REQUESTS)
    }
    folders = []
    for name, request in asked.items():
        folders.append(stage.path(name))
        os.makedirs(folders[-1])
        stage.write_config(os.path.join(name, "asked.json"), {"profiles": request})
    stage.run("python-sdk", os.path.join(CLIENTS, "protobuf.py"), *folders)
    for encoding, content_type in ENCODINGS.items():
        url = f"{way.url('http', 'plain')}/{profiles.STABILITY}/profiles"
        arguments = ["--silent", "--show-error", "--fail", "--parallel", "--parallel-immediate", "--max-time", 10]
        for number in range(REQUESTS):
            file = stage.path(os.path.join(f"{encoding}-{number}", f"profiles.{encoding}"))
            arguments += ["--header", f"content-type: {content_type}", "--data-binary", f"@{file}", url, "--next"]
        stage.run("curl", *arguments[:-1])
    for number in range(REQUESTS):
        folder = stage.path(f"grpcurl-{number}")
        with open(os.path.join(folder, "profiles.proto3.json"), encoding="utf-8") as file:
            request = file.read()
        stage.run(
            "grpcurl", "-plaintext", "-max-time", 10, "-protoset", os.path.join(folder, "otlp.protoset"), "-d", "@",
            way.address("grpc", "plain"), SERVICE, stdin=request,
        )  # fmt: skip
    expected = sorted(line for request in asked.values() for line in profiles.said(request))
    here = lambda: len(profiles.written(way.collector.file)) >= len(expected)
    wait_until(here, ARRIVE_SECONDS, f"{len(expected)} samples in the Collector's file")
    found = profiles.written(way.collector.file)
    if found != expected:
        missing = [line for line in expected if line not in found]
        raise Failed(f"{len(missing)} of {len(expected)} samples did not arrive as sent, first {missing[:1]}, got {found[:1]}")
    return way.finish("curl and grpcurl, profiles", {"profiles": len(expected)}, f"{len(asked)} dictionaries kept apart")
