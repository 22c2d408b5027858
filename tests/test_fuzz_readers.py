"""Every file that is read, damaged at random: what comes of it is success, or one line.

Each valid file is damaged in its content (a value replaced, removed or added) or in its bytes, or is random bytes.
``CANONBENCH_FUZZ=5000 pytest tests/test_fuzz_readers.py`` tries more, and others each time.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import click
import peft
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from run_cases import write_suite

from canonbench.cache import Journal
from canonbench.cli.edit import edit
from canonbench.cli.evaluate import evaluate
from canonbench.editing.method import find_method
from canonbench.errors import CanonbenchError
from canonbench.models.artefacts.artefact import save_artefact
from canonbench.models.artefacts.edit_file import EditFile
from canonbench.models.fingerprint import fingerprint
from canonbench.models.load import Loading, base_name, load_model
from canonbench.results.candidates import read_candidates
from canonbench.results.row import Row
from canonbench.results.rows import read_rows
from canonbench.results.submission import read_submission, unwritten
from canonbench.runs.folder import IDENTITY, RunFolder
from canonbench.runs.merge_parts import record_of
from canonbench.runs.spec import read_protocol
from canonbench.submissions.draft import read_record
from canonbench.suite.check import check_suite
from canonbench.suite.published import load_manifest
from canonbench.suite.suite import Suite
from tiny_models import save_tiny, tiny_model

ROOT = Path(__file__).resolve().parents[1]
LONGEST = 10.0  # seconds for one file: beyond it, it hangs
MOST_SAID = 8000
"""Characters of a message; it may repeat a value of 5000."""
OFTEN = int(os.environ.get("CANONBENCH_FUZZ", "0"))
ODD: tuple[Any, ...] = (
    None, True, -1, 0, 3, 2**70, 10**400, -0.5, 1e308, float("nan"), float("inf"),
    "", "x", " ", "../x", "/", ".", "a/b", "a,b", "a\nb", "\0", "\ud800", "\ufeff", "x" * 5000, "(a+)+$", "(", "1e999",
    [], {}, [[]], [None], [-1], [{}], {"": None}, {"a": {"b": []}}, {"\0": 1},
)  # fmt: skip
BYTES = (
    b"\xff", b"\0", b"[", b"{", b'"', b":", b",", b"\n", b"\n\n", b"*", b"&a ", b"<<: ", b"!!int ", b"1e999", b"NaN",
    b"\\ud800", b"\\u0000", b"- ", b"? ", b"\xef\xbb\xbf", b"\xff\xfe", b"\t", b"9" * 5000, b"[" * 3000, b"#", b"|",
)  # fmt: skip
BARE = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}


class Reader(NamedTuple):
    """A file of a folder, and what reads it."""

    file: str
    read: Callable[[Path], Any]
    """Takes the folder."""
    examples: int = 60
    of_click: bool = False
    """It may also say what is wrong by an exception of click, which main() prints as one line."""


def places(content: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of every value within a container."""
    pairs = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in list(pairs):
        yield content, key
        yield from places(value)


@st.composite
def damaged_content(draw: st.DrawFn, valid: Any) -> Any:
    content = copy.deepcopy(valid)
    for _ in range(draw(st.integers(1, 3))):
        found = list(places(content))
        if not found:
            return draw(st.sampled_from(ODD))
        container, key = draw(st.sampled_from(found))
        odd = copy.deepcopy(draw(st.sampled_from(ODD) | st.text(max_size=8)))
        match draw(st.sampled_from(("replace", "remove", "add", "rename"))):
            case "replace":
                container[key] = odd
            case "remove":
                del container[key]
            case "add" if isinstance(container, list):
                container.insert(key, odd)
            case "rename" if isinstance(container, dict) and isinstance(odd, str):
                container[odd] = container.pop(key)
            case _ if isinstance(container, dict):
                container["added"] = odd
    return content


@st.composite
def damaged_bytes(draw: st.DrawFn, valid: bytes) -> bytes:
    content = valid
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        gone = draw(st.integers(0, 12))
        new = draw(st.sampled_from(BYTES) | st.binary(max_size=6) | st.just(content[start : start + 40]))
        content = content[:start] + new + content[start + gone :]
    return content


