"""nginx and HAProxy as gRPC proxies: their configurations.

Must never let a default for browsers decide: nginx closes connections after 1,000 requests on either side unless told
otherwise. What is not set was measured and is best as shipped: a larger body buffer makes nginx, which streams gRPC and never
writes it to disk, a third slower.
"""

from stage import local

NGINX = """
# One process, so that its CPU and memory are one process's.
daemon off;
master_process off;
error_log stderr error;
pid {folder}/{name}.pid;
events {{
  worker_connections {connections_max};
}}
http {{
  access_log off;
  client_body_temp_path {folder}/{name}.body;
  proxy_temp_path {folder}/{name}.proxy;
  fastcgi_temp_path {folder}/{name}.fastcgi;
  uwsgi_temp_path {folder}/{name}.uwsgi;
  scgi_temp_path {folder}/{name}.scgi;
  tcp_nodelay on;
  # For ever, in both directions: a node's senders keep one connection.
  keepalive_requests 1000000000;
  keepalive_time 24h;
  keepalive_timeout 1h;
  http2_max_concurrent_streams 1024;
  client_max_body_size 64m;
  grpc_buffer_size 16k;
  upstream sink {{
    server {upstream};
    keepalive 1024;
    keepalive_requests 1000000000;
    keepalive_time 24h;
    keepalive_timeout 1h;
  }}
  server {{
    listen {listen} http2 backlog=4096;
    location / {{
      grpc_pass grpc://sink;
    }}
  }}
}}
"""

HAPROXY = """
global
  nbthread 1
  maxconn {connections_max}
  # A frame of 16 KiB with its head in one buffer: a third less CPU from 100 spans a request on; 64 KiB costs the small ones.
  tune.bufsize 32768
  tune.h2.initial-window-size 1048576
  tune.h2.max-concurrent-streams 1024
defaults
  mode {mode}
  timeout client 1h
  timeout server 1h
  timeout connect 10s
  timeout http-request 10s
frontend in
  bind {listen}{proto} backlog 4096
  default_backend sink
backend sink
{reuse}  server sink {upstream}{proto} maxconn {connections_max}
"""

# As shipped; a cell with more connections raises it for itself, since both take their tables when they start.
CONNECTIONS_MAX = 4096


# Beside those of the load, which is most that the limit of open files allows.
CONNECTIONS_BESIDE = 64


def _connections_max(connections):
    return max(CONNECTIONS_MAX, connections + CONNECTIONS_BESIDE)


def nginx(stage, name, port, upstream_port, connections, core):
    """Starts nginx; it has a connection upstream for each call in flight, kept, and counts both sides."""
    folder = stage.folder
    text = NGINX.format(
        folder=folder, name=name, listen=local(port), upstream=local(upstream_port),
        connections_max=_connections_max(2 * connections),
    )  # fmt: skip
    path = _write(stage, f"{name}.conf", text)
    return stage.start(name, "nginx", "-p", folder, "-e", "stderr", "-c", path, core=core)


def haproxy_config(mode, port, upstream_port, connections):
    """`mode` http: HTTP/2 on both sides, calls of all connections over shared ones upstream; tcp: bytes."""
    is_http = mode == "http"
    return HAPROXY.format(
        mode=mode, listen=local(port), upstream=local(upstream_port), connections_max=_connections_max(connections),
        proto=" proto h2" if is_http else "", reuse="  http-reuse always\n" if is_http else "",
    )  # fmt: skip


def haproxy(stage, name, text, core):
    """Starts HAProxy, one process with one thread."""
    return stage.start(name, "haproxy", "-db", "-f", _write(stage, f"{name}.cfg", text), core=core)


def _write(stage, file_name, text):
    path = stage.path(file_name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text.lstrip())
    return path
