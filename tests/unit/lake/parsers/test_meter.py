# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import gzip
import io
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from neocampus_lake.errors import InvalidInput, ParseError
from neocampus_lake.parsers import meter
from neocampus_lake.parsers.report import Options
from neocampus_lake.records import Row, Table

CREATE = (
    "CREATE TABLE `releves` (`id` int NOT NULL AUTO_INCREMENT, `compteur` varchar(14), `horodate` datetime,"
    " `valeur` decimal(12,3), PRIMARY KEY (`id`));\n"
)
INSERT = "INSERT INTO `releves` VALUES (1,'30000000000001','2024-01-01 00:00:00',1.5);\n"
BARE = (
    "INSERT INTO releves (compteur, horodate, grandeur, valeur)"
    " VALUES ('30000000000001','2024-01-01 00:00:00','EA','1.5');\n"
)


def parse(content, **options):
    if isinstance(content, str):
        content = content.encode()
    given_options = Options(options)
    records = list(meter.parse(io.BytesIO(content), given_options))
    tables = {record.name: record for record in records if isinstance(record, Table)}
    return tables, [record for record in records if isinstance(record, Row)], given_options.report


# SQL


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        (CREATE + INSERT, True),
        ("DROP TABLE IF EXISTS `releves`;\n" + CREATE.replace("TABLE", "TABLE IF NOT EXISTS") + INSERT, True),
        ("TRUNCATE TABLE releves;\n" + BARE, True),
        (CREATE.replace("TABLE", "TABLE IF NOT EXISTS") + INSERT, False),
        (BARE, False),
        ("COPY public.releves (compteur, horodate, valeur) FROM stdin;\n3\t2024-01-01 00:00:00\t1\n\\.\n", False),
    ],
)
def test_statements_tell_a_whole_dump(text, whole):
    tables, rows, report = parse(text)
    assert tables["releves"].replaces is whole and len(rows) == 1 and report.count == 0


@pytest.mark.parametrize(
    ("options", "whole"),
    [
        ({"metadata": {"other_data": {"dump": "whole"}}}, True),
        ({"metadata": {"other_data": {"dump": "differential"}}, "dump": "whole"}, False),
        ({"dump": "whole", "filename": "sge_diff.sql"}, True),
        ({"filename": "SGE_differentiel_2024.sql"}, False),
        ({"filename": "sge-DELTA.sql"}, False),
        ({"filename": "sge_complet.sql", "metadata": {"other_data": None}}, True),
        ({"filename": "difficile_sge.sql"}, None),
        ({"filename": "totally_sge.sql", "metadata": {}}, None),
    ],
)
def test_who_says_which_dump_it_is(options, whole):
    assert parse(CREATE + INSERT, **options)[0]["releves"].replaces is (True if whole is None else whole)
    assert parse(BARE, **options)[0]["releves"].replaces is bool(whole)


def test_a_kind_of_dump_that_is_none():
    with pytest.raises(InvalidInput, match="dump is whole or differential, not 'half'"):
        parse(BARE, metadata={"other_data": {"dump": "half"}})


def test_the_key_is_the_declared_one_else_all_that_is_no_value():
    assert parse(CREATE + INSERT)[0]["releves"].key == ("id",)
    table = parse(BARE)[0]["releves"]
    assert table.key == ("compteur", "horodate", "grandeur") and set(table.key) <= set(table.columns)
    assert dict(table.columns) == {"compteur": "text", "horodate": "timestamp", "grandeur": "text", "valeur": "decimal"}


def test_a_key_behind_the_rows_is_the_declared_one_too():
    text = (
        "CREATE TABLE r (id int, prm text, date timestamp, value real);\nCOPY r FROM stdin;\n1\t2\t2024-01-01\t3\n\\.\n"
    )
    assert parse(text)[0]["r"].key == ("id", "prm", "date")
    table = parse(text + "ALTER TABLE ONLY public.r ADD CONSTRAINT r_pkey PRIMARY KEY (id);")[0]["r"]
    assert table.key == ("id",) and table.replaces is True


def test_values_have_types_without_create_table():
    _tables, rows, report = parse(
        BARE + BARE.replace("1.5", "many") + BARE.replace("2024-01-01", "01/02/2024") + BARE.replace("'1.5'", "NULL")
    )
    assert [(row.values["horodate"], row.values["valeur"]) for row in rows] == [
        (datetime(2024, 1, 1), Decimal("1.5")),
        (datetime(2024, 2, 1), Decimal("1.5")),
        (datetime(2024, 1, 1), None),
    ]
    assert report.items == [{"line": 2, "message": "releves: 'many' is no value of a meter"}]


def test_other_tables_of_the_dump_are_kept_with_it():
    tables, rows, _report = parse(
        CREATE + INSERT + "CREATE TABLE sites (id int, nom text);INSERT INTO sites VALUES (1,'U4');"
    )
    assert tables["sites"] == Table("sites", {"id": "integer", "nom": "text"}, (), True)
    assert {row.table for row in rows} == {"releves", "sites"}


