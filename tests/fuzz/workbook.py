# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fuzz target of workbooks: `python tests/fuzz/workbook.py [FOLDER] [-runs=N]` (needs atheris, openpyxl and xlwt, and
what the parser uses). An input is a workbook; or, after `x`, the XML of a sheet, which is packed here, since changes of
what is packed already hardly ever get past its checksum."""

from __future__ import annotations

import io
import sys
import zipfile
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import mutation  # noqa: E402

mutation.use_library()

_MAIN = b"http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_SHEET = (
    b'<worksheet xmlns="' + _MAIN + b'"><sheetData><row r="1"><c r="A1" t="inlineStr"><is><t>date</t></is></c>'
    b'<c r="B1" t="s"><v>0</v></c></row><row r="2"><c r="A2" s="1"><v>44399.5</v></c><c r="B2"><f>1+1</f><v>2</v></c>'
    b"</row>"
    b'<row r="4"><c r="A4" t="d"><v>2021-07-22</v></c><c t="e"><v>#REF!</v></c><c t="b"><v>1</v></c></row></sheetData>'
    b'<mergeCells><mergeCell ref="B2:B4"/></mergeCells></worksheet>'
)
MODULES = tuple(f"neocampus_lake.parsers.{name}" for name in ("cells", "moments", "delimited", "workbook", "table"))


def seeds() -> tuple[bytes, ...]:
    """A workbook of each kind, and the XML of a sheet."""
    import openpyxl
    import xlwt

    new = openpyxl.Workbook()
    new.active.append(["timestamp", "place", "temp (°C)", "f"])
    new.active.append([datetime(2021, 7, 22, 12), "roof", 21.5, "=1+1"])
    new.active.append([datetime(2021, 7, 23, 12), None, "22 °C", True])
    new.active.merge_cells("B2:B3")
    other = new.create_sheet("other")
    other.append(["id", "n"])
    other.append(["0012", 1.5])
    old = xlwt.Workbook()
    sheet = old.add_sheet("one")
    for row, cells in enumerate((("date", "value"), ("2021-07-22", 3), ("2021-07-23", 4.5), (44399.5, True))):
        for column, cell in enumerate(cells):
            sheet.write(row, column, cell)
    files = []
    for book in (new, old):
        file = io.BytesIO()
        book.save(file)
        files.append(file.getvalue())
    return (*files, b"x" + _SHEET)


def packed(sheet: bytes) -> bytes:
    """An .xlsx file with this XML as its one sheet."""
    relations = b"http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(
            "xl/workbook.xml",
            b'<workbook xmlns="'
            + _MAIN
            + b'" xmlns:r="'
            + relations
            + b'"><sheets><sheet name="S" r:id="r1"/></sheets>'
            b"</workbook>",
        )
        archive.writestr(
            "xl/_rels/workbook.xml.rels",
            b'<Relationships><Relationship Id="r1" Type="x/worksheet" Target="s.xml"/>'
            b'<Relationship Id="r2" Type="x/sharedStrings" Target="t.xml"/>'
            b'<Relationship Id="r3" Type="x/styles" Target="u.xml"/></Relationships>',
        )
        archive.writestr("xl/t.xml", b'<sst xmlns="' + _MAIN + b'"><si><t>value</t></si></sst>')
        archive.writestr(
            "xl/u.xml",
            b'<styleSheet xmlns="' + _MAIN + b'"><cellXfs><xf numFmtId="0"/><xf numFmtId="22"/></cellXfs></styleSheet>',
        )
        archive.writestr("xl/s.xml", sheet)
    return file.getvalue()


def target(data: bytes) -> None:
    """Parses the workbook, which gives records or a LakeError."""
    from neocampus_lake.errors import LakeError
    from neocampus_lake.parsers import table
    from neocampus_lake.parsers.report import Options

    if data[:1] == b"x":
        data = packed(data[1:])
    options = Options(filename="dir/a.xlsx", date_order="dmy", max_unpacked=64 * 1024 * 1024, max_strings=1024 * 1024)
    try:
        for _record in table.parse(io.BytesIO(data), options):
            pass
    except LakeError:
        pass


if __name__ == "__main__":
    mutation.fuzz(target, seeds(), MODULES)
