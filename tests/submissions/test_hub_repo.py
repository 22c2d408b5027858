"""``canonbench push`` and ``pull`` against a hub on this machine, as commands of a process that knows no other."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from compare_cases import write_edit_run, write_edit_suite, write_fixed_run
from data_set_hub import Repo, World, serve_hub
from hub_commands import Canonbench, commands

from canonbench.errors import UsageError
from canonbench.results.finished import read_finished
from canonbench.results.row import ExamplesReference, Row
from canonbench.submissions.hub_files import model_index

RUN = ["examples.parquet", "row.json", "run.yaml"]
"""What these runs have of the files that travel."""


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[str, World]]:
    with serve_hub() as hub:
        yield hub


@pytest.fixture(scope="module")
def world(served: tuple[str, World]) -> World:
    return served[1]


@pytest.fixture(scope="module")
def canonbench(served: tuple[str, World], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canonbench]:
    """``canonbench("push", ...)``, in a process whose hub is that one."""
    with commands(served[0], tmp_path_factory.mktemp("hub-cache")) as run:
        yield run


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``lora``, ``full`` and ``fixed``: two edit runs and a checkpoint's; ``rows``: two files of rows."""
    folder = tmp_path_factory.mktemp("pristine")
    suite = write_edit_suite(folder / "suite")
    write_edit_run(folder / "lora", suite)
    write_edit_run(folder / "full", suite, method="full")
    write_fixed_run(folder / "fixed", suite)
    for run in ("lora", "full", "fixed"):
        (folder / run / "run.yaml").write_text(yaml.safe_dump({"identity": {"method": run}}), encoding="utf-8")
        (folder / run / "events.jsonl").write_text('{"event": "started"}\n', encoding="utf-8")
        (folder / run / "artefacts").mkdir()
    (folder / "rows").mkdir()
    for run in ("lora", "full"):
        line = Row.read(folder / run / "row.json").to_line()
        (folder / "rows" / f"{run}.jsonl").write_text(line + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def here(pristine: Path, tmp_path: Path) -> Path:
    """The test's own copy."""
    shutil.copytree(pristine, tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture
def repo(request: pytest.FixtureRequest) -> str:
    """A data set of the test's own, which is not there yet."""
    return f"me/{request.node.name.replace('[', '-').replace(']', '')[:60].strip('-_')}"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_comes_back_as_it_went_without_its_journals_and_weights(
    canonbench: Canonbench, world: World, here: Path, repo: str, tmp_path: Path
) -> None:
    pushed = canonbench("push", here / "lora", repo)
    assert pushed.code == 0, pushed.err
    *sent, _address, _examples = pushed.out.splitlines()
    assert sent == [f"sent runs/lora/{name}" for name in ("run.yaml", *RUN[:2])]
    assert sorted(world.repos[f"datasets/{repo}"].files) == [f"runs/lora/{name}" for name in RUN]
    pulled = canonbench("pull", repo, "--to", tmp_path / "there")
    assert pulled.code == 0, pulled.err
    assert contents(tmp_path / "there") == {f"runs/lora/{name}": (here / "lora" / name).read_bytes() for name in RUN}
    assert read_finished(tmp_path / "there" / "runs" / "lora").row == Row.read(here / "lora" / "row.json")


def test_rows_come_back_as_they_went_one_file_or_a_folder_of_them(
    canonbench: Canonbench, here: Path, repo: str, tmp_path: Path
) -> None:
    assert canonbench("push", here / "rows" / "lora.jsonl", repo, "--as", "mine").code == 0
    assert canonbench("push", here / "rows", repo).code == 0
    assert canonbench("pull", repo, "--to", tmp_path / "there").code == 0
    rows = contents(here / "rows")
    expected = {"rows/mine.jsonl": rows["lora.jsonl"], **{f"rows/{name}": text for name, text in rows.items()}}
    assert contents(tmp_path / "there") == expected


def test_a_dry_run_shows_the_files_and_asks_the_hub_nothing(
    canonbench: Canonbench, world: World, here: Path, repo: str
) -> None:
    before = list(world.asked)
    shown = canonbench(
        *("push", here / "lora" / "row.json", repo, "--dry-run", "--card", "me/model"),
        environment={"CANONBENCH_OFFLINE": "1"},
    )
    assert (shown.code, world.asked) == (0, before)
    lines = shown.out.splitlines()
    assert lines[0] == f"to data set {repo} (nothing is sent, this is a dry run):"
    size = (here / "lora" / "examples.parquet").stat().st_size
    assert lines[2].split() == ["runs/lora/examples.parquet", f"{size:,}", "bytes"]
    metadata = yaml.safe_load(shown.out.split("to the head of the card of model me/model:\n")[1])
    assert metadata["model-index"][0]["name"] == "model"


def test_a_data_set_is_made_private_unless_it_is_asked_to_be_public(
    canonbench: Canonbench, world: World, here: Path, repo: str
) -> None:
    first = canonbench("push", here / "lora", repo)
    assert f"made the private data set {repo}" in first.err
    second = canonbench("push", here / "lora", f"{repo}-2", "--public")
    assert f"made the public data set {repo}-2" in second.err
    assert [world.repos[f"datasets/{name}"].private for name in (repo, f"{repo}-2")] == [True, False]


def test_a_push_says_how_a_row_may_refer_to_the_examples(
    canonbench: Canonbench, world: World, here: Path, repo: str
) -> None:
    last = canonbench("push", here / "lora", repo).out.splitlines()[-1]
    reference = ExamplesReference.model_validate_json(last.removeprefix("for a row's examples: "))
    commit, place = reference.file.removeprefix(f"hf://datasets/{repo}@").split("/", 1)
    files = world.repos[f"datasets/{repo}"].commit_of(commit)
    assert files is not None
    assert hashlib.sha256(files[place]).hexdigest() == reference.sha256
    rows = canonbench("push", here / "rows", repo).out
    assert "for a row's examples" not in rows


def test_a_data_set_that_asks_for_access_is_not_made_anew(
    canonbench: Canonbench, world: World, here: Path, repo: str
) -> None:
    canonbench("push", here / "lora", repo)
    world.gated.add(repo)
    for command in (("push", here / "full", repo), ("pull", repo)):
        assert canonbench(*command).error == (
            f"access to {repo} is restricted: ask for it on the hub, then 'hf auth login'"
        )


def test_what_is_there_already_is_not_sent_again(canonbench: Canonbench, world: World, here: Path, repo: str) -> None:
    canonbench("push", here / "lora", repo)
    again = canonbench("push", here / "lora", repo)
    assert (again.code, again.out.splitlines()[0]) == (0, "nothing to send, all of it is there already")
    assert len(world.repos[f"datasets/{repo}"].commits) == 2  # its first, and one push


def test_another_run_of_that_name_is_replaced_only_when_asked_and_whole(
    canonbench: Canonbench, world: World, here: Path, repo: str
) -> None:
    (here / "lora" / "candidates.jsonl").write_text("{}\n", encoding="utf-8")
    canonbench("push", here / "lora", repo)
    before = world.repos[f"datasets/{repo}"].files
    refused = canonbench("push", here / "full", repo, "--as", "lora")
    assert refused.code == 1
    assert f"{repo} has another runs/lora/candidates.jsonl; call yours something else (--as NAME)" in refused.error
    assert world.repos[f"datasets/{repo}"].files == before
    replaced = canonbench("push", here / "full", repo, "--as", "lora", "--replace")
    assert replaced.out.splitlines()[:3] == [
        *("sent runs/lora/run.yaml", "sent runs/lora/row.json", "removed runs/lora/candidates.jsonl")
    ]
    kept = {f"runs/lora/{name}": (here / "full" / name).read_bytes() for name in RUN}
    assert world.repos[f"datasets/{repo}"].files == kept


def test_a_run_that_contradicts_itself_is_neither_sent_nor_taken(
    canonbench: Canonbench, world: World, here: Path, repo: str, tmp_path: Path
) -> None:
    canonbench("push", here / "lora", repo)
    damaged = world.repos[f"datasets/{repo}"].files
    row = json.loads(damaged["runs/lora/row.json"])
    success = row["leagues"]["1e-3"]["tasks"]["country"]["success"]
    success["edited"] += 1
    success["delta"] += 1
    damaged["runs/lora/row.json"] = json.dumps(row).encode()
    pulled = canonbench("pull", repo, "--to", tmp_path / "there")
    assert pulled.code == 1
    assert "the row and its examples.parquet are not of one run (task 'country')" in pulled.error
    assert not (tmp_path / "there").exists()
    (here / "lora" / "row.json").write_bytes(damaged["runs/lora/row.json"])
    assert "are not of one run" in canonbench("push", here / "lora", f"{repo}-2").error
    assert f"datasets/{repo}-2" not in world.repos


@pytest.mark.parametrize(
    ("place", "content", "message"),
    [
        ("rows/bad.jsonl", b'{"schema": 3}\n', "rows/bad.jsonl:1: "),
        ("rows/none.jsonl", b"", "rows/none.jsonl holds no row"),
        ("rows/blank.jsonl", b"\n", "rows/blank.jsonl:1: an empty line"),
        ("runs/half/row.json", b"", "row.json:1:1: not valid JSON"),
        ("README.md", b"hello", "holds neither rows nor runs of canonbench"),
        ("rows/deep/er.jsonl", b"", "holds neither rows nor runs of canonbench"),
    ],
)
def test_of_a_data_set_with_something_wrong_nothing_is_written(
    place: str, content: bytes, message: str, canonbench: Canonbench, world: World, here: Path, tmp_path: Path
) -> None:
    repo = f"me/wrong-{len(world.repos)}"
    canonbench("push", here / "rows", repo)
    files = world.repos[f"datasets/{repo}"].files
    if "neither" in message:
        files.clear()
    files[place] = content
    pulled = canonbench("pull", repo, "--to", tmp_path / "there")
    assert pulled.code == 1
    assert message in pulled.error
    assert not (tmp_path / "there").exists()


def test_a_file_here_is_replaced_only_when_asked(canonbench: Canonbench, here: Path, repo: str, tmp_path: Path) -> None:
    canonbench("push", here / "rows", repo)
    there = tmp_path / "there"
    canonbench("pull", repo, "--to", there)
    (there / "rows" / "full.jsonl").write_text("mine\n", encoding="utf-8")
    (there / "rows" / "own.jsonl").write_text("mine\n", encoding="utf-8")
    (there / "rows" / "lora.jsonl").unlink()
    refused = canonbench("pull", repo, "--to", there)
    assert f"{there / 'rows' / 'full.jsonl'} is not what {repo} has; --replace it" in refused.error
    assert not (there / "rows" / "lora.jsonl").exists()
    assert canonbench("pull", repo, "--to", there, "--replace").code == 0
    expected = {f"rows/{name}": text for name, text in contents(here / "rows").items()}
    assert contents(there) == {**expected, "rows/own.jsonl": b"mine\n"}
    again = canonbench("pull", repo, "--to", there)
    assert again.out.startswith("0 files of ")
    assert again.out.endswith(", 2 were here already\n")


def test_an_earlier_revision_can_be_pulled(canonbench: Canonbench, here: Path, repo: str, tmp_path: Path) -> None:
    first = canonbench("push", here / "rows" / "lora.jsonl", repo).out.splitlines()[-1].rpartition("/")[2]
    canonbench("push", here / "rows" / "full.jsonl", repo)
    assert canonbench("pull", repo, "--to", tmp_path / "there", "--revision", first).code == 0
    assert list(contents(tmp_path / "there")) == ["rows/lora.jsonl"]
    unknown = canonbench("pull", repo, "--to", tmp_path / "there", "--revision", "v9")
    assert (unknown.code, unknown.error) == (2, f"{repo} has no such revision")


def test_secrets_and_places_on_this_machine_are_not_sent_unasked(
    canonbench: Canonbench, world: World, here: Path, repo: str
) -> None:
    (here / "lora" / "run.yaml").write_text("passed:\n  model: /home/me/models/mine\n", encoding="utf-8")
    refused = canonbench("push", here / "lora", repo)
    assert refused.code == 1
    assert "run.yaml:2 names a place on one machine, /home/me/models/mine; change it, or send it" in refused.error
    assert f"datasets/{repo}" not in world.repos
    assert "run.yaml:2 names a place on one machine" in canonbench("push", here / "lora", repo, "--dry-run").out
    assert canonbench("push", here / "lora", repo, "--anyway").code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("push", "HERE/nothing", "me/x"), 2, "neither a finished run nor a .jsonl file of rows"),
        (("push", "HERE/suite", "me/x"), 2, "neither a finished run nor a .jsonl file of rows"),
        (("push", "HERE/rows", "me/x", "--as", "all"), 2, "holds 2 files of rows, which cannot all be called so"),
        (("push", "HERE/lora", "me/x", "--as", "../up"), 2, "'../up' is no name for a repository"),
        (("push", "HERE/rows", "me/x", "--card", "me/model"), 2, "--card takes the results of a run"),
        (("push", "HERE/lora", "me/x y"), 2, "'me/x y' is no name of a repository on the hub"),
        (("push", "HERE/lora", "mine"), 2, "'mine' is no name of a repository on the hub, such as OWNER/NAME"),
        (("pull", "me/never"), 2, "the hub has no me/never, or it is private: log in with 'hf auth login'"),
        (("pull", "me/x/y"), 2, "'me/x/y' is no name of a repository on the hub"),
    ],
)
def test_misuse_is_one_line(
    arguments: tuple[str, ...], code: int, message: str, canonbench: Canonbench, here: Path
) -> None:
    outcome = canonbench(*(each.replace("HERE", str(here)) for each in arguments))
    assert outcome.code == code
    assert message in outcome.error