def parsed(path: Path) -> tuple[Any, Callable[[Any], str]]:
    """A valid file's content, and what writes such content."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".yaml":
        return yaml.safe_load(text), lambda content: yaml.safe_dump(content, allow_unicode=True)
    if path.suffix == ".jsonl":

        def write(rows: Any) -> str:
            return "".join(json.dumps(row) + "\n" for row in rows) if isinstance(rows, list) else json.dumps(rows)

        return [json.loads(line) for line in text.splitlines()], write
    return json.loads(text), json.dumps


def try_damaged(reader: Reader, folder: Path) -> None:
    """Read the file as it is, then damaged in many ways."""
    path = folder / reader.file
    valid = path.read_bytes()
    content, write = parsed(path)
    reader.read(folder)

    def as_bytes(each: Any) -> bytes:
        return write(each).encode("utf-8", errors="surrogatepass")

    broken = damaged_content(content).map(as_bytes) | damaged_bytes(valid) | st.binary(max_size=40)

    @settings(max_examples=OFTEN or reader.examples, derandomize=not OFTEN, **BARE)  # type: ignore[arg-type]
    @given(broken)
    def run(data: bytes) -> None:
        path.write_bytes(data)
        start = time.monotonic()
        message = ""
        try:
            reader.read(folder)
        except CanonbenchError as error:
            message = str(error)
        except click.ClickException:
            if not reader.of_click:
                raise
        assert "\n" not in message
        assert len(message) < MOST_SAID
        assert time.monotonic() - start < LONGEST

    run()


def small_suite(folder: Path) -> None:
    write_suite(folder, chunks=2)
    spec = yaml.safe_load((folder / "suite.yaml").read_text(encoding="utf-8"))
    flags = {
        "source": "an audit",
        "flags": {"mine/test-evaluation.jsonl": {"odd": [0, 2]}},
        "unclean": {"mine": ["odd"]},
    }
    (folder / "flags.json").write_text(json.dumps(flags), encoding="utf-8")
    spec |= {"flags": {"path": "flags.json"}, "tasks": {"mine": spec["tasks"]["mine"]}}
    spec["tasks"]["mine"]["subject"] = {"columns": ["subject"], "canonical_pattern": "year (.*) of"}
    spec["tasks"]["mine"]["test"]["evaluation"] = {"path": "mine/test-evaluation.jsonl", "rows": [0, 4]}
    (folder / "suite.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")


def read_suite(folder: Path) -> None:
    suite = Suite.load(folder)
    check_suite(suite, mini_sizes=False)
    suite.data_hash("test")
    for task in suite.tasks.values():
        for split in task.splits.values():
            assert split.evaluation.num_rows + split.hard_negatives.num_rows >= 0
    if (general := suite.general()) is not None:
        general.texts("val")


@pytest.mark.parametrize(
    "reader",
    [
        Reader("suite.yaml", read_suite, 80),
        Reader("mine/test-evaluation.jsonl", read_suite),
        Reader("mine/test-canonical.jsonl", read_suite),
        Reader("general/val.jsonl", read_suite),
        Reader("flags.json", read_suite),
    ],
    ids=lambda reader: reader.file,
)
def test_files_of_a_suite(reader: Reader, tmp_path: Path) -> None:
    small_suite(tmp_path)
    try_damaged(reader, tmp_path)


PROTOCOL = """
name: mine
base: canonbench-1
leagues: [1e-3, 0.0001]
hard_negatives: val
selection: last
thresholds: {country: 1.5, gender: 0.1}
"""


def test_a_protocol_file(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(PROTOCOL, encoding="utf-8")
    try_damaged(Reader("own.yaml", lambda folder: read_protocol(str(folder / "own.yaml")), 300), tmp_path)


CONFIG = """
model: gpt2
task: [country, gender]
limit: 3
batch-tokens: 512
states-budget: 1.5
quiet: true
output: row.json
"""


@pytest.mark.parametrize("command", [evaluate, edit], ids=lambda command: str(command.name))
def test_a_config_file(command: click.Command, tmp_path: Path) -> None:
    more = "method: lora\nset: {lr: 3e-4}\nrank: 8\nseeds: 2\nleagues: [1e-3]\n" if command is edit else ""
    (tmp_path / "own.yaml").write_text(CONFIG + more, encoding="utf-8")

    def read(folder: Path) -> None:
        command.make_context(str(command.name), ["--config", str(folder / "own.yaml")])

    try_damaged(Reader("own.yaml", read, 300, of_click=True), tmp_path)


IDENTITY_OF_RUN = {"model": "gpt2", "tasks": ["country"], "seed": 0, "code": "ab" * 32, "limit": None}
JOURNAL = [
    {"requests": [0, 1], "sums": [-1.5, -2.0], "seconds": 0.1},
    {"requests": [2], "sums": [-3.0], "seconds": 0.1},
]


def read_journal(folder: Path) -> None:
    Journal(folder / "journal.jsonl").read()


def read_run(folder: Path) -> None:
    for read in (
        lambda: read_record([folder]),
        lambda: RunFolder(folder).claim(IDENTITY_OF_RUN, {}),
        lambda: RunFolder(folder).claim({"other": 1}, {}),
    ):
        with suppress(CanonbenchError):
            read()


def read_row(folder: Path) -> None:
    row = RunFolder(folder).row()
    again = Row.parse(row.to_json(), "again")
    assert again == row
    assert len(row.row_id) == 12
    assert str(row.comparable_group)


@pytest.mark.parametrize(
    "reader",
    [
        Reader("run.yaml", read_run, 200),
        Reader("row.json", read_row, 150),
        Reader("candidates.jsonl", lambda folder: read_candidates(folder / "candidates.jsonl"), 150),
        Reader("journal.jsonl", read_journal, 150),
    ],
    ids=lambda reader: reader.file,
)
def test_files_of_a_run(reader: Reader, tmp_path: Path) -> None:
    record = {IDENTITY: IDENTITY_OF_RUN, "passed": {"method": "lora", "set": {"lr": 0.1}}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(record), encoding="utf-8")
    line = (ROOT / "leaderboard/rows/lora.jsonl").read_text(encoding="utf-8").split("\n")[0]
    (tmp_path / "row.json").write_text(line, encoding="utf-8")
    candidate = {
        "task": "country", "seed": 0, "number": 1, "fingerprint": "ab", "training_loss": 1.0, "ratio": 1.0,
        "rejected": False, "leagues": {"1e-3": True}, "success": 50.0, "hard_negatives": 2.0, "seconds": {"task": 1.0},
        "chosen": ["1e-3"],
    }  # fmt: skip
    (tmp_path / "candidates.jsonl").write_text(json.dumps(candidate) + "\n", encoding="utf-8")
    (tmp_path / "journal.jsonl").write_text("".join(json.dumps(each) + "\n" for each in JOURNAL), encoding="utf-8")
    try_damaged(reader, tmp_path)


def read_described(folder: Path) -> None:
    unwritten(folder)
    for drafts in (True, False):
        with suppress(CanonbenchError):
            read_submission(folder, drafts=drafts)
    find_method(folder)


def test_a_submission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shutil.copytree(ROOT / "submissions/step", tmp_path / "step")
    monkeypatch.chdir(folder)  # where '.' is the submission itself
    try_damaged(Reader("submission.yaml", read_described, 150), folder)


def test_rows_of_the_board(tmp_path: Path) -> None:
    lines = (ROOT / "leaderboard/rows/lora.jsonl").read_text(encoding="utf-8").split("\n")[:2]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    try_damaged(Reader("rows.jsonl", read_rows, 150), tmp_path)


def test_the_manifest(tmp_path: Path) -> None:
    content = json.loads((ROOT / "datasets/published/manifest.json").read_text(encoding="utf-8"))
    content["files"] = content["files"][:2]
    (tmp_path / "manifest.json").write_text(json.dumps(content), encoding="utf-8")

    def read(folder: Path) -> None:
        manifest = load_manifest(folder / "manifest.json")
        assert all(manifest.url_of(file) for file in manifest.files)

    try_damaged(Reader("manifest.json", read, 150), tmp_path)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``base``, and of it ``adapter`` and ``kept``, an edit run's artefact."""
    folder = tmp_path_factory.mktemp("models")
    save_tiny(folder / "base", tokenizer="bos")
    tuned = peft.get_peft_model(tiny_model("llama"), peft.LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"]))
    tuned.peft_config["default"].base_model_name_or_path = str(folder / "base")
    for parameter in tuned.parameters():
        parameter.data += 0.01
    tuned.save_pretrained(folder / "adapter")
    base = load_model(folder / "base", Loading())
    before = fingerprint(base.model)
    next(base.model.parameters()).data += 1.0
    record = {"method": "full", "task": "country", "split": "val", "seed": 0, "candidate": 1, "hyperparameters": {}}
    save_artefact(base.model, folder / "kept", base=base.source, base_fingerprint=before, record=record)
    return folder


def read_model(folder: Path) -> None:
    base_name(folder)
    load_model(folder, Loading())


def read_artefact(folder: Path) -> None:
    record_of(EditFile.read(folder))
    read_model(folder)


@pytest.mark.parametrize(
    ("name", "reader"),
    [
        ("base", Reader("config.json", read_model, 40)),
        ("base", Reader("tokenizer_config.json", read_model, 30)),
        ("adapter", Reader("adapter_config.json", read_model, 40)),
        ("kept", Reader("canonbench_edit.json", read_artefact, 60)),
    ],
    ids=lambda value: value.file if isinstance(value, Reader) else None,
)
def test_files_of_a_model(name: str, reader: Reader, models: Path, tmp_path: Path) -> None:
    try_damaged(reader, shutil.copytree(models / name, tmp_path / "model"))
