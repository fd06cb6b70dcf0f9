# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import bz2
import gzip
import io
import lzma
import random
import struct
import tarfile
import time
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from neocampus_lake.errors import InvalidInput, LakeError, ParseError
from neocampus_lake.parsers import archive
from neocampus_lake.parsers.archive import parse
from neocampus_lake.parsers.report import Options

FILES = {
    "a.csv": b"date,value\n2021-07-22,3\n",
    "dir/b.json": b"{}",
    "dir/deep/\u00e9t\u00e9.bin": bytes(range(256)) * 50,
}


def zipped(files, compression=zipfile.ZIP_DEFLATED):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", compression) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return target.getvalue()


def tarred(files, mode="w"):
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode=mode) as file:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            file.addfile(entry, io.BytesIO(content))
    return target.getvalue()


def read(data, **options):
    """{path: content} and the report."""
    given = Options(options)
    found = {}
    for member in parse(io.BytesIO(data), given):
        with member.open() as stream:
            found[member.path] = stream.read()
    return found, given.report


@pytest.mark.parametrize(
    "data",
    [
        zipped(FILES),
        zipped(FILES, zipfile.ZIP_STORED),
        zipped(FILES, zipfile.ZIP_LZMA),
        tarred(FILES),
        tarred(FILES, "w:gz"),
        tarred(FILES, "w:bz2"),
        tarred(FILES, "w:xz"),
    ],
)
def test_members_come_with_their_content(data):
    found, report = read(data)
    assert found == FILES and report.count == 0


def test_an_old_tar_without_magic():
    data = bytearray(tarred({"a": b"1"}))
    data[257:265] = bytes(8)
    checksum = sum(data[:148]) + 8 * 32 + sum(data[156:512])
    data[148:156] = b"%06o\0 " % checksum
    assert read(bytes(data))[0] == {"a": b"1"}


@pytest.mark.parametrize(
    ("name", "compress", "path"),
    [
        ("day.csv.gz", gzip.compress, "day.csv"),
        ("x/day.csv.BZ2", bz2.compress, "day.csv"),
        ("day.xz", lzma.compress, "day"),
        ("", gzip.compress, "content"),
        ("data", gzip.compress, "data"),
    ],
)
def test_a_single_compressed_file(name, compress, path):
    assert read(compress(b"a,b\n1,2\n"), filename=name)[0] == {path: b"a,b\n1,2\n"}


def test_sizes_and_times_are_told():
    [member] = parse(io.BytesIO(tarred({"a": b"123"})), {})
    assert (member.size, member.modified.year) == (3, 1970)
    [member] = parse(io.BytesIO(zipped({"a": b"123"})), {})
    assert member.size == 3 and member.modified.year > 2020


def test_a_compressed_file_of_zeros_is_no_tar():
    assert read(gzip.compress(bytes(20_000)), filename="zeros.gz")[0] == {"zeros": bytes(20_000)}


def test_members_need_not_be_read():
    assert [member.path for member in parse(io.BytesIO(tarred(FILES, "w:gz")), {})] == list(FILES)


def test_what_is_no_plain_file_is_left_out_and_told():
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as file:
        for name, kind in (
            ("link", tarfile.SYMTYPE),
            ("hard", tarfile.LNKTYPE),
            ("null", tarfile.CHRTYPE),
            ("d", b"5"),
        ):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "/etc/passwd"
            file.addfile(entry)
        entry = tarfile.TarInfo("good")
        entry.size = 1
        file.addfile(entry, io.BytesIO(b"1"))
    found, report = read(target.getvalue())
    assert found == {"good": b"1"} and report.count == 3
    assert "link" in report.items[0]["message"] and "special" in report.items[0]["message"]


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/../../b", "..", "./", "a\nb", "x" * 2000, "a/..\\b"])
@pytest.mark.parametrize("make", [zipped, tarred])
def test_names_that_point_elsewhere_or_say_nothing(make, name):
    found, report = read(make({name: b"1", "good": b"2"}))
    assert found == {"good": b"2"}
    assert report.count == 1 or name == "./"  # a folder, to zip


@pytest.mark.parametrize(("name", "path"), [("/etc/passwd", "etc/passwd"), ("C:\\a\\b", "a/b"), ("./a//b", "a/b")])
def test_paths_are_made_plain(name, path):
    assert list(read(tarred({name: b"1"}))[0]) == [path]


def test_an_encrypted_member_is_told():
    data = bytearray(zipped({"secret": b"1", "plain": b"2"}))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.index(mark) + offset
        data[at] |= 1
    found, report = read(bytes(data))
    assert found == {"plain": b"2"} and "encrypted" in report.items[0]["message"]


def test_links_in_a_zip():
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as file:
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        file.writestr(link, "/etc/passwd")
        plain = zipfile.ZipInfo("plain")
        plain.external_attr = 0o100644 << 16
        file.writestr(plain, "1")
    found, report = read(target.getvalue())
    assert found == {"plain": b"1"} and report.count == 1


