# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import io
import re
import tracemalloc
import zipfile
from datetime import UTC, date, datetime, time
from xml.sax.saxutils import escape

import openpyxl
import pytest
import xlwt
from neocampus_lake.errors import ParseError
from neocampus_lake.parsers import table, workbook
from neocampus_lake.parsers.report import Options
from neocampus_lake.points import Point
from neocampus_lake.records import Row
from neocampus_lake.times import format_time

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
NOON = datetime(2021, 7, 22, 12)


def parse(content, **options):
    given = Options({"filename": "dir/book.xlsx", **options})
    return list(table.parse(io.BytesIO(content), given)), given.report


def xlsx(make):
    book = openpyxl.Workbook()
    make(book)
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


def sheet(*rows, name="Sheet"):
    def make(book):
        book.active.title = name
        for row in rows:
            book.active.append(row)

    return xlsx(make)


def raw(rows, *, parts=None, head="", tail="", compression=zipfile.ZIP_DEFLATED):
    """An .xlsx file of which the XML is given: what no library would write."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        archive.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{PACKAGE}"><Relationship Id="r1" Type="{RELATIONS}/officeDocument"'
            ' Target="/xl/workbook.xml"/></Relationships>',
        )
        archive.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{MAIN}" xmlns:r="{RELATIONS}"><sheets><sheet name="S" sheetId="1" r:id="r1"/></sheets>'
            "</workbook>",
        )
        archive.writestr(
            "xl/_rels/workbook.xml.rels",
            f'<Relationships xmlns="{PACKAGE}">'
            f'<Relationship Id="r1" Type="{RELATIONS}/worksheet" Target="worksheets/s.xml"/>'
            f'<Relationship Id="r2" Type="{RELATIONS}/sharedStrings" Target="strings.xml"/></Relationships>',
        )
        archive.writestr(
            "xl/worksheets/s.xml", f'{head}<worksheet xmlns="{MAIN}"><sheetData>{rows}</sheetData>{tail}</worksheet>'
        )
        for name, data in (parts or {}).items():
            archive.writestr(name, data)
    return content.getvalue()


def test_a_time_series():
    content = sheet(["timestamp", "place", "temp (°C)"], [NOON, "roof", 21.5], [datetime(2021, 7, 22, 13), None, 22])
    points, report = parse(content)
    tags = {"topic": "book", "unit": "°C"}
    assert points == [
        Point("temp", 1626955200 * 10**9, {"value": 21.5}, {**tags, "place": "roof"}),
        Point("temp", 1626958800 * 10**9, {"value": 22.0}, tags),
    ]
    assert report.count == 0
    assert format_time(parse(content, time_zone="Europe/Paris")[0][0].time) == "2021-07-22T10:00:00Z"


def test_rows_of_a_table():
    content = sheet(
        ["id", "name", "born", "at", "seen", "ok", "n", "m"],
        ["0012", "Éva", date(1960, 12, 25), time(10, 30), NOON, True, 5, 1.5],
        ["0013", None, date(1981, 12, 26), time(11, 30), NOON, False, 6.5, None],
    )
    records, report = parse(content)
    seen = NOON.replace(tzinfo=UTC)
    first = {
        "id": "0012",
        "name": "Éva",
        "born": date(1960, 12, 25),
        "at": time(10, 30),
        "seen": seen,
        "ok": True,
        "n": 5.0,
        "m": 1.5,
    }
    second = {
        "id": "0013",
        "name": None,
        "born": date(1981, 12, 26),
        "at": time(11, 30),
        "seen": seen,
        "ok": False,
        "n": 6.5,
        "m": None,
    }
    assert records == [Row("book", first, 2), Row("book", second, 3)]
    assert report.count == 0


def test_each_sheet_is_a_table_of_its_own():
    def make(book):
        book.active.append(["date", "value"])
        book.active.append([NOON, 3])
        other = book.create_sheet("other")
        other.append(["a"])
        other.append([1])
        hidden = book.create_sheet("hidden")
        hidden.sheet_state = "hidden"
        hidden.append(["h"])
        hidden.append([2])
        book.create_sheet("empty")

    content = xlsx(make)
    records, report = parse(content)
    assert records[0].tags == {"topic": "book/Sheet"}
    assert records[1] == Row("book_other", {"a": 1}, 2)
    assert len(records) == 2 and report.count == 0
    assert parse(content, sheets=["hidden"])[0] == [Row("book", {"h": 2}, 2)]
    assert parse(content, sheets="other", table="t")[0] == [Row("t", {"a": 1}, 2)]
    with pytest.raises(ParseError, match="no sheet 'nope': it has Sheet, other"):
        parse(content, sheets=["nope"])


def test_a_bad_sheet_does_not_hurt_the_others():
    def make(book):
        book.active.append(["date", "value"])
        book.active.append(["03/04/2021", 3])
        other = book.create_sheet("other")
        other.append(["a"])
        other.append([1])

    records, report = parse(xlsx(make))
    assert records == [Row("book_other", {"a": 1}, 2)]
    assert "sheet 'Sheet'" in report.items[0]["message"] and "date_order" in report.items[0]["message"]


def test_days_since_1904():
    def make(book):
        book.epoch = openpyxl.utils.datetime.MAC_EPOCH
        book.active.append(["date", "value"])
        book.active.append([NOON, 3])
        book.active.append([42937.5, 4])

    assert [format_time(p.time) for p in parse(xlsx(make))[0]] == ["2021-07-22T12:00:00Z"] * 2


def test_days_in_cells_without_a_format():
    content = sheet(["date", "value"], [44399.5, 1], ["44399.5", 2], [1626955200, 3], [2021, 4])
    points, report = parse(content)
    assert [(format_time(p.time), p.fields["value"]) for p in points] == [
        ("2021-07-22T12:00:00Z", 1),
        ("2021-07-22T12:00:00Z", 3),
    ]
    assert [item["line"] for item in report.items] == [3, 5]


def test_formulas_that_were_never_calculated_are_reported():
    records, report = parse(sheet(["a", "b"], [1, "=A2+1"], [2, 3]))
    assert [dict(r.values) for r in records] == [{"a": 1, "b": None}, {"a": 2, "b": 3}]
    assert report.items == [{"line": 2, "message": "the formula in column 2 has no value: it was never calculated"}]
    calculated = raw(
        '<row r="1"><c t="inlineStr"><is><t>a</t></is></c></row><row r="2"><c><f>1+1</f><v>2</v></c></row>'
    )
    assert parse(calculated)[0] == [Row("book", {"a": 2}, 2)]


def test_errors_are_reported_and_leave_the_rest_of_the_row():
    def make(book):
        for row in (["a", "b"], [1, 2], [3, 4]):
            book.active.append(row)
        book.active["B2"].value, book.active["B2"].data_type = "#DIV/0!", "e"

    records, report = parse(xlsx(make))
    assert [dict(r.values) for r in records] == [{"a": 1, "b": None}, {"a": 3, "b": 4}]
    assert report.items == [{"line": 2, "message": "b: #DIV/0! stands for a value"}]


def test_merged_cells_name_a_group_once():
    def make(book):
        ws = book.active
        for row in (["Stations", None, None], ["site", "v", "w"], ["A", 1, 2], [None, 3, 4], [None, 5, 6], ["B", 7, 8]):
            ws.append(row)
        ws.merge_cells("A1:C1")
        ws.merge_cells("A3:A5")

    assert [list(r.values.values()) for r in parse(xlsx(make))[0]] == [
        ["A", 1, 2],
        ["A", 3, 4],
        ["A", 5, 6],
        ["B", 7, 8],
    ]


def test_rows_and_columns_that_are_left_out():
    cells = '<c r="{0}" t="inlineStr"><is><t>{1}</t></is></c>'
    content = raw(
        f'<row r="3">{cells.format("B3", "a")}{cells.format("D3", "b")}</row>'
        '<row r="7"><c r="B7"><v>1</v></c><c r="D7"><v>2</v></c></row>'
    )
    assert parse(content)[0] == [Row("book", {"a": 1, "b": 2}, 7)]


def test_texts_that_cells_share():
    strings = (
        f'<sst xmlns="{MAIN}"><si><t>a</t></si>'
        '<si><r><t>é</t></r><r><t xml:space="preserve"> x</t></r><rPh><t>no</t></rPh></si></sst>'
    )
    content = raw(
        '<row r="1"><c t="s"><v>0</v></c></row><row r="2"><c t="s"><v>1</v></c></row>',
        parts={"xl/strings.xml": strings},
    )
    assert parse(content)[0] == [Row("book", {"a": "é x"}, 2)]
    with pytest.raises(ParseError, match="max_strings"):
        parse(content, max_strings=4)
    with pytest.raises(ParseError, match="no text 7"):
        parse(raw('<row><c t="s"><v>7</v></c></row>', parts={"xl/strings.xml": strings}))


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("General", ""),
        ("0.00", ""),
        ("#,##0 €", ""),
        ('0.0" days"', ""),
        ("[Red]0.00", ""),
        ("yyyy-mm-dd", "date"),
        ("DD/MM/YYYY HH:MM", "date"),
        ("[$-40C]d mmmm yyyy;@", "date"),
        ("hh:mm:ss", "time"),
        ("h:mm AM/PM", "time"),
        ("[h]:mm", "elapsed"),
        ("mm:ss.0", "time"),
    ],
)
def test_formats_of_numbers(code, kind):
    assert workbook.kind_of_format(code) == kind


def test_times_of_formats():
    assert workbook.from_serial(0.4375, "time", False) == time(10, 30)
    assert workbook.from_serial(1.5, "elapsed", False) == "36:00:00"
    assert workbook.from_serial(44399.5, "date", False) == NOON
    assert isinstance(workbook.from_serial(-5, "date", False), workbook.CellError)


def test_a_macro_workbook_and_a_strict_one():
    content = sheet(["a"], [1])
    assert parse(content, filename="book.xlsm")[0] == [Row("book", {"a": 1}, 2)]
    strict = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(strict, "w") as new:
        for name in old.namelist():
            data = old.read(name).replace(MAIN.encode(), b"http://purl.oclc.org/ooxml/spreadsheetml/main")
            new.writestr(
                name, data.replace(RELATIONS.encode(), b"http://purl.oclc.org/ooxml/officeDocument/relationships")
            )
    assert parse(strict.getvalue())[0] == [Row("book", {"a": 1}, 2)]


def xls(make):
    book = xlwt.Workbook()
    make(book)
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


def old_sheet(book):
    ws = book.add_sheet("one")
    moment = xlwt.XFStyle()
    moment.num_format_str = "DD/MM/YYYY HH:MM"
    for column, name in enumerate(("date", "place", "value")):
        ws.write(0, column, name)
    for row in (1, 2, 3):
        ws.write(row, 0, datetime(2021, 7, 22, 12, row), moment)
    ws.write_merge(1, 2, 1, 1, "roof")
    ws.write(1, 2, 3.5)
    ws.write(2, 2, 4)
    ws.write(3, 2, True)


def test_old_workbooks():
    points, report = parse(xls(old_sheet), filename="book.xls")
    assert [(format_time(p.time), p.tags, p.fields["value"]) for p in points] == [
        ("2021-07-22T12:01:00Z", {"place": "roof", "topic": "book"}, 3.5),
        ("2021-07-22T12:02:00Z", {"place": "roof", "topic": "book"}, 4.0),
    ]
    assert report.items == [{"line": 4, "message": "value of 'value': 'true' is not a finite number"}]


def test_a_workbook_is_known_by_its_content():
    content = sheet(["a"], [1])
    assert parse(content, filename="book.csv", content_type="text/csv")[0] == [Row("book", {"a": 1}, 2)]
    excel = "application/vnd.ms-excel"
    assert parse(b"a;b\n1;2\n", filename="book.xls", content_type=excel)[0] == [Row("book", {"a": 1, "b": 2}, 2)]
    with pytest.raises(ParseError, match="HTML"):
        parse(b"<html><body><table>", filename="book.xls", content_type=excel)


# --- hostile and damaged files ---


def test_entities_are_refused():
    bomb = (
        '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">'
        '<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>'
    )
    rows = '<row><c t="inlineStr"><is><t>&c;</t></is></c></row>'
    with pytest.raises(ParseError, match="document type declaration"):
        parse(raw(rows, head=bomb))
    secret = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]>'
    with pytest.raises(ParseError, match="document type declaration"):
        parse(raw(rows.replace("&c;", "&a;"), head=secret))
    with pytest.raises(ParseError, match="document type declaration"):
        parse(raw(rows.replace("&c;", "a"), head="<!DOCTYPE x>"))
    with pytest.raises(ParseError, match="document type declaration"):
        parse(raw("", parts={"xl/strings.xml": f'{bomb}<sst xmlns="{MAIN}"/>'}))


def test_what_unpacks_to_too_much_is_refused_in_bounded_memory():
    rows = "<row><c><v>1</v></c></row>" * 4_000_000  # 100 MB, of which 0.3 MB are in the archive
    content = raw(rows)
    del rows
    tracemalloc.start()
    try:
        with pytest.raises(ParseError, match="over 200 times as large.*max_ratio"):
            parse(content)
        with pytest.raises(ParseError, match="over 1000000 bytes.*max_unpacked"):
            parse(content, max_unpacked=1_000_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 32 * 1024 * 1024
    with pytest.raises(ParseError, match="max_size"):
        parse(content, max_size=1000)


def test_the_size_that_an_archive_states_is_not_believed():
    content = raw("<row><c><v>1</v></c></row>" * 100_000)
    size = (26 * 100_000).to_bytes(4, "little")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        size = archive.getinfo("xl/worksheets/s.xml").file_size.to_bytes(4, "little")
    lying = content.replace(size, (10).to_bytes(4, "little"))
    assert lying != content
    try:
        records, _report = parse(lying)
        assert len(records) < 10
    except ParseError:
        pass


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ('<row r="99999999"><c><v>1</v></c></row>', "99999999 is no row"),
        ('<row><c r="ZZZZ1"><v>1</v></c></row>', "'ZZZZ' is no column"),
        ('<row><c r="XFE1"><v>1</v></c></row>', "'XFE' is no column"),
        ("<row>" + "<c><v>1</v></c>" * 16_385, "over 16384 cells"),
        ("<x>" * 100, "nested too deeply"),
        ("<row><c><v>nan</v></c></row>", "is no number"),
        ("<row><c><v>x</v></c></row>", "damaged"),
        ('<row><c t="s"><v>0</v></c></row>', "no text 0"),
        ("<row><c><v>1</v></c></row", "damaged"),
        ('<row><c t="inlineStr"><is><t>' + "x" * 1_100_000 + "</t></is></c></row>", "over 1048576 characters"),
        ("<!--" + "x" * 20_000_000, "does not end"),
    ],
)
def test_damaged_sheets(rows, said):
    with pytest.raises(ParseError, match=said):
        parse(raw(rows, compression=zipfile.ZIP_DEFLATED))


def test_what_is_no_workbook():
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("a.txt", "x")
    with pytest.raises(ParseError, match="without the parts of one"):
        parse(content.getvalue())
    with pytest.raises(ParseError, match="cut off"):
        parse(sheet(["a"], [1])[:1000])
    with pytest.raises(ParseError, match="damaged, or none"):
        parse(xls(old_sheet)[:2000])
    encrypted = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 1000 + "EncryptedPackage".encode("utf-16-le")
    with pytest.raises(ParseError):
        parse(encrypted)
    with pytest.raises(ParseError, match="over 10000 parts"):
        with zipfile.ZipFile(content, "w") as archive:
            for number in range(10_001):
                archive.writestr(str(number), "")
        parse(content.getvalue())


def test_wide_and_sparse_rows_take_little_memory():
    rows = "".join(f'<row r="{row}"><c r="XFD{row}"><v>1</v></c></row>' for row in range(1, 3000))
    tracemalloc.start()
    try:
        sheets = workbook.open_workbook(io.BytesIO(raw(rows)), workbook.Limits()).sheets
        assert sum(len(cells) for _line, cells in sheets[0].rows(print)) == 2999 * 16_384
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 * 1024 * 1024  # all of them at once are 400 MB


def test_names_of_sheets_are_text():
    name = "a & b <c>"
    content = sheet(["x"], [1], name=re.sub(r"[^\w &<>]", "", name))
    assert escape(name) != name
    assert parse(content, sheets=[name])[0] == [Row("book", {"x": 1}, 2)]
