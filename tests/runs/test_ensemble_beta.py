"""Evaluating an ensemble: what the row says, and how β is chosen on the val split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from run_cases import write_suite
from transformers import AutoModelForCausalLM

import canonbench
from canonbench.errors import CanonbenchError, UsageError
from canonbench.likelihood.engine import plan, score
from canonbench.likelihood.tokens import Encoder
from canonbench.models.artefacts.artefact import save_artefact
from canonbench.models.fingerprint import fingerprint
from canonbench.models.load import Loading, load_model
from canonbench.results.row import Row
from canonbench.runs.beta import BETAS, choose_beta
from canonbench.runs.edit import edit
from canonbench.runs.export import export
from canonbench.runs.progress import Progress
from canonbench.scoring.protocol import PROTOCOLS, protocol_from_mapping
from canonbench.suite.suite import Suite
from tiny_models import save_tiny, tiny_tokenizer

LEAGUES = {"0.046": 0.046, "0.01": 0.01}
EDITED = "transformer.h.1.mlp.c_proj.weight"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A suite, a large model, and an edit of a small one that costs the large one some of its general loss."""
    folder = tmp_path_factory.mktemp("world")
    write_suite(folder / "suite")
    save_tiny(folder / "large", "llama", tokenizer="bos", vocab_size=360)
    save_tiny(folder / "small", "gpt2", tokenizer="bos", seed=1, vocab_size=360)
    loaded = load_model(folder / "small", Loading())
    mark = fingerprint(loaded.model)
    with torch.no_grad():
        loaded.model.state_dict()[EDITED].mul_(0.3)
    save_artefact(loaded.model, folder / "edit", base=loaded.source, base_fingerprint=mark, record={})
    (folder / "leagues.yaml").write_text("name: leagues\nleagues: [0.046, 0.01]\n", encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def _there(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(world)


def evaluate(beta: str, **how: object) -> Row:
    asked = {"model": f"ensemble:large,edit,beta={beta}", "suite": "suite", "tasks": "gender", "split": "val"}
    return canonbench.evaluate(**asked | {"protocol": "leagues.yaml"} | how)  # type: ignore[arg-type]


def in_full() -> dict[float, float]:
    """β to the loss ratio on G_val, every β scored in full."""
    loaded = load_model("ensemble:large,edit", Loading())
    requests = Encoder.of(loaded.tokenizer).texts(list(Suite.load("suite").general().texts("val")["text"]))

    def loss(model: Any) -> float:
        return -sum(float(own.sum()) for pack in plan(model, requests) for _, own in score(model, pack))

    ratios = {}
    for beta in BETAS:
        loaded.model.config.beta = beta
        ratios[beta] = loss(loaded.model) / loss(loaded.model.large)
    return ratios


class Told(Progress):
    """Keeps what is said, and counts tokens that were scored."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        super().__init__(say=self.lines.append)
        self.scored: dict[str, int] = {}

    def advance(self, tokens: int, what: str) -> None:
        self.scored[what] = self.scored.get(what, 0) + tokens


def test_the_row_names_all_three_and_compares_with_the_large_one(world: Path) -> None:
    row = evaluate("0.5", split="test")
    assert row.model.name == f"ensemble:large,edit,base={world / 'small'},beta=0.5"
    assert (row.model.source, row.model.revision) == ("ensemble", None)
    assert row.base is not None
    assert (row.base.name, row.base.source) == ("large", "folder")
    assert row.fingerprints.model == fingerprint(load_model(row.model.name, Loading()).model).key
    assert row.fingerprints.base == fingerprint(load_model("large", Loading()).model).key
    assert Row.parse(row.to_line(), "row") == row
    alone = canonbench.evaluate("large", suite="suite", tasks="gender", protocol="leagues.yaml")
    assert row.general is not None
    assert alone.general is not None
    assert row.general.base == alone.general.edited


def test_the_base_that_is_given_is_the_small_one(world: Path) -> None:
    """A whole checkpoint of the edit, told its base, is the ensemble of the artefact."""
    export("edit", world / "whole", say=lambda _line: None)
    told = evaluate("0.5", split="test", model="ensemble:large,whole,beta=0.5", base="small")
    named = evaluate("0.5", split="test")
    assert told.model.name == "ensemble:large,whole,base=small,beta=0.5"
    assert told.base == named.base
    assert (told.general, told.tasks, told.fingerprints) == (named.general, named.tasks, named.fingerprints)


def test_the_scores_are_those_of_the_formula(world: Path, tmp_path: Path) -> None:
    evaluate("0.5", split="test", run=tmp_path / "run")
    columns = pq.read_table(tmp_path / "run/examples.parquet").to_pydict()
    parts = [AutoModelForCausalLM.from_pretrained(world / name).double() for name in ("large", "small", "small")]
    with torch.no_grad():
        parts[1].state_dict()[EDITED].mul_(0.3)
    tokenizer, chunks = tiny_tokenizer("bos"), Suite.load("suite").general().texts("test")["text"]
    found = [nats for nats, part in zip(columns["edited_log_p_a"], columns["part"], strict=True) if part == "general"]
    for text, nats in zip(chunks, found, strict=True):
        ids = torch.tensor(tokenizer(text.removeprefix("<|endoftext|>"))["input_ids"])
        with torch.no_grad():
            large, after, before = (part(ids[None]).logits[0].log_softmax(-1) for part in parts)
        both = (large + 0.5 * (after - before)).log_softmax(-1)
        assert abs(nats) == pytest.approx(-float(both[:-1].gather(-1, ids[1:, None]).sum()), abs=1e-3)


def test_beta_is_the_largest_that_is_in_league_by_trying_each_in_full() -> None:
    told = Told()
    row = evaluate("auto", progress=told)
    ratios = in_full()
    best = {label: max(b for b, ratio in ratios.items() if ratio <= 1 + e) for label, e in LEAGUES.items()}
    assert best == {"0.046": 0.8, "0.01": 0.2}
    assert "β by league on G_val: 0.046: 0.8, 0.01: 0.2" in told.lines
    assert row.model.name.endswith(",beta=0.2")
    assert row.general is not None
    assert row.general.ratio == pytest.approx(ratios[0.2], abs=1e-6)
    assert evaluate("auto@0.046").model.name.endswith(",beta=0.8")


def test_a_chosen_beta_gives_the_row_that_it_gives_by_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rows = []
    for beta in ("auto@0.046", "0.8"):
        monkeypatch.setenv("CANONBENCH_CACHE", str(tmp_path / beta))
        rows.append(evaluate(beta))
    assert rows[0].model == rows[1].model
    assert (rows[0].general, rows[0].tasks, rows[0].fingerprints) == (
        rows[1].general,
        rows[1].tasks,
        rows[1].fingerprints,
    )


def test_general_text_is_scored_once_for_all_and_never_again() -> None:
    told, again = Told(), Told()
    evaluate("auto", progress=told)
    n_tokens = told.scored["base general"]
    assert told.scored["beta"] == n_tokens
    assert "edited general" not in told.scored
    evaluate("auto@0.046", progress=again)
    assert set(again.scored) == {"edited gender"}


def test_a_search_that_was_killed_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = iter(range(100))

    def failing(*arguments: Any, **options: Any) -> Any:
        if "compute" in options and next(asked) == 1:
            raise KeyboardInterrupt
        return score(*arguments, **options)

    monkeypatch.setattr("canonbench.runs.beta.score", failing)
    told = Told()
    with pytest.raises(KeyboardInterrupt):
        evaluate("auto", batch_tokens=64, progress=told)
    first = told.scored["beta"]
    row = evaluate("auto", batch_tokens=64, progress=told)
    assert row.model.name.endswith(",beta=0.2")
    assert told.scored["beta"] == told.scored["base general"] > first


def test_it_is_not_chosen_on_the_text_that_membership_is_reported_on() -> None:
    with pytest.raises(UsageError) as caught:
        evaluate("auto", split="test")
    assert "never on that of the test split" in str(caught.value)
    assert "--split val, then give the β of that run here, as in beta=0.5" in str(caught.value)


def test_what_stands_in_the_way_of_a_choice_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="beta=auto is chosen on general text, and none is scored here"):
        evaluate("auto", general="none")
    with pytest.raises(UsageError, match="unknown league '1e-3' of protocol leagues"):
        evaluate("auto@1e-3")
    (tmp_path / "tight.yaml").write_text("name: tight\nleagues: [0.046, 1e-6]\n", encoding="utf-8")
    with pytest.raises(
        CanonbenchError, match=r"no β from 0.1 on is in league 1e-6 .* large alone.*\(β by league: 0.046: 0.8"
    ):
        evaluate("auto", protocol=str(tmp_path / "tight.yaml"))


def test_no_beta_in_league_means_none_and_the_release_wants_less_than_the_line() -> None:
    ratios = {1.0: 1.5, 0.9: 1.2, 0.8: 1.1, 0.7: 1.2}
    rules = protocol_from_mapping({"name": "mine", "leagues": [0.2, 0.1, 0.01]})
    assert choose_beta(ratios, rules) == {"0.2": 0.9, "0.1": 0.8, "0.01": 0.0}
    assert choose_beta({1.0: 1.001, 0.9: 1.0005}, PROTOCOLS["hewitt2024"])["1e-3"] == 0.9
    assert choose_beta({1.0: 1.001, 0.9: 1.0005}, PROTOCOLS["canonbench-1"])["1e-3"] == 1.0


def test_without_a_share_of_the_change_there_is_nothing_to_evaluate() -> None:
    with pytest.raises(CanonbenchError, match="with beta=0 it is large alone: there is no edit to evaluate"):
        evaluate("0")


def test_an_ensemble_has_no_checkpoint_and_is_not_edited(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is three models, scored together: there is no one checkpoint to write"):
        export("ensemble:large,edit", tmp_path / "new")
    assert not (tmp_path / "new").exists()
    with pytest.raises(UsageError, match="is scored, not edited: edit its small model"):
        edit("full", "ensemble:large,edit", suite="suite")
