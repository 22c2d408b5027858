"""A hub on this machine: the parts of the Hugging Face hub's HTTP interface by which models are fetched."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote, urlsplit

from hub_answers import HubAnswers


class Hub(HubAnswers):
    """Serves ``repos``: {identifier: {revision: folder}}, a revision being a branch or tag."""

    repos: ClassVar[dict[str, dict[str, Path]]] = {}
    gated: ClassVar[set[str]] = set()
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        self.asked.append(f"{self.command} {path}")
        parts = path.split("/")
        if parts[:2] == ["api", "models"]:
            self.api("/".join(parts[2:4]), parts[4:])
        elif parts[0] == "api":
            self.refuse(404, "EntryNotFound")
        else:
            self.file("/".join(parts[:2]), parts[3], "/".join(parts[4:]))

    do_HEAD = do_GET

    def folder(self, identifier: str, revision: str) -> Path | None:
        """The folder of a revision; refused, with an error header as the hub's, if there is none."""
        if identifier in self.gated:
            self.refuse(403, "GatedRepo")
        elif identifier not in self.repos:
            self.refuse(401, "RepoNotFound")
        else:
            revisions = self.repos[identifier]
            by_commit = {commit(each): each for each in revisions.values()}
            found = revisions.get(revision) or by_commit.get(revision)
            if found is None:
                self.refuse(404, "RevisionNotFound")
            return found
        return None

    def api(self, identifier: str, rest: list[str]) -> None:
        """Model info, or the tree of files."""
        folder = self.folder(identifier, "/".join(rest[1:]) or "main")
        if folder is None:
            return
        files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
        if rest[:1] == ["tree"]:
            entries = [(name, path.stat().st_size, etag(path)) for name, path in files.items()]
            self.reply([{"type": "file", "path": name, "size": size, "oid": oid} for name, size, oid in entries])
        else:
            siblings = [{"rfilename": name} for name in files]
            self.reply({"id": identifier, "modelId": identifier, "sha": commit(folder), "siblings": siblings})

    def file(self, identifier: str, revision: str, name: str) -> None:
        """One file, with the headers by which the hub's client caches it."""
        folder = self.folder(identifier, revision)
        if folder is None:
            return
        path = folder / name
        if not path.is_file():
            self.refuse(404, "EntryNotFound")
            return
        self.send(200, path.read_bytes(), {"ETag": f'"{etag(path)}"', "X-Repo-Commit": commit(folder)})


def commit(folder: Path) -> str:
    """Forty hex digits that stand for a folder's state."""
    return hashlib.sha1(str(folder).encode()).hexdigest()


def etag(path: Path) -> str:
    """What tells a file's contents apart."""
    return hashlib.sha1(path.read_bytes()).hexdigest()


@contextmanager
def serve(repos: dict[str, dict[str, Path]], gated: set[str]) -> Iterator[tuple[str, list[str]]]:
    """Serve models; gives the endpoint's address and the list of what was asked of it."""
    handler = type("Served", (Hub,), {"repos": repos, "gated": gated, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler.asked
    finally:
        server.shutdown()
        server.server_close()
