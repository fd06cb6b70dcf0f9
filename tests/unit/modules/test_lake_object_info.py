# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import pytest


@pytest.fixture
def filled(api):
    for number in range(5):
        api.insert("campus", f"{number}.csv", b"x", content_type="text/csv")
    api.insert("campus", "image.png", b"x", content_type="image/png")
    return api


def names(result):
    assert not result["failed"] and result["changed"] is False
    return [item["original_object_name"] for item in result["objects"]]


def test_one_object(filled, module):
    assert names(module("lake_object_info", container="campus", object_id="3")) == ["2.csv"]


def test_all_objects_and_those_of_a_type(filled, module):
    assert len(names(module("lake_object_info", container="campus"))) == 6
    assert names(module("lake_object_info", container="campus", content_type="image/png")) == ["image.png"]


def test_a_limit(filled, module):
    assert names(module("lake_object_info", container="campus", limit=3)) == ["0.csv", "1.csv", "2.csv"]


def test_filters_are_handed_to_the_api(filled, module):
    module("lake_object_info", container="campus", created_from="2021-07-22T00:00:00Z", created_to="2021-07-23")
    assert "from=2021-07-22T00%3A00%3A00Z&to=2021-07-23" in filled.requests[-1][1]


def test_the_points_are_counted(filled, module):
    filled.series = {
        ("W", "u4/1"): [{"time": f"2021-07-2{n}T00:00:00Z", "value": n} for n in range(5)],
        ("W", "u4/2"): [],
    }
    result = module("lake_object_info", container="campus", timeseries=True, points_from="2021-07-21T00:00:00Z")
    assert result["timeseries"] == [
        {
            "measurement": "W",
            "topic": "u4/1",
            "count": 4,
            "first": "2021-07-21T00:00:00Z",
            "last": "2021-07-24T00:00:00Z",
        }
    ]
    assert "timeseries" not in module("lake_object_info", container="campus")


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"object_id": "99"}, "object 99 does not exist"),
        ({"object_id": "x"}, "not an object's id"),
        ({"object_id": "1", "limit": 3}, "mutually exclusive"),
        ({"limit": 0}, "at least 1"),
        ({"container": "none"}, "container none does not exist"),
    ],
)
def test_failures_say_what_is_wrong(filled, module, parameters, said):
    result = module("lake_object_info", **{"container": "campus", **parameters})
    assert result["failed"] and said in result["msg"]


def test_check_mode_reads_as_well(filled, module):
    assert len(names(module("lake_object_info", check=True, container="campus"))) == 6
