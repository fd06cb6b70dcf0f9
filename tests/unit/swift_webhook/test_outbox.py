# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import neocampus_lake
import pytest
from swift_webhook import outbox
from swift_webhook.outbox import OutboxUnavailable, SegmentWriter, read_segment, segments, undelivered


def line(event) -> bytes:
    return event.to_line().encode()


def test_what_is_appended_is_read_in_order(tmp_path, make_event):
    writer = SegmentWriter(tmp_path)
    events = [make_event(number) for number in range(5)]
    writer.append([line(event) for event in events[:3]])
    writer.append([line(event) for event in events[3:]])
    (name,) = segments(tmp_path)
    chunk = read_segment(tmp_path / name)
    assert [event for event, _end in chunk.events] == events
    assert chunk.end == (tmp_path / name).stat().st_size
    second = read_segment(tmp_path / name, chunk.events[0][1])
    assert [event for event, _end in second.events] == events[1:]


def test_a_segment_is_complete_only_when_its_writer_let_go_of_it(tmp_path, make_event):
    writer = SegmentWriter(tmp_path)
    writer.append([line(make_event())])
    path = tmp_path / segments(tmp_path)[0]
    assert not read_segment(path).complete
    writer.close()
    assert read_segment(path).complete


def test_segments_rotate_and_keep_their_order(tmp_path, make_event):
    writer = SegmentWriter(tmp_path, segment_bytes=100)
    events = [make_event(number) for number in range(6)]
    for event in events:
        writer.append([line(event)])
    assert len(segments(tmp_path)) == 6
    assert list(undelivered(tmp_path, {})) == events


def test_reading_stops_before_a_line_that_is_still_written(tmp_path, make_event):
    path = tmp_path / f"1{outbox.SUFFIX}"
    whole, torn = line(make_event(1)), line(make_event(2))[:-10]
    path.write_bytes(whole + torn)
    chunk = read_segment(path)
    assert [event.object_name for event, _end in chunk.events] == ["1"]
    assert chunk.end == len(whole)
    assert chunk.complete  # nobody holds it: the rest was never acknowledged


def test_a_damaged_line_is_reported_and_the_rest_read(tmp_path, make_event):
    path = tmp_path / f"1{outbox.SUFFIX}"
    damaged = line(make_event(2)).replace(b"alice", b"mally")
    path.write_bytes(line(make_event(1)) + damaged + line(make_event(3)))
    chunk = read_segment(path)
    assert [event.object_name for event, _end in chunk.events] == ["1", "3"]
    assert chunk.damaged == [damaged]


def test_long_segments_are_read_in_parts(tmp_path, make_event):
    path = tmp_path / f"1{outbox.SUFFIX}"
    events = [make_event(number) for number in range(50)]
    path.write_bytes(b"".join(map(line, events)))
    first = read_segment(path, max_bytes=1000)
    assert 0 < len(first.events) < 50
    assert not first.complete
    assert len(read_segment(path, max_bytes=10).events) == 1  # a line that is longer than the limit
    assert list(undelivered(tmp_path, {path.name: first.end})) == events[len(first.events) :]


def test_a_missing_folder_is_told_and_mended(tmp_path, make_event):
    writer = SegmentWriter(tmp_path / "gone")
    with pytest.raises(OutboxUnavailable, match="gone"):
        writer.append([line(make_event())])
    (tmp_path / "gone").mkdir()
    writer.append([line(make_event())])
    assert len(list(undelivered(tmp_path / "gone", {}))) == 1


def test_a_segment_removed_under_the_writer_is_no_silent_loss(tmp_path, make_event):
    writer = SegmentWriter(tmp_path)
    writer.append([line(make_event(1))])
    (tmp_path / segments(tmp_path)[0]).unlink()
    with pytest.raises(OutboxUnavailable, match="removed"):
        writer.append([line(make_event(2))])
    writer.append([line(make_event(2))])
    assert [event.object_name for event in undelivered(tmp_path, {})] == ["2"]


def test_a_full_outbox_refuses_and_recovers(tmp_path, make_event):
    writer = SegmentWriter(tmp_path, max_bytes=20_000, segment_bytes=2000)
    with pytest.raises(OutboxUnavailable, match="20000 are allowed"):
        for number in range(100):
            writer.append([line(make_event(number))])
    with pytest.raises(OutboxUnavailable):
        writer.append([])  # a trial fails too
    for name in segments(tmp_path):
        (tmp_path / name).unlink()
    writer.append([])
    writer.append([line(make_event())])


def test_a_failed_sync_ends_the_segment_at_what_was_acknowledged(tmp_path, make_event, monkeypatch):
    writer = SegmentWriter(tmp_path)
    writer.append([line(make_event(1))])

    def fail(_fd):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch, pytest.raises(OutboxUnavailable):
        patch.setattr(os, "fdatasync", fail)
        writer.append([line(make_event(2))])
    writer.append([line(make_event(3))])
    assert [event.object_name for event in undelivered(tmp_path, {})] == ["1", "3"]
    assert len(segments(tmp_path)) == 2


