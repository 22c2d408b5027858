from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up import described

from canonbench.errors import CanonbenchError
from canonbench.files import data_root
from canonbench.suite.published import git_blob_and_sha256, load_manifest, mismatch

PUBLISHED = os.environ.get("CANONBENCH_PUBLISHED_DIR", "")
needs_published = pytest.mark.skipif(
    not PUBLISHED, reason="CANONBENCH_PUBLISHED_DIR is not set: the real data set is not compared with the manifest"
)

# (canonical, evaluation, hard negatives) for val and for test: docs/reference/protocol.md#2-tasks.
SIZES = {
    "country_capital": ("fixed", (119, 119), "clear_eval", (582, 583), "hard_neg", (116, 117)),
    "company_ceo": ("train", (86, 86), "eval_clear", (421, 425), "hard_neg_eval_clear", (219, 221)),
    "pronoun_gender_bias": ("train", (20, 20), "eval", (320, 360), "hard_neg_eval", (235, 231)),
    "stereoset": ("train", (1053, 1053), "eval_clear", (1053, 1053), "hard_neg", (1053, 1053)),
    "temporal": ("train", (75, 76), "eval_clear", (452, 486), "hard_neg_eval_clear", (389, 325)),
    "verb_conjugation": ("train", (240, 240), "eval", (360, 360), "hard_neg_eval", (720, 720)),
}

# The evaluation files and the unclean rows of val and test: docs/reference/protocol.md#6-rows.
UNCLEAN = {
    "country": ("country_capital/split/country_capital_clear_eval", (38, 35)),
    "company": ("company_ceo/split/company_ceo_eval_clear", (49, 51)),
    "stereoset": ("stereoset/split/stereoset_eval_clear", (15, 9)),
    "verb": ("verb_conjugation/split/verb_conjugation_eval", (42, 36)),
    "temporal": ("temporal/split/temporal_eval_clear", (0, 7)),
    "gender": ("pronoun_gender_bias/split/pronoun_gender_bias_eval", (0, 0)),
}


def test_the_packaged_manifest_names_every_file_of_the_pinned_commit() -> None:
    manifest = load_manifest()
    assert manifest.repository == "john-hewitt/model-editing-canonical-examples"
    assert manifest.commit == "15a1e7b0c726151809fa4d46ab5882508349155e"
    assert Counter(file.group for file in manifest.files) == {
        "tasks": 48,  # six tasks × {val, test} × {canonical, evaluation, hard negatives, unconditional}
        "openwebtext-100": 1,
        "openwebtext-500": 2,
        "duplicates": 2,
    }
    assert len({file.path for file in manifest.files}) == 53


def test_only_the_two_large_files_are_known_by_their_git_blob_alone() -> None:
    unknown = {file.path: file.git_blob for file in load_manifest().files if file.sha256 is None or file.bytes is None}
    assert unknown == {
        "data/val-chunked.jsonl": "df1d7dde8262b995896ef0aa6246492099de4ed3",
        "data/trainval-chunked.jsonl": "d2a28a6b1960530ae795237ac4b8fe6615dfe4a0",
    }


def test_the_numbers_of_rows_are_the_protocols() -> None:
    rows = {file.path: file.rows for file in load_manifest().files}
    for task, (*parts,) in SIZES.items():
        for part, (val, test) in zip(parts[::2], parts[1::2], strict=True):
            stem = f"data/{task}/split/{task}_{part}"
            assert (rows[f"{stem}-val.jsonl"], rows[f"{stem}-test.jsonl"]) == (val, test), stem
    assert rows["data/val100-val.jsonl"] == 4007


def test_a_files_address_is_pinned_to_the_commit_or_on_the_mirror() -> None:
    manifest = load_manifest()
    file = manifest.files[0]
    assert manifest.url_of(file) == (
        "https://raw.githubusercontent.com/john-hewitt/model-editing-canonical-examples/"
        f"15a1e7b0c726151809fa4d46ab5882508349155e/{file.path}"
    )
    assert manifest.url_of(file, "https://mirror.example/x/") == f"https://mirror.example/x/{file.path}"


