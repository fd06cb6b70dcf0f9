# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fuzz target of delimited text: `python tests/fuzz/table.py [FOLDER] [-runs=N]` (needs atheris, and what the parser
uses). The first byte chooses options, the rest is the file."""

from __future__ import annotations

import io
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import mutation  # noqa: E402

mutation.use_library()

OPTIONS = (
    {},
    {"kind": "time_series"},
    {"kind": "table", "date_order": "dmy"},
    {"content_type": "text/plain", "filename": "a.txt"},
    {"time_zone": "Europe/Paris", "fold": "first", "gap": "shift"},
    {"delimiter": "whitespace", "header_row": 0},
    {"encoding": "utf-16", "decimal": ","},
    {"encoding": "gb18030", "time_format": "%d/%m/%Y %H:%M"},
)
SEEDS = tuple(
    bytes([number]) + text
    for number, text in enumerate(
        (
            b"date,unit,value\n2021-07-22T11:11:22Z,W,3.5\n2021-07-23,W,NA\n",
            b'_id,measuretime,topic,payload.value,payload.value_units\n1,2021-07-22,u4/1/e,"[1, 2]","[""W"", ""V""]"\n',
            "id;nom;prix;né le;à\n0012;Éva;1 234,5 €;25/12/1980;10:30\n0013;Bob;12;01/02/1999;11:00\n".encode("cp1252"),
            b"# station\n# date time temp\n22/07/2021 11:00 21.5\n23/07/2021 11:10   21.6\n",
            b"sep=;\ndate;heure;t (\xc2\xb0C)\n31/10/2021;02:30;21,5\n28/03/2021;02:30;1.234,5\n",
            b'a,a,,b\n1,"x\ny",2,"z\n3,4,5,6\n',
            "date;t\n22/07/2021 11:00;1,5\n".encode("utf-16"),
            b"date|t\n44399.5|1\n1626951600000|2\nJul 22, 2021 1:05 PM|3\n",
        )
    )
)
MODULES = tuple(f"neocampus_lake.parsers.{name}" for name in ("cells", "moments", "delimited", "table"))


def target(data: bytes) -> None:
    """Parses the data, which gives records or a LakeError."""
    from neocampus_lake.errors import LakeError
    from neocampus_lake.parsers import table
    from neocampus_lake.parsers.report import Options

    options = Options({"filename": "dir/a.csv", **OPTIONS[data[0] % len(OPTIONS)]} if data else {})
    try:
        for _record in table.parse(io.BytesIO(data[1:]), options):
            pass
    except LakeError:
        pass


if __name__ == "__main__":
    mutation.fuzz(target, SEEDS, MODULES)
