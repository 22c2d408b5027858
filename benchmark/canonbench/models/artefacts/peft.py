"""Read and write PEFT adapters.

``apply_adapter`` puts an adapter on its base and ignores nothing silently; ``write_adapter`` saves an adapter in
training as PEFT files that it can read.
"""

from __future__ import annotations

import copy
import json
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from safetensors.torch import save_file

from canonbench.errors import CanonbenchError
from canonbench.models import folders as files
from canonbench.models.artefacts.edit_file import EditedBase, NotKept
from canonbench.models.checkpoint import Trust
from canonbench.models.fingerprint import Fingerprint, fingerprint
from canonbench.models.load_errors import one_line
from canonbench.models.weight_files import adapter_names, read_weights, stored_names, what_happened, without_prefixes

Merging = Literal["changes", "changes nothing", "impossible"]


def base_of(folder: Path) -> str:
    """The base model named by an adapter; a relative path is looked up from the adapter's folder too.

    Raises:
        CanonbenchError: the adapter's configuration is malformed or names no base.
    """
    config = files.read_json(folder / files.ADAPTER_CONFIG)
    name, revision = config.get("base_model_name_or_path"), config.get("revision")
    if not name:
        raise CanonbenchError(f"{folder} does not name its base model; give it with --base")
    return files.find_base(folder, str(name), revision)


def apply_adapter(base: Any, folder: Path, *, trust: Trust, say: Callable[[str], None] = lambda _line: None) -> Any:
    """Put an adapter on ``base``, in place: merged into the weights if that is possible and exact, else unmerged.

    Merging rounds the sum to the weights' dtype, which in bfloat16 or float16 would lose part of the edit.

    Raises:
        CanonbenchError: the adapter's weights are missing, corrupt or a pickle, do not fit the base, or change nothing;
            or the folder also holds a whole model.
    """
    _check_config(folder)
    _require_alone(folder)
    files.require_weights(files.names(folder), str(folder), allow_pickle=trust.pickle)
    with one_line(f"the adapter {folder}"):
        stored = _stored(folder)
        replaces = _replaces_weights(base, stored)
        model = _wrap(base, folder, stored, say)
        merging = _try_layers(model)
        if merging == "changes nothing" and replaces:
            merging = "changes"
        if merging == "changes nothing":
            raise CanonbenchError(f"the adapter {folder} changes nothing: every weight it touches stays as it is")
        if merging == "changes" and merges_exactly(base):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # peft warns if the adapter unties embeddings, which is intended
                model = model.merge_and_unload()
    return model.eval()


def merges_exactly(model: Any) -> bool:
    """Whether the model's dtype is precise enough to merge an adapter (float32 or float64)."""

    return model.dtype in (torch.float32, torch.float64)


def try_merging(model: Any) -> Merging:
    """Whether merging the adapter is possible and changes a weight, tried on copies of the layers until one changes."""
    from peft.utils import ModulesToSaveWrapper  # noqa: PLC0415  (slow to import)

    outcome = _try_layers(model)
    if outcome != "changes nothing":
        return outcome
    # the original value of a trained bias is unknown here, so the bias counts as changed
    brings_weights = getattr(model.active_peft_config, "bias", "none") != "none" or any(
        isinstance(module, ModulesToSaveWrapper) for module in model.modules()
    )
    return "changes" if brings_weights else "changes nothing"


def _try_layers(model: Any) -> Merging:
    """As ``try_merging``, but without the full weights and biases that an adapter may include."""
    from peft.tuners.tuners_utils import BaseTunerLayer  # noqa: PLC0415  (slow to import)

    layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
    if model.active_peft_config.is_prompt_learning or not layers:
        return "impossible"
    outcomes = (_try_layer(layer) for layer in layers)
    return next((outcome for outcome in outcomes if outcome != "changes nothing"), "changes nothing")


