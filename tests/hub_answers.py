"""How a hub on this machine answers: what the servers of the tests share."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler


class HubAnswers(BaseHTTPRequestHandler):
    """Answers in the words of the hub's HTTP interface."""

    protocol_version = "HTTP/1.1"

    def reply(self, content: object) -> None:
        """A JSON answer."""
        self.send(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def refuse(self, status: int, code: str) -> None:
        """An error as the hub words it."""
        self.send(status, b"", {"X-Error-Code": code, "X-Error-Message": code})

    def send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        """Status, headers, and the body unless only the head was asked for."""
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the tests' output clean."""
