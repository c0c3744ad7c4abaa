"""A DNS server for one name: what agents are told about where the upstreams are.

Must never share code with a resolver of relayd: it is what that is held against.
"""

import socket
import struct
import threading

NAME = "collectors.test"
# RFC 1035 section 4.1.1 and 3.2.2; RFC 3596 for AAAA.
RESPONSE_AUTHORITATIVE, NO_ERROR, NAME_ERROR = 0x8400, 0, 3
TYPE_A, CLASS_IN = 1, 1
# Agents may ask again at once.
TTL_SECONDS = 0
POINTER_TO_QUESTION = 0xC00C
MESSAGE_BYTES_MAX = 512


class Names:
    """Answers for `NAME` on a UDP port of 127.0.0.1 until `end`. `addresses`, a list of IPv4 addresses, may be replaced at any time;
    `asked` counts the questions for them."""

    def __init__(self, port, addresses):
        self.addresses, self.asked = list(addresses), 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", port))
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def end(self):
        """Safe to call twice."""
        self.socket.close()

    def _serve(self):
        while True:
            try:
                question, sender = self.socket.recvfrom(MESSAGE_BYTES_MAX)
            except OSError:  # closed: the end
                return
            try:
                answer = self._answer(question)
            except (IndexError, struct.error, UnicodeDecodeError):
                continue  # no question
            self.socket.sendto(answer, sender)

    def _answer(self, message):
        number, flags = struct.unpack_from(">HH", message)
        labels, at = [], 12
        while message[at]:
            labels.append(message[at + 1 : at + 1 + message[at]].decode("ascii"))
            at += 1 + message[at]
        kind, of_class = struct.unpack_from(">HH", message, at + 1)
        question = message[12 : at + 5]
        known = ".".join(labels).lower() == NAME and of_class == CLASS_IN
        addresses = list(self.addresses) if known and kind == TYPE_A else []
        self.asked += bool(addresses)
        # AAAA and others of the name are empty, which is not an error (RFC 2308 section 2.2).
        code = NO_ERROR if known else NAME_ERROR
        recursion_desired = flags & 0x0100
        head = struct.pack(">HHHHHH", number, RESPONSE_AUTHORITATIVE | recursion_desired | code, 1, len(addresses), 0, 0)
        record = struct.pack(">HHHIH", POINTER_TO_QUESTION, TYPE_A, CLASS_IN, TTL_SECONDS, 4)
        return head + question + b"".join(record + socket.inet_aton(address) for address in addresses)
