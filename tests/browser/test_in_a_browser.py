"""Dagster's UI in a real browser: clicks, and the text and pictures that the pages then show.

Tests run in the order of this file, because they use the runs of earlier ones.
"""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from tests.browser.conftest import SIZE
from tests.browser.pictures import Pictures

WIDE: ViewportSize = {"width": 2600, "height": 2600}
"""The size of a window in which the whole text of the graph's nodes is visible."""

RUN_TIMEOUT_SECONDS = 240
"""Timeout of a run, sufficient for a busy machine."""

ENDED = ("SUCCESS", "FAILURE", "CANCELED")

TEXTS = {
    "raw_images": ["Apple Golden 1", "Cherry 2", "Training"],
    "rejected_images": ["what was found, and what to do about it", "input"],
    "mobilenet_model": ["weights sha256", "mobilenet_v2_1.0_224_no_top.h5"],
    "mobilenet_features": ["images computed", "240"],
    "pca_model": ["0.93426", "components for 90 %"],
    "pca_components": ["principal components, mean subtracted", "images per second"],
    "csv_export": ["Test/Apple Golden 1/100_100.jpg", "principal component 50"],
    "embedding_quality": ["5-NN, 50 components", "rotation axes"],
    "data_health": ["groups of duplicates", "near, in two splits"],
    "fruit_classifier": ["milliseconds per image, one core", "accuracy, fruit"],
    "label_issues": ["images evaluated", "suggested"],
}
"""Texts on each asset's page."""
PICTURES = {
    "raw_images": "one picture of each label",
    "mobilenet_features": "nearest neighbours",
    "pca_model": "explained variance by component",
    "pca_components": "map of the first two components",
    "data_health": "duplicates, side by side",
    "fruit_classifier": "most confused labels",
    "label_issues": "doubtful labels and suggestions",
}
"""Metadata with a picture, by asset."""
CHECKS = {
    "rejected_images": "few_files_rejected",
    "pca_model": "axes_are_orthonormal",
    "embedding_quality": "accuracy_is_kept",
}
LAUNCH = """mutation Launch($parameters: ExecutionParams!) {
  launchRun(executionParams: $parameters) {
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}"""


@pytest.fixture(scope="module")
def whole_run(page: Page, pictures: Pictures) -> str:
    """URL of the run started by one click on the graph, after it has ended."""
    page.goto("/asset-groups")
    page.get_by_role("button", name="Materialize all").click()
    page.get_by_text("View", exact=True).click()
    expect(page).to_have_url(re.compile("/runs/"))
    wait_for_success(page)
    pictures.keep("run.png", page)
    return page.url


def wait_for_success(page: Page) -> None:
    """Wait for the end of the page's run, and require that the page shows its success."""
    assert wait_for_end(page) == "SUCCESS"
    expect(page.get_by_text(re.compile("^(Success|Failure)$")).first).to_have_text("Success")


def wait_for_end(page: Page) -> str:
    """Wait for the end of the page's run; return its status.

    Meanwhile another page is open, because the animations of a run's page use a whole core.
    """
    run = page.url
    page.goto("/deployment/locations")
    deadline = time.monotonic() + RUN_TIMEOUT_SECONDS
    while (status := _status(page, run.rpartition("/")[2])) not in ENDED:
        assert time.monotonic() < deadline, status
        page.wait_for_timeout(500)
    page.goto(run)
    return status


def _status(page: Page, run_id: str) -> str:
    query = "query Status($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
    return str(_query(page, query, {"id": run_id})["runOrError"]["status"])


def _query(page: Page, query: str, variables: dict[str, Any]) -> dict[str, Any]:
    """The response of Dagster's GraphQL API."""
    body = {"query": query, "variables": variables}
    data: dict[str, Any] = page.request.post("/graphql", data=body).json()["data"]
    return data


