"""Serve the files of one directory over https, read-only: the quickstart's stand-in for an artifact store.

    python3 serve.py DIRECTORY --certificate tls.crt --key tls.key [--address 127.0.0.1] [--port 8443]

Standard library only, because it is copied into an image as it is.
"""

import argparse
import functools
import http.server
import pathlib
import signal
import ssl
import sys
import types


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files of the directory, over connections that stay open between requests."""

    protocol_version = "HTTP/1.1"
    # A peer that connects and says nothing gives its thread back.
    timeout = 60


class Server(http.server.ThreadingHTTPServer):
    """A server whose TLS handshakes run in the connections' threads: a silent peer holds up nobody else."""

    daemon_threads = True

    def __init__(self, *, address: str, port: int, directory: pathlib.Path, context: ssl.SSLContext) -> None:
        super().__init__((address, port), functools.partial(Handler, directory=str(directory)))
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, request: object, client_address: object) -> None:
        """Log what ended a connection in one line: a refused certificate or a reset is the peer's choice."""
        print(f"{client_address}: {sys.exception()!r}", file=sys.stderr)


def stop(signal_number: int, frame: types.FrameType | None) -> None:
    """End at once: as process 1 of a container, Python would otherwise ignore SIGTERM."""
    sys.exit(0)


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description="Serve the files of one directory over https.")
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--certificate", type=pathlib.Path, required=True, help="PEM, with its chain")
    parser.add_argument("--key", type=pathlib.Path, required=True, help="PEM")
    parser.add_argument("--address", default="127.0.0.1", help="to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=8443)
    options = parser.parse_args()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(options.certificate, options.key)
    signal.signal(signal.SIGTERM, stop)
    with Server(address=options.address, port=options.port, directory=options.directory, context=context) as server:
        print(f"serving {options.directory} on port {server.server_port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
