# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Dumps of electricity meters ("SGE"), whole and differential, to rows.

SGE is the Système de Gestion des Échanges of Enedis, the French distributor, through which readings of meters are
handed over. There is no published form of a database dump of them; what is understood is:

1. A SQL dump (see sql_dump) of a database of readings: at least one of its tables has a column that names the meter
   (METER_COLUMNS), one of times (TIME_COLUMNS) and one of values (VALUE_COLUMNS). Its other tables are kept with it.
2. The CSV files with `;` that Enedis gives out: flat, one value a line, as in the fluxes R63 (load curves) and R64
   (indexes): `Identifiant PRM;Date de début;…;Horodate;Valeur;…`; or the customer's export, in blocks: two lines
   `Identifiant PRM;Type de donnees;…` that say what follows, then `Horodate;Valeur` or, for indexes, `Horodate;Type de
   releve;EAS F1;…` with a column for each register. Both become rows of the one table `meter_readings`. (The columns
   are those of Enedis's own files; its fluxes in XML and JSON are not read here.)

Whole or differential:

- a whole dump has all rows of a table: those of earlier dumps go (`Table.replaces`);
- a differential one has new rows only: they are added to those that are there, told apart by a key.

Which of the two it is says `other_data.dump` of the object, or the option `dump` of the declaration (`whole`,
`differential`); else its name (WHOLE_NAMES, DIFFERENTIAL_NAMES); else, table by table, its statements: a table that is
made or emptied before it is filled is whole, one that is only filled (or made IF NOT EXISTS) is added to. A CSV file is
of a few meters and a while, so that it is differential unless it is said to be whole.

The key of a table is the one that the dump declares; where it declares none, a table of readings has the columns that
are no values as its key, so that two quantities of one meter at one time stay two rows.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timezone, tzinfo
from decimal import Decimal, InvalidOperation
from typing import Any

from ..errors import InvalidInput, ParseError
from ..records import Row, Scalar, Table
from .inputs import CHUNK, Input, Readable, opened
from .report import RowErrors, report_of
from .sql_dump import Dump
from .sql_types import NotHeld, read_moment

METER_COLUMNS = frozenset(
    "prm pdl pdm pod meter compteur point numero_compteur num_compteur id_compteur idcompteur meter_id id_meter"
    " identifiant_prm id_prm idprm id_pdl idpdl usage_point_id point_id pointid matricule ref_compteur".split()
)
TIME_COLUMNS = frozenset(
    "horodate horodatage date time timestamp datetime temps date_heure dateheure date_mesure datemesure date_releve"
    " datereleve date_time moment jour heure measuretime".split()
)
VALUE_COLUMNS = frozenset(
    "valeur value index conso consommation energie energy puissance power kwh wh kw w reading mesure releve index_kwh"
    " valeur_index ea er p".split()
)
MODES = ("whole", "differential")
WHOLE_NAMES = re.compile(r"(?<![a-z])(whole|full|complete|complet|total|entier|integral)(?![a-z])", re.I)
DIFFERENTIAL_NAMES = re.compile(
    r"(?<![a-z])(differentiel(?:le)?|differential|diff|delta|incr|incremental|partiel)(?![a-z])", re.I
)
READINGS = "meter_readings"
KEY = (
    "identifiant_prm",
    "type_de_donnees",
    "grandeur_physique",
    "grandeur_metier",
    "etape_metier",
    "type_de_releve",
    "grille",
    "classe_temporelle",
    "cadran",
    "horodate",
)
"""What tells two readings of a CSV file apart; a text that is not in the file is empty."""
TIME_ZONE = "Europe/Paris"
MAX_LINE = 64 * 1024

_COLUMNS = {
    **dict.fromkeys(KEY, "text"),
    "horodate": "timestamp",
    "valeur": "decimal",
    "unite": "text",
    "pas": "text",
    "nature": "text",
    "date_de_debut": "date",
    "date_de_fin": "date",
}
_SAME = {  # what else a column is called in one of the forms
    "type_releve": "type_de_releve",
    "identifiant_classe_temporelle": "classe_temporelle",
    "pas_en_minutes": "pas",
    "horodatage": "horodate",
}
_KINDS = {int: "integer", Decimal: "decimal", float: "number", bool: "boolean", bytes: "bytes"}
_REGISTER = re.compile(r"(?:EAS|EAI|ER[\w+-]*|EA)\s+[FDT]\w*", re.I)
_BLOCKS = ("identifiant_prm", "horodate", "periode")
_DAY = re.compile(r"(\d\d)/(\d\d)/(\d{4})", re.ASCII)


def parse(stream: Readable, options: Mapping[str, Any]) -> Iterator[Table | Row]:
    """The tables and rows of a meter dump in SQL or CSV, plain or gzip, read as a stream.

    Options: `dump` (whole, differential; see above), `timezone` of times without an offset in CSV (default
    Europe/Paris), and those of sql_dump. Rows that cannot be understood go to `options.report` with their line.
    Errors: ParseError when it is no meter dump, or no row of it can be understood.
    """
    source = opened(stream)
    mode = _mode(options)
    head = source.head(4096)
    if _is_csv(head):
        return _Csv(source, options, mode == "whole").records()
    return _sql(source, options, mode)


def _mode(options: Mapping[str, Any]) -> str | None:
    """whole or differential, where somebody or the name says it. Errors: InvalidInput."""
    other = (options.get("metadata") or {}).get("other_data")
    said = (other.get("dump") if isinstance(other, Mapping) else None) or options.get("dump")
    if said is not None:
        if said not in MODES:
            raise InvalidInput(f"dump is {' or '.join(MODES)}, not {said!r:.60}")
        return str(said)
    name = _plain(str(options.get("filename") or "")).replace("_", " ")
    if DIFFERENTIAL_NAMES.search(name):
        return "differential"
    return "whole" if WHOLE_NAMES.search(name) else None


def _plain(text: str) -> str:
    """Without accents, in lower case, with _ for space."""
    letters = unicodedata.normalize("NFKD", text.strip().lower())
    return re.sub(r"[\s'\u2019-]+", "_", "".join(letter for letter in letters if not unicodedata.combining(letter)))


# SQL


@dataclass(frozen=True)
class _Shape:
    """What the columns of a table of readings are."""

    time: str
    values: tuple[str, ...]
    key: tuple[str, ...]


def _shape(columns: Sequence[str]) -> _Shape | None:
    """The shape of a table of readings; None where it is none."""
    plain = {name: _plain(name) for name in columns}
    meter = next((name for name in columns if plain[name] in METER_COLUMNS), None)
    time = next((name for name in columns if plain[name] in TIME_COLUMNS and name != meter), None)
    values = tuple(name for name in columns if plain[name] in VALUE_COLUMNS and name not in (meter, time))
    if meter is None or time is None or not values:
        return None
    return _Shape(time, values, tuple(name for name in columns if name not in values))


def _sql(source: Input, options: Mapping[str, Any], mode: str | None) -> Iterator[Table | Row]:
    dump = Dump(source, options)
    report = report_of(options)
    tables: dict[str, tuple[_Shape | None, bool]] = {}  # name -> its shape, and whether its columns have types

    def announced(name: str, columns: Mapping[str, str], key: tuple[str, ...], typed: bool) -> Table:
        shape = _shape(list(columns))
        tables[name] = (shape, typed)
        if shape and not typed:
            columns = {**columns, shape.time: "timestamp", **dict.fromkeys(shape.values, "decimal")}
        whole = name in dump.made if mode is None else mode == "whole"
        return Table(name, columns, key or (shape.key if shape else ()), whole)

    for record in dump.records():
        if isinstance(record, Table):
            yield announced(record.name, record.columns, record.key, True)
            continue
        if record.table not in tables:
            if "column_1" in record.values:
                raise ParseError(
                    f"the dump does not say what the columns of {record.table!s:.80} are: make it with their names"
                    " (mysqldump --complete-insert, pg_dump --column-inserts) or with CREATE TABLE",
                    record.line,
                )
            kinds = {name: _KINDS.get(type(value), "text") for name, value in record.values.items()}
            yield announced(record.table, kinds, (), False)
        shape, typed = tables[record.table]
        if shape and not typed:
            try:
                record = replace(record, values=_typed(record.values, shape))
            except InvalidInput as error:
                report.add(record.line, f"{record.table!s:.80}: {error}")
                continue
        yield record
    if not any(shape for shape, _typed in tables.values()):
        raise ParseError(
            "no meter dump: no table has a meter, a time and a value"
            f" (tables: {', '.join(sorted(tables)[:10]) or 'none'}); under a name without SGE it is any SQL dump"
        )


def _typed(values: Mapping[str, Scalar], shape: _Shape) -> dict[str, Scalar]:
    """The values with times and numbers, where the dump has no CREATE TABLE that says what they are."""
    typed = dict(values)
    if isinstance(typed.get(shape.time), str):
        typed[shape.time] = _time(str(typed[shape.time]))
    for name in shape.values:
        if isinstance(typed.get(name), str):
            typed[name] = _number(str(typed[name]))
    return typed


# CSV


def _is_csv(head: bytes) -> bool:
    text = _plain(_text(head[:2000])).lstrip('\ufeff"')
    return text.startswith("identifiant_prm") and ";" in text


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


class _Csv:
    """A CSV file of Enedis that is being read."""

    def __init__(self, source: Input, options: Mapping[str, Any], whole: bool) -> None:
        self._source = source
        self._report: RowErrors = report_of(options)
        self._whole = whole
        self._zone = _zone(str(options.get("timezone") or TIME_ZONE))
        self._about: dict[str, Scalar] = {}  # what the block says of all its lines
        self._header: list[str] = []  # columns of the lines that follow, as they are named here
        self._titles: list[str] = []  # and as the file names them
        self._last: datetime | None = None

    def records(self) -> Iterator[Table | Row]:
        columns: dict[str, str] = {}
        for line, cells in self._lines():
            try:
                rows = self._line(cells, line)
            except InvalidInput as error:
                self._report.add(line, str(error))
                continue
            for row in rows:
                if not columns.keys() >= row.values.keys():
                    columns = {**(columns or _COLUMNS), **{name: "text" for name in row.values if name not in _COLUMNS}}
                    yield Table(READINGS, columns, KEY, self._whole)
                yield row
        if self._source.cut:
            self._report.add(0, "the gzip file ends too early; what could be unpacked of it is kept")
        if not columns:
            first = self._report.items[0]["message"] if self._report.items else "it has no reading"
            raise ParseError(f"no meter dump: {first}")

    def _lines(self) -> Iterator[tuple[int, list[str]]]:
        """The lines that are not blank, by their cells."""
        rest = b""
        number = 0
        while True:
            data = self._source.read(CHUNK)
            lines = (rest + data).split(b"\n")
            rest = lines.pop() if data else b""
            for raw in lines:
                number += 1
                if number == 1 and raw.startswith(b"\xef\xbb\xbf"):
                    raw = raw[3:]
                cells = [cell.strip().strip('"') for cell in _text(raw).split(";")]
                if any(cells):
                    yield number, cells
            if len(rest) > MAX_LINE:
                raise ParseError(f"no meter dump: a line is over {MAX_LINE} bytes", number + 1)
            if not data:
                return

    def _line(self, cells: list[str], line: int) -> list[Row]:
        first = _plain(cells[0])
        if first in _BLOCKS:
            self._head(cells, first)
            return []
        if not self._header:
            raise InvalidInput("no line of column names stands before it")
        if self._header[0] == "periode":
            self._report.skip("period of a calendar")
            return []
        while len(cells) > len(self._header) and not cells[-1]:
            cells.pop()
        cells += [""] * (len(self._header) - len(cells)) if len(self._header) - len(cells) == 1 else []
        if len(cells) != len(self._header):
            raise InvalidInput(f"{len(cells)} cells, but {len(self._header)} columns")
        if "horodate" not in self._header:  # the second line of a block's head
            self._about = self._known(cells)
            self._last = None
            return []
        return self._readings(cells, line)

    def _head(self, cells: list[str], first: str) -> None:
        while cells and not cells[-1]:
            cells.pop()
        names = [_SAME.get(_plain(cell), _plain(cell)) for cell in cells]
        if len(set(names)) != len(names):
            raise InvalidInput(f"two columns have the same name: {', '.join(cells)!s:.200}")
        if first == "identifiant_prm":
            self._about = {}
        elif not self._about and first == "horodate":
            raise InvalidInput("readings of no meter: a line Identifiant PRM;… has to come before them")
        self._header, self._titles = names, cells
        self._last = None

    def _known(self, cells: Sequence[str]) -> dict[str, Scalar]:
        values: dict[str, Scalar] = {}
        for name, cell in zip(self._header, cells):  # noqa: B905 (3.9)
            values[name] = _day(cell) if _COLUMNS.get(name) == "date" else cell
        if not values.get("identifiant_prm"):
            raise InvalidInput("the meter (Identifiant PRM) is empty")
        return values

    def _readings(self, cells: Sequence[str], line: int) -> list[Row]:
        registers = [index for index, title in enumerate(self._titles) if _REGISTER.fullmatch(title)]
        flat = "identifiant_prm" in self._header
        values = dict(self._about)
        for index, (name, cell) in enumerate(zip(self._header, cells)):  # noqa: B905 (3.9)
            if index not in registers and name not in ("horodate", "valeur"):
                values[name] = _day(cell) if _COLUMNS.get(name) == "date" else cell
        if not values.get("identifiant_prm"):
            raise InvalidInput("the meter (Identifiant PRM) is empty")
        values["horodate"] = self._moment(cells[self._header.index("horodate")], flat)
        for name in KEY:
            if values.get(name) is None:
                values[name] = ""
        if registers:
            return [
                Row(READINGS, {**values, "cadran": self._titles[index], "valeur": _number(cells[index])}, line)
                for index in registers
                if cells[index]
            ]
        if "valeur" not in self._header:
            raise InvalidInput(f"no column Valeur among: {', '.join(self._titles)!s:.200}")
        cell = cells[self._header.index("valeur")]
        values["valeur"] = _number(cell) if cell else None
        return [Row(READINGS, values, line)]

    def _moment(self, text: str, flat: bool) -> datetime:
        """A time with its offset. In the hour that there is twice in autumn, lines in order tell which one it is."""
        moment = _time(text)
        if moment.tzinfo is not None:
            return moment
        local = moment.replace(tzinfo=self._zone)
        first = local.astimezone(timezone.utc)
        if first.astimezone(self._zone).replace(tzinfo=None) != moment:
            raise InvalidInput(f"{text!s:.40} is no time in {self._zone}: clocks were put forward over it")
        second = local.replace(fold=1).astimezone(timezone.utc)
        if second != first and not flat and self._last is not None and first <= self._last < second:
            first = second
        self._last = first
        return first


def _zone(name: str) -> tzinfo:
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise InvalidInput(f"the time zone {name!r:.60} is not known: {error}") from None


def _time(text: str) -> datetime:
    day = _DAY.match(text)
    if day:
        text = f"{day.group(3)}-{day.group(2)}-{day.group(1)}{text[day.end() :]}"
    try:
        return read_moment(text.strip())
    except (ValueError, NotHeld):
        raise InvalidInput(f"{text!r:.60} is no time") from None


def _day(text: str) -> date | None:
    return _time(text).date() if text else None


def _number(text: str) -> Decimal:
    try:
        number = Decimal(text.strip().replace("\u00a0", "").replace(" ", "").replace(",", "."))
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or abs(number.adjusted()) > 30:
        raise InvalidInput(f"{text!r:.60} is no value of a meter")
    return number
