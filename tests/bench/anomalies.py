# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How well anomalies that are planted in real series are found, and how much else is claimed.

    uv venv /tmp/series && uv pip install --python /tmp/series/bin/python pvlib river vega_datasets .
    /tmp/series/bin/python tests/bench/anomalies.py [--seed 1]

The series ship in these packages (typical meteorological years of two stations in pvlib, a water flow in river, daily
weather of Seattle in vega_datasets), two are among the samples. In a copy of each, one point in a hundred is replaced,
at random, by one that is so many robust standard deviations of the whole series off: 8, or 4, up or down. What is
claimed besides may be right, too: the water flow has known faults of its own.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import importlib.util
import random
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from neocampus_lake.anomalies import Rule, Series, examine, reference_of, robust
from neocampus_lake.errors import present
from neocampus_lake.times import NS, parse_time

ROOT = Path(__file__).resolve().parent.parent.parent
SHARE = 100  # one point in so many is planted
SIZES = (8.0, 4.0)  # robust standard deviations of the whole series
STATISTICS: dict[str, dict[str, Any]] = {
    "rolling, 24 h": {"method": "rolling", "hours": 24, "min_points": 20},
    "rolling, 48 h": {"method": "rolling", "hours": 48},
    "rolling, 7 days": {"method": "rolling", "hours": 168},
    "rolling, 28 days": {"method": "rolling", "hours": 672},
    "seasonal, hour of day": {"method": "seasonal"},
    "seasonal, hour of week": {"method": "seasonal", "season": "hour_of_week"},
}
THRESHOLDS = (3.0, 4.0, 5.0, 6.0)

Points = list[tuple[int, float]]