@pytest.mark.parametrize(
    ("body", "blob", "sha256"),
    [  # as `git hash-object` and `sha256sum` print them
        (
            b"",
            "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ),
        (
            b"hello\n",
            "ce013625030ba8dba906f756967f9e9ca394464a",
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
        ),
    ],
)
def test_hashes_are_gits_and_sha256sums(tmp_path: Path, body: bytes, blob: str, sha256: str) -> None:
    (tmp_path / "file").write_bytes(body)
    assert git_blob_and_sha256(tmp_path / "file") == (blob, sha256)


@given(body=st.binary(min_size=1, max_size=200), data=st.data(), known=st.booleans())
def test_any_changed_byte_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, body: bytes, data: st.DataObject, known: bool
) -> None:
    path = tmp_path_factory.mktemp("one") / "file"
    file = described("data/file", body, known=known)
    path.write_bytes(body)
    assert mismatch(path, file) is None
    changed = bytearray(body)
    changed[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(changed)
    assert mismatch(path, file) is not None
    path.write_bytes(body + b"\n")
    assert mismatch(path, file) is not None


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"path": "../outside"}, "stays inside"),
        ({"path": "/etc/passwd"}, "stays inside"),
        ({"git_blob": "abc"}, "git_blob"),
        ({"bytes": -1}, "bytes"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_manifest_that_is_not_valid_is_refused_in_one_line(
    tmp_path: Path, change: dict[str, object], complaint: str
) -> None:
    content = json.loads((data_root() / "published" / "manifest.json").read_text())
    content["files"][0] |= change
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(CanonbenchError, match=complaint) as caught:
        load_manifest(tmp_path / "manifest.json")
    assert "\n" not in str(caught.value)


def test_a_manifest_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CanonbenchError, match=r"cannot read .*nowhere\.json"):
        load_manifest(tmp_path / "nowhere.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(CanonbenchError, match=r"broken\.json:1:2: not valid JSON"):
        load_manifest(tmp_path / "broken.json")


def test_the_flags_count_the_unclean_rows_that_the_protocol_names() -> None:
    audit = json.loads((data_root() / "flags" / "published.json").read_text())
    assert set(audit["unclean"]) == set(UNCLEAN)
    for task, (stem, counts) in UNCLEAN.items():
        for split, count in zip(("val", "test"), counts, strict=True):
            flags = audit["flags"].get(f"{stem}-{split}.jsonl", {})
            rows = {row for flag in audit["unclean"][task] for row in flags.get(flag, ())}
            assert len(rows) == count, (task, split)


def test_every_flag_names_rows_that_exist() -> None:
    rows = {file.path: file.rows for file in load_manifest().files}
    audit = json.loads((data_root() / "flags" / "published.json").read_text())
    for path, flags in audit["flags"].items():
        for flag, flagged in flags.items():
            assert flagged == sorted(set(flagged)), (path, flag)
            assert flagged[0] >= 0, (path, flag)
            assert flagged[-1] < (rows[f"data/{path}"] or 0), (path, flag)


@needs_published
def test_the_real_files_are_the_manifests() -> None:
    for file in load_manifest().files:
        if file.required:
            assert mismatch(Path(PUBLISHED, file.path), file) is None, file.path


@needs_published
def test_the_manifest_is_rebuilt_from_a_local_copy_to_the_same_bytes(tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "scripts" / "build_published_manifest.py"
    subprocess.run([sys.executable, str(script), PUBLISHED, str(tmp_path / "again.json")], check=True)
    if Path(PUBLISHED, "data/val-chunked.jsonl").exists():
        pytest.skip("this copy holds the large files, whose sizes the committed manifest does not know")
    assert (tmp_path / "again.json").read_bytes() == (data_root() / "published" / "manifest.json").read_bytes()