def test_who_may_not_write_is_told_so(canonbench: Canonbench, world: World, here: Path, repo: str) -> None:
    stranger = canonbench("push", here / "lora", repo, environment={"HF_TOKEN": "hf_" + "y" * 20})
    assert stranger.code == 1
    assert stranger.error == f"sending to {repo} was refused: log in with 'hf auth login'"
    canonbench("push", here / "lora", repo)
    world.closed_to.add(repo)
    refused = canonbench("push", here / "full", repo)
    assert refused.error == f"sending to {repo} was refused: this account, or its token, may not write there"


@pytest.mark.parametrize("command", [("push", "HERE/lora", "me/x"), ("pull", "me/x")])
def test_without_permission_the_network_is_not_used(
    command: tuple[str, ...], canonbench: Canonbench, world: World, here: Path
) -> None:
    before = list(world.asked)
    arguments = [each.replace("HERE", str(here)) for each in command]
    outcome = canonbench(*arguments, environment={"CANONBENCH_OFFLINE": "1"})
    assert (outcome.code, world.asked) == (1, before)
    assert "needs the network, but CANONBENCH_OFFLINE=1 forbids it" in outcome.error


def test_what_changed_meanwhile_is_not_overwritten(canonbench: Canonbench, world: World, here: Path, repo: str) -> None:
    canonbench("push", here / "rows" / "lora.jsonl", repo)
    world.busy.add(f"datasets/{repo}")
    refused = canonbench("push", here / "rows" / "full.jsonl", repo)
    assert refused.error == f"sending to {repo} was refused: it changed meanwhile; run the same command again"
    world.busy.clear()
    assert canonbench("push", here / "rows" / "full.jsonl", repo).code == 0


