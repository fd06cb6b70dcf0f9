# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules: what is accepted, which one holds. Points: what each kind finds, what it does not claim, and that it finds the
same however a series is cut into windows."""

from __future__ import annotations

import math
import random
import statistics
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from neocampus_lake import anomalies
from neocampus_lake.anomalies import Rule, Rules, Series, context, examine, merged, reference_of, robust
from neocampus_lake.errors import DeclarationError
from neocampus_lake.times import NS, parse_time

HOUR = 3600 * NS
START = parse_time("2024-05-01T00:00:00Z")
SERIES = Series("celsius", "value", {"topic": "u4/302/temperature", "unitID": "7"})
ROLLING = {"method": "rolling", "hours": 24, "min_points": 10, "threshold": 5}
SEASONAL = {"method": "seasonal"}


def rule(**parts):
    return Rule.of("r", 3, parts)


def found(parts, points, **around):
    made = rule(**parts)
    reference = reference_of(made.statistic)
    return [(f.kind, f.time) for f in examine(SERIES, made, points, reference=reference, **around)]


def hourly(values, start=START):
    return [(start + index * HOUR, float(value)) for index, value in enumerate(values)]


def seasonal_series(days, seed=1, noise=0.3, step=HOUR, zone_shift=None, start=START):
    """Temperature with a steep change at eight every morning; `zone_shift(moment)`: hours to add to the clock."""
    chance = random.Random(seed)
    points = []
    for number in range(days * 24 * HOUR // step):
        time = start + number * step
        moment = datetime.fromtimestamp(time / NS, UTC)
        clock = (moment.hour + (zone_shift(moment) if zone_shift else 0)) % 24
        points.append((time, (24.0 if 8 <= clock < 18 else 17.0) + chance.gauss(0, noise)))
    return points


# -- rules ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ([], "[] is not what is expected: `rules`: a list"),
        ({}, "rules is missing"),
        ({"rules": [], "more": 1}, "unknown key 'more'; rules are known"),
        ({"rules": [{}]}, "rules[0]: name is missing"),
        ({"rules": [{"name": "a b"}]}, "rules[0].name: 'a b' is not what is expected: letters, digits"),
        ({"rules": [{"name": "a", "bound": {}}]}, "rules[0]: unknown key 'bound'; bounds, description"),
        ({"rules": [{"name": "a", "bounds": {}}]}, "rules[0].bounds: {} is not what is expected: `min`, `max`"),
        (
            {"rules": [{"name": "a", "bounds": {"min": "1"}}]},
            "rules[0].bounds.min: '1' is not what is expected: a number",
        ),
        ({"rules": [{"name": "a", "bounds": {"min": True}}]}, "rules[0].bounds.min: True is not"),
        ({"rules": [{"name": "a", "bounds": {"min": 2, "max": 1}}]}, "rules[0].bounds: min 2 is above max 1"),
        ({"rules": [{"name": "a", "bounds": {"min": math.nan}}]}, "rules[0].bounds.min: nan is not a number"),
        ({"rules": [{"name": "a", "bounds": {"max": 10**400}}]}, "rules[0].bounds.max: 1"),
        ({"rules": [{"name": "a", "rate": {"change": 1}}]}, "rules[0].rate: seconds is missing"),
        ({"rules": [{"name": "a", "rate": {"change": 0, "seconds": 1}}]}, "rules[0].rate.change: 0 is not"),
        (
            {"rules": [{"name": "a", "gap": {"seconds": 0}}]},
            "rules[0].gap.seconds: 0 is not what is expected: a number of",
        ),
        ({"rules": [{"name": "a", "statistic": {}}]}, "rules[0].statistic: method is missing"),
        ({"rules": [{"name": "a", "statistic": {"method": "mean"}}]}, "'mean' is not what is expected: `rolling` or"),
        (
            {"rules": [{"name": "a", "statistic": {"method": "rolling", "season": "hour_of_day"}}]},
            "rules[0].statistic: unknown key 'season'; hours, method",
        ),
        (
            {"rules": [{"name": "a", "statistic": {"method": "seasonal", "hours": 3}}]},
            "rules[0].statistic: unknown key 'hours'; method",
        ),
        (
            {"rules": [{"name": "a", "statistic": {"method": "seasonal", "time_zone": "Europe/Toulouse"}}]},
            "rules[0].statistic.time_zone: 'Europe/Toulouse' is no time zone",
        ),
        (
            {"rules": [{"name": "a", "statistic": {"method": "seasonal", "time_zone": "../etc/passwd"}}]},
            "is no time zone",
        ),
        ({"rules": [{"name": "a", "match": {"topic": "a"}}, {"name": "a", "match": {"topic": "b"}}]}, "too"),
        (
            {"rules": [{"name": "a", "match": {"topic": "u4/*"}}, {"name": "b", "match": {"topic": "*/co"}}]},
            "rules[1].match: 'b' and 'a' match the same series equally",
        ),
        ({"rules": [{"name": "a"}, {"name": "b", "match": {"topic": "*"}}]}, "match the same series equally"),
        ({"rules": [{"name": f"r{n}", "match": {"topic": str(n)}} for n in range(201)]}, "rules: ["),
    ],
)
def test_what_is_wrong_with_rules_is_said_with_its_place(body, says):
    with pytest.raises(DeclarationError) as caught:
        Rules(body)
    assert says in str(caught.value)
    assert caught.value.context["problems"]


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(DeclarationError) as caught:
        Rules({"rules": [{"name": "a", "bounds": {"min": "x"}}, {"match": {}}]})
    assert len(caught.value.context["problems"]) == 2


def test_a_default_that_is_wrong_is_said():
    with pytest.raises(DeclarationError, match="default: unknown key 'match'"):
        Rules(None, default={"match": {}})
    with pytest.raises(DeclarationError, match="default.bounds: min 3 is above max 2"):
        Rules(None, default={"bounds": {"min": 3, "max": 2}})


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["rules", "name", "match", "topic", "bounds", "min", "statistic", "method", "gap", "seconds"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_rules_are_accepted_or_refused_whatever_they_are(body):
    try:
        Rules(body)
    except DeclarationError as error:
        assert str(error)


def test_the_most_specific_rule_holds():
    def match(name, **patterns):
        return {"name": name, "match": patterns}

    rules = Rules(
        {
            "rules": [
                {"name": "all"},
                match("unit", measurement="celsius"),
                match("field", measurement="celsius", field="value"),
                match("building", topic="u4/*"),
                match("floor", topic="u4/3*"),
                match("floor-unit", topic="u4/3*", measurement="cel*"),
                match("room", topic="u4/302/temperature"),
            ]
        },
        version=4,
    )
    for measurement, topic, name, expected in [
        ("lux", "", "value", "all"),
        ("lux", "u1/1/lux", "value", "all"),
        ("celsius", "u1/1/t", "other", "unit"),
        ("celsius", "", "value", "field"),
        ("celsius", "u4/1/t", "value", "building"),
        ("lux", "u4/301/t", "value", "floor"),
        ("celsius", "u4/301/t", "value", "floor-unit"),
        ("celsius", "u4/302/temperature", "value", "room"),
    ]:
        assert rules.rule_for(measurement, topic, name).name == expected
    assert rules.rule_for("lux", "", "value").version == 4


def test_brackets_and_dots_in_patterns_are_plain_text():
    rules = Rules({"rules": [{"name": "a", "match": {"measurement": "[p.m]"}}]})
    assert rules.rule_for("[p.m]", "", "v").name == "a"
    assert rules.rule_for("p", "", "v").name == rules.rule_for("[pxm]", "", "v").name == "default"


def test_what_a_rule_leaves_out_is_as_in_the_default_and_null_switches_off():
    default = {"bounds": {"min": 0}, "statistic": {"method": "rolling"}}
    body = {"rules": [{"name": "a", "match": {"topic": "a"}, "statistic": None, "gap": {"seconds": 60}}]}
    rules = Rules(body, 2, default, 7)
    held = rules.rule_for("m", "a", "value")
    assert (held.low, held.high, held.gap, held.statistic) == (0, None, 60 * NS, None)
    other = rules.rule_for("m", "b", "value")
    assert (other.name, other.version, other.gap) == ("default", 7, None)
    assert other.statistic.hours == anomalies.METHODS["rolling"]["hours"]


@pytest.mark.parametrize(("season", "periods"), [("hour_of_day", 14), ("hour_of_week", 12)])
def test_a_seasonal_statistic_has_the_periods_of_its_season(season, periods):
    assert rule(statistic={"method": "seasonal", "season": season}).statistic.periods == periods


# -- points -----------------------------------------------------------------------------------------------------------


def test_bounds():
    points = hourly([5, -1, 0, 10, 11])
    assert found({"bounds": {"min": 0, "max": 10}}, points) == [("low", points[1][0]), ("high", points[4][0])]
    assert found({"bounds": {"max": 10}}, points) == [("high", points[4][0])]


def test_bounds_of_one_value():
    (low,) = examine(SERIES, rule(bounds={"min": 5, "max": 5}), hourly([4, 5]))
    assert (low.kind, low.low, low.high, low.score) == ("low", 5, 5, 1.0)


def test_a_change_is_allowed_in_proportion_to_time_but_never_less_than_said():
    parts = {"rate": {"change": 2, "seconds": 3600}}
    assert found(parts, hourly([0, 2, 4, 7])) == [("rate", START + 3 * HOUR)]
    assert found(parts, [(START, 0.0), (START + 3 * HOUR, 6.0)]) == []
    # Points close to each other: noise is no rate.
    assert found(parts, [(START, 0.0), (START + NS, 1.9), (START + 2 * NS, 4.0)]) == [("rate", START + 2 * NS)]


def test_a_change_is_measured_from_the_last_value_that_can_be_right():
    parts = {"bounds": {"max": 50}, "rate": {"change": 2, "seconds": 3600}}
    assert found(parts, hourly([10, 85, 11])) == [("high", START + HOUR)]
    assert found(parts, hourly([10]), right=(START - HOUR, 1.0)) == [("rate", START)]


def test_gaps_inside_before_and_after():
    parts = {"gap": {"seconds": 3600}}
    points = [(START, 1.0), (START + HOUR, 1.0), (START + 3 * HOUR, 1.0)]
    assert found(parts, points) == [("gap", START + HOUR)]
    assert found(parts, points, previous=START - 5 * HOUR) == [("gap", START - 5 * HOUR), ("gap", START + HOUR)]
    (_inner, after) = examine(SERIES, rule(**parts), points, following=START + 5 * HOUR, horizon=START + 99 * HOUR)
    assert (after.time, after.until, after.seconds, after.score) == (START + 3 * HOUR, START + 5 * HOUR, 7200.0, 2.0)
    (ongoing,) = examine(SERIES, rule(**parts), [], previous=START, horizon=START + 4 * HOUR)
    assert (ongoing.until, ongoing.seconds, ongoing.value) == (None, 4 * 3600.0, None)
    assert found(parts, [], previous=START, horizon=START + HOUR) == []
    assert found(parts, [], previous=START) == []  # nothing is known of the time after it
    assert found(parts, []) == []


def test_too_few_points_claim_nothing():
    spike = [20, 20.1, 19.9, 20.2, 19.8, 20.0, 20.1, 19.9, 20.0, 500]
    assert found({"statistic": ROLLING}, hourly(spike)) == []
    assert found({"statistic": ROLLING}, hourly([20.05, *spike])) == [("statistic", START + 10 * HOUR)]


def test_a_series_of_one_value_claims_nothing_unless_a_scale_is_given():
    values = [20] * 30 + [21]
    assert found({"statistic": ROLLING}, hourly(values)) == []
    assert found({"statistic": {**ROLLING, "min_scale": 0.1}}, hourly(values)) == [("statistic", START + 30 * HOUR)]


def test_what_a_sensor_cannot_tell_apart_is_no_anomaly():
    """Somebody enters a room now and then: most values are the same, and the deviation is 0."""
    values = ([0] * 9 + [1]) * 5
    assert found({"statistic": {**ROLLING, "threshold": 3}}, hourly(values)) == []
    assert ("statistic", START + 50 * HOUR) in found({"statistic": ROLLING}, hourly([*values, 9]))


def test_a_value_outside_the_bounds_is_not_compared_with():
    statistic = {**ROLLING, "min_points": 5, "threshold": 3}
    points = hourly([10, 11, 12, 11, 10, 12, 11, 10, *[-999] * 8, 11, 100])
    kinds = [kind for kind, _time in found({"bounds": {"min": -50}, "statistic": statistic}, points)]
    assert kinds == ["low"] * 8 + ["statistic"]


def test_a_seasonal_statistic_knows_the_hour_where_a_rolling_one_does_not():
    points = seasonal_series(21)
    at = next(i for i, (time, _v) in enumerate(points) if time == START + (20 * 24 + 3) * HOUR)
    points[at] = (points[at][0], 24.0)  # warm at three in the night
    claimed = found({"statistic": SEASONAL}, points)
    assert ("statistic", points[at][0]) in claimed and len(claimed) <= 3
    assert found({"statistic": ROLLING}, points) == []


def test_a_week_has_hours_of_its_own():
    chance = random.Random(3)
    points = []
    for number in range(70 * 24):  # nobody is there on Saturdays and Sundays
        moment = datetime.fromtimestamp(START / NS, UTC) + timedelta(hours=number)
        busy = moment.weekday() < 5 and 8 <= moment.hour < 18
        points.append((START + number * HOUR, (700 if busy else 400) + chance.gauss(0, 5)))
    weekly = {"method": "seasonal", "season": "hour_of_week", "periods": 8, "min_points": 5, "threshold": 4}
    assert len(found({"statistic": weekly}, points)) <= 4
    assert datetime.fromtimestamp(points[66 * 24][0] / NS, UTC).weekday() == 5  # a Saturday
    saturday = 66 * 24 + 10
    points[saturday] = (points[saturday][0], 700.0)
    assert ("statistic", points[saturday][0]) in found({"statistic": weekly}, points)


def test_a_season_follows_the_clock_of_its_zone():
    from zoneinfo import ZoneInfo

    paris = ZoneInfo("Europe/Paris")

    def shift(moment):
        return moment.astimezone(paris).utcoffset() // timedelta(hours=1)

    # Clocks are changed on the 31st of March.
    points = seasonal_series(30, zone_shift=shift, start=parse_time("2024-03-10T00:00:00Z"))
    moved = found({"statistic": SEASONAL}, points)
    assert len(moved) == 4  # the mornings and evenings of two days, until the hours before have them too
    assert not set(moved) & set(found({"statistic": {**SEASONAL, "time_zone": "Europe/Paris"}}, points))


@pytest.mark.parametrize("statistic", [ROLLING, SEASONAL, {**SEASONAL, "time_zone": "Asia/Kathmandu"}])
@given(data=st.data())
def test_a_series_cut_into_windows_gives_the_same(statistic, data):
    """What is read of the time before a window is enough: nothing is found, or missed, for how a series is cut."""
    step = data.draw(st.sampled_from([HOUR, 7 * 60 * NS, 20 * 60 * NS]))
    points = seasonal_series(12, seed=data.draw(st.integers(0, 99)), noise=2.0, step=step)
    for index in data.draw(st.lists(st.integers(0, len(points) - 1), max_size=20)):
        points[index] = (points[index][0], points[index][1] + data.draw(st.sampled_from([-20, 9, 40, -1000])))
    missing = set(data.draw(st.lists(st.integers(0, len(points) - 1), max_size=30)))
    points = [point for index, point in enumerate(points) if index not in missing]
    made = rule(
        bounds={"min": -500}, rate={"change": 15, "seconds": 3600}, gap={"seconds": 2 * 3600}, statistic=statistic
    )
    horizon = points[-1][0] + 3 * HOUR
    whole = list(examine(SERIES, made, points, reference=reference_of(made.statistic), horizon=horizon))
    span = horizon - START
    cuts = data.draw(st.lists(st.integers(1, span - 1), min_size=1, max_size=4, unique=True))
    edges = [START, *sorted(START + cut for cut in cuts), horizon]
    pieces = {}
    for start, end in zip(edges, edges[1:], strict=False):
        for finding in window(made, points, start, end, horizon):
            pieces[finding.id] = finding
    assert pieces == {finding.id: finding for finding in whole}


def window(made, points, start, end, horizon):
    """Looks at a window, as a store would be read for it."""
    before = [point for point in points if point[0] < start]
    right = [point for point in before if made.low is None or point[1] >= made.low]
    needed = context(made.statistic, start, end)
    sample = []
    for begin, stop in needed.spans:
        bins = {}
        for time, value in right:
            if begin <= time < stop:
                bins.setdefault(time // needed.bin_length * needed.bin_length, value)
        sample += bins.items()
    after = [time for time, _value in points if time >= end]
    return examine(
        SERIES,
        made,
        [point for point in points if start <= point[0] < end],
        reference=reference_of(made.statistic, sample),
        previous=before[-1][0] if before else None,
        right=right[-1] if right else None,
        following=after[0] if after else None,
        horizon=horizon,
    )


@pytest.mark.parametrize("statistic", [{"method": "rolling"}, {"method": "seasonal"}])
def test_planted_anomalies_in_a_seasonal_series_are_found_and_little_else(statistic):
    chance = random.Random(11)
    points = [
        (START + number * HOUR, 15 + 8 * math.sin(number * math.pi / 12) + chance.gauss(0, 1.5))
        for number in range(2000)
    ]
    planted = set()
    for index in chance.sample(range(600, 2000), 30):
        points[index] = (points[index][0], points[index][1] + chance.choice([-1, 1]) * 80)
        planted.add(points[index][0])
    claimed = {time for _kind, time in found({"statistic": statistic}, points)}
    assert planted <= claimed
    assert len(claimed - planted) <= 4


@given(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=50))
def test_the_robust_deviation_is_that_of_its_definition(values):
    told = robust(sorted(values), 0.5)
    center = statistics.median(values)
    assert math.isclose(told.center, center, abs_tol=1e-9)
    least = max(0.5, 1.4826 * statistics.median(abs(value - center) for value in values) * (1 - 1e-9))
    assert told.below >= least and told.above >= least


def test_the_robust_deviation_of_normal_values_is_their_standard_deviation():
    chance = random.Random(5)
    _center, below, above = robust(sorted(chance.gauss(0, 3) for _number in range(20_000)))
    assert abs(below - 3) < 0.1 and abs(above - 3) < 0.1


def test_one_side_can_be_wider_than_the_other():
    chance = random.Random(6)
    _center, below, above = robust(sorted(math.exp(chance.gauss(0, 1)) for _number in range(2000)))
    assert above > 1.5 * below


def test_what_is_so_a_third_of_the_time_is_right():
    """A room that is used: most values are those of the night, and their deviation is small."""
    chance = random.Random(8)
    points = hourly([(420 if number % 24 < 16 else 900) + chance.gauss(0, 5) for number in range(24 * 20)])
    assert [
        time for _kind, time in found({"statistic": {"method": "rolling"}}, points) if time > START + 48 * HOUR
    ] == []
    night = 24 * 19 + 3
    points[night] = (points[night][0], 2500.0)
    assert ("statistic", points[night][0]) in found({"statistic": {"method": "rolling"}}, points)


@pytest.mark.parametrize("count", [8, 14, 24, 84])
def test_few_values_to_compare_with_do_not_make_more_alarms(count):
    chance = random.Random(9)
    off = 0
    for _try in range(3000):
        spread = robust(sorted(chance.gauss(0, 1) for _number in range(count)))
        value = chance.gauss(0, 1)
        side = spread.below if value < spread.center else spread.above
        off += abs(value - spread.center) / (side * anomalies.uncertainty(count)) > 3.3
    assert off <= 12  # three are expected


def test_huge_values_do_not_break_it():
    assert robust([-1.7e308, 0.0, 1.7e308], 0.0) is None


def test_ids_are_the_same_always_and_those_of_no_other_series():
    same = Series("celsius", "value", {"unitID": "7", "topic": "u4/302/temperature"})
    assert same.id == SERIES.id == "17923443a82e8eda819e95b4"
    others = [
        Series("celsius", "value", {"topic": "u4/302/temperature"}),
        Series("celsius", "other", dict(SERIES.tags)),
        Series("lux", "value", dict(SERIES.tags)),
        Series("celsius,topic=a", "value", {"b": "c"}),
        Series("celsius", "value", {"topic": "a,b=c"}),
        Series("celsius", "value", {"topic": "a", "b": "c"}),
    ]
    assert len({series.id for series in [SERIES, *others]}) == 7


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100))), st.integers(0, 5))
def test_merged_spans_cover_the_same_and_lie_apart(spans, near):
    put = merged(spans, near)
    assert all(after[0] > before[1] + near for before, after in zip(put, put[1:], strict=False))
    for moment in range(101):
        if any(start <= moment < end for start, end in spans):
            assert any(start <= moment < end for start, end in put)
    assert sum(end - start for start, end in merged(spans)) == len(
        {moment for start, end in spans for moment in range(start, end)}
    )
