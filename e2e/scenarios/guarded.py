"""The scenario of receivers that not everybody reaches: unix sockets, authentication, and pages of other origins. Who may send is served
as anywhere else; who may not is told so, and none of it arrives.

Must never let a refusal pass that is not counted.
"""

import base64
import os
import re

import otlp
from content import SIGNALS, of_everything
from observe import Metrics
from process import Failed, free_port, wait_until
from scenarios.clients import call, encoded, finish_asked, post
from stage import local, prometheus_on

# Relative to the stage's folder, where all programs run: a path to a checkout may be longer than a socket's may be.
SOCKETS = {"grpc": "otlp-grpc.sock", "http": "otlp-http.sock"}
USER, PASSWORD = "agent", "open:sesame"
# As `htpasswd -B` writes it; made by libxcrypt.
HTPASSWD = f"# who may send\n{USER}:$2b$05$y3M669lbomovkYvB/DeuTeMwsGQ5OJ0.XokdgmCJioA3zo6beucaG\n"
TOKENS = ("first-token", "second-token")
ALLOWED_ORIGIN, PAGE, OTHER_PAGE = "https://*.example.com", "https://shop.example.com", "https://example.org"
CORS = {"allowed_origins": [ALLOWED_ORIGIN], "allowed_headers": ["authorization", "x-page"], "max_age": 600}
SOCKET_SECONDS = 10


def _basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


# By the authenticator: what it takes, and what it does not; None for no credentials at all.
RIGHT = {
    "bearertokenauth": [f"Bearer {TOKENS[0]}", f"Bearer {TOKENS[1]}"],
    # The second time the hash is not computed again.
    "basicauth": [_basic(USER, PASSWORD), _basic(USER, PASSWORD)],
}
WRONG = {
    "bearertokenauth": [None, "Bearer third-token", f"Bearer {TOKENS[0]}x", "Bearer", TOKENS[0], _basic(USER, PASSWORD)],
    "basicauth": [None, _basic(USER, "sesame"), _basic("nobody", PASSWORD), "Basic ", "Basic ====", f"Bearer {TOKENS[0]}"],
}


def agent(stage, collector, _certificates, signals):
    """relayd with receivers on unix sockets, and one behind each authenticator; `.ports[authenticator][protocol]`. The abstract socket is
    `.abstract[protocol]`."""
    with open(stage.path("tokens"), "w", encoding="utf-8") as file:
        file.write("\n".join(TOKENS))
    with open(stage.path("htpasswd"), "w", encoding="utf-8") as file:
        file.write(HTPASSWD)
    ports = {name: {protocol: free_port() for protocol in otlp.PROTOCOLS} for name in RIGHT}
    ports["metrics"] = free_port()
    # The names of abstract sockets are the whole host's; grpcurl has none without a slash.
    abstract = {protocol: f"@/relay-e2e-{os.getpid()}-{protocol}" for protocol in otlp.PROTOCOLS}
    on_unix = lambda names: {protocol: {"endpoint": name, "transport": "unix"} for protocol, name in names.items()}
    receivers = {"otlp/path": {"protocols": on_unix(SOCKETS)}, "otlp/abstract": {"protocols": on_unix(abstract)}}
    for name in RIGHT:
        auth = {"auth": {"authenticator": name}}
        protocols = {protocol: {"endpoint": local(port), **auth} for protocol, port in ports[name].items()}
        protocols["http"]["cors"] = CORS
        receivers[f"otlp/{name}"] = {"protocols": protocols}
    extensions = {"bearertokenauth": {"filename": "tokens"}, "basicauth": {"htpasswd": {"file": "htpasswd"}}}
    upstream = {"endpoint": local(collector.ports["plain"]), "compression": "none", "tls": {"insecure": True}}
    config = {
        "receivers": receivers,
        "processors": {"batch": {"timeout": "100ms"}},
        "exporters": {"otlp_grpc": upstream},
        "extensions": extensions,
        "service": {
            "extensions": list(extensions),
            "pipelines": {
                signal: {"receivers": list(receivers), "processors": ["batch"], "exporters": ["otlp_grpc"]} for signal in signals
            },
            "telemetry": prometheus_on(ports["metrics"]),
        },
    }
    if stage.agent != "relayd":
        raise Failed("the Collector among the peers has no authenticators")
    started = stage.start("relayd", "relayd", "--config", stage.write_config("agent.yaml", config))
    started.ports, started.abstract = ports, abstract
    started.wait_listening(ports["metrics"])
    for name in RIGHT:
        for port in ports[name].values():
            started.wait_listening(port)
    for name in SOCKETS.values():
        wait_until(lambda name=name: os.path.exists(stage.path(name)), SOCKET_SECONDS, f"the socket {name}")
    return started


