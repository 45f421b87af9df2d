"""The asset graph: its contents, and that Dagster can load it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from fruits_assets.definitions import build_defs
from fruits_assets.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[2]

TAGS = ("personal_data", "runs_on")

SNAPSHOT = """\
asset csv_export <- pca_components, pca_model (group results, code 1)
  csv; team:data; personal_data=derived, runs_on=spark
asset data_health <- mobilenet_features, pca_components, raw_images (group evaluation, code 1)
  numpy, parquet; team:data; personal_data=paths, runs_on=host
asset embedding_quality <- mobilenet_features, pca_components, pca_model (group evaluation, code 1)
  json, numpy; team:data; personal_data=none, runs_on=host
asset fruit_classifier <- mobilenet_features, mobilenet_model, pca_components, raw_images \
(group evaluation, code 1)
  numpy, tflite; team:data; personal_data=derived, runs_on=host
asset input_pictures <- nothing (group ingest, code None)
  file; team:data; personal_data=photos
asset label_issues <- fruit_classifier, pca_components, raw_images (group evaluation, code 1)
  csv, numpy; team:data; personal_data=paths, runs_on=host
asset mobilenet_features <- mobilenet_model, raw_images \
(group features, code pillow-rgb-upright-bicubic-224-reduced-v2)
  deltalake, pyspark; team:data; personal_data=derived, runs_on=spark
asset mobilenet_model <- nothing (group model, code 1)
  tensorflow, tflite; team:data; personal_data=none, runs_on=host
asset pca_components <- mobilenet_features, pca_model (group results, code 1)
  deltalake, pyspark; team:data; personal_data=derived, runs_on=spark
asset pca_model <- mobilenet_features (group results, code 1)
  numpy, pyspark; team:data; personal_data=derived, runs_on=spark
asset raw_images <- input_pictures (group ingest, code 1)
  deltalake, pyspark; team:data; personal_data=photos, runs_on=spark
asset rejected_images <- input_pictures (group ingest, code 1)
  deltalake, pyspark; team:data; personal_data=paths, runs_on=spark
