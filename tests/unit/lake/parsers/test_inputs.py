# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import gzip
import io
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from neocampus_lake.errors import ParseError
from neocampus_lake.parsers import inputs


def all_of(source, size=1000):
    pieces = []
    while True:
        data = source.read(size)
        if not data:
            return b"".join(pieces)
        assert len(data) <= size
        pieces.append(data)


@given(st.binary(max_size=3000), st.integers(1, 4000), st.integers(1, 500), st.booleans())
def test_what_is_read_is_what_was_written(content, head, size, packed):
    source = inputs.opened(io.BytesIO(gzip.compress(content) if packed else content))
    if not packed and content[:2] == b"\x1f\x8b":
        return
    assert source.head(head) == content[:head]
    assert all_of(source, size) == content and not source.cut
    assert source.read(10) == b""


def test_members_one_after_another_and_zeros_behind():
    content = gzip.compress(b"a" * 10) + gzip.compress(b"") + gzip.compress(b"b") + b"\0" * 700
    source = inputs.opened(io.BytesIO(content))
    assert all_of(source) == b"a" * 10 + b"b" and not source.cut


def test_an_input_is_not_opened_twice():
    source = inputs.opened(io.BytesIO(gzip.compress(gzip.compress(b"x"))))
    assert inputs.opened(source) is source and all_of(source) == gzip.compress(b"x")


def test_a_cut_file_gives_what_could_be_unpacked():
    content = random.Random(1).randbytes(100_000)
    source = inputs.opened(io.BytesIO(gzip.compress(content)[:-50_000]))
    read = all_of(source)
    assert source.cut and 10_000 < len(read) < len(content) and content.startswith(read)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-8] + b"\0" * 8,
        lambda data: data + b"more",
        lambda data: data[:20] + b"\xff" * 20 + data[40:],
    ],
)
def test_a_damaged_file(change):
    source = inputs.opened(io.BytesIO(change(gzip.compress(random.Random(1).randbytes(1000)))))
    with pytest.raises(ParseError, match="gzip file is damaged"):
        all_of(source)


def test_a_bomb_is_unpacked_a_little_at_a_time(monkeypatch):
    content = gzip.compress(b"\0" * 50_000_000)
    source = inputs.opened(io.BytesIO(content))
    total = 0
    while data := source.read(4096):
        assert len(data) <= 4096
        total += len(data)
        if total > 1_000_000:
            break
    assert total > 1_000_000
