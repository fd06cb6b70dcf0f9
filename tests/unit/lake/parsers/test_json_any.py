# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import gzip
import io
import json

import pytest
from neocampus_lake.errors import ParseError
from neocampus_lake.parsers import json_any
from neocampus_lake.parsers.report import Options
from neocampus_lake.points import Point
from neocampus_lake.records import Document

MESSAGE = {"topic": "u4/302/co2", "value": 400, "value_units": "ppm", "time": "2024-05-01T10:00:00Z"}
READING = {"idcapteur": 4, "idpiece": 1, "value": 15, "datemesure": "2019-06-12T00:00:18Z", "mesurevaleur": "celsius"}


def parse(content, **options):
    if not isinstance(content, bytes):
        content = json.dumps(content).encode()
    given_options = Options(options)
    return list(json_any.parse(io.BytesIO(content), given_options)), given_options.report


def kinds(content, **options):
    return {type(record) for record in parse(content, **options)[0]}


@pytest.mark.parametrize(
    "content",
    [
        MESSAGE,
        [MESSAGE],
        READING,
        [READING] * 30,
        [{"wrong": 1}, MESSAGE],
        b"\n".join([json.dumps(MESSAGE).encode()] * 3),
        b'{"broken": \n' + b"\n".join([json.dumps(MESSAGE).encode()] * 3),
        gzip.compress(json.dumps([MESSAGE]).encode(), mtime=0),
    ],
)
def test_sensor_messages(content):
    assert kinds(content) == {Point}


@pytest.mark.parametrize(
    "content",
    [
        {"a": 1},
        [1, 2],
        [{"topic": "news", "text": "x"}],
        [MESSAGE, {"a": 1}, {"b": 2}],
        b'{"a": 1}\n{"b": 2}',
        {"topic": "u4", "list": [MESSAGE]},
        gzip.compress(b'{"a": 1}', mtime=0),
    ],
)
def test_documents(content):
    assert kinds(content) == {Document}


def test_a_template_comes_first():
    template = {"measurement": "topic", "time": "time", "fields": ["value"]}
    points, _report = parse(MESSAGE, metadata={"other_data": {"template": template}})
    assert points[0].measurement == "u4/302/co2"
    assert parse(MESSAGE, template=template)[0] == points


def test_wrong_messages_among_others_are_told_and_become_no_documents():
    records, report = parse([MESSAGE, {**MESSAGE, "value": "x"}, {"another": "shape"}, MESSAGE, MESSAGE])
    assert {type(record) for record in records} == {Point} and len(records) == 3
    assert [item["line"] for item in report.items] == [2, 3]


def test_what_comes_behind_the_first_items_is_read_too():
    many = [{**MESSAGE, "value": n} for n in range(20_000)]
    assert len(parse(many)[0]) == 20_000
    assert len(parse([{"n": n, "text": "x" * 100} for n in range(20_000)])[0]) == 20_000


def test_options_are_passed_on():
    assert parse(MESSAGE, layout="topic")[0][0].measurement == "u4/302/co2"


@pytest.mark.parametrize(("content", "said"), [(b"", "empty"), (b"nonsense", "not valid JSON"), (b"[1", "early")])
def test_no_json(content, said):
    with pytest.raises(ParseError, match=said):
        parse(content)


def test_a_cut_gzip_file():
    content = b"\n".join(json.dumps({**MESSAGE, "value": n * 7919 % 1000}).encode() for n in range(20_000))
    with pytest.raises(ParseError, match="ends too early"):
        parse(gzip.compress(content, mtime=0)[:-100])
