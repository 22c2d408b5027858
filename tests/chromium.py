"""A page in headless Chromium, for tests of what people see."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

EXECUTABLE = os.environ.get("CANONBENCH_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser; without one the test is skipped, and says so."""
    if EXECUTABLE is None:
        pytest.skip("no Chromium here (install one, or name it in CANONBENCH_CHROMIUM): web pages are not tested")
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: web pages are not tested"
    )
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=EXECUTABLE)
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, path: Path, *, address: str = "", **settings: Any) -> Iterator[Page]:
    """The file in a browser without network; what it asked for or complained about must be nothing."""
    context = browser.new_context(offline=True, **settings)
    page = context.new_page()
    page.set_default_timeout(5000)
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(path.as_uri() + address)
    yield page
    assert complaints == []
    assert {url.partition("#")[0] for url in asked if not url.startswith("data:")} == {path.as_uri()}
    context.close()
