"""A whole evaluation, on tiny models: the numbers, the cache, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from peft import LoraConfig, get_peft_model
from run_cases import edited_copy, write_suite
from transformers import AutoModelForCausalLM, AutoTokenizer

import canonbench
from canonbench.errors import CanonbenchError, UsageError
from canonbench.results.aggregate import GeneralText, aggregate
from canonbench.results.aggregate_tasks import TaskSpec
from canonbench.results.row import Row
from canonbench.runs.progress import Progress
from canonbench.scoring.protocol import PROTOCOLS
from tiny_models import save_tiny, tiny_model, tiny_tokenizer


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    write_suite(folder / "suite")
    save_tiny(folder / "base", "llama", tokenizer="bos")
    edited_copy(folder / "base", folder / "edited")
    return folder


def plain_log_p(model: torch.nn.Module, tokenizer: object, prefix: str, suffix: str) -> float:
    """Independent of the engine: one forward in float64, log_softmax."""
    before = tokenizer(prefix)["input_ids"]
    after = tokenizer(suffix, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logits = model.double()(torch.tensor([before + after])).logits[0]
    log_probs = logits.log_softmax(-1)
    return sum(float(log_probs[len(before) + i - 1, token]) for i, token in enumerate(after))


def rows_of(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_row_holds_what_a_plain_double_precision_evaluation_gives(world: Path) -> None:
    row = canonbench.evaluate(world / "edited", base=world / "base", suite=world / "suite")
    folder = world / "suite"
    for side in ("base", "edited"):
        model = AutoModelForCausalLM.from_pretrained(world / side)
        tokenizer = AutoTokenizer.from_pretrained(world / side)

        def log_p(text: dict[str, str], key: str, model=model, tokenizer=tokenizer) -> float:
            return plain_log_p(model, tokenizer, text["prefix"], text[key])

        pairs = rows_of(folder / "gender/test-evaluation.jsonl")
        balanced = [abs(log_p(each, "suffix1") - log_p(each, "suffix2")) <= math.log(1.5) for each in pairs]
        assert getattr(row.tasks["gender"].success, side) == pytest.approx(100 * np.mean(balanced))
        mine = rows_of(folder / "mine/test-evaluation.jsonl")
        unlikely = [log_p(each, "suffix") <= -9.0 for each in mine]
        assert getattr(row.tasks["mine"].success, side) == pytest.approx(100 * np.mean(unlikely))
        hard = rows_of(folder / "country/test-hard_negatives.jsonl")
        nll = np.mean([-log_p(each, "suffix") for each in hard])
        assert getattr(row.tasks["country"].hard_negatives, side) == pytest.approx(nll, abs=2e-5)
        # general text: <|endoftext|> is the tokenizer's own BOS, which it adds itself, so the leading one is dropped
        texts = [each["text"].removeprefix("<|endoftext|>") for each in rows_of(folder / "general/test.jsonl")]
        losses = [-plain_log_p(model, tokenizer, "", text) for text in texts]
        tokens = sum(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts)
        assert getattr(row.general, side) == pytest.approx(sum(losses) / tokens, abs=1e-5)
        assert row.general.n_tokens == tokens
    assert row.general.ratio == pytest.approx(row.general.edited / row.general.base, abs=1e-6)
    assert row.average.tasks == ("country", "gender", "mine")
    assert not row.average.complete


def test_without_a_base_the_models_own_values_stand_in_edited_and_the_rest_is_null(world: Path) -> None:
    row = canonbench.evaluate(world / "base", suite=world / "suite")
    assert row.base is None
    assert row.tasks["country"].success.base is None
    assert row.tasks["country"].success.delta is None
    assert row.general.edited is not None
    assert set(row.general.leagues.values()) == {None}


def test_every_number_is_recomputed_from_the_parquet_file(world: Path, tmp_path: Path) -> None:
    row = canonbench.evaluate(world / "edited", base=world / "base", suite=world / "suite", run=tmp_path / "run")
    again = aggregate(
        pq.read_table(tmp_path / "run" / "examples.parquet"),
        tasks={name: TaskSpec(task.loss, task.threshold) for name, task in row.tasks.items()},
        protocol=PROTOCOLS[row.protocol],
        general=GeneralText(row.general.name, row.general.data_hash),
    )
    assert (again.tasks, again.average, again.general) == (row.tasks, row.average, row.general)
    assert Row.read(tmp_path / "run" / "row.json") == row


def test_edits_of_one_base_share_its_scores_and_another_base_of_the_same_name_does_not(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANONBENCH_CACHE", str(tmp_path / "cache"))
    scores = tmp_path / "cache" / "scores"
    base = save_tiny(tmp_path / "base", "llama", tokenizer="bos")
    other = edited_copy(base, tmp_path / "other", by=0.9)
    first = canonbench.evaluate(world / "edited", base=base, suite=world / "suite")
    journals = {path: path.stat().st_mtime_ns for path in scores.glob("*.jsonl")}
    assert len(journals) == 5  # three tasks, G, and G's first chunks again
    second = canonbench.evaluate(other, base=base, suite=world / "suite")
    assert {path: path.stat().st_mtime_ns for path in scores.glob("*.jsonl")} == journals
    assert second.tasks["country"].success.base == first.tasks["country"].success.base
    changed = edited_copy(base, tmp_path / "changed", tensor="model.embed_tokens.weight", by=1.5)
    (changed / "model.safetensors").replace(base / "model.safetensors")
    third = canonbench.evaluate(other, base=base, suite=world / "suite")
    assert third.general.base != first.general.base
    assert len(list(scores.glob("*.jsonl"))) == 10


def test_a_model_in_memory_scores_as_its_folder_does(world: Path) -> None:
    from_folder = canonbench.evaluate(world / "edited", base=world / "base", suite=world / "suite")
    models = {side: AutoModelForCausalLM.from_pretrained(world / side) for side in ("base", "edited")}
    tokenizer = AutoTokenizer.from_pretrained(world / "base")
    row = canonbench.evaluate(models["edited"], base=models["base"], tokenizer=tokenizer, suite=world / "suite")
    assert (row.tasks, row.general) == (from_folder.tasks, from_folder.general)
    with pytest.raises(UsageError, match="needs its tokenizer"):
        canonbench.evaluate(models["edited"], suite=world / "suite")


def lora(target: Path, base: Path, *, effect: bool) -> Path:
    """A LoRA adapter that names its base; a fresh one has no effect, since its second factor is zero."""
    model = AutoModelForCausalLM.from_pretrained(base)
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["down_proj"], init_lora_weights=True))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name and effect:
            parameter.data.fill_(0.05)
    adapted.save_pretrained(target)
    return target


def test_an_adapter_is_compared_with_the_base_it_names(world: Path, tmp_path: Path) -> None:
    row = canonbench.evaluate(lora(tmp_path / "lora", world / "base", effect=True), suite=world / "suite")
    assert row.model.source == "peft"
    assert row.base.name == str(world / "base")
    assert row.general.ratio != 1


def test_an_adapter_that_changes_nothing_is_refused(world: Path, tmp_path: Path) -> None:
    adapter = lora(tmp_path / "lora", world / "base", effect=False)
    with pytest.raises(CanonbenchError, match="changes nothing"):
        canonbench.evaluate(adapter, suite=world / "suite")


def test_a_copy_of_the_base_under_another_name_is_refused(world: Path, tmp_path: Path) -> None:
    copy = edited_copy(world / "base", tmp_path / "copy", by=1.0)
    with pytest.raises(CanonbenchError, match="base and edited model are the same"):
        canonbench.evaluate(copy, base=world / "base", suite=world / "suite")


def test_another_vocabulary_is_refused_before_anything_is_scored(world: Path, tmp_path: Path) -> None:
    wider = save_tiny(tmp_path / "wider", "llama", tokenizer="bos", vocab_size=400)
    with pytest.raises(CanonbenchError, match="the edited model has 400 output rows, the base 384"):
        canonbench.evaluate(wider, base=world / "base", suite=world / "suite")
    other = save_tiny(tmp_path / "other", "llama", tokenizer="plain", seed=1)
    with pytest.raises(CanonbenchError, match=r"vocabulary mismatch: .*evaluation.jsonl:1 differently"):
        canonbench.evaluate(other, base=world / "base", suite=world / "suite")


def test_nan_logits_name_the_row_and_are_never_averaged_in(world: Path) -> None:
    model = tiny_model("llama")

    def poison(_module: object, _args: object, logits: torch.Tensor) -> torch.Tensor:
        return torch.full_like(logits, math.nan)

    model.lm_head.register_forward_hook(poison)
    with pytest.raises(CanonbenchError, match=r"country.*\.jsonl:\d+: the model's logits are NaN or infinite"):
        canonbench.evaluate(model, tokenizer=tiny_tokenizer("bos"), suite=world / "suite")


def test_limit_and_no_general_text(world: Path) -> None:
    row = canonbench.evaluate(world / "base", suite=world / "suite", tasks="gender,mine", limit=2, general="none")
    assert list(row.tasks) == ["gender", "mine"]
    assert row.tasks["gender"].n == 2
    assert row.general is None
    assert row.limit == 2


def test_hewitt2024_scores_val_hard_negatives_and_all_general_text(world: Path) -> None:
    row = canonbench.evaluate(world / "base", suite=world / "suite", protocol="hewitt2024")
    assert row.general.n_chunks == 16
    assert row.protocol == "hewitt2024"


def test_the_estimate_is_exact_and_reached(world: Path) -> None:
    seen: list[tuple[int, int]] = []
    progress = Progress(show=lambda done, total, _what: seen.append((done, total)))
    canonbench.evaluate(world / "edited", base=world / "base", suite=world / "suite", progress=progress)
    assert seen[-1][0] == seen[-1][1]
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_the_batch_budget_does_not_move_a_score(world: Path) -> None:
    rows = [
        canonbench.evaluate(world / "edited", base=world / "base", suite=world / "suite", batch_tokens=budget)
        for budget in (16, 100_000)
    ]
    assert rows[0].general.ratio == pytest.approx(rows[1].general.ratio, abs=1e-6)
    assert rows[0].tasks["mine"].success == rows[1].tasks["mine"].success