def file(package: str, name: str) -> Path:
    """A file that ships in an installed package, which is not imported."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{package} is not installed: see the head of this file")
    return Path(spec.origin).parent / name


def station(name: str, column: str) -> Points:
    """An hourly series of a typical meteorological year. Its months are of different years: they get one."""
    with file("pvlib", f"data/{name}").open(encoding="latin-1", newline="") as lines:
        next(lines)
        start = datetime(2001, 1, 1, tzinfo=UTC)
        rows = enumerate(csv.DictReader(lines))
        return [(parse_time(start + timedelta(hours=hour)), float(row[column])) for hour, row in rows]


def table(path: Path, time_column: str, column: str, where: Mapping[str, str] | None = None) -> Points:
    """A column of a CSV file, of the rows that have these values."""
    opened: Any = gzip.open(path, "rt", newline="") if path.suffix == ".gz" else path.open(newline="")
    with opened as lines:
        wanted = (where or {}).items()
        rows = [row for row in csv.DictReader(lines) if all(row[key] == value for key, value in wanted)]
    return sorted((parse_time(row[time_column].replace("/", "-")), float(row[column])) for row in rows)


def sources() -> dict[str, Callable[[], Points]]:
    """The series by name."""
    found: dict[str, Callable[[], Points]] = {}
    for place, name in (("Sand Point", "703165TY.csv"), ("Greensboro", "723170TYA.CSV")):
        for what, column in (
            ("temperature", "Dry-bulb (C)"),
            ("humidity", "RHum (%)"),
            ("pressure", "Pressure (mbar)"),
            ("wind", "Wspd (m/s)"),
        ):
            if (place, what) == ("Sand Point", "pressure"):
                continue  # one value throughout
            found[f"{place}, {what}, hourly"] = lambda name=name, column=column: station(name, column)  # type: ignore[misc]
    for city in ("seattle", "san_francisco"):
        found[f"{city} (sample), temperature, hourly"] = lambda city=city: table(  # type: ignore[misc]
            ROOT / "samples/temperatures.csv.gz",
            "measuretime",
            "payload.value",
            {"topic": f"{city}/outdoor/temperature"},
        )
    found["water flow, hourly"] = lambda: table(file("river", "datasets/water-flow.csv"), "Time", "Water flow [l/s]")
    found["Seattle, greatest temperature, daily"] = lambda: table(
        file("vega_datasets", "_data/seattle-weather.csv"), "date", "temp_max"
    )
    return found


def plant(points: Points, size: float, chance: random.Random) -> tuple[Points, set[int]]:
    """A copy with planted points, and their times; none in the first tenth, where there is little to compare with."""
    spread = present(robust(sorted(value for _time, value in points)))
    scale = (spread.below + spread.above) / 2
    changed = list(points)
    places = chance.sample(range(len(points) // 10, len(points)), len(points) // SHARE)
    for place in places:
        moment, value = points[place]
        changed[place] = (moment, value + chance.choice((-1, 1)) * size * scale)
    return changed, {points[place][0] for place in places}


def run(points: Points, statistic: Mapping[str, Any]) -> dict[int, float]:
    """The scores of what a statistic claims with the least threshold, by time."""
    rule = Rule.of("bench", 1, {"statistic": {**statistic, "threshold": THRESHOLDS[0]}})
    found = examine(Series("m", "value"), rule, points, reference=reference_of(rule.statistic))
    return {finding.time: finding.score for finding in found}


def suited(statistic: Mapping[str, Any], points: Points) -> dict[str, Any]:
    """The statistic, with a longer time to look back where points are days apart."""
    if points[1][0] - points[0][0] >= 86400 * NS and statistic["method"] == "rolling":
        return {**statistic, "hours": 24 * float(statistic["hours"])}
    return dict(statistic)


class Row(NamedTuple):
    """What a statistic with one threshold makes of one series with planted points; `right` of them are claimed, and
    `wrong` other points. `spent` in seconds."""

    series: str
    statistic: str
    threshold: float
    size: float
    points: int
    planted: int
    right: int
    wrong: int
    spent: float


def figures(seed: int) -> Iterator[Row]:
    """Each series with each statistic, threshold and size."""
    for name, read in sources().items():
        points = read()
        for label, statistic in STATISTICS.items():
            for size in SIZES:
                changed, planted = plant(points, size, random.Random(f"{seed} {name} {size}"))
                begin = time.perf_counter()
                scores = run(changed, suited(statistic, points))
                spent = time.perf_counter() - begin
                for threshold in THRESHOLDS:
                    claimed = {moment for moment, score in scores.items() if score > threshold}
                    right = len(claimed & planted)
                    wrong = len(claimed) - right
                    yield Row(name, label, threshold, size, len(points), len(planted), right, wrong, spent)


def shown(part: int, whole: int) -> str:
    """A share with two decimals."""
    return f"{part / whole:.2f}" if whole else "-"


def told(rows: list[Row]) -> str:
    """Recall, precision, and what is claimed besides, as cells."""
    points, planted = sum(row.points for row in rows), sum(row.planted for row in rows)
    right, wrong = sum(row.right for row in rows), sum(row.wrong for row in rows)
    return f"{shown(right, planted)} | {shown(right, right + wrong)} | {1000 * wrong / points:.1f}"


def main() -> None:
    """Print tables in Markdown."""
    parser = argparse.ArgumentParser(description="How well planted anomalies are found.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--each", type=float, metavar="THRESHOLD", help="also a line per series, with that threshold")
    arguments = parser.parse_args()
    rows = list(figures(arguments.seed))
    if arguments.each:
        print("| series | statistic | size | recall | precision | besides, of 1000 points |")
        print("|---|---|---|---|---|---|")
        for row in rows:
            if row.threshold == arguments.each:
                print(f"| {row.series} | {row.statistic} | {row.size:g} | {told([row])} |")
        print()
    print("| statistic | threshold | size | recall | precision | besides, of 1000 points | µs a point |")
    print("|---|---|---|---|---|---|---|")
    for label in STATISTICS:
        for threshold in THRESHOLDS:
            for size in SIZES:
                of = [row for row in rows if row[1:4] == (label, threshold, size)]
                spent = sum(row.spent for row in of) / sum(row.points for row in of) * 1e6
                print(f"| {label} | {threshold:g} | {size:g} | {told(of)} | {spent:.0f} |")


if __name__ == "__main__":
    main()
