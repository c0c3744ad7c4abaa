"""The least HTTP/2 client that can put a bad and a good gRPC call on one connection (curl opens one for each).

Must never interpret an answer's headers: whether a call was accepted is read from relayd's counters; this says only how its
stream ended.
"""

import socket
import struct

from process import Failed

# RFC 9113 section 6 and section 7.
DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY, WINDOW_UPDATE = 0x0, 0x1, 0x3, 0x4, 0x7, 0x8
END_STREAM, ACK, END_HEADERS = 0x1, 0x1, 0x4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTING_INITIAL_WINDOW = 0x4
DEFAULT_WINDOW_BYTES = 65_535
FRAME_BYTES_MAX = 16_384
ANSWER_SECONDS = 10


class Connection:
    """An HTTP/2 connection without TLS to a port of 127.0.0.1."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS)
        self.received = b""
        # What the peer lets us send, on a stream and in all (RFC 9113 section 6.9).
        self.stream_window, self.window = DEFAULT_WINDOW_BYTES, DEFAULT_WINDOW_BYTES
        self.ended = {}
        self.socket.sendall(PREFACE + _frame(SETTINGS, 0, 0, b""))
        self._read_until(lambda kind: kind == SETTINGS)

    def send(self, stream, path, headers, body):
        """Sends a whole call on `stream`, an odd number larger than those before."""
        pseudo = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "127.0.0.1")]
        block = b"".join(_literal(name, value) for name, value in [*pseudo, *headers])
        self.socket.sendall(_frame(HEADERS, END_HEADERS, stream, block))
        self.window -= len(body)
        if len(body) > self.stream_window or self.window < 0:
            raise Failed(f"a body of {len(body)} bytes is larger than the receiver's window")
        pieces = [body[at : at + FRAME_BYTES_MAX] for at in range(0, len(body), FRAME_BYTES_MAX)]
        for piece in pieces[:-1]:
            self.socket.sendall(_frame(DATA, 0, stream, piece))
        self.socket.sendall(_frame(DATA, END_STREAM, stream, pieces[-1]))

    def wait(self, stream):
        """How the stream ended: "answered" or "reset"."""
        self._read_until(lambda _kind: stream in self.ended)
        return self.ended[stream]

    def close(self):
        self.socket.close()

    def _read_until(self, is_enough):
        while True:
            while len(self.received) < 9:
                self._receive()
            length = int.from_bytes(self.received[:3], "big")
            kind, flags, stream = struct.unpack(">BBI", self.received[3:9])
            while len(self.received) < 9 + length:
                self._receive()
            content, self.received = self.received[9 : 9 + length], self.received[9 + length :]
            self._handle(kind, flags, stream, content)
            if is_enough(kind):
                return

    def _receive(self):
        more = self.socket.recv(65_536)
        if not more:
            raise Failed("the connection was closed")
        self.received += more

    def _handle(self, kind, flags, stream, content):
        if kind == SETTINGS and not flags & ACK:
            for setting, value in struct.iter_unpack(">HI", content):
                if setting == SETTING_INITIAL_WINDOW:
                    self.stream_window = value
            self.socket.sendall(_frame(SETTINGS, ACK, 0, b""))
        elif kind == WINDOW_UPDATE and stream == 0:
            self.window += int.from_bytes(content, "big")
        elif kind == GOAWAY:
            raise Failed(f"the connection was given up: GOAWAY {content!r}")
        elif kind == RST_STREAM:
            # An answer may be followed by NO_ERROR: the rest of the request is not wanted (RFC 9113 section 8.1).
            self.ended.setdefault(stream, "reset")
        elif kind in (DATA, HEADERS) and flags & END_STREAM:
            self.ended[stream] = "answered"


def _frame(kind, flags, stream, content):
    return len(content).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + content


def _literal(name, value):
    # RFC 7541 section 6.2.2: literal without indexing, new name, no Huffman; lengths below 127 are one byte.
    name, value = name.encode(), value.encode()
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value
