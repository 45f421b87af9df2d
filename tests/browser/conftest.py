"""A real browser on a real `dagster dev`; what a failed test saw is kept."""

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


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", metavar="FOLDER", help="write the README's pictures there")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:  # noqa: ARG001
    """Keep a picture and the text of the page on which a test failed."""
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
    """Debian's; without it the tests that need it are skipped, but not in CI."""
    return program("chromium", "chromium")


@pytest.fixture(scope="module")
def dagster_dev(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DagsterDev]:  # noqa: ARG001
    """Started as late as it is needed, and ended before the tests of another file."""
    dev = DagsterDev(tmp_path_factory.mktemp("dagster_dev"))
    try:
        dev.wait()
        yield dev
    finally:
        dev.stop()


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Its sandbox refuses to work for root, and it sees no page but ours.
        browser = playwright.chromium.launch(executable_path=chromium, chromium_sandbox=False)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def page(browser: Browser, dagster_dev: DagsterDev) -> Page:
    """A window on the UI, of a user who was never there."""
    expect.set_options(timeout=TIMEOUT_MS)
    page = browser.new_page(base_url=dagster_dev.url, viewport=SIZE)
    page.set_default_timeout(TIMEOUT_MS)
    return page


@pytest.fixture(scope="module")
def pictures(request: pytest.FixtureRequest) -> Pictures:
    folder = request.config.getoption("--screenshots", default=None)
    return Pictures(Path(folder) if folder else None)
