"""A real browser and a real `dagster dev`; a failed test saves a screenshot and the page's text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

from tests.browser.dagster_dev import DagsterDev
from tests.browser.pictures import Pictures
from tests.programs import program

SIZE: ViewportSize = {"width": 1600, "height": 1000}
TIMEOUT_MS = 30_000
"""Milliseconds that a page may take on a busy machine."""

STOP_ANIMATIONS = """
addEventListener("DOMContentLoaded", () => {
  const style = document.createElement("style");
  style.textContent = "* { animation: none !important; transition: none !important }";
  document.head.append(style);
});
"""
"""Without a graphics card, drawing the UI's animations uses a whole core."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", metavar="FOLDER", help="write the README's pictures there")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:  # noqa: ARG001
    """Save a screenshot and the text of the page on which a test failed."""
    report = yield
    page = getattr(item, "funcargs", {}).get("page")
    if report.failed and page is not None:
        folder = item.config.cache.mkdir("browser")
        picture, text = folder / f"{item.name}.png", folder / f"{item.name}.txt"
        page.screenshot(path=picture)
        text.write_text(f"{page.url}\n\n{page.inner_text('body')}")
        report.sections.append(("page", f"{picture}\n{text}\n{text.read_text()}"))
    return report


@pytest.fixture(scope="module")
def chromium() -> str:
    """Debian's Chromium. Tests are skipped without it, except in CI, where they fail."""
    return program("chromium", "chromium")


@pytest.fixture(scope="module")
def dagster_dev(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DagsterDev]:  # noqa: ARG001
    """`dagster dev`, started on first use and stopped after the module's last test."""
    dev = DagsterDev(tmp_path_factory.mktemp("dagster_dev"))
    try:
        dev.wait()
        yield dev
    finally:
        dev.stop()


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Chromium's sandbox does not run as root; only pages of this project are opened.
        browser = playwright.chromium.launch(executable_path=chromium, chromium_sandbox=False)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def page(browser: Browser, dagster_dev: DagsterDev) -> Page:
    """The UI in a window without cookies or stored settings."""
    expect.set_options(timeout=TIMEOUT_MS)
    page = browser.new_page(base_url=dagster_dev.url, viewport=SIZE)
    page.add_init_script(STOP_ANIMATIONS)
    page.set_default_timeout(TIMEOUT_MS)
    return page


@pytest.fixture(scope="module")
def pictures(request: pytest.FixtureRequest) -> Pictures:
    folder = request.config.getoption("--screenshots", default=None)
    return Pictures(Path(folder) if folder else None)
