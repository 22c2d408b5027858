from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from gguf_cases import write_gguf
from hub_server import commit, serve
from model_cases import lora, save_adapter

from canonbench.errors import CanonbenchError
from canonbench.models import hub
from canonbench.models.artefacts.artefact import save_artefact
from canonbench.models.checkpoint import Trust
from canonbench.models.fingerprint import fingerprint
from canonbench.models.load import Loading, load_model
from canonbench.models.source import Source
from tiny_models import save_tiny, tiny_model


def load_all(endpoint: str, cache: Path, wishes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Load models in a process of its own that knows ``endpoint`` as the hub."""
    settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(cache), "HF_HUB_ETAG_TIMEOUT": "1", "NO_PROXY": "*"}
    unset = ("HF_HUB_OFFLINE", "HF_HUB_CACHE", "HF_TOKEN")
    environment = {key: value for key, value in os.environ.items() if key not in unset} | settings
    run = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("hub_client.py"))],
        input=json.dumps(wishes),
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found: list[dict[str, Any]] = json.loads(run.stdout)
    assert all("\n" not in each.get("message", "") for each in found)
    return found


class Visit(NamedTuple):
    """What became of the wishes, by what they were for, and what the hub was asked meanwhile."""

    found: dict[str, dict[str, Any]]
    asked: list[str]
    cache: Path
    folders: Path


WISHES = {
    "main": {"name": "tiny/llama"},
    "a tag": {"name": "tiny/llama@v1"},
    "a commit": {"name": "tiny/llama@COMMIT"},
    "again": {"name": "tiny/llama"},
    "offline, fetched before": {"name": "tiny/llama", "offline": True},
    "offline, never fetched": {"name": "tiny/both", "offline": True},
    "no such model": {"name": "tiny/nothing"},
    "no such revision": {"name": "tiny/llama@v9"},
    "gated": {"name": "tiny/gated"},
    "a pickle": {"name": "tiny/pickle"},
    "a pickle, allowed": {"name": "tiny/pickle", "pickle": True},
    "both, pickles allowed": {"name": "tiny/both", "pickle": True},
    "no weights": {"name": "tiny/empty"},
    "an adapter in a folder": {"name": "tiny/inside"},
    "an adapter": {"name": "tiny/lora"},
    "an artefact": {"name": "tiny/edit"},
    "a local folder": {"name": "FOLDERS/llama"},
    "a local adapter of a hub model": {"name": "FOLDERS/local-lora", "base": "FOLDERS/llama"},
    "a local file": {"name": "FOLDERS/tiny.gguf"},
}


def keep_edit(base: Path, folder: Path) -> None:
    """An artefact that says its base is a hub model, at the commit that it is."""
    model = load_model(base, Loading()).model
    mark = fingerprint(model)
    model.lm_head.weight.data *= 1.01
    source = Source("hub", "tiny/llama", revision=commit(base))
    save_artefact(model, folder, base=source, base_fingerprint=mark, record={})


@pytest.fixture(scope="module")
def visit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visit]:
    folders = tmp_path_factory.mktemp("hub")
    llama, old = save_tiny(folders / "llama", "llama"), save_tiny(folders / "old", "llama", seed=1)
    both = save_tiny(folders / "both", "llama", seed=2)
    torch.save(tiny_model("llama", seed=9).state_dict(), both / "pytorch_model.bin")
    pickle, empty = folders / "pickle", folders / "empty"
    shutil.copytree(both, pickle, ignore=shutil.ignore_patterns("*.safetensors"))
    shutil.copytree(both, empty, ignore=shutil.ignore_patterns("*.safetensors", "*.bin"))
    save_adapter(folders / "lora", lora(), "tiny/llama")
    save_adapter(folders / "local-lora", lora(), "tiny/elsewhere")
    keep_edit(llama, folders / "edit")
    write_gguf(folders / "tiny.gguf", tiny_model("llama", seed=3))
    shutil.copytree(folders / "lora", folders / "inside" / "checkpoint-9")
    names = ("llama", "both", "pickle", "empty", "lora", "edit", "inside")
    repos = {f"tiny/{name}": {"main": folders / name} for name in names}
    repos["tiny/llama"]["v1"] = old
    wishes = json.loads(json.dumps(WISHES).replace("COMMIT", commit(llama)).replace("FOLDERS", str(folders)))
    cache = tmp_path_factory.mktemp("hub-cache")
    with serve(repos, gated={"tiny/gated"}) as (endpoint, asked):
        found = dict(zip(wishes, load_all(endpoint, cache, list(wishes.values())), strict=True))
        yield Visit(found, asked, cache, folders)


def weights(seed: int) -> str:
    return fingerprint(tiny_model("llama", seed=seed)).weights


def test_a_hub_id_loads_and_its_revision_becomes_the_commit(visit: Visit) -> None:
    found = visit.found["main"]
    assert found["weights"] == weights(0)
    assert found["revision"] == commit(visit.folders / "llama")
    assert found["said"][0] == "network: fetching model tiny/llama from the Hugging Face hub"


def test_an_artefact_brings_its_base_at_the_commit_it_was_edited_at(visit: Visit) -> None:
    model = tiny_model("llama")
    model.lm_head.weight.data *= 1.01
    assert visit.found["an artefact"]["weights"] == fingerprint(model).weights
    assert f"GET tiny/edit/resolve/{commit(visit.folders / 'edit')}/delta.safetensors" in visit.asked


def test_a_tag_and_a_commit_are_revisions(visit: Visit) -> None:
    assert visit.found["a tag"]["weights"] == weights(1)
    assert visit.found["a tag"]["revision"] == commit(visit.folders / "old")
    assert visit.found["a commit"]["weights"] == weights(0)


def test_what_is_in_the_cache_is_not_downloaded_again(visit: Visit) -> None:
    assert visit.found["again"]["weights"] == weights(0)
    path = f"GET tiny/llama/resolve/{commit(visit.folders / 'llama')}/model.safetensors"
    assert visit.asked.count(path) == 1


def test_offline_a_model_comes_from_the_cache_without_a_word(visit: Visit) -> None:
    found = visit.found["offline, fetched before"]
    assert found["weights"] == weights(0)
    assert found["revision"] == commit(visit.folders / "llama")
    assert found["said"] == []


def test_offline_a_model_that_was_never_fetched_is_one_line(visit: Visit) -> None:
    message = visit.found["offline, never fetched"]["message"]
    assert message.startswith("fetching model tiny/both from the Hugging Face hub needs the network")
    assert "CANONBENCH_OFFLINE=1 forbids it" in message


def test_an_unknown_model_or_revision_is_misuse(visit: Visit) -> None:
    model, revision = visit.found["no such model"], visit.found["no such revision"]
    assert model["error"] == revision["error"] == "UsageError"
    assert "no model 'tiny/nothing': there is no such folder, and the Hugging Face hub has none" in model["message"]
    assert revision["message"] == "the hub model tiny/llama has no revision 'v9'"


def test_a_gated_model_says_how_to_get_in(visit: Visit) -> None:
    assert "access to tiny/gated is restricted" in visit.found["gated"]["message"]


def test_a_pickle_is_refused_before_it_is_downloaded_and_read_only_with_permission(visit: Visit) -> None:
    assert "tiny/pickle holds only pickle weights (pytorch_model.bin)" in visit.found["a pickle"]["message"]
    assert visit.found["a pickle, allowed"]["weights"] == weights(9)
    fetched = [line for line in visit.asked if line.startswith("GET") and line.endswith("pytorch_model.bin")]
    assert len(fetched) == 1  # with permission, and nowhere else


def test_a_pickle_beside_safetensors_is_not_even_fetched(visit: Visit) -> None:
    assert visit.found["both, pickles allowed"]["weights"] == weights(2)
    assert not any("tiny/both" in line and "pytorch_model.bin" in line for line in visit.asked)


def test_a_model_without_weights_is_refused_before_the_download(visit: Visit) -> None:
    assert "tiny/empty holds no weights" in visit.found["no weights"]["message"]
    assert not any("tiny/empty/resolve" in line for line in visit.asked)


def test_an_adapter_in_a_folder_on_the_hub_is_pointed_out(visit: Visit) -> None:
    message = visit.found["an adapter in a folder"]["message"]
    assert "tiny/inside holds no weights" in message
    assert "hf download tiny/inside --include 'checkpoint-9/*' --local-dir inside, then give inside/" in message


def test_an_adapter_on_the_hub_brings_its_base(visit: Visit, tmp_path: Path) -> None:
    found = visit.found["an adapter"]
    assert found["base"] == "tiny/llama"
    local = load_model(visit.folders / "lora", Loading(), base=visit.folders / "llama")
    assert found["weights"] == fingerprint(local.model).weights


def test_an_unreachable_hub_is_one_line_within_seconds_and_the_cache_still_serves(visit: Visit) -> None:
    wishes = [{"name": "tiny/unseen"}, {"name": "tiny/llama"}]
    unseen, cached = load_all("http://127.0.0.1:9", visit.cache, wishes)  # port 9 is closed
    assert unseen["error"] == "CanonbenchError"
    assert unseen["message"].startswith("there is no folder 'tiny/unseen', and it cannot be fetched from")
    assert unseen["seconds"] < 5
    assert cached["weights"] == weights(0)
    assert any("cannot be reached" in line and commit(visit.folders / "llama")[:12] in line for line in cached["said"])


def test_a_hub_that_never_answers_is_given_up_after_the_timeout(visit: Visit) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        (found,) = load_all(address, visit.cache, [{"fetch": "tiny/unseen"}])
    assert found["error"] == "CanonbenchError"
    assert found["seconds"] < 5  # HF_HUB_ETAG_TIMEOUT is 1 s here, 10 s by default


def test_local_models_ask_nothing_of_the_hub(visit: Visit) -> None:
    assert visit.found["a local folder"]["weights"] == weights(0)
    assert visit.found["a local adapter of a hub model"]["weights"] == visit.found["an adapter"]["weights"]
    assert visit.found["a local file"]["weights"] == weights(3)
    for wish in ("a local folder", "a local adapter of a hub model", "a local file"):
        assert visit.found[wish]["said"] == []
    names = ("llama", "both", "pickle", "empty", "lora", "edit", "inside", "nothing", "gated")
    served = [f"tiny/{name}" for name in names]
    strays = [line for line in visit.asked if not any(name in line for name in served)]
    assert set(strays) <= {"GET api/agent-harnesses"}  # the client's own, once, with its first real question


@pytest.mark.parametrize("switch", ["CANONBENCH_OFFLINE", "HF_HUB_OFFLINE"])
def test_either_switch_forbids_the_hub(switch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CANONBENCH_OFFLINE", raising=False)
    monkeypatch.setenv(switch, "1")
    with pytest.raises(CanonbenchError, match=f"{switch}=1 forbids it; unset it, or give a local folder"):
        hub.fetch("tiny/never", None, trust=Trust(), say=print)
