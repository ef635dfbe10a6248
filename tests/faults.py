"""A web server on loopback that misbehaves by scenario."""

import contextlib
import hashlib
import re
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LOGIN_PAGE = b"<html><body>Please log in.</body></html>"

# What a fault does to one request, besides a status of three digits:
#   reset  the connection is reset before the answer
#   cut    the full length is announced, and the connection closes after half of the body
#   short  half of the body, announced as if it were all
#   page   status 200 with a login page
#   stall  half of the body, then silence until the server ends
#   shift  a range from another place than was asked for
#   loop   a redirect to the same URL
#   file   a redirect to a file:// URL
KINDS = ("reset", "cut", "short", "page", "stall", "shift", "loop", "file")


class Faults:
    """Which requests fail and how.

    Attributes
    ----------
    rules : list of list
        Pattern of a request ("GET /a.jpg"), kind of fault, and how many times. The first rule that matches and
        is not used up counts.
    """

    def __init__(self) -> None:
        self.rules: list[list[Any]] = []
        self.ended = threading.Event()
        self.stalled = threading.Event()

    def add(self, pattern: str, kind: str, times: int = 10**6) -> None:
        """Let requests that match a pattern fail."""
        assert kind in KINDS or kind.isdecimal()
        self.rules.append([pattern, kind, times])

    def take(self, asked: str) -> str:
        """Name the fault of a request; empty for none."""
        for rule in self.rules:
            if rule[2] and re.search(rule[0], asked):
                rule[2] -= 1
                return str(rule[1])
        return ""


def reset_connection(request: BaseHTTPRequestHandler) -> None:
    """End a connection with a reset."""
    # no linger: the connection is reset rather than closed
    option = struct.pack("ii", 1, 0)
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
    request.close_connection = True
    request.connection.close()


def send_badly(
    request: BaseHTTPRequestHandler,
    faults: Faults,
    kind: str,
    status: int,
    headers: Mapping[str, str],
    content: bytes,
) -> None:
    """Send an answer with a fault in it."""
    if kind == "reset":
        reset_connection(request)
        return
    if kind.isdecimal():
        status, content, headers = int(kind), b"", {}
    if kind in ("loop", "file"):
        target = "file:///etc/hostname" if kind == "file" else request.path
        status, content, headers = 302, b"", {"Location": target}
    if kind == "page":
        status, content, headers = 200, LOGIN_PAGE, {"Content-Type": "text/html"}
    if kind == "stall" and request.command == "HEAD":
        faults.stalled.set()
        faults.ended.wait()
    if kind == "short":
        content = content[: len(content) // 2]
    sent = content[: len(content) // 2] if kind in ("cut", "stall") else content
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name, value)
    request.send_header("Content-Length", str(len(content)))
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(sent)
    if kind == "stall":
        request.wfile.flush()
        faults.stalled.set()
        faults.ended.wait()
    if kind in ("cut", "stall"):
        request.close_connection = True


class FaultServer:
    """A web server with an index for each folder.

    Attributes
    ----------
    url : str
    files : dict of str to bytes
        Content by path, such as ``photos/a.jpg``.
    links : dict of str to list of str
        What the index of a folder links to, where that is not what lies in it.
    asked : list of str
        Method and path of each request.
    faults : Faults
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.links: dict[str, list[str]] = {}
        self.asked: list[str] = []
        self.faults = Faults()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                with contextlib.suppress(ConnectionError):
                    super().handle_one_request()

            def do_GET(self) -> None:
                server.answer(self)

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def count(self, pattern: str) -> int:
        """Count the requests that match a pattern."""
        return sum(bool(re.search(pattern, asked)) for asked in self.asked)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer a request, well or badly."""
        asked = f"{request.command} {request.path}"
        self.asked.append(asked)
        kind = self.faults.take(asked)
        path = request.path.strip("/")
        if path in self.files:
            content = self.files[path]
            headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
            status, more, content = _select_range(request.headers, content, kind)
            send_badly(request, self.faults, kind, status, {**headers, **more}, content)
            return
        names = self.links.get(path) or sorted(self._names(path))
        links = "".join(f'<a href="{name}">{name}</a>\n' for name in names)
        if names and path and not kind and not request.path.endswith("/"):
            where = {"Location": f"/{path}/"}
            send_badly(request, self.faults, "", 301, where, b"")
            return
        status = 200 if names else 404
        send_badly(
            request, self.faults, kind, status, {"Content-Type": "text/html"}, links.encode()
        )

    def _names(self, folder: str) -> set[str]:
        start = f"{folder}/" if folder else ""
        below = [path[len(start) :] for path in self.files if path.startswith(start)]
        return {
            f"{name}/" if slash else name for name, slash, _ in (b.partition("/") for b in below)
        }


def _select_range(headers: Message, content: bytes, kind: str) -> tuple[int, dict[str, str], bytes]:
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", headers.get("Range", ""))
    if asked is None:
        return 200, {}, content
    start = int(asked[1]) + (kind == "shift")
    end = int(asked[2] or len(content) - 1) + 1 + (kind == "shift")
    part = content[start:end]
    if not part:
        return 416, {}, b""
    told = f"bytes {start}-{start + len(part) - 1}/{len(content)}"
    return 206, {"Content-Range": told}, part


@contextlib.contextmanager
def running_fault_server() -> Iterator[FaultServer]:
    """Run a server until the block ends."""
    server = FaultServer()
    thread = threading.Thread(target=server.http.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.faults.ended.set()
        server.http.shutdown()
        server.http.server_close()
