# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import io
import tracemalloc

import pytest
from neocampus_lake.errors import InvalidInput, ParseError
from neocampus_lake.parsers import delimited
from neocampus_lake.parsers.delimited import BLANKS, DelimitedText, is_value, sniff


class Small(io.BytesIO):
    """A stream that gives less than it is asked for, as those of a network do."""

    def read(self, size=-1):
        return super().read(min(size, 7) if size > 0 else size)


def read(content, stream=io.BytesIO, **options):
    if isinstance(content, str):
        content = content.encode()
    complaints = []
    text = DelimitedText(stream(content).read, lambda line, message: complaints.append((line, message)), **options)
    return list(text.rows()), complaints


ROWS = [(1, ["name", "n"]), (2, ["été", "1"]), (3, ["hiver", "2"])]
TEXT = "name;n\nété;1\nhiver;2\n"


@pytest.mark.parametrize("stream", [io.BytesIO, Small])
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp1252"]
)
def test_encodings_are_found(encoding, stream):
    assert read(TEXT.encode(encoding), stream) == (ROWS, [])


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("město;n\nPříbram;1\nČeské Budějovice;2\nPlzeň;3\nŽďár nad Sázavou;4\n", "cp1250"),
        ("город;n\nМосква и Подмосковье;1\nСанкт-Петербург;2\nНижний Новгород;3\n", "cp1251"),
        ("prix;n\n12 €;1\n15 €;2\n“café” à l’œil;3\n", "cp1252"),
    ],
)
def test_legacy_encodings_are_found(text, encoding):
    rows, complaints = read(text.encode(encoding))
    assert [";".join(cells) for _line, cells in rows] == text.splitlines()
    assert complaints == []


def test_the_first_bytes_that_are_not_ascii_decide_wherever_they_stand():
    content = b"name;n\n" + b"a;1\n" * 200_000 + "été;2\nhôtel à côté;3\n".encode("cp1252")
    rows, complaints = read(content)
    assert [cells[0] for _line, cells in rows[-2:]] == ["été", "hôtel à côté"]
    assert complaints == []


def test_a_few_damaged_bytes_leave_utf8_what_it_is():
    rows, complaints = read(TEXT.encode() + b"caf\xe9;3\n" + "âgé;4\n".encode())
    assert rows == [*ROWS, (5, ["âgé", "4"])]
    assert complaints[0][0] == 4


@pytest.mark.parametrize("encoding", ["klingon", "rot13", "hex", "zlib", "undefined"])
def test_encodings_that_are_none(encoding):
    with pytest.raises(ParseError, match="encoding"):
        read("é;1\n", encoding=encoding)


@pytest.mark.parametrize(
    ("lines", "delimiter"),
    [
        (["a,b", "1,2"], ","),
        (["a;b", "1,5;2,5"], ";"),
        (["1,5;2,5", "1,5;2,5"], ";"),
        (["a\tb", "x, y\t2"], "\t"),
        (["a|b", "1|2"], "|"),
        (['a,"b;c;d"', '1,"x;y;z"'], ","),
        (["date temp", "2021 1,5", "2021   2,5"], BLANKS),
        (["date, temp", "2021 x, 1"], ","),
        (["title", "a;b", "1;2", "3;4"], ";"),
        (["one"], ","),
        ([], ","),
    ],
)
def test_delimiters_are_found(lines, delimiter):
    assert sniff(lines, blanks=True) == delimiter


@pytest.mark.parametrize("delimiter", ["x", "", "ab", "\n", '"', "5", 3])
def test_what_cannot_part_cells(delimiter):
    with pytest.raises(InvalidInput, match="delimiter"):
        read(TEXT, delimiter=delimiter)


@pytest.mark.parametrize("delimiter", [":", "~", "^", "\x1f", "§"])
def test_any_other_delimiter_may_be_said(delimiter):
    assert read(TEXT.replace(";", delimiter), delimiter=delimiter, encoding="utf-8")[0] == ROWS


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("stream", [io.BytesIO, Small])
def test_line_ends(end, stream):
    assert read(TEXT.replace("\n", end), stream) == (ROWS, [])


def test_characters_that_part_lines_elsewhere_are_part_of_cells():
    rows, _complaints = read("a;b\nx\u2028y;1\nx\x0by;2\nx\x85y;3\n", encoding="utf-8")
    assert [line for line, _cells in rows] == [1, 2, 3, 4]


def test_cells_of_several_lines():
    rows, complaints = read('a;b\n"x\n\ny";1\n"u\nv";2\nz;3\n')
    assert rows == [(1, ["a", "b"]), (4, ["x\n\ny", "1"]), (6, ["u\nv", "2"]), (7, ["z", "3"])]
    assert complaints == []


@pytest.mark.parametrize(
    ("rows", "kept", "reported"),
    [
        ('1;"a\n2;b\n3;c\n', ["2", "3"], [2]),
        ('1;a\n2;"b\n3;"c\n4;d\n', ["1", "4"], [3, 4]),
        ('"1;a\n2;b\n3;c\n', ["2", "3"], [2]),
        ('1;"a\n2;b\n3;"c"\n4;d\n', ["2", "3", "4"], [2]),
        ('1;a\n2;b"\n3;c\n', ["1", "2", "3"], []),
    ],
)
def test_quotes_that_are_never_closed_cost_their_own_lines(rows, kept, reported):
    found, complaints = read("a;b\n" + rows)
    assert [cells[0] for _line, cells in found[1:]] == kept
    assert [line for line, _message in complaints] == reported


def test_a_row_that_goes_on_and_on_is_left_out():
    content = "a;b\n1;2\n" + '"x\n";' * 1_000_000 + "\n3;4\n"
    rows, complaints = read(content)
    assert rows[:2] == [(1, ["a", "b"]), (2, ["1", "2"])]
    assert any("characters" in message for _line, message in complaints)


def test_many_quotes_that_are_never_closed_take_no_time():
    content = "a;b\n" + 'x";"y\n' * 20_000
    assert len(read(content)[1]) > 0


def test_comments():
    rows, _complaints = read("# made by x\n#\n a;b\n1;2\n# gap\n3;4\n")
    assert [cells for _line, cells in rows] == [[" a", "b"], ["1", "2"], ["3", "4"]]
    assert read("#a;b\n1;2\n")[0] == [(1, ["a", "b"]), (2, ["1", "2"])]
    assert read("a;b\n#1;2\n")[0][1] == (2, ["#1", "2"])  # no comment line came first
    assert read("#a;b\n1;2\n", comment="")[0][0] == (1, ["#a", "b"])
    assert read("%x\na;b\n%y\n1;2\n", comment="%")[0] == [(2, ["a", "b"]), (4, ["1", "2"])]


def test_memory_has_a_bound():
    class Endless(io.RawIOBase):
        left = 60 * 1024 * 1024

        def read(self, size=-1):
            self.left -= size
            return b"x" * size if self.left > 0 else b""

    tracemalloc.start()
    try:
        complaints = []
        rows = list(DelimitedText(Endless().read, lambda *said: complaints.append(said)).rows())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert rows == [] and len(complaints) == 1
    assert peak < 20 * delimited.MAX_LINE


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1", True), ("1,5", True), ("2021-07-22", True), ("name", False), ("", False), ("t1", False)],
)
def test_values_and_names(text, expected):
    assert is_value(text) is expected