check csv_export:no_image_lost (blocking)
check data_health:classes_are_balanced (not blocking)
check data_health:labels_are_varied (not blocking)
check data_health:no_label_conflict (not blocking)
check data_health:no_picture_in_two_splits (not blocking)
check embedding_quality:accuracy_is_kept (not blocking)
check fruit_classifier:candidate_is_not_worse (not blocking)
check fruit_classifier:is_calibrated (not blocking)
check fruit_classifier:uses_current_models (not blocking)
check mobilenet_features:features_are_valid (blocking)
check mobilenet_features:files_are_whole (not blocking)
check mobilenet_features:no_image_lost (blocking)
check mobilenet_model:weights_are_imagenet (not blocking)
check pca_components:components_are_valid (blocking)
check pca_components:files_are_whole (not blocking)
check pca_components:new_images_are_familiar (not blocking)
check pca_components:no_image_lost (blocking)
check pca_components:one_model_throughout (not blocking)
check pca_components:variance_is_explained (not blocking)
check pca_model:axes_are_orthonormal (not blocking)
check raw_images:data_stays_in_eu (not blocking)
check raw_images:files_are_whole (not blocking)
check raw_images:no_image_lost (blocking)
check rejected_images:few_files_rejected (not blocking)
job asset_checks
job erase
"""


def described(definitions: dg.Definitions) -> str:
    graph = definitions.resolve_asset_graph()
    assets = [
        f"asset {node.key.to_user_string()} <- "
        f"{', '.join(sorted(key.to_user_string() for key in node.parent_keys)) or 'nothing'} "
        f"(group {node.group_name}, code {node.code_version})\n"
        f"  {', '.join(sorted(node.kinds))}; {', '.join(node.owners)}; "
        f"{', '.join(f'{name}={node.tags[name]}' for name in TAGS if name in node.tags)}"
        for node in graph.asset_nodes
    ]
    checks = [
        f"check {key.to_user_string()} ({'' if graph.get(key).blocking else 'not '}blocking)"
        for key in graph.asset_check_keys
    ]
    names = [job.name for job in definitions.resolve_all_job_defs()]
    jobs = [f"job {name}" for name in names if not name.startswith("__")]
    return "\n".join([*sorted(assets), *sorted(checks), *sorted(jobs)]) + "\n"


def test_the_graph_is_the_one_of_the_snapshot(tmp_path: Path) -> None:
    found = described(build_defs(Settings(storage=str(tmp_path))))
    assert found == SNAPSHOT, (
        "The asset graph changed. If that is meant, replace SNAPSHOT in "
        f"{Path(__file__).name} by:\n{found}"
    )


def test_the_job_of_the_checks_has_one_op_per_asset(tmp_path: Path) -> None:
    definitions = build_defs(Settings(storage=str(tmp_path)))
    checks = definitions.resolve_asset_graph().asset_check_keys
    assets = {key.asset_key.to_user_string() for key in checks}
    ops = [node.name for node in definitions.resolve_job_def("asset_checks").nodes]
    assert sorted(ops) == sorted(f"{asset}_checks" for asset in assets)


def test_every_asset_and_check_has_a_description(tmp_path: Path) -> None:
    graph = build_defs(Settings(storage=str(tmp_path))).resolve_asset_graph()
    nodes = [*graph.asset_nodes, *(graph.get(key) for key in graph.asset_check_keys)]
    assert [node.key.to_user_string() for node in nodes if not node.description] == []


def test_every_asset_links_to_its_code(tmp_path: Path) -> None:
    graph = build_defs(Settings(storage=str(tmp_path))).resolve_asset_graph()
    for key in graph.materializable_asset_keys:
        node = graph.get(key)
        (link,) = node.metadata["dagster/code_references"].code_references
        assert isinstance(link, dg.LocalFileCodeReference)
        lines = Path(link.file_path).read_text().splitlines()[(link.line_number or 0) - 1 :]
        asset = node.key.to_user_string()
        assert lines[0].startswith((f"@catalog.{asset.upper()}.asset(", "@dg.multi_asset("))
        assert any(f"catalog.{asset.upper()}." in line for line in lines), asset


def test_descriptions_are_sentences(tmp_path: Path) -> None:
    """Descriptions are sentences, and unique among assets and the checks of an asset."""
    graph = build_defs(Settings(storage=str(tmp_path))).resolve_asset_graph()
    nodes = [*graph.asset_nodes, *(graph.get(key) for key in graph.asset_check_keys)]
    texts = [node.description or "" for node in nodes]
    assert [text for text in texts if len(text.split()) < 8 or not text.strip().endswith(".")] == []
    asset_texts = [node.description for node in graph.asset_nodes]
    assert len(set(asset_texts)) == len(asset_texts)


def test_building_the_definitions_touches_neither_input_nor_storage(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    build_defs(Settings(storage=str(nowhere), input=str(nowhere), weights=str(nowhere)))
    assert not nowhere.exists()


def test_dagster_validates_the_definitions() -> None:
    command = [sys.executable, "-m", "dagster", "definitions", "validate"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Validation successful for code location fruits" in done.stdout + done.stderr


def test_the_definitions_load_none_of_the_slow_libraries_that_only_some_processes_need() -> None:
    """Every Dagster command, run and step on the cluster loads them first."""
    slow = {"dagster_aws", "matplotlib", "pandas", "pyspark.ml", "sklearn", "tensorflow"}
    program = f"import sys, fruits_assets.definitions; print({slow} & set(sys.modules))"
    own = {name: value for name, value in os.environ.items() if not name.startswith("FRUITS_")}
    done = subprocess.run(
        [sys.executable, "-c", program], env=own, cwd=REPOSITORY, capture_output=True, check=True
    )
    assert done.stdout == b"set()\n"


def test_recommended_selections_include_the_intended_assets(tmp_path: Path) -> None:
    """`+` is one layer in Dagster's selections, `*` is all of them."""
    graph = build_defs(Settings(storage=str(tmp_path))).resolve_asset_graph()

    def selected(text: str) -> set[str]:
        keys = dg.AssetSelection.from_string(text).resolve(graph)
        return {key.to_user_string() for key in keys}

    pca_alone = {"pca_model", "pca_components", "csv_export", "embedding_quality"}
    evaluation = {"data_health", "embedding_quality", "fruit_classifier", "label_issues"}
    after_components = {"pca_components", "csv_export", *evaluation}
    assert selected("pca_components+") == after_components
    assert selected("pca_model+") == pca_alone
    after_model = {"mobilenet_model", "mobilenet_features", "pca_model", *after_components}
    assert selected("mobilenet_model*") == after_model
    before_csv = {"raw_images", "mobilenet_model", "mobilenet_features", "pca_model"}
    assert selected("*csv_export") == before_csv | {"pca_components", "csv_export"}


def test_every_asset_shows_its_location_in_this_storage(tmp_path: Path) -> None:
    graph = build_defs(Settings(storage=str(tmp_path))).resolve_asset_graph()
    for key in graph.materializable_asset_keys:
        uri = graph.get(key).metadata["dagster/uri"]
        assert uri.startswith(f"{tmp_path.as_uri()}/")


@pytest.mark.parametrize("job", ["erase", "asset_checks"])
def test_the_launchpad_of_a_job_lists_no_settings_of_resources(job: str, tmp_path: Path) -> None:
    definitions = build_defs(Settings(storage=str(tmp_path)))
    fields = definitions.resolve_job_def(job).run_config_schema.config_type.fields
    assert set(fields) == {"log_level"}


def test_every_sensor_has_a_name_and_a_description_of_its_own(tmp_path: Path) -> None:
    repository = build_defs(Settings(storage=str(tmp_path))).get_repository_def()
    sensors = {sensor.name: sensor.description for sensor in repository.sensor_defs}
    assert set(sensors) == {"new_pictures", "refresh_downstream"}
    assert all(text and "minutes" in text for text in sensors.values())


def test_names_of_checks_fit_the_page(tmp_path: Path) -> None:
    graph = build_defs(Settings(storage=str(tmp_path))).resolve_asset_graph()
    longest = max((key.name for key in graph.asset_check_keys), key=len)
    assert len(longest) <= 25, longest