def _before(stage, agent_):
    """Another relayd, in the clear, that sends to each of the guarded receivers what it gets at `.ports[way]`."""
    client_auth = {"username": USER, "password": PASSWORD}
    extensions = {"bearertokenauth": {"token": TOKENS[0]}, "basicauth": {"client_auth": client_auth}}
    to_unix = lambda endpoint: ("otlp_grpc", {"endpoint": endpoint, "tls": {"insecure": True}})
    to_http = lambda name: ("otlp_http", {"endpoint": f"http://{local(agent_.ports[name]['http'])}", "auth": {"authenticator": name}})
    upstreams = {
        "path": to_unix(f"unix:///proc/self/cwd/{SOCKETS['grpc']}"),
        "abstract": to_unix(f"unix-abstract:{agent_.abstract['grpc'].removeprefix('@')}"),
        **{name: to_http(name) for name in extensions},
    }
    ports, receivers, exporters, pipelines = {}, {}, {}, {}
    for way, (kind, upstream) in upstreams.items():
        ports[way] = free_port()
        receivers[f"otlp/{way}"] = {"protocols": {"http": {"endpoint": local(ports[way])}}}
        exporters[f"{kind}/{way}"] = upstream
        for signal in SIGNALS:
            pipelines[f"{signal}/{way}"] = {"receivers": [f"otlp/{way}"], "exporters": [f"{kind}/{way}"]}
    service = {"extensions": list(extensions), "pipelines": pipelines, "telemetry": {"metrics": {"level": "none"}}}
    config = {"receivers": receivers, "exporters": exporters, "extensions": extensions, "service": service}
    started = stage.start("before", "relayd", "--config", stage.write_config("before.yaml", config))
    started.ports = ports
    for port in ports.values():
        started.wait_listening(port)
    return started


def received(stage):
    """curl and grpcurl, all signals: over unix sockets that have a path and over abstract ones; with the credentials that an authenticator
    takes, and with those that it does not; as a page of an origin that may send and of one that may not. Another relayd sends by each
    of these ways too."""
    through = otlp.Through(stage, make_agent=agent)
    before = _before(stage, through.agent)
    ways = _ways(through.agent)
    ways |= {f"relayd-{way}": ("http", [f"http://{local(port)}"]) for way, port in before.ports.items()}
    asked = {name: of_everything(name) for name in ways}
    folders = encoded(stage, asked)
    for name, (protocol, arguments) in ways.items():
        for signal in SIGNALS:
            _send(stage, protocol, folders[name], signal, arguments)
    # The content does not matter: none of it may arrive.
    folder, wrong = folders[next(iter(ways))], []
    for name, credentials in WRONG.items():
        for shown in credentials:
            for protocol in otlp.PROTOCOLS:
                wrong += _wrong_refusal(through, folder, protocol, name, shown)
        wrong += _wrong_preflights(through, name)
    for secret in (PASSWORD, *TOKENS, "third-token", RIGHT["basicauth"][0].removeprefix("Basic ")):
        wrong += [f"{secret!r} is in the log of {of.name}" for of in (through.agent, before) if secret in of.log()]
    if before.stop() != 0:
        wrong.append("the relayd before it did not exit with 0")
    if wrong:
        raise Failed(f"{len(wrong)} wrong: " + "; ".join(wrong))
    refused = len(otlp.PROTOCOLS) * sum(len(credentials) for credentials in WRONG.values())
    what = f"3 signals by {len(ways)} ways, same content, {refused} refused as specified"
    row = finish_asked(through, "unix sockets, auth, CORS", asked, by_sdk=False, what=what)
    left = [name for name in SOCKETS.values() if os.path.exists(stage.path(name))]
    if left:
        raise Failed(f"relayd has ended and left its sockets behind: {left}")
    return row


def _ways(agent_):
    """name -> (protocol, arguments of curl or grpcurl that come before those of the request)."""
    ways = {}
    http, grpc = SOCKETS["http"], SOCKETS["grpc"]
    ways["unix-path-http"] = ("http", ["--unix-socket", http, "http://localhost"])
    # grpcurl wants a whole path, and a checkout's may be too long for it.
    ways["unix-path-grpc"] = ("grpc", ["-unix", f"/proc/self/cwd/{grpc}"])
    http, grpc = (agent_.abstract[protocol].removeprefix("@") for protocol in ("http", "grpc"))
    ways["unix-abstract-http"] = ("http", ["--abstract-unix-socket", http, "http://localhost"])
    ways["unix-abstract-grpc"] = ("grpc", [f"unix-abstract://{grpc}"])
    for name, credentials in RIGHT.items():
        for number, shown in enumerate(credentials):
            for protocol in otlp.PROTOCOLS:
                ways[f"{name}-{number}-{protocol}"] = (protocol, _arguments(agent_, protocol, name, shown))
    return ways


