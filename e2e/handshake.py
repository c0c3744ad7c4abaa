"""A client of TLS that says how a handshake ended: whom the server says it is, or why it is refused. OpenSSL, through Python's `ssl`.

Must never take a handshake for done before the server has said something after it: in TLS 1.3 a client's certificate is judged only
then (RFC 8446 section 4.4.2).
"""

import select
import socket
import ssl

ANSWER_SECONDS = 10
VERDICT_SECONDS = 1
# What makes a server answer at once, whatever it serves: HTTP/2's preface with empty SETTINGS (RFC 9113 section 3.4), and a request.
OPENINGS = {
    "h2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]),
    "http/1.1": b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
}


def handshake(port, ca, pair=None, alpn="h2", newest=None):
    """The common name in the server's certificate, or the reason of the failure as OpenSSL names it ("TLSV1_ALERT_UNKNOWN_CA").
    `pair`: certificate and key of the client; `newest`: an `ssl.TLSVersion`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(ca)
    context.set_alpn_protocols([alpn])
    if pair:
        context.load_cert_chain(*pair)
    if newest:
        # OpenSSL itself would not speak anything older.
        context.set_ciphers("DEFAULT@SECLEVEL=0")
        context.minimum_version = context.maximum_version = newest
    try:
        with socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS) as plain:
            with context.wrap_socket(plain, server_hostname="localhost") as secured:
                if not _has_verdict(secured):
                    secured.sendall(OPENINGS[alpn])
                    if not secured.recv(1):
                        return "closed"
                subject = dict(one for (one,) in secured.getpeercert()["subject"])
                return subject["commonName"]
    except ssl.SSLError as error:
        return error.reason or type(error).__name__
    except (ConnectionResetError, BrokenPipeError):
        return "reset"


def _has_verdict(secured):
    """Waits for the server's alert (an error), or for what it sends to a client that it takes: SETTINGS (true), session tickets (not
    to be seen here). Who sends before that may lose the alert to the reset that answers bytes which nobody reads."""
    select.select([secured], [], [], VERDICT_SECONDS)
    secured.setblocking(False)
    try:
        return bool(secured.recv(1))
    except ssl.SSLWantReadError:
        return False
    finally:
        secured.settimeout(ANSWER_SECONDS)
