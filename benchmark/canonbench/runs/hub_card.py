"""A row as the metadata of a model card: the ``model-index`` of the hub, made by its own library's classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from canonbench.errors import UsageError
from canonbench.leaderboard.row import Row
from canonbench.leaderboard.row_results import Average, TaskResult
from canonbench.offline import require_network, to_stderr
from canonbench.runs.hub_errors import one_line_of_the_hub

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

TASK = ("text-generation", "Model editing with canonical examples")
LOSS_RATIO = ("loss_ratio", "Loss on general text, edited / base")


def model_index(row: Row, model: str) -> list[dict[str, Any]]:
    """The row's results as the value of ``model-index``: one entry per task and for the average, with all its metrics.

    Args:
        row: of a fixed checkpoint with a base, or of an edit run, whose metrics name their league.
        model: the name that the card gives the model.

    Raises:
        UsageError: the row was scored without a base, so that it says nothing about an edit.
    """
    from huggingface_hub.repocard_data import eval_results_to_model_index  # noqa: PLC0415  (slow to import)

    if row.base is None:
        raise UsageError("a card tells what an edit changed, and this row has no base; evaluate with --base")
    return eval_results_to_model_index(model, list(_results(row)))


def front_matter(row: Row, model: str) -> str:
    """The same as it would stand at the head of the card's README.md."""
    from huggingface_hub import ModelCardData  # noqa: PLC0415  (slow to import)
    from huggingface_hub.repocard_data import model_index_to_eval_results  # noqa: PLC0415  (slow to import)

    name, results = model_index_to_eval_results(model_index(row, model))
    return str(ModelCardData(model_name=name, eval_results=results)).strip() + "\n"


def push_card(row: Row, model: str, *, say: Callable[[str], None] = to_stderr) -> str:
    """Add the row's results to the card of a model on the hub; the address of the commit.

    Results of the same task, data, protocol and league that the card has already are replaced, others kept.

    Args:
        row: see ``model_index``.
        model: OWNER/NAME of the model, which must be there.
        say: receives notes.

    Raises:
        UsageError: the row has no base, or there is no such model.
        CanonbenchError: the hub refused, or cannot be reached.
    """
    index = model_index(row, model.rpartition("/")[2])
    require_network(f"results to the card of model {model} of the Hugging Face hub", say, doing="sending")
    with one_line_of_the_hub(model, "sending to"):
        from huggingface_hub import metadata_update  # noqa: PLC0415  (slow to import)

        return metadata_update(
            model, {"model-index": index}, overwrite=True, commit_message="canonbench: evaluation results"
        )


def _results(row: Row) -> Iterator[EvalResult]:
    for label, league in (row.leagues or {}).items():
        for name, result in league.tasks.items():
            yield from _metrics(row, name, result, label)
            yield _result(row, name, *LOSS_RATIO, result.ratio, label)
        yield from _metrics(row, "average", league.average, label)
    if row.tasks is not None and row.average is not None:
        for name, each in row.tasks.items():
            yield from _metrics(row, name, each, None)
        yield from _metrics(row, "average", row.average, None)
        if row.general is not None:
            yield _result(row, "general", *LOSS_RATIO, row.general.ratio, None)


def _metrics(row: Row, name: str, result: TaskResult | Average, league: str | None) -> Iterator[EvalResult]:
    """What a task and the average have to say: success, its change, that of hard negatives."""
    yield _result(row, name, "success_rate", "Success, %", result.success.edited, league)
    yield _result(row, name, "success_rate_delta", "Δ success, points", result.success.delta, league)
    if result.hard_negatives is not None:
        over = result.hard_negatives.delta
        yield _result(row, name, "hard_negatives_delta", "Δ −log p of hard negatives, nats", over, league)


def _result(row: Row, name: str, metric: str, words: str, value: float | None, league: str | None) -> EvalResult:
    from huggingface_hub import EvalResult  # noqa: PLC0415  (slow to import)

    return EvalResult(
        task_type=TASK[0],
        task_name=TASK[1],
        dataset_type=row.suite.name,
        dataset_name=f"canonbench {row.suite.name} {row.suite.version}: {name}",
        dataset_config=name,
        dataset_split=row.split,
        dataset_revision=row.suite.data_hash,
        dataset_args={"protocol": row.protocol, "general": row.general.name if row.general else None},
        metric_type=metric,
        metric_name=words if league is None else f"{words} (league {league})",
        metric_config=league,
        metric_value=value,
    )
