"""Long work speaks while it lasts, and is quiet afterwards."""

from __future__ import annotations

import time

import pytest
from pyspark.sql import SparkSession

from spark_src.progress import Work, progress_line, spoken


def test_a_line_tells_how_far_how_quickly_and_how_long_still() -> None:
    expected = "1,500 of 6,000 images (25%), 150.0 img/s, 30 s left"
    assert progress_line(1500, 6000, seconds=10) == expected


def test_a_line_before_the_first_image_knows_no_time_left() -> None:
    expected = "0 of 240 images (0%), 0.0 img/s, time left not known yet"
    assert progress_line(0, 240, seconds=5) == expected


def test_a_repeated_task_does_not_bring_more_than_all() -> None:
    assert progress_line(300, 240, seconds=2) == "240 of 240 images (100%), 120.0 img/s, 0 s left"


@pytest.mark.parametrize(("images", "seconds"), [(0, 1.0), (0, 0.0), (5, 0.0)])
def test_no_images_and_no_time_are_no_error(images: int, seconds: float) -> None:
    assert "of" in progress_line(0, images, seconds)


def test_work_speaks_at_every_interval_and_stops(spark: SparkSession) -> None:
    done = spark.sparkContext.accumulator(0)
    lines: list[str] = []
    with spoken(Work(spark.range(1), 40, done), lines.append, interval=0.05):
        done.add(10)
        time.sleep(0.4)
        within = len(lines)
    assert 2 <= within <= 8
    assert lines[0].startswith("10 of 40 images (25%)")
    said = len(lines)
    time.sleep(0.2)
    assert len(lines) == said


def test_work_that_ends_within_the_interval_says_nothing(spark: SparkSession) -> None:
    lines: list[str] = []
    started = time.monotonic()
    work = Work(spark.range(1), 40, spark.sparkContext.accumulator(0))
    with spoken(work, lines.append, interval=30):
        pass
    assert lines == []
    assert time.monotonic() - started < 5


def test_work_without_a_counter_says_nothing(spark: SparkSession) -> None:
    lines: list[str] = []
    with spoken(Work(spark.range(1), 40), lines.append, interval=0.02):
        time.sleep(0.1)
    assert lines == []


def test_work_that_fails_stops_speaking_and_fails_on(spark: SparkSession) -> None:
    lines: list[str] = []
    work = Work(spark.range(1), 40, spark.sparkContext.accumulator(0))
    with (
        pytest.raises(ZeroDivisionError),
        spoken(work, lines.append, interval=0.02),
    ):
        raise ZeroDivisionError
    said = len(lines)
    time.sleep(0.1)
    assert len(lines) == said