def _arguments(agent_, protocol, name, credentials):
    address = local(agent_.ports[name][protocol])
    if protocol == "http":
        shown = ["--header", f"authorization: {credentials}"] if credentials else []
        return [*shown, f"http://{address}"]
    return [*(["-H", f"authorization: {credentials}"] if credentials else []), address]


def _send(stage, protocol, folder, signal, arguments):
    *options, target = arguments
    if protocol == "http":
        post(stage, os.path.join(folder, signal), "pb", None, "1.1", *options, f"{target}/v1/{signal}")
    else:
        call(stage, folder, signal, target, "-plaintext", *options)


def _wrong_refusal(through, folder, protocol, name, credentials):
    """What is wrong with how a request is refused, in words. By HTTP 401 with a challenge (RFC 9110 section 15.5.2), by gRPC
    UNAUTHENTICATED."""
    case = f"{name} by {protocol} with {credentials!r}"
    arguments = _arguments(through.agent, protocol, name, credentials)
    before, wrong = _refused(through.agent, name, protocol), []
    if protocol == "http":
        body = ["--header", "content-type: application/x-protobuf", "--data-binary", f"@{os.path.join(folder, 'traces.pb')}"]
        head = _head(through.stage, *body, *arguments[:-1], f"{arguments[-1]}/v1/traces")
        challenge = {"bearertokenauth": "bearer", "basicauth": "basic"}[name]
        if not re.match(r"HTTP/1.1 401 ", head) or not re.search(rf"^www-authenticate: {challenge}", head, re.M | re.I):
            wrong.append(f"{case} is answered with {head[:200]!r}")
    else:
        try:
            _send(through.stage, protocol, folder, "traces", arguments)
            wrong.append(f"{case} is accepted")
        except Failed as failure:
            if "Unauthenticated" not in str(failure):
                wrong.append(f"{case}: {failure}")
    if _refused(through.agent, name, protocol) != before + 1:
        wrong.append(f"{case} is not counted")
    return wrong


def _refused(agent_, name, protocol):
    scrape = Metrics(agent_.ports["metrics"])
    return scrape.sum("relayd_rejected_requests", reason="unauthenticated", receiver=f"otlp/{name}", transport=protocol)


def _head(stage, *arguments):
    """Status line and headers of the answer that curl gets."""
    return stage.run("curl", "--silent", "--show-error", "--max-time", 10, "--output", os.devnull, "--dump-header", "-", *arguments)


def _wrong_preflights(through, name):
    """What is wrong with the answers to pages, in words: a browser asks without credentials whether it may send them (Fetch, "CORS-preflight
    request")."""
    url = f"http://{local(through.agent.ports[name]['http'])}/v1/traces"
    ask = ["--request", "OPTIONS", "--header", "access-control-request-method: POST"]
    origin = lambda page: ["--header", f"origin: {page}"]
    wanted = lambda names: ["--header", f"access-control-request-headers: {names}"]
    may_send = f"access-control-allow-origin: {PAGE}"
    wrong = []
    for case, arguments, status, allowed in (
        ("a preflight", [*ask, *origin(PAGE), *wanted("authorization,content-type,x-page")], "204", True),
        ("a preflight of another origin", [*ask, *origin(OTHER_PAGE), *wanted("content-type")], None, False),
        ("a preflight about another header", [*ask, *origin(PAGE), *wanted("x-other")], None, False),
        ("a request of a page", _of_page(PAGE, RIGHT[name][0]), "200", True),
        ("a request of another page", _of_page(OTHER_PAGE, RIGHT[name][0]), "200", False),
        # Else the page could not tell why.
        ("a request of a page without credentials", _of_page(PAGE, None), "401", True),
    ):
        head = _head(through.stage, *arguments, url).lower()
        if (may_send in head) != allowed or (status and not head.startswith(f"http/1.1 {status} ")):
            wrong.append(f"{name}: {case} is answered with {head!r}")
    return wrong


def _of_page(page, credentials):
    shown = ["--header", f"authorization: {credentials}"] if credentials else []
    return ["--header", f"origin: {page}", *shown, "--header", "content-type: application/json", "--data", "{}"]