def _try_layer(layer: Any) -> Merging:

    trial = copy.deepcopy(layer).float()  # one layer at a time, so that the model is never in memory twice
    before = copy.deepcopy(trial.get_base_layer().state_dict())
    try:
        trial.merge()
    except Exception:  # adapter types that cannot be merged raise different exceptions
        return "impossible"
    after = trial.get_base_layer().state_dict()
    same = all(torch.equal(before[name], after[name]) for name in before)
    return "changes nothing" if same else "changes"


def _check_config(folder: Path) -> None:
    """CanonbenchError if the adapter's type is unknown to PEFT, or PEFT would ignore one of its settings."""
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING  # noqa: PLC0415  (slow to import)

    path = folder / files.ADAPTER_CONFIG
    config = files.read_json(path)
    known = {str(kind.value): cls for kind, cls in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    kind = config.get("peft_type")
    if kind not in known:
        raise CanonbenchError(f"{path}: this version of peft knows no adapters of 'peft_type' {kind!r}")
    if config.get("task_type") not in (None, "CAUSAL_LM"):
        raise CanonbenchError(f"{path}: an adapter for {config['task_type']}, not for causal language models")
    ignored = sorted(key for key, value in config.items() if value and key not in known[kind].__dataclass_fields__)
    if ignored:
        raise CanonbenchError(
            f"{path}: this version of peft does not know {ignored[0]!r} and would ignore it; upgrade peft"
        )


def _require_alone(folder: Path) -> None:
    """CanonbenchError if the adapter's folder also holds a whole model, because the choice would be ambiguous."""
    for whole in (files.WEIGHTS, files.INDEX):
        if (folder / whole).is_file():
            raise CanonbenchError(
                f"{folder} holds an adapter ({files.ADAPTER_CONFIG}) and a whole model ({whole}); move the one that is "
                "not meant to a folder of its own"
            )


def _stored(folder: Path) -> dict[str, Any]:
    """The weights in the adapter's file, without the duplicates that peft saves of retrained layers."""

    path = next(folder / name for name in (files.ADAPTER_WEIGHTS, files.ADAPTER_PICKLE) if (folder / name).is_file())
    found = read_weights(dict.fromkeys(stored_names(path), path))
    first = {name: found.get(name.replace(".modules_to_save.", ".")) for name in found if ".modules_to_save." in name}
    second = {name for name, value in first.items() if value is not None and torch.equal(found[name], value)}
    return {name: value for name, value in found.items() if name not in second}


def _replaces_weights(base: Any, stored: Mapping[str, Any]) -> bool:
    """Whether an adapter's file replaces full weights of the base, such as embeddings, with other values."""

    state = base.state_dict()
    for name, value in stored.items():
        own = state.get(without_prefixes(name).replace(".base_layer.", "."))
        if own is not None and not (own.shape == value.shape and torch.equal(own, value.to(own.device, own.dtype))):
            return True
    return False


def _wrap(base: Any, folder: Path, stored: Mapping[str, Any], say: Callable[[str], None]) -> Any:
    """A PeftModel whose adapter weights match the file's exactly, by name.

    Names that PEFT would write differently are corrected if that is unambiguous.
    """
    from peft import PeftConfig, PeftModel  # noqa: PLC0415  (slow to import)

    names = adapter_names(stored)
    is_prompt = PeftConfig.from_pretrained(str(folder)).is_prompt_learning
    if is_prompt or len(set(names.values())) < len(names):  # two names would become equal
        names = {name: name for name in stored}
    odd = [(name, own) for name, own in names.items() if name != own]
    with warnings.catch_warnings(), ExitStack() as stack:
        warnings.simplefilter("ignore")  # the names are compared below, and an error says more than a warning
        place = stack.enter_context(_renamed(folder, stored, names)) if odd else folder
        model = PeftModel.from_pretrained(base, str(place), torch_device=str(base.device))
        _require_all(model, set(names.values()), folder, "default")
    if odd:
        name, own = min(odd)
        say(
            f"the adapter {folder}: its weights have names such as {name!r} and are read as {own!r} "
            f"({what_happened(name, own)})"
        )
    return model.to(base.device)


@contextmanager
def _renamed(folder: Path, stored: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[Path]:
    """A temporary folder with a copy of the adapter, its weights renamed by ``names``."""

    with TemporaryDirectory(prefix="canonbench-") as place:
        shutil.copy(folder / files.ADAPTER_CONFIG, place)
        save_file({names[name]: value.clone() for name, value in stored.items()}, Path(place, files.ADAPTER_WEIGHTS))
        yield Path(place)


def require_all_loaded(model: Any, folder: Path, adapter: str = "default") -> None:
    """CanonbenchError unless an adapter's weights on ``model`` match those in the folder's file, by name."""
    _require_all(model, set(_stored(folder)), folder, adapter)


def _require_all(model: Any, found: set[str], folder: Path, adapter: str) -> None:
    wanted = _wanted_names(model, adapter)
    odd = sorted((wanted - found) | (found - wanted - set(model.state_dict())))
    if odd:
        raise CanonbenchError(
            f"the adapter {folder} does not fit its base model: {len(odd)} weights are "
            f"in only one of the two, {odd[0]!r} first"
        )


def _wanted_names(model: Any, adapter: str) -> set[str]:
    """The names that PEFT gives an adapter's weights when it saves them."""
    from peft import get_peft_model_state_dict  # noqa: PLC0415  (slow to import)

    # Never "auto": that asks the hub for the base's configuration.
    return set(get_peft_model_state_dict(model, adapter_name=adapter, save_embedding_layers=False))


def write_adapter(model: Any, part: Path, base: EditedBase, base_fingerprint: Fingerprint) -> None:
    """Write the active adapter as PEFT files into the folder ``part``, with ``base`` as its base model.

    Raises:
        NotKept: the adapter changes nothing, more than one is active, or weights below it differ from the base's.
    """
    if try_merging(model) == "changes nothing":
        raise NotKept("the unedited model: the adapter changes nothing")
    if len(model.active_adapters) != 1:
        raise NotKept(f"{len(model.active_adapters)} adapters are active; a method must return one, or merge them")
    name = model.active_adapters[0]
    require_untouched(_below_adapter(model, name), base_fingerprint, "adapter")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft warns about embeddings, but those that it tunes are saved
        # never "auto": that asks the hub for the base's configuration
        model.save_pretrained(str(part), selected_adapters=[name], save_embedding_layers=False)
    if name != "default":
        for file in (part / name).iterdir():
            file.rename(part / file.name)
        (part / name).rmdir()
    (part / "README.md").unlink(missing_ok=True)  # an unfilled template
    path = part / files.ADAPTER_CONFIG
    config = files.read_json(path) | {"base_model_name_or_path": base.name, "revision": base.revision}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _below_adapter(model: Any, adapter: str) -> Fingerprint:
    """Fingerprint of the weights below an adapter, by their names without it.

    Weights that the adapter's file holds, such as a trained bias of a base layer, are left out.
    """
    from peft import get_peft_model_state_dict  # noqa: PLC0415  (slow to import)

    kept = get_peft_model_state_dict(model, adapter_name=adapter, save_embedding_layers=False)
    kept = {name.removeprefix("base_model.model.") for name in kept}
    found = fingerprint(model.get_base_model())
    plain = {}
    for name, digest in found.tensors.items():
        if name not in kept:
            short = name
            for wrapping in (".token_adapter", ".base_layer", ".original_module"):
                short = short.replace(wrapping, "")
            plain[short] = digest
    return Fingerprint(found.weights, found.config, plain, {})


def require_untouched(found: Fingerprint, base: Fingerprint, what: str) -> None:
    """NotKept if any weight in ``found``, which the artefact will not hold, differs from the base's."""
    odd = sorted(name for name, digest in found.tensors.items() if base.tensors.get(name, digest) != digest)
    if odd:
        raise NotKept(
            f"the {what} is not all that was changed: {len(odd)} weights of the model below it are not the base's, "
            f"{odd[0]!r} first, and would be lost; let the method return the merged, plain model"
        )
