from __future__ import annotations

from pathlib import Path

import pytest

from canonbench.errors import CanonbenchError
from canonbench.network import cache_dir, is_offline, require_network

SWITCHES = ("CANONBENCH_OFFLINE", "HF_HUB_OFFLINE")


@pytest.fixture(autouse=True)
def _online(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SWITCHES:
        monkeypatch.delenv(name, raising=False)


def test_every_use_of_the_network_is_announced_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    require_network("model some/thing from the hub")
    assert capsys.readouterr() == ("", "network: fetching model some/thing from the hub\n")


def test_the_announcement_goes_where_the_caller_wants_it(capsys: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    require_network("x", said.append)
    assert said == ["network: fetching x"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("switch", SWITCHES)
@pytest.mark.parametrize("value", ["1", "true", "YES", "On"])
def test_either_switch_forbids_the_network(monkeypatch: pytest.MonkeyPatch, switch: str, value: str) -> None:
    monkeypatch.setenv(switch, value)
    said: list[str] = []
    assert is_offline()
    with pytest.raises(CanonbenchError) as caught:
        require_network("x", said.append, instead="do without it")
    assert str(caught.value) == (
        f"fetching x needs the network, but {switch}={value} forbids it; unset it, or do without it"
    )
    assert said == []


@pytest.mark.parametrize("value", ["", "0", "false", "no", "off"])
def test_a_switch_that_is_off_forbids_nothing(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    for switch in SWITCHES:
        monkeypatch.setenv(switch, value)
    assert not is_offline()


def test_the_cache_folder_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CANONBENCH_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.setenv("CANONBENCH_CACHE", "~/there")
    assert cache_dir() == Path.home() / "there"
    monkeypatch.setenv("CANONBENCH_CACHE", "")
    assert cache_dir().name == "canonbench"