def test_what_is_no_meter_dump():
    with pytest.raises(ParseError, match="no table has a meter, a time and a value.*sites"):
        parse("CREATE TABLE sites (id int, nom text);INSERT INTO sites VALUES (1,'U4');")
    with pytest.raises(ParseError, match="line 1: .* columns of releves are.*--complete-insert"):
        parse("INSERT INTO releves VALUES ('3','2024-01-01 00:00:00',1.5);")
    with pytest.raises(ParseError, match="no SQL dump"):
        parse("a;b;c\n1;2;3\n")
    with pytest.raises(ParseError, match="empty"):
        parse("")


# CSV

FLAT = (
    "Identifiant PRM;Date de début;Date de fin;Grandeur physique;Grandeur métier;Etape métier;Unité;"
    "Horodate;Valeur;Nature;Pas\n"
    "30000000000001;2026-01-01;2026-01-02;EA;CONS;BRUT;Wh;2026-01-01T00:00:00+01:00;10;R;PT5M\n"
    "30000000000001;2026-01-01;2026-01-02;EA;CONS;BRUT;Wh;2026-01-01T00:05:00+01:00;;R;PT5M\n"
)
BLOCK = (
    "Identifiant PRM;Type de donnees;Date de debut;Date de fin;Grandeur physique;Grandeur metier;Etape metier;"
    "Unite;Pas en minutes\n"
    "00000000000007;Courbe de charge;01/09/2018;21/08/2020;Energie active;Consommation;Comptage Brut;W;\n"
)
PARIS = timezone(timedelta(hours=1))


@pytest.mark.parametrize(
    "content",
    [
        FLAT.encode(),
        b"\xef\xbb\xbf" + FLAT.encode(),
        FLAT.encode("cp1252"),
        FLAT.replace("\n", "\r\n").encode(),
        gzip.compress(FLAT.encode(), mtime=0),
    ],
)
def test_flat_files(content):
    tables, rows, report = parse(content)
    table = tables["meter_readings"]
    assert table.replaces is False and table.key == meter.KEY and set(rows[0].values) <= set(table.columns)
    assert [
        (row.values["identifiant_prm"], row.values["horodate"], row.values["valeur"], row.line) for row in rows
    ] == [
        ("30000000000001", datetime(2026, 1, 1, tzinfo=PARIS), Decimal(10), 2),
        ("30000000000001", datetime(2026, 1, 1, 0, 5, tzinfo=PARIS), None, 3),
    ]
    assert rows[0].values["date_de_debut"] == date(2026, 1, 1) and rows[0].values["pas"] == "PT5M"
    assert all(rows[0].values[name] is not None for name in meter.KEY) and report.count == 0


def test_columns_that_only_some_files_have():
    text = (
        "Identifiant PRM;Grandeur physique;Horodate;Valeur;Contexte relève;Type relève;Grille;"
        "Identifiant classe temporelle;Cadran\n"
        "3;EA;2026-01-01T00:00:00+01:00;100;NORMAL;INDEX;GRD;HP;01\n"
    )
    tables, rows, _report = parse(text)
    assert tables["meter_readings"].columns["contexte_releve"] == "text"
    values = rows[0].values
    assert [values[name] for name in ("type_de_releve", "grille", "classe_temporelle", "cadran")] == [
        "INDEX",
        "GRD",
        "HP",
        "01",
    ]


def test_a_load_curve_in_a_block():
    _tables, rows, report = parse(
        BLOCK + "\nHorodate;Valeur\n2018-12-07T00:00:00+01:00;270,5\n2018-12-07T01:00:00+01:00;\n"
    )
    assert [row.values["valeur"] for row in rows] == [Decimal("270.5"), None]
    first = rows[0].values
    assert (first["identifiant_prm"], first["type_de_donnees"], first["unite"]) == (
        "00000000000007",
        "Courbe de charge",
        "W",
    )
    assert first["date_de_debut"] == date(2018, 9, 1) and report.count == 0


def test_each_register_of_an_index_is_a_reading():
    text = BLOCK.replace("Courbe de charge", "Index") + "Horodate;Type de releve;EAS F1;EAS F2;EAS T\n"
    text += "2019-09-02T00:00:00+02:00;Arrêté quotidien;10;;30\n\n"
    text += "Periode;Identifiant calendrier fournisseur\nDu 2019 au;FC\n"
    _tables, rows, report = parse(text)
    assert [(row.values["cadran"], row.values["valeur"]) for row in rows] == [
        ("EAS F1", Decimal(10)),
        ("EAS T", Decimal(30)),
    ]
    assert rows[0].values["type_de_releve"] == "Arrêté quotidien"
    assert report.count == 0 and report.skipped == {"period of a calendar": 1}


def test_blocks_one_after_another():
    second = BLOCK.replace("00000000000007", "00000000000008")
    _tables, rows, _report = parse(
        f"{BLOCK}Horodate;Valeur\n2018-12-07T00:00:00Z;1\n{second}Horodate;Valeur\n2018-12-07T00:00:00Z;2\n"
    )
    assert [(row.values["identifiant_prm"][-1], row.values["valeur"]) for row in rows] == [
        ("7", Decimal(1)),
        ("8", Decimal(2)),
    ]


