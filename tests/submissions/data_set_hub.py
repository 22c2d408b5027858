"""A hub on this machine that keeps what is pushed: the parts of the hub's HTTP interface that push and pull use."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

from hub_answers import HubAnswers

TOKEN = "hf_" + "x" * 20
Files = dict[str, bytes]


@dataclass
class Repo:
    """A repository: its commits, the newest last, each with its message and all of its files."""

    private: bool
    commits: list[tuple[str, Files]] = field(default_factory=lambda: [("initial commit", {})])

    @property
    def files(self) -> Files:
        return self.commits[-1][1]

    def commit_of(self, revision: str) -> Files | None:
        if revision == "main":
            return self.files
        return next((files for number, (_, files) in enumerate(self.commits) if self.name(number) == revision), None)

    def name(self, number: int = -1) -> str:
        """Forty hex digits that stand for a commit."""
        return hashlib.sha1(f"{number % len(self.commits)}".encode()).hexdigest()


@dataclass
class World:
    """What the hub holds, and what was asked of it."""

    repos: dict[str, Repo] = field(default_factory=dict)
    """By ``datasets/OWNER/NAME`` or ``models/OWNER/NAME``."""
    blobs: dict[str, bytes] = field(default_factory=dict)
    """Large files by SHA-256, uploaded and not yet committed, or committed."""
    asked: list[str] = field(default_factory=list)
    closed_to: set[str] = field(default_factory=set)
    """Repositories that the account may not write."""
    gated: set[str] = field(default_factory=set)
    """Repositories that ask for access first."""
    busy: set[str] = field(default_factory=set)
    """Repositories that somebody else writes to while this account does."""


class Hub(HubAnswers):
    """Parquet files travel as large files (git-lfs), all others within the commit."""

    world: ClassVar[World]

    def do_GET(self) -> None:
        parts = self.parts()
        if parts[0] == "api" and parts[1] in {"datasets", "models"}:
            self.info("/".join(parts[1:4]), parts[4:])
        elif "resolve" in parts:
            kind = parts if parts[0] == "datasets" else ["models", *parts]
            self.file("/".join(kind[:3]), kind[4], "/".join(kind[5:]))
        else:
            self.refuse(404, "EntryNotFound")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        match self.parts():
            case ["api", "repos", "create"]:
                self.create(json.loads(body))
            case ["api", "validate-yaml"]:
                self.reply({"errors": [], "warnings": []})
            case ["api", kind, owner, name, "paths-info", revision]:
                asked = parse_qs(body.decode())["paths"]
                files = self.world.repos[f"{kind}/{owner}/{name}"].commit_of(revision) or {}
                self.reply([entry(path, files[path]) for path in asked if path in files])
            case ["api", *_, "preupload", _]:
                modes = {path: "lfs" if large(path) else "regular" for path in paths(json.loads(body)["files"])}
                self.reply({"files": [{"path": p, "uploadMode": m, "shouldIgnore": False} for p, m in modes.items()]})
            case [*_, "info", "lfs", "objects", "batch"]:
                self.reply({"objects": [self.upload(each) for each in json.loads(body)["objects"]]})
            case ["api", kind, owner, name, "commit", _]:
                self.commit(f"{kind}/{owner}/{name}", [json.loads(line) for line in body.splitlines()])
            case _:
                self.refuse(404, "EntryNotFound")

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.parts() == ["lfs", hashlib.sha256(content).hexdigest()]
        self.world.blobs[self.parts()[1]] = content
        self.reply({})

    def parts(self) -> list[str]:
        path = unquote(urlsplit(self.path).path).strip("/")
        if not self.world.asked or self.world.asked[-1] != f"{self.command} {path}":
            self.world.asked.append(f"{self.command} {path}")
        return path.split("/")

    def knows_the_caller(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def create(self, wish: dict[str, Any]) -> None:
        if not self.knows_the_caller():
            self.refuse(401, "Unauthorized")
            return
        owner = wish.get("organization") or "me"
        private = wish.get("private") or wish.get("visibility") == "private"
        self.world.repos[f"{wish['type']}s/{owner}/{wish['name']}"] = Repo(bool(private))
        self.reply({"url": f"{self.address}/{wish['type']}s/{owner}/{wish['name']}"})

    def info(self, place: str, rest: list[str]) -> None:
        """A repository at a revision, or the tree of its files."""
        repo = self.repo(place)
        files = None if repo is None else repo.commit_of(rest[1] if len(rest) > 1 else "main")
        if place.partition("/")[2] in self.world.gated:
            self.refuse(403, "GatedRepo")
        elif repo is None or files is None:
            self.refuse(401 if repo is None else 404, "RepoNotFound" if repo is None else "RevisionNotFound")
        elif rest[:1] == ["tree"]:
            self.reply([entry(path, content) for path, content in files.items()])
        else:
            number = next(n for n, (_, each) in enumerate(repo.commits) if each is files)
            siblings = [{"rfilename": path} for path in files]
            self.reply({"id": place.partition("/")[2], "sha": repo.name(number), "siblings": siblings})

    def file(self, place: str, revision: str, path: str) -> None:
        repo = self.repo(place)
        files = None if repo is None else repo.commit_of(revision)
        if repo is None or files is None or path not in files:
            self.refuse(404, "EntryNotFound" if files is not None else "RepoNotFound")
            return
        number = next(n for n, (_, each) in enumerate(repo.commits) if each is files)
        self.send(200, files[path], {"ETag": f'"{git_hash(files[path])}"', "X-Repo-Commit": repo.name(number)})

    def repo(self, place: str) -> Repo | None:
        """A private one is there only for those who are logged in."""
        repo = self.world.repos.get(place)
        return None if repo is None or (repo.private and not self.knows_the_caller()) else repo

    def upload(self, wish: dict[str, Any]) -> dict[str, Any]:
        if wish["oid"] in self.world.blobs:
            return wish
        return {**wish, "actions": {"upload": {"href": f"{self.address}/lfs/{wish['oid']}"}}}

    def commit(self, place: str, lines: list[dict[str, Any]]) -> None:
        if place.partition("/")[2] in self.world.closed_to or not self.knows_the_caller():
            self.refuse(403, "Forbidden")
            return
        repo, header = self.world.repos[place], lines[0]["value"]
        if place in self.world.busy:
            repo.commits.append(("somebody else's", dict(repo.files)))
        if header.get("parentCommit", repo.name()) != repo.name():
            self.refuse(412, "PreconditionFailed")
            return
        files = dict(repo.files)
        for line in lines[1:]:
            value = line["value"]
            match line["key"]:
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    files[value["path"]] = self.world.blobs[value["oid"]]
                case "deletedFile":
                    del files[value["path"]]
                case other:
                    raise AssertionError(other)
        repo.commits.append((header["summary"], files))
        self.reply({"commitUrl": f"{self.address}/{place}/commit/{repo.name()}", "commitOid": repo.name()})

    @property
    def address(self) -> str:
        return f"http://{self.headers['Host']}"


def large(path: str) -> bool:
    return path.endswith(".parquet")


def paths(files: list[dict[str, Any]]) -> list[str]:
    return [each["path"] for each in files]


def git_hash(content: bytes) -> str:
    """What git calls a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def entry(path: str, content: bytes) -> dict[str, Any]:
    """A file in a listing."""
    found: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": git_hash(content)}
    if large(path):
        oid = hashlib.sha256(content).hexdigest()
        found |= {"oid": git_hash(oid.encode()), "lfs": {"oid": oid, "size": len(content), "pointerSize": 130}}
    return found


@contextmanager
def serve_hub() -> Iterator[tuple[str, World]]:
    """An empty hub: its address and its world."""
    world = World()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Served", (Hub,), {"world": world}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", world
    finally:
        server.shutdown()
        server.server_close()
