"""Work reports its progress while it runs."""

from __future__ import annotations

import time

import pytest
from pyspark.sql import SparkSession

from spark_src.spark.progress import (
    MAX_POINTS,
    ProgressLog,
    progress_line,
    rates,
    report_progress,
)


def test_a_line_has_share_rate_and_time_left() -> None:
    expected = "1,500 of 6,000 images (25%), 150.0 img/s, 30 s left"
    assert progress_line(1500, 6000, seconds=10) == expected


def test_before_the_first_image_the_time_left_is_unknown() -> None:
    expected = "0 of 240 images (0%), 0.0 img/s, time left not yet known"
    assert progress_line(0, 240, seconds=5) == expected


def test_a_retried_task_does_not_exceed_the_total() -> None:
    assert progress_line(300, 240, seconds=2) == "240 of 240 images (100%), 120.0 img/s, 0 s left"


@pytest.mark.parametrize(("images", "seconds"), [(0, 1.0), (0, 0.0), (5, 0.0)])
def test_zero_images_or_zero_seconds_cause_no_error(images: int, seconds: float) -> None:
    assert "of" in progress_line(0, images, seconds)


def test_progress_is_reported_at_every_interval_until_the_work_ends(spark: SparkSession) -> None:
    done = spark.sparkContext.accumulator(0)
    lines: list[str] = []
    with report_progress(40, lines.append, interval=0.05) as progress:
        progress.counts(done)
        done.add(10)
        time.sleep(0.4)
        within = len(lines)
    assert 2 <= within <= 8
    assert lines[0].startswith("10 of 40 images (25%)")
    said = len(lines)
    time.sleep(0.2)
    assert len(lines) == said


def test_progress_of_short_work_is_recorded_without_log_lines(spark: SparkSession) -> None:
    done, lines = spark.sparkContext.accumulator(0), list[str]()
    with report_progress(40, lines.append, interval=30) as progress:
        progress.counts(done)
        done.add(40)
    (start, end) = progress.points
    assert lines == [] and start == (0.0, 0)
    assert end[1] == 40 and end[0] > 0


def test_progress_records_increases_up_to_the_total(
    spark: SparkSession,
) -> None:
    done = spark.sparkContext.accumulator(0)
    with report_progress(40, print, interval=0.02) as progress:
        progress.counts(done)
        for _ in range(3):
            done.add(20)
            time.sleep(0.1)
    assert [images for _, images in progress.points] == [0, 20, 40]
    assert progress.recorded == tuple(progress.points)


def test_work_that_counts_nothing_has_no_progress(spark: SparkSession) -> None:
    done = spark.sparkContext.accumulator(0)
    with report_progress(0, print, interval=0.02) as progress:
        progress.counts(done)
        time.sleep(0.05)
    assert progress.recorded == ()


def test_long_progress_is_thinned_out_and_keeps_its_ends() -> None:
    progress = ProgressLog()
    for second in range(1, 10_001):
        progress.note(second, second * 256)
    assert MAX_POINTS / 3 < len(progress.points) <= MAX_POINTS
    assert progress.points[0] == (0.0, 0)
    assert progress.points[-1] == (10_000, 2_560_000)
    assert progress.points == sorted(set(progress.points))


def test_rates_distinguish_a_slow_from_a_fast_half_and_sum_to_the_total() -> None:
    points = [(0.0, 0), *((n, n * 100) for n in range(1, 21))]
    points += [(20 + n, 2000 + n * 300) for n in range(1, 21)]
    edges, found = rates([(float(seconds), done) for seconds, done in points])
    assert edges[0] == 0 and edges[-1] == 40
    assert found[:5] == pytest.approx(100) and found[5:] == pytest.approx(300)
    assert (found * (edges[1:] - edges[:-1])).sum() == pytest.approx(8000)


def test_a_single_step_gives_a_single_rate() -> None:
    edges, found = rates([(0.0, 0), (2.0, 240)])
    assert list(edges) == [0, 2] and list(found) == [120]


def test_work_shorter_than_the_interval_logs_nothing(spark: SparkSession) -> None:
    lines: list[str] = []
    started = time.monotonic()
    with report_progress(40, lines.append, interval=30) as progress:
        progress.counts(spark.sparkContext.accumulator(0))
    assert lines == []
    assert time.monotonic() - started < 5


def test_work_without_a_counter_logs_nothing() -> None:
    lines: list[str] = []
    with report_progress(40, lines.append, interval=0.02):
        time.sleep(0.1)
    assert lines == []


def test_failing_work_stops_reporting_and_raises(spark: SparkSession) -> None:
    lines: list[str] = []
    counter = spark.sparkContext.accumulator(0)
    with (
        pytest.raises(ZeroDivisionError),
        report_progress(40, lines.append, interval=0.02) as progress,
    ):
        raise ZeroDivisionError(progress.counts(counter))
    said = len(lines)
    time.sleep(0.1)
    assert len(lines) == said
