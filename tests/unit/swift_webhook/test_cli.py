# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest
from neocampus_lake.errors import InvalidInput
from swift_webhook import cli
from swift_webhook.outbox import SegmentWriter, undelivered
from swift_webhook.relay import Relay, State


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


def names(text: str) -> list[str]:
    return [json.loads(line)["swift_id"] for line in text.splitlines()]


def test_list_shows_what_waits(config, folders, make_event, capsys):
    lines = [make_event(number).to_line().encode() for number in range(4)]
    SegmentWriter(folders / "outbox").append(lines)
    (segment,) = (folders / "outbox").iterdir()
    State(
        positions={segment.name: len(lines[0])},
        batches=[[make_event(1).to_payload()]],
        after={segment.name: len(lines[0]) * 2},
    ).save(folders / "state/state.json")
    assert cli.main(["--config", str(config), "list"]) == 0
    assert names(capsys.readouterr().out) == ["1", "2", "3"]
    assert cli.main(["--config", str(config), "list", "--limit", "2"]) == 0
    assert names(capsys.readouterr().out) == ["1", "2"]


def test_pause_and_resume(config, folders, capsys):
    def paused() -> bool:
        capsys.readouterr()
        assert cli.main(["--config", str(config), "status", "--json"]) == 0
        return json.loads(capsys.readouterr().out)["paused"]

    assert not paused()
    for _twice in range(2):
        assert cli.main(["--config", str(config), "pause"]) == 0
        assert paused()
    for _twice in range(2):
        assert cli.main(["--config", str(config), "resume"]) == 0
        assert not paused()


@pytest.fixture
def sent(folders, make_event):
    """Three events in a segment that is kept, one delivered and one not in a segment that is still open."""
    kept, still_open = SegmentWriter(folders / "delivered"), SegmentWriter(folders / "outbox")
    kept.append(
        [make_event(number, container="meteo").to_line().encode() for number in (1, 3)]
        + [make_event(4, project_id="q").to_line().encode()]
    )
    kept.close()
    lines = [make_event(number).to_line().encode() for number in (2, 5)]
    still_open.append(lines)
    (name,) = (path.name for path in (folders / "outbox").iterdir())
    State(positions={name: len(lines[0])}).save(folders / "state/state.json")
    return {name: len(lines[0])}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--all"], ["1", "2", "3", "4"]),
        (["--container", "meteo"], ["1", "3"]),
        (["--container", "meteo", "--object", "3"], ["3"]),
        (["--project", "q"], ["4"]),
        (["--object", "5"], []),  # not delivered yet
        (["--from", "2023-11-14T22:13:22"], ["2", "3", "4"]),
        (["--from", "2023-11-14T22:13:22Z", "--to", "2023-11-14T23:13:24+01:00"], ["2", "3"]),
    ],
)
def test_replay_sends_what_is_meant_as_new_events(config, folders, sent, capsys, options, expected):
    assert cli.main(["--config", str(config), "replay", "--dry-run", *options]) == 0
    assert names(capsys.readouterr().out) == expected
    before = list(undelivered(folders / "outbox", sent))
    assert [event.object_name for event in before] == ["5"]  # a trial puts nothing there
    assert cli.main(["--config", str(config), "replay", *options]) == 0
    assert f"{len(expected)} events" in capsys.readouterr().out
    again = [event for event in undelivered(folders / "outbox", sent) if event not in before]
    assert [event.object_name for event in again] == expected
    originals = {event.object_name: event for event in cli.delivered(cli.load(str(config))[0])}
    for event in again:
        assert event.id != originals[event.object_name].id
        assert replace(event, id="") == replace(originals[event.object_name], id="")


def test_replay_wants_to_know_which(config, sent, capsys):
    assert cli.main(["--config", str(config), "replay"]) == 2
    assert "--all" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["--config", str(config), "replay", "--from", "yesterday"])


def test_replay_into_a_full_outbox_is_told(config, folders, sent, capsys):
    config.write_text(config.read_text().replace("[relay]", "[relay]\nmax_bytes = 100"))
    assert cli.main(["--config", str(config), "replay", "--all"]) == 2
    assert "100 are allowed" in capsys.readouterr().err


def test_a_replayed_event_makes_a_run_of_its_own(config, folders, make_event):
    """Through the relay: delivered, kept, replayed, delivered again."""
    runs = []

    class Airflow:
        def start(self, run, conf):
            runs.append((run, [event["swift_id"] for event in conf["events"]]))
            return True

        def ended(self, run):
            return True

    def deliver():
        relay = Relay(settings, Airflow())
        assert relay.collect()
        relay.compose()
        relay.deliver()
        relay.clean()

    settings, _airflow = cli.load(str(config))
    writer = SegmentWriter(folders / "outbox")
    writer.append([make_event(1).to_line().encode()])
    writer.close()
    deliver()
    assert cli.main(["--config", str(config), "replay", "--object", "1"]) == 0
    deliver()
    (first, objects), (second, again) = runs
    assert objects == again == ["1"]
    assert first != second


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_an_administrator_puts_into_the_outbox_belongs_to_the_proxy(config, folders, sent):
    os.chown(folders / "outbox", 12345, 54321)
    assert cli.main(["--config", str(config), "replay", "--object", "1"]) == 0
    (made,) = (path for path in (folders / "outbox").iterdir() if path.name not in sent)
    stat = made.stat()
    assert (stat.st_uid, stat.st_gid, stat.st_mode & 0o777) == (12345, 54321, 0o640)