def test_nothing_in_it_that_can_be_taken():
    with pytest.raises(ParseError, match="none of its 1 members"):
        read(zipped({"..": b"1"}))
    assert read(zipped({}))[0] == {} == read(tarred({}))[0]


@pytest.mark.parametrize("make", [zipped, tarred, lambda files: tarred(files, "w:gz")])
def test_limits(make):
    data = make({str(number): b"x" * 100 for number in range(10)})
    with pytest.raises(ParseError, match="more than 9 members"):
        read(data, max_members=9)
    with pytest.raises(ParseError, match="over 999 bytes"):
        read(data, max_bytes=999)
    assert len(read(data, max_members=10, max_bytes=10_000)[0]) == 10


@pytest.mark.parametrize(
    "make", [lambda data: zipped({"a": data}), lambda data: tarred({"a": data}, "w:gz"), gzip.compress, lzma.compress]
)
def test_a_bomb_is_given_up_early(monkeypatch, make):
    monkeypatch.setattr(archive, "FREE_BYTES", 1024 * 1024)
    data = make(bytes(20 * 1024 * 1024))
    seen = 0
    with pytest.raises(ParseError, match="more than 100 times as large"):
        for member in parse(io.BytesIO(data), {"max_ratio": 100}):
            with member.open() as stream:
                while piece := stream.read(65536):
                    seen += len(piece)
    assert seen < 8 * 1024 * 1024


def test_archives_in_archives_have_an_end():
    inner = {"metadata": {"other_data": {"archive": {"object": "1", "depth": 2}}}}
    assert read(zipped(FILES), **inner)[0] == FILES
    inner["metadata"]["other_data"]["archive"]["depth"] = 3
    with pytest.raises(ParseError, match="no deeper than 3"):
        read(zipped(FILES), **inner)
    with pytest.raises(ParseError, match="no deeper than 2"):
        read(zipped(FILES), max_depth=2, **inner)


def test_a_zip_s_directory_is_bounded_before_it_is_read():
    data = zipped({str(number): b"" for number in range(2000)})
    with pytest.raises(ParseError, match="more than 10 members"):
        read(data, max_members=10)
    end = data.rindex(b"PK\x05\x06")
    lying = data[:end] + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, 0xFFFFFFF0, 0, 0)
    with pytest.raises(ParseError, match="more than 10,000 members"):
        read(lying)


def test_what_is_no_archive():
    for data in (b"", b"hello", bytes(100), b"PK\x03\x04" + bytes(100), b"\x1f\x8b" + bytes(50), b"BZhello"):
        with pytest.raises(ParseError):
            read(data)


@pytest.mark.parametrize(
    "make", [zipped, tarred, lambda files: tarred(files, "w:gz"), lambda files: tarred(files, "w:xz")]
)
def test_a_broken_archive_keeps_what_came_before(make):
    files = {str(number): random.Random(number).randbytes(300_000) for number in range(4)}
    data = make(files)
    found = {}
    with pytest.raises(ParseError):
        for member in parse(io.BytesIO(data[: len(data) * 2 // 3]), {}):
            with member.open() as stream:
                found[member.path] = stream.read()
    assert all(files[path] == content for path, content in found.items())
    assert make is zipped or found


@pytest.mark.parametrize("options", [{"max_members": 0}, {"max_bytes": "1"}, {"max_ratio": True}, {"max_depth": 1.5}])
def test_options_are_checked(options):
    with pytest.raises(InvalidInput):
        read(zipped(FILES), **options)


PATHS = st.text(st.characters(codec="utf-8", exclude_characters="/\\\x7f", min_codepoint=32), min_size=1, max_size=20)


@given(st.dictionaries(PATHS.filter(lambda p: p not in (".", "..")), st.binary(max_size=3000), min_size=1, max_size=6))
@settings(deadline=None)
def test_what_goes_in_comes_out(files):
    for data in (zipped(files), tarred(files), tarred(files, "w:gz")):
        assert read(data)[0] == files


def test_rubbish_is_refused_quickly():
    """Each seed archive with random damage: an error of the lake or some members, never another error, never a hang."""
    chance = random.Random(3)
    seeds = [zipped(FILES), tarred(FILES), tarred(FILES, "w:gz"), tarred(FILES, "w:bz2"), tarred(FILES, "w:xz")]
    begun = time.monotonic()
    for number in range(1500):
        data = bytearray(seeds[number % len(seeds)])
        for _damage in range(chance.randint(1, 8)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        if chance.random() < 0.2:
            del data[chance.randrange(len(data)) :]
        try:
            read(bytes(data), max_bytes=10_000_000)
        except LakeError:
            pass
    assert time.monotonic() - begun < 60