def test_leftovers_of_a_killed_writer_are_removed(tmp_path):
    old, new = tmp_path / f".1{outbox.SUFFIX}", tmp_path / f".2{outbox.SUFFIX}"
    old.touch()
    new.touch()
    os.utime(old, (time.time() - 600,) * 2)
    outbox.remove_leftovers(tmp_path)
    assert not old.exists()
    assert new.exists()


WRITER = """
import os, sys
from neocampus_lake.events import Event
from swift_webhook.outbox import SegmentWriter

real = os.fdatasync

def fdatasync(fd):
    # What a loss of power would leave: the length at the last sync, noted by somebody else.
    real(fd)
    name = os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))
    os.write(1, f"S {name} {os.fstat(fd).st_size}\\n".encode())

os.fdatasync = fdatasync
writer = SegmentWriter(sys.argv[1], segment_bytes=4000)
number = 0
while True:
    names = [str(number + i) for i in range(3)]
    group = [Event(name, "put", "AUTH_p", "p", "c", name, "", "", "", 0, "", "1", "") for name in names]
    writer.append([event.to_line().encode() for event in group])
    os.write(1, f"A {number} {number + 3}\\n".encode())
    number += 3
"""


@pytest.mark.parametrize("seed", range(6))
def test_kill_and_loss_of_power_lose_nothing_that_was_acknowledged(tmp_path, seed):
    folder, modules = tmp_path / "outbox", tmp_path / "modules"
    folder.mkdir()
    modules.mkdir()
    (modules / "neocampus_lake").symlink_to(Path(neocampus_lake.__file__).parent)
    (modules / "swift_webhook").symlink_to(Path(outbox.__file__).parent)
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(modules)},
    )
    first = process.stdout.readline()
    time.sleep(random.Random(seed).uniform(0, 0.15))
    process.send_signal(signal.SIGKILL)
    said = (first + process.stdout.read()).decode().splitlines()
    process.wait()
    acknowledged: set[str] = set()
    synced: dict[str, int] = {}
    for words in map(str.split, said):
        if words[0] == "S" and len(words) == 3:
            synced[words[1]] = int(words[2])
        elif words[0] == "A" and len(words) == 3:
            acknowledged.update(map(str, range(int(words[1]), int(words[2]))))
    assert acknowledged
    for name in segments(folder):
        if name in synced:  # cut it to what was synced, and leave half a line
            with open(folder / name, "r+b") as file:
                file.truncate(min(synced[name] + 20, (folder / name).stat().st_size))
    found = [event.object_name for event in undelivered(folder, {})]
    assert acknowledged <= set(found)
    assert all(read_segment(folder / name).complete for name in segments(folder))


def age(path: Path, seconds: float) -> None:
    """Let a segment be as if it had been made and written so many seconds ago."""
    then = time.time() - seconds
    path = path.rename(path.with_name(f"{int(then * 1e9):020d}-{path.name.partition('-')[2]}"))
    os.utime(path, (then, then))


def test_events_that_wait_too_long_refuse_more(tmp_path, make_event):
    SegmentWriter(tmp_path).append([line(make_event(1))])
    age(tmp_path / segments(tmp_path)[0], 120)
    writer = SegmentWriter(tmp_path, max_age=60)
    with pytest.raises(OutboxUnavailable, match="since 120 s, 60 s are allowed"):
        writer.append([line(make_event(2))])
    with pytest.raises(OutboxUnavailable):
        writer.append([])  # a trial fails too
    outbox.mark(tmp_path, time.time())  # the relay delivered it
    writer.append([line(make_event(2))])
    assert len(list(undelivered(tmp_path, {}))) == 2


def test_no_limit_of_age_lets_events_wait(tmp_path, make_event):
    SegmentWriter(tmp_path).append([line(make_event(1))])
    age(tmp_path / segments(tmp_path)[0], 10**6)
    SegmentWriter(tmp_path).append([line(make_event(2))])


def test_a_segment_that_is_long_open_is_not_old(tmp_path, make_event):
    """Its first events are delivered, the last one has just come."""
    writer = SegmentWriter(tmp_path, max_age=60)
    writer.append([line(make_event(1))])
    (name,) = segments(tmp_path)
    old = tmp_path / f"{int((time.time() - 3600) * 1e9):020d}-{name.partition('-')[2]}"
    (tmp_path / name).rename(old)
    outbox.mark(tmp_path, time.time() - 5)
    writer.append([line(make_event(2))])
    size, since = outbox.usage(tmp_path)
    assert size == old.stat().st_size
    assert time.time() - since == pytest.approx(5, abs=1)


def test_an_empty_outbox_has_no_age(tmp_path):
    assert outbox.usage(tmp_path) == (0, None)
    SegmentWriter(tmp_path).append([])  # a trial makes a segment, but no event
    assert outbox.usage(tmp_path) == (0, None)


def test_the_look_at_age_and_size_is_taken_once_a_second(tmp_path, make_event, monkeypatch):
    looks = []
    real = outbox.usage
    monkeypatch.setattr(outbox, "usage", lambda folder: looks.append(folder) or real(folder))
    writer = SegmentWriter(tmp_path, max_age=60)
    for number in range(200):
        writer.append([line(make_event(number))])
    assert len(looks) <= 3
