"""A real HTTP server on this machine that can be slow, break off, lie and refuse."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


@dataclass(frozen=True)
class Fault:
    """How one answer goes wrong."""

    status: int = 0
    """Answer with this status and no file."""
    break_after: int | None = None
    """Close the connection after this many bytes of the body."""
    stall_after: int | None = None
    """Send nothing more after this many bytes, until the server's gate opens."""
    flip: int | None = None
    """Change the byte at this index."""
    piece: int = 0
    """Send the body in pieces of so many bytes, with a pause after each."""
    pause: float = 0.0
    """Seconds."""
    no_length: bool = False
    """Leave Content-Length out: the end of the connection is the end of the body."""


class Request(NamedTuple):
    path: str
    range: str | None
    encoding: str | None


@dataclass
class FileServer:
    """``files`` by path; the next answers for a path take its ``faults`` in order, then all is well."""

    files: dict[str, bytes]
    faults: dict[str, list[Fault]] = field(default_factory=lambda: defaultdict(list))
    honours_range: bool = True
    gate: threading.Event = field(default_factory=threading.Event)
    requests: list[Request] = field(default_factory=list)
    url: str = ""

    def requested(self) -> list[str]:
        return [request.path for request in self.requests]


@contextlib.contextmanager
def serving(files: dict[str, bytes]) -> Iterator[FileServer]:
    state = FileServer(files)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.lstrip("/")
            wanted = self.headers.get("Range")
            state.requests.append(Request(path, wanted, self.headers.get("Accept-Encoding")))
            fault = state.faults[path].pop(0) if state.faults[path] else Fault()
            if fault.status or path not in state.files:
                self.send_error(fault.status or 404)
                return
            body = bytearray(state.files[path])
            if fault.flip is not None:
                body[fault.flip] ^= 1
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and state.honours_range else 0
            if start >= len(body) > 0:
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            if not fault.no_length:
                self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                self.send_body(bytes(body[start:]), fault)

        def send_body(self, body: bytes, fault: Fault) -> None:
            end = next((cut for cut in (fault.break_after, fault.stall_after) if cut is not None), len(body))
            step = fault.piece or len(body) or 1
            for at in range(0, end, step):
                self.wfile.write(body[at : min(at + step, end)])
                time.sleep(fault.pause)
            if fault.stall_after is not None:
                state.gate.wait(timeout=20)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        state.gate.set()
        server.shutdown()
        thread.join()
        server.server_close()
