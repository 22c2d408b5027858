"""Regenerate datasets/published/manifest.json from a local copy of the published data set.

Usage: python scripts/build_published_manifest.py COPY [OUTPUT]

COPY holds data/...: the split files of the six tasks and data/val100-val.jsonl. The two large general
texts may be absent: their git blob ids are known from the repository's tree, their sizes are not.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

REPOSITORY = "john-hewitt/model-editing-canonical-examples"
COMMIT = "15a1e7b0c726151809fa4d46ab5882508349155e"
URL = "https://raw.githubusercontent.com/{repository}/{commit}/{path}"

OPENWEBTEXT_500 = {
    "data/trainval-chunked.jsonl": "d2a28a6b1960530ae795237ac4b8fe6615dfe4a0",
    "data/val-chunked.jsonl": "df1d7dde8262b995896ef0aa6246492099de4ed3",
}
OPENWEBTEXT_100 = "data/val100-val.jsonl"


def duplicates(openwebtext_100: bytes) -> dict[str, bytes]:
    """Two released files repeat openwebtext-100: all of it, and its first 100 rows."""
    return {
        "data/val100.jsonl": openwebtext_100,
        "data/val100-short.jsonl": b"".join(openwebtext_100.splitlines(keepends=True)[:100]),
    }


def entry(path: str, group: str, contents: bytes) -> dict[str, object]:
    return {
        "path": path,
        "group": group,
        "bytes": len(contents),
        "sha256": hashlib.sha256(contents).hexdigest(),
        "git_blob": hashlib.sha1(b"blob %d\0" % len(contents) + contents, usedforsecurity=False).hexdigest(),
        "rows": len(contents.splitlines()),
    }


def entries(copy: Path) -> list[dict[str, object]]:
    """Every file's entry, sorted by path."""
    found = [
        entry(path.relative_to(copy).as_posix(), "tasks", path.read_bytes())
        for path in copy.glob("data/*/split/*.jsonl")
    ]
    general = (copy / OPENWEBTEXT_100).read_bytes()
    found.append(entry(OPENWEBTEXT_100, "openwebtext-100", general))
    found += [entry(path, "duplicates", contents) for path, contents in duplicates(general).items()]
    for path, git_blob in OPENWEBTEXT_500.items():
        known: dict[str, object] = {"path": path, "bytes": None, "sha256": None, "git_blob": git_blob, "rows": None}
        if (copy / path).is_file():
            known = entry(path, "openwebtext-500", (copy / path).read_bytes())
            if known["git_blob"] != git_blob:
                raise SystemExit(f"{copy / path}: git blob {known['git_blob']}, expected {git_blob}")
        found.append(known | {"group": "openwebtext-500"})
    return sorted(found, key=lambda file: str(file["path"]))


def rendered(files: list[dict[str, object]]) -> str:
    """JSON with one line per file, so that a diff shows which file changed."""
    head = {"repository": REPOSITORY, "commit": COMMIT, "url": URL}
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    body = ",\n".join("    " + json.dumps(file) for file in files)
    return "\n".join(["{", *lines, '  "files": [', body, "  ]", "}"]) + "\n"


def main() -> None:
    if len(sys.argv) not in (2, 3):
        raise SystemExit(__doc__)
    default = Path(__file__).resolve().parents[1] / "datasets" / "published" / "manifest.json"
    output = Path(sys.argv[2]) if len(sys.argv) == 3 else default
    output.write_text(rendered(entries(Path(sys.argv[1]))), encoding="utf-8")


if __name__ == "__main__":
    main()