def test_an_unreachable_hub_is_one_line(here: Path, tmp_path: Path) -> None:
    with commands("http://127.0.0.1:9", tmp_path) as canonbench:  # port 9 is closed
        outcome = canonbench("push", here / "lora", "me/x")
    assert outcome.code == 1
    assert outcome.error.startswith("sending to me/x failed: ")


def test_results_go_to_a_models_card_and_keep_what_it_says(
    canonbench: Canonbench, world: World, here: Path, repo: str
) -> None:
    model = Repo(private=False)
    other = {"task": {"type": "x"}, "dataset": {"type": "d", "name": "D"}, "metrics": [{"type": "acc", "value": 1}]}
    card = {"license": "mit", "model-index": [{"name": "mine", "results": [other]}]}
    model.files["README.md"] = f"---\n{yaml.safe_dump(card)}---\n# Mine\n\nWords.\n".encode()
    world.repos[f"models/{repo}"] = model
    assert canonbench("push", here / "lora", repo, "--card", repo).code == 0
    text = model.files["README.md"].decode()
    assert text.endswith("---\n# Mine\n\nWords.\n")
    metadata = yaml.safe_load(text.split("---")[1])
    assert metadata["license"] == "mit"
    results = metadata["model-index"][0]["results"]
    assert [each["dataset"].get("config") for each in results] == [None, "country", "gender", "average"]
    row = Row.read(here / "lora" / "row.json")
    assert row.leagues is not None
    found = {(m["type"], m["config"]): m["value"] for m in results[1]["metrics"]}
    for label, league in row.leagues.items():
        country = league.tasks["country"]
        assert found["success_rate", label] == country.success.edited
        assert found["success_rate_delta", label] == country.success.delta
        assert found["loss_ratio", label] == country.ratio
    assert canonbench("push", here / "lora", repo, "--card", repo).code == 0
    again = yaml.safe_load(model.files["README.md"].decode().split("---")[1])
    assert again == metadata  # the same results replace themselves


def test_a_checkpoints_card_tells_of_its_ratio(canonbench: Canonbench, here: Path, repo: str) -> None:
    shown = canonbench("push", here / "fixed", repo, "--dry-run", "--card", "me/model").out
    results = yaml.safe_load(shown.split("me/model:\n")[1])["model-index"][0]["results"]
    row = Row.read(here / "fixed" / "row.json")
    assert row.general is not None
    (metric,) = next(each for each in results if each["dataset"]["config"] == "general")["metrics"]
    assert (metric["type"], metric["value"]) == ("loss_ratio", row.general.ratio)


def test_a_row_without_a_base_has_nothing_for_a_card(here: Path) -> None:
    def without_base(part: Any) -> Any:
        if not isinstance(part, dict):
            return part
        compared = ("base", "delta", "ci", "ratio", "ratio_ci", "straddles", "noise_floor")
        return {key: None if key in compared else without_base(value) for key, value in part.items()}

    content = without_base(json.loads((here / "fixed" / "row.json").read_text(encoding="utf-8")))
    content["general"]["leagues"] = dict.fromkeys(content["general"]["leagues"])
    with pytest.raises(UsageError, match="this row has no base; evaluate with --base"):
        model_index(Row.model_validate(content), "mine")
