# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import io
import json
import sys

import pytest
from neocampus_lake.errors import InvalidInput
from swift.common.ring import RingBuilder, RingData
from swift_webhook import rings


def declare(devices=None, **changes):
    devices = devices or [device(n) for n in (1, 2, 3)]
    values = {"part_power": 6, "replicas": 3, "min_part_hours": 1, "rings": {"account": 6202, "object": 6200}}
    return json.dumps({**values, "devices": devices, **changes})


def device(number, **changes):
    return {"name": "d1", "ip": f"10.0.0.{number}", "weight": 100, "region": 1, "zone": number, **changes}


def apply(directory, text, **options):
    return rings.apply(directory, rings.Declaration.parse(text), **options)


def partitions(directory, name="object"):
    """Partitions by address."""
    builder = RingBuilder.load(str(directory / f"{name}.builder"))
    return {dev["ip"]: dev["parts"] for dev in builder.devs if dev}


def read_ring(directory, name="object"):
    return RingData.load(str(directory / f"{name}.ring.gz"))


def let_time_pass(directory):
    for path in directory.glob("*.builder"):
        builder = RingBuilder.load(str(path))
        builder.pretend_min_part_hours_passed()
        builder.save(str(path))


def test_rings_are_made_and_then_stay(tmp_path):
    assert apply(tmp_path, declare())
    assert partitions(tmp_path) == {f"10.0.0.{n}": 64 for n in (1, 2, 3)}
    ring = read_ring(tmp_path)
    assert {(dev["ip"], dev["port"], dev["device"]) for dev in ring.devs} == {
        (f"10.0.0.{n}", 6200, "d1") for n in (1, 2, 3)
    }
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert apply(tmp_path, declare()) == []
    let_time_pass(tmp_path)
    assert apply(tmp_path, declare()) == []
    assert before.keys() == {path for path in tmp_path.iterdir() if not path.is_dir()}


def test_the_same_declaration_gives_the_same_ring(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        apply(tmp_path / name, declare())
    assert (tmp_path / "a/object.ring.gz").read_bytes() == (tmp_path / "b/object.ring.gz").read_bytes()


def test_check_writes_nothing_and_tells_the_truth(tmp_path):
    assert apply(tmp_path, declare(), check=True)
    assert list(tmp_path.iterdir()) == []
    apply(tmp_path, declare())
    assert apply(tmp_path, declare(), check=True) == []
    assert apply(tmp_path, declare([device(n) for n in (1, 2, 3, 4)]), check=True)
    assert len(partitions(tmp_path)) == 3


def test_a_new_device_gets_its_share(tmp_path):
    apply(tmp_path, declare())
    let_time_pass(tmp_path)
    four = declare([device(n) for n in (1, 2, 3, 4)])
    assert any("10.0.0.4/d1 added" in change for change in apply(tmp_path, four))
    assert partitions(tmp_path)["10.0.0.4"] == 48
    assert apply(tmp_path, four) == []


def test_a_device_that_came_too_early_gets_its_share_later(tmp_path):
    apply(tmp_path, declare())
    four = declare([device(n) for n in (1, 2, 3, 4)])
    apply(tmp_path, four)  # within min_part_hours: nothing may move
    assert partitions(tmp_path)["10.0.0.4"] == 0
    assert apply(tmp_path, four) == []
    let_time_pass(tmp_path)
    assert apply(tmp_path, four)
    assert partitions(tmp_path)["10.0.0.4"] == 48


def test_a_device_is_emptied_and_removed(tmp_path):
    apply(tmp_path, declare([device(n) for n in (1, 2, 3, 4)]))
    let_time_pass(tmp_path)
    apply(tmp_path, declare([device(1, weight=0), device(2), device(3), device(4)]))
    assert partitions(tmp_path)["10.0.0.1"] == 0
    assert any("removed" in change for change in apply(tmp_path, declare([device(n) for n in (2, 3, 4)])))
    assert partitions(tmp_path) == {f"10.0.0.{n}": 64 for n in (2, 3, 4)}


def test_a_dead_device_is_replaced_at_once(tmp_path):
    apply(tmp_path, declare([device(n) for n in (1, 2, 3, 4)]))
    apply(tmp_path, declare([device(n) for n in (2, 3, 4)]))  # although nothing else may move yet
    assert partitions(tmp_path) == {f"10.0.0.{n}": 64 for n in (2, 3, 4)}


def test_removing_every_replica_of_something_is_refused(tmp_path):
    apply(tmp_path, declare())
    before = partitions(tmp_path)
    with pytest.raises(InvalidInput, match="all their replicas"):
        apply(tmp_path, declare([device(n) for n in (4, 5, 6)]))
    assert partitions(tmp_path) == before


def test_weights_zones_and_ports_follow(tmp_path):
    apply(tmp_path, declare())
    changed = declare([device(1, weight=50), device(2, zone=9), device(3)], rings={"account": 6202, "object": 6300})
    changes = apply(tmp_path, changed)
    assert any("weight 100 -> 50" in change for change in changes)
    assert any("zone 2 -> 9" in change for change in changes)
    assert {dev["port"] for dev in read_ring(tmp_path).devs} == {6300}
    assert apply(tmp_path, changed) == []


def test_a_missing_ring_file_is_made_again(tmp_path):
    apply(tmp_path, declare())
    content = (tmp_path / "object.ring.gz").read_bytes()
    (tmp_path / "object.ring.gz").unlink()
    assert apply(tmp_path, declare()) == ["object: its file is missing"]
    assert (tmp_path / "object.ring.gz").read_bytes() == content


def test_the_part_power_cannot_change(tmp_path):
    apply(tmp_path, declare())
    with pytest.raises(InvalidInput, match="part power 6, declared is 7"):
        apply(tmp_path, declare(part_power=7))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "devices"),
        ("no", "not understood"),
        (declare([device(1), device(2)]), "3 replicas"),
        (declare([device(1), device(1), device(2), device(3)]), "twice"),
        (declare([device(1, name="a/b"), device(2), device(3)]), "name"),
        (declare([device(1, weight=-1), device(2), device(3)]), "weight"),
        (declare([device(1, weight="heavy"), device(2), device(3)]), "heavy"),
    ],
)
def test_a_wrong_declaration_is_named(text, message):
    with pytest.raises(InvalidInput, match=message):
        rings.Declaration.parse(text)


def test_the_command(tmp_path, monkeypatch, capsys):
    for expected in (True, False):
        monkeypatch.setattr(sys, "stdin", io.StringIO(declare()))
        assert rings.main([str(tmp_path)]) == 0
        assert json.loads(capsys.readouterr().out)["changed"] is expected
    monkeypatch.setattr(sys, "stdin", io.StringIO("{}"))
    assert rings.main([str(tmp_path)]) == 1
    assert "swift-rings:" in capsys.readouterr().err