def test_one_click_materializes_the_whole_graph(
    page: Page, whole_run: str, pictures: Pictures
) -> None:
    assert page.url == whole_run
    expect(page.get_by_text("11 assets")).to_be_visible()
    expect(page.get_by_text("24 checks")).to_be_visible()
    page.set_viewport_size(WIDE)
    page.goto("/asset-groups")
    expect(page.get_by_text("ingest", exact=True).first).to_be_visible()
    page.keyboard.press("Alt+KeyE")  # expands the groups
    expect(page.get_by_text("Materialized", exact=True).first).to_be_visible()
    page.reload()  # fits the graph into the window; nodes outside it are not rendered
    expect(page.get_by_text("Materialized", exact=True)).to_have_count(11)
    expect(page.get_by_text("6 / 6 Passed")).to_be_visible()
    expect(page.get_by_text("Never materialized")).to_have_count(0)
    pictures.keep_graph(page)
    page.set_viewport_size(SIZE)


@pytest.mark.parametrize("asset", TEXTS)
def test_the_page_of_an_asset_shows_its_metadata_and_picture(
    asset: str, page: Page, whole_run: str, pictures: Pictures
) -> None:
    page.goto(f"/assets/{asset}?view=events")
    run = whole_run.rpartition("/")[2][:8]
    expect(page.get_by_text(f"Materialized in run {run}")).to_be_visible()
    page.goto(f"/assets/{asset}")
    for text in TEXTS[asset]:
        expect(page.get_by_text(text).first).to_be_visible()
    if asset not in PICTURES:
        return
    row = page.get_by_role("row").filter(has=page.get_by_text(PICTURES[asset], exact=True))
    row.get_by_text("[Show Markdown]").click()
    picture = page.get_by_role("dialog").locator("img[src^='data:image']").last
    expect(picture).to_be_visible()
    assert picture.evaluate("picture => picture.complete && picture.naturalWidth") >= 100
    if asset == "mobilenet_features":
        pictures.keep("features.png", page)


@pytest.mark.usefixtures("dagster_dev")
def test_the_page_of_the_input_says_where_the_pictures_are(page: Page) -> None:
    page.goto("/assets/input_pictures")
    expect(page.get_by_text("External Asset")).to_be_visible()
    expect(page.get_by_text("The folder of pictures set by FRUITS_INPUT").first).to_be_visible()
    expect(page.get_by_text(re.compile("^file:///.*/sample/fruits-360$"))).to_be_visible()


@pytest.mark.usefixtures("whole_run")
def test_one_click_executes_the_checks_of_an_asset(page: Page, pictures: Pictures) -> None:
    page.goto("/assets/pca_components?view=checks&checkDetail=variance_is_explained")
    page.get_by_role("button", name="Execute all").click()
    page.get_by_text("View", exact=True).click()
    wait_for_success(page)
    event = "Check variance_is_explained succeeded for materialization of pca_components."
    expect(page.get_by_text(event)).to_be_visible()
    page.goto("/assets/pca_components?view=checks&checkDetail=variance_is_explained")
    expect(page.get_by_text("Succeeded", exact=True)).to_have_count(6)
    expect(page.get_by_text("50 components explain 0.9343 of the variance")).to_be_visible()
    pictures.keep("checks.png", page)


@pytest.fixture(scope="module")
def pca_with_20(page: Page, whole_run: str) -> str:  # noqa: ARG001
    """URL of a run of PCA only, with 20 components entered in the launchpad."""
    page.goto('/asset-groups~key:"pca_model"%2B')
    expect(page.get_by_text("mobilenet_features", exact=True)).to_have_count(0)
    page.get_by_role("button", name="Materialize all").click(modifiers=["Shift"])
    launchpad = page.get_by_role("dialog")
    number = launchpad.get_by_role("presentation").filter(has_text=re.compile(r"n_components: 50$"))
    number.last.click()
    page.keyboard.press("End")
    page.keyboard.press("Backspace")
    page.keyboard.press("Backspace")
    page.keyboard.type("20")
    expect(launchpad.get_by_text("n_components: 20")).to_be_visible()
    launchpad.get_by_role("button", name="Materialize").click()
    expect(page).to_have_url(re.compile("/runs/"))
    wait_for_success(page)
    return page.url