def test_times_without_an_offset_are_those_of_the_zone():
    lines = "2020-10-25T02:30:00;1\n2020-10-25 02:45:00;2\n25/10/2020 02:30:00;3\n"
    lines += "2020-03-29T02:30:00;4\n2020-07-01T00:00;5\n"
    _tables, rows, report = parse(f"{BLOCK}Horodate;Valeur\n{lines}")
    assert [row.values["horodate"] for row in rows] == [
        datetime(2020, 10, 25, 0, 30, tzinfo=UTC),
        datetime(2020, 10, 25, 0, 45, tzinfo=UTC),
        datetime(2020, 10, 25, 1, 30, tzinfo=UTC),
        datetime(2020, 6, 30, 22, 0, tzinfo=UTC),
    ]
    assert report.items[0]["line"] == 7 and "clocks were put forward" in report.items[0]["message"]
    _tables, rows, _report = parse(f"{BLOCK}Horodate;Valeur\n2020-07-01T00:00;5\n", timezone="UTC")
    assert rows[0].values["horodate"] == datetime(2020, 7, 1, tzinfo=UTC)
    with pytest.raises(InvalidInput, match="time zone 'Mars'"):
        parse(BLOCK, timezone="Mars")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("3;2026-01-01;2026-01-02;EA;CONS;BRUT;Wh;noon;10;R;PT5M", "'noon' is no time"),
        ("3;2026-01-01;2026-01-02;EA;CONS;BRUT;Wh;2026-01-01T00:00:00+01:00;much;R;PT5M", "'much' is no value"),
        ("3;2026-01-01;2026-01-02;EA;CONS;BRUT;Wh;2026-01-01T00:00:00+01:00;1e99;R;PT5M", "'1e99' is no value"),
        (";2026-01-01;2026-01-02;EA;CONS;BRUT;Wh;2026-01-01T00:00:00+01:00;1;R;PT5M", "meter .* is empty"),
        ("3;first;2026-01-02;EA;CONS;BRUT;Wh;2026-01-01T00:00:00+01:00;1;R;PT5M", "'first' is no time"),
        ("3;2026-01-01", "2 cells, but 11 columns"),
    ],
)
def test_a_bad_line_is_told_and_the_good_ones_are_taken(line, said):
    _tables, rows, report = parse(FLAT + line + "\n" + FLAT.splitlines()[1])
    assert len(rows) == 3 and report.count == 1 and report.items[0]["line"] == 4
    with pytest.raises(ParseError, match=said):
        parse(FLAT.splitlines()[0] + "\n" + line)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Identifiant PRM;Date de debut\n3;2026-01-01\n", "it has no reading"),
        (BLOCK + "Horodate;Type\n2026-01-01T00:00:00Z;1\n", "no column Valeur"),
        ("Identifiant PRM;Horodate;Horodate\n", "two columns have the same name"),
        ("Identifiant PRM;" + "x" * 100_000, "a line is over"),
    ],
)
def test_csv_without_readings(text, said):
    with pytest.raises(ParseError, match=said):
        parse(text)


def test_a_csv_file_may_be_whole():
    assert parse(FLAT, metadata={"other_data": {"dump": "whole"}})[0]["meter_readings"].replaces is True


def test_a_cut_gzip_file_is_told():
    lines = FLAT.splitlines()[1]
    content = gzip.compress(
        (FLAT + "\n".join(lines.replace(";10;", f";{n * 7919 % 10007};") for n in range(20_000))).encode()
    )[:-500]
    _tables, rows, report = parse(content)
    assert len(rows) > 100 and "gzip file ends too early" in report.items[-1]["message"]
    content = gzip.compress(
        (CREATE + "".join(INSERT.replace("(1,", f"({n * 7919 % 10007},") for n in range(20_000))).encode()
    )[:-500]
    _tables, rows, report = parse(content)
    assert len(rows) > 100 and "gzip file ends too early" in report.items[-1]["message"]


readings = st.lists(
    st.tuples(
        st.integers(0, 99),
        st.datetimes(datetime(2000, 1, 1), datetime(2050, 1, 1), timezones=st.just(PARIS)),
        st.none() | st.decimals(-(10**9), 10**9, places=3),
    ),
    min_size=1,
    max_size=10,
)


@given(readings, st.booleans())
def test_readings_come_back(items, comma):
    def number(value):
        return "" if value is None else str(value).replace(".", "," if comma else ".")

    lines = [f"{prm:014d};EA;{at.isoformat()};{number(value)}" for prm, at, value in items]
    _tables, rows, report = parse("Identifiant PRM;Grandeur physique;Horodate;Valeur\n" + "\n".join(lines))
    assert [(int(row.values["identifiant_prm"]), row.values["horodate"], row.values["valeur"]) for row in rows] == items
    assert report.count == 0


@given(st.text("Identifiant PRM;Horodate;Valeur\n0123456789-:T+,.", max_size=100))
def test_any_text_is_parsed_or_refused(text):
    for start in ("", FLAT, BLOCK + "Horodate;Valeur\n", BLOCK):
        try:
            parse(start + text)
        except ParseError:
            pass
