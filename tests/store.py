"""An S3 server in a process of its own, and in front of it a proxy that counts requests and spoils some."""

import contextlib
import http.client
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.faults import Faults, reset_connection, send_badly

SECRET = "yJ6bW3sQ-no-one-may-read-this"
KEY = "AKIANOONEMAYREADTHIS"


class Store:
    """What tests do with the server: fill and empty it, and decide which requests fail.

    Attributes
    ----------
    url : str
        Of a bucket.
    asked : list of str
        Method and path of each request that came.
    faults : list of list
        Pattern of a request, what becomes of it (``503``, ``stall``, nothing, or a fault of `tests.faults`), how
        often. The first that fits and is not used up counts.
    """

    def __init__(self, port: int, at_once: int = 64) -> None:
        self._behind = port
        self._room = threading.Semaphore(at_once)
        self.asked: list[str] = []
        self.faults: list[list[Any]] = []
        self.stalled = threading.Event()
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                with contextlib.suppress(ConnectionError):
                    super().handle_one_request()

            def answer(self) -> None:
                store.answer(self)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self.environment = {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def _what_fails(self, asked: str) -> str | None:
        for fault in self.faults:
            if fault[2] and re.search(fault[0], asked):
                fault[2] -= 1
                return str(fault[1])
        return None

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        asked = f"{request.command} {request.path}"
        self.asked.append(asked)
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        kind = self._what_fails(asked)
        if kind == "stall":
            self.stalled.set()
            time.sleep(600)  # until whoever asked is killed
        if kind == "reset":
            reset_connection(request)
            return
        if kind and kind.isdecimal():
            request.send_response(int(kind))
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        with self._room:
            behind = http.client.HTTPConnection("127.0.0.1", self._behind)
            behind.request(request.command, request.path, body, dict(request.headers))
            response = behind.getresponse()
            content = response.read()
            behind.close()
        own = ("transfer-encoding", "connection", "date", "server", "content-length")
        headers = {name: value for name, value in response.getheaders() if name.lower() not in own}
        if kind:
            send_badly(request, Faults(), kind, response.status, headers, content)
            return
        request.send_response(response.status)
        for name, value in headers.items():
            request.send_header(name, value)
        length = response.getheader("Content-Length") if request.command == "HEAD" else None
        request.send_header("Content-Length", length or str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    def _straight(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Ask the server itself, past the proxy and its faults."""
        behind = http.client.HTTPConnection("127.0.0.1", self._behind)
        # moto looks at the name of the key, and not at the signature
        signed = f"AWS4-HMAC-SHA256 Credential={KEY}/20260101/us-east-1/s3/aws4_request"
        behind.request(method, path, body, {"Authorization": signed})
        response = behind.getresponse()
        try:
            return response.status, response.read()
        finally:
            behind.close()

    def bucket(self, name: str) -> str:
        status, content = self._straight("PUT", f"/{name}")
        assert status == 200, content
        return f"s3://{name}"

    def put(self, url: str, content: bytes) -> None:
        status, said = self._straight("PUT", "/" + url.removeprefix("s3://"), content)
        assert status == 200, said

    def put_folder(self, folder: Path, url: str) -> None:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                self.put(f"{url}/{file.relative_to(folder)}", file.read_bytes())

    def get(self, url: str) -> bytes:
        status, content = self._straight("GET", "/" + url.removeprefix("s3://"))
        assert status == 200, content
        return content

    def delete(self, url: str) -> None:
        self._straight("DELETE", "/" + url.removeprefix("s3://"))

    def keys(self, url: str) -> list[str]:
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        _, content = self._straight("GET", f"/{bucket}?list-type=2&max-keys=100000&prefix={prefix}")
        return re.findall("<Key>(.*?)</Key>", content.decode())

    def count(self, pattern: str) -> int:
        return sum(bool(re.search(pattern, asked)) for asked in self.asked)


# Many objects are put into the server's memory before it starts: each request takes 10 ms.
_SERVE = """
import sys
from moto.s3.models import s3_backends
from moto.server import main
names = sys.stdin.read().split()
if names:
    backend = s3_backends["123456789012"]["aws"]
    backend.create_bucket("filled", "us-east-1")
    for name in names:
        backend.put_object("filled", name, b"x")
main(sys.argv[1:])
"""


@contextlib.contextmanager
def running_store(names: Sequence[str] = ()) -> Iterator[Store]:
    """Start a server; objects of these names are in its bucket ``filled``."""
    program = [sys.executable, "-c", _SERVE, "-H", "127.0.0.1", "-p"]
    with _serving(program, "\n".join(names)) as port:
        yield Store(port)


@contextlib.contextmanager
def running_google_store(bucket: str) -> Iterator[Store]:
    """Start a server of Google's kind, with a bucket. What to reach it with is in `environment`."""
    program = [str(Path(sys.executable).with_name("gcp-storage-emulator")), "start", "--in-memory"]
    options = ["--host", "127.0.0.1", "--default-bucket", bucket, "--port"]
    with _serving([*program, *options], "") as port:
        # it takes one request after another, and keeps few waiting
        store = Store(port, at_once=4)
        store.url = f"gs://{bucket}"
        store.environment = {
            "STORAGE_EMULATOR_HOST": store.endpoint,
            # the server speaks HTTP, not gRPC
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
            # there is no machine of Google's to ask for credentials
            "NO_GCE_CHECK": "true",
        }
        yield store


@contextlib.contextmanager
def _serving(program: list[str], said: str) -> Iterator[int]:
    """Run a server, whose last option is its port, until the block ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(
        [*program, str(port)], stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, text=True
    ) as server:
        assert server.stdin is not None
        server.stdin.write(said)
        server.stdin.close()
        try:
            deadline = time.monotonic() + 60
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                assert server.poll() is None
                assert time.monotonic() < deadline, "the server does not answer"
                time.sleep(0.05)
            yield port
        finally:
            server.kill()