def test_pca_alone_is_materialized_with_another_number_of_components(
    page: Page, pca_with_20: str
) -> None:
    page.goto("/assets/pca_components?view=checks")
    expect(page.get_by_text("240 vectors of 20 finite numbers in pca")).to_be_visible()
    page.goto("/assets/pca_components?view=checks&checkDetail=variance_is_explained")
    expect(page.get_by_text("20 components explain 0.8457 of the variance")).to_be_visible()
    expect(page.get_by_text("needs n_components = 34")).to_be_visible()
    page.goto("/assets/pca_components?view=events")
    run = pca_with_20.rpartition("/")[2][:8]
    expect(page.get_by_text(f"Materialized in run {run}")).to_be_visible()


@pytest.mark.usefixtures("pca_with_20")
def test_pca_alone_does_not_materialize_the_features(page: Page, whole_run: str) -> None:
    page.goto("/assets/mobilenet_features?view=events")
    run = whole_run.rpartition("/")[2][:8]
    expect(page.get_by_text(f"Materialized in run {run}")).to_be_visible()


@pytest.mark.usefixtures("whole_run")
def test_the_landing_page_lists_the_runs(page: Page) -> None:
    page.goto("/")
    expect(page.get_by_text("Jobless asset materializations").first).to_be_visible()
    expect(page.get_by_text("No runs")).to_have_count(0)


@pytest.mark.usefixtures("whole_run")
def test_the_checks_page_of_an_asset_shows_the_check_and_its_success(page: Page) -> None:
    for asset, check in CHECKS.items():
        page.goto(f"/assets/{asset}?view=checks&checkDetail={check}")
        expect(page.get_by_text(check, exact=True).first).to_be_visible()
        expect(page.get_by_text("Succeeded", exact=True).first).to_be_visible()


def test_the_automation_page_lists_both_sensors(page: Page) -> None:
    page.goto("/automation")
    expect(page.get_by_text("Standard sensor")).to_be_visible()
    expect(page.get_by_text("Automation condition sensor")).to_be_visible()
    for sensor in ("new_pictures", "refresh_downstream"):
        page.goto(f"/locations/fruits/sensors/{sensor}")
        expect(page.get_by_text("minutes").first).to_be_visible()


@pytest.mark.parametrize("job", ["erase", "asset_checks"])
def test_the_launchpad_of_a_job_has_one_option(job: str, page: Page) -> None:
    page.goto(f"/locations/fruits/jobs/{job}/playground")
    expect(page.get_by_role("button", name="Launch Run")).to_be_enabled()
    expect(page.get_by_text("log_level?: String")).to_be_visible()
    expect(page.get_by_text("resources")).to_have_count(0)


def test_the_job_of_the_checks_has_one_op_per_asset(page: Page) -> None:
    page.goto("/locations/fruits/jobs/asset_checks")
    for asset in CHECKS:
        expect(page.get_by_text(f"{asset}_checks").first).to_be_visible()


@pytest.mark.usefixtures("whole_run")
def test_the_page_of_a_failed_run_shows_the_reason(page: Page) -> None:
    selected = {
        "repositoryLocationName": "fruits",
        "repositoryName": "__repository__",
        "jobName": "__ASSET_JOB",
        "assetSelection": [{"path": ["pca_model"]}],
        "assetCheckSelection": [],
    }
    config = {"ops": {"pca": {"config": {"n_components": 20}}}}
    parameters = {"selector": selected, "runConfigData": config, "mode": "default"}
    launched = _query(page, LAUNCH, {"parameters": parameters})["launchRun"]
    page.goto(f"/runs/{launched['run']['runId']}")
    assert wait_for_end(page) == "FAILURE"
    expect(page.get_by_text("there is no such op: did you mean pca_model?").first).to_be_visible()
