# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

import pytest
from neocampus_lake.errors import InvalidInput
from swift_webhook import cli
from swift_webhook.outbox import SegmentWriter, undelivered
from swift_webhook.relay import State


@pytest.fixture
def config(folders):
    path = folders / "relay.conf"
    path.write_text(
        f"[relay]\noutbox = {folders}/outbox\nstate = {folders}/state\ndead_letter = {folders}/dead\n"
        f"delivered = {folders}/delivered\n"
        "max_events = 10\nquiet = 0.1\n"
        "[airflow]\nurls = https://a:8081 https://b:8081\nusername = relay\npassword = s%cret\nca_file = /ca.crt\n"
    )
    return path


def test_settings(config):
    settings, airflow = cli.load(str(config))
    assert (settings.max_events, settings.quiet, settings.linger) == (10, 0.1, 0.2)
    assert airflow["password"] == "s%cret"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("username = relay", "", "username"),
        ("[airflow]", "[other]", "airflow"),
        ("max_events = 10", "max_evnts = 1", "max_evnts"),
        ("quiet = 0.1", "quiet = soon", "soon"),
    ],
)
def test_a_wrong_setting_is_named(config, old, new, message):
    config.write_text(config.read_text().replace(old, new))
    with pytest.raises(InvalidInput, match=message):
        cli.load(str(config))


def test_status_counts_what_waits(config, folders, make_event, capsys):
    writer = SegmentWriter(folders / "outbox")
    lines = [make_event(number).to_line().encode() for number in range(5)]
    writer.append(lines)
    (segment,) = (folders / "outbox").iterdir()
    two = len(lines[0]) * 2
    State(
        positions={segment.name: len(lines[0])},
        batches=[[make_event(1).to_payload()]],
        after={segment.name: two},
        delivered=1,
        retried=7,
    ).save(folders / "state/state.json")
    (folders / "dead" / "x.json").write_text("{}")
    assert cli.main(["--config", str(config), "status", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["depth"], facts["in_batches"], facts["delivered"], facts["retried"], facts["dead_letters"]) == (
        4,
        1,
        1,
        7,
        1,
    )
    assert facts["oldest_seconds"] > 1000
    assert cli.main(["--config", str(config), "status", "--max-age", "60"]) == 1
    assert "depth" in capsys.readouterr().out


def test_status_of_an_empty_outbox(config, capsys):
    assert cli.main(["--config", str(config), "status", "--max-age", "60"]) == 0


def test_status_without_an_outbox_is_an_error(config, folders, capsys):
    (folders / "outbox").rmdir()
    assert cli.main(["--config", str(config), "status"]) == 2


def test_requeue_puts_events_into_the_outbox_again(config, folders, make_event, capsys):
    letter = folders / "dead" / "r.json"
    letter.write_text(json.dumps({"reason": "422", "events": [make_event(1).to_payload(), make_event(2).to_payload()]}))
    assert cli.main(["--config", str(config), "requeue", str(letter)]) == 0
    assert not letter.exists()
    assert [event.object_name for event in undelivered(folders / "outbox", {})] == ["1", "2"]


def test_requeue_leaves_what_it_cannot_read(config, folders, capsys):
    letter = folders / "dead" / "r.json"
    letter.write_text(json.dumps({"reason": "damaged", "line": "x"}))
    assert cli.main(["--config", str(config), "requeue", str(letter)]) == 2
    assert letter.exists()
    assert "holds no events" in capsys.readouterr().err
