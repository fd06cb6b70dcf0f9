# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import importlib.util
import io
import struct
import zlib
from pathlib import Path

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from neocampus_lake.errors import InvalidInput, ParseError
from neocampus_lake.parsers import image as module
from neocampus_lake.parsers.image import parse
from neocampus_lake.parsers.report import Options
from neocampus_lake.records import Document, File, Node, Relation
from PIL import Image
from skimage import data as samples

ROOT = Path(__file__).resolve().parents[4]


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def picture(mode="RGB", size=(60, 40)):
    base = Image.radial_gradient("L").resize(size)
    return Image.merge("RGB", (base, base.transpose(0), base.transpose(1))).convert(mode)


def records(data, **options):
    given_options = Options(options)
    return list(parse(io.BytesIO(data), given_options)), given_options.report


def document(data, **options):
    found, _report = records(data, **options)
    [one] = [record.value for record in found if isinstance(record, Document)]
    return one


def thumbnail(data, **options):
    [file] = [
        record for record in records(data, **options)[0] if isinstance(record, File) and record.name == "thumbnail"
    ]
    return Image.open(io.BytesIO(file.data))


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def with_chunk(kind, content):
    """A small PNG with one more chunk after its header."""
    png = saved(picture(size=(8, 8)), "PNG")
    return png[:33] + chunk(kind, content) + png[33:]


def exif(main=None, detail=None, gps=None):
    made = Image.Exif()
    made.update(main or {})
    if detail:
        made.get_ifd(0x8769).update(detail)
    if gps:
        made.get_ifd(0x8825).update(gps)
    return made


def test_an_image_becomes_document_files_nodes_and_relations():
    metadata = {
        "swift_object_id": "7",
        "other_data": {"image_content": {"main_object": ["Astronaut "], "secondary_object": ["flag", "astronaut"]}},
    }
    data = saved(Image.fromarray(samples.astronaut()), "JPEG", quality=95)
    found, report = records(data, metadata=metadata, filename="a.jpg", content_type="image/jpeg")
    facts = found[0].value
    assert (facts["format"], facts["width"], facts["height"], facts["mode"]) == ("JPEG", 512, 512, "RGB")
    assert facts["bytes"] == len(data) and len(facts["phash"]) == 16 and len(facts["appearance"]) == 40
    assert facts["colours"]["brightness"] == pytest.approx(115, abs=2) and facts["sharpness"] > 300
    assert sum(colour["share"] for colour in facts["colours"]["common"]) == pytest.approx(1, abs=0.01)
    files = {record.name: record for record in found if isinstance(record, File)}
    assert files["image"].data == data and files["image"].content_type == "image/jpeg"
    assert Image.open(io.BytesIO(files["thumbnail"].data)).size == (256, 256)
    nodes = [(record.label, dict(record.key)) for record in found if isinstance(record, Node)]
    assert nodes == [
        ("Image", {"object_id": "7"}),
        ("Object", {"name": "astronaut"}),
        ("Object", {"name": "flag"}),
        ("Object", {"name": "face"}),
    ]
    edges = [(edge.end.key["name"], edge.properties) for edge in found if isinstance(edge, Relation)]
    assert edges[0] == ("astronaut", {"role": "main", "source": "declared", "confidence": 1.0})
    assert edges[1][1]["role"] == "secondary"
    assert edges[2][1]["source"] == "detected" and edges[2][1]["count"] == 1 and 0.5 <= edges[2][1]["confidence"] <= 1
    [[left, top, width, _height]] = facts["objects"][2]["boxes"]
    assert 160 < left < 200 and 50 < top < 100 and 80 < width < 130
    assert report.count == 0


def test_faces_are_found_where_there_are_some_and_only_there():
    faces, others = samples.lfw_subset()[:100:5], samples.lfw_subset()[100::5]

    def found(pixels):
        image = Image.fromarray((pixels * 255).astype(numpy.uint8)).resize((100, 100), Image.Resampling.BICUBIC)
        page = Image.new("L", (180, 180), 128)
        page.paste(image, (40, 40))
        return document(saved(page, "PNG"))["objects"] != []

    assert sum(map(found, faces)) >= 17
    assert sum(map(found, others)) == 0
    assert document(saved(Image.fromarray(samples.chelsea()), "PNG"))["objects"] == []


def test_faces_are_not_looked_for_where_that_is_off():
    assert document(saved(Image.fromarray(samples.astronaut()), "PNG"), detect=False)["objects"] == []


@pytest.mark.parametrize(
    ("mode", "kind", "options"),
    [
        ("RGB", "JPEG", {}),
        ("L", "JPEG", {}),
        ("CMYK", "JPEG", {}),
        ("RGB", "JPEG", {"progressive": True}),
        ("RGBA", "PNG", {}),
        ("LA", "PNG", {}),
        ("1", "PNG", {}),
        ("P", "PNG", {}),
        ("I;16", "PNG", {}),
        ("RGB", "WEBP", {}),
        ("RGBA", "WEBP", {"lossless": True}),
        ("P", "GIF", {}),
        ("RGB", "TIFF", {}),
        ("F", "TIFF", {}),
        ("I", "TIFF", {}),
        ("CMYK", "TIFF", {}),
    ],
)
def test_every_format_and_mode_is_understood(mode, kind, options):
    image = picture("L" if mode in ("I;16", "I", "F") else mode)
    if mode == "I;16":
        image = Image.fromarray(numpy.asarray(image).astype(numpy.uint16) * 257)
    elif mode in ("I", "F"):
        image = image.convert(mode)
    facts = document(saved(image, kind, **options))
    assert (facts["format"], facts["width"], facts["height"]) == (kind, 60, 40)
    assert facts["content_type"] == module.FORMATS[kind]
    assert 60 < facts["colours"]["brightness"] < 190


def test_sixteen_bits_are_made_eight_not_cut():
    half = Image.fromarray(numpy.full((20, 20), 0x8000, numpy.uint16))
    assert document(saved(half, "PNG"))["colours"]["mean"] == [128, 128, 128]


def test_numbers_of_any_range_are_shown_from_black_to_white():
    values = numpy.linspace(-3000, 9000, 400, dtype=numpy.float32).reshape(20, 20)
    values[0, 0] = numpy.nan
    shown = numpy.asarray(thumbnail(saved(Image.fromarray(values), "TIFF")).convert("L"))
    assert shown.min() < 15 and shown.max() > 240


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_is_white(mode):
    clear = Image.new(mode, (30, 30), 0)
    assert document(saved(clear, "PNG"))["colours"]["mean"] == [255, 255, 255]


def test_a_transparent_colour_of_a_palette_is_white():
    clear = Image.new("P", (30, 30), 3)
    clear.putpalette([255, 0, 0] * 4)
    assert document(saved(clear, "PNG", transparency=3))["colours"]["mean"] == [255, 255, 255]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_seen_upright(orientation):
    upright = Image.new("RGB", (80, 40), "blue")
    upright.paste("red", (0, 0, 20, 10))
    inverse = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    stored = upright if inverse is None else upright.transpose(inverse)
    data = saved(stored, "PNG", exif=exif({0x0112: orientation}))
    facts = document(data)
    assert (facts["width"], facts["height"]) == (80, 40)
    red, _green, blue = thumbnail(data).convert("RGB").getpixel((5, 3))
    assert red > 200 > blue


def test_exif_is_cleaned_and_read():
    taken = {0x9003: "2024:02:29 01:30:00", 0x9011: "+02:00", 0x829A: 0.008, 0x829D: 2.8, 0x8827: 200}
    place = {1: "S", 2: (43.0, 33.0, 36.0), 3: "W", 4: (1.0, 30.0, 0.0), 5: b"\x01", 6: 10.0}
    data = saved(picture(), "JPEG", exif=exif({0x010F: "Cam\x01era\0junk", 0x0110: " X "}, taken, place))
    facts = document(data)
    assert facts["exif"] == {"make": "Camera", "model": "X", "exposure_seconds": 0.008, "f_number": 2.8, "iso": 200.0}
    assert facts["taken"] == "2024-02-28T23:30:00Z"
    assert facts["gps"] == {"latitude": -43.56, "longitude": -1.5, "altitude": -10.0}


def test_a_time_without_its_zone_stays_without():
    assert (
        document(saved(picture(), "JPEG", exif=exif({0x0132: "2024:02:29 01:30:00"})))["taken"] == "2024-02-29T01:30:00"
    )


@pytest.mark.parametrize(
    ("gps", "said"),
    [
        ({2: (91.0, 0.0, 0.0), 4: (0.0, 0.0, 1.0)}, "not on Earth"),
        ({2: (43.0, 0.0, 0.0)}, "not complete"),
        ({2: (43.0, 33.0), 4: (1.0, 2.0, 3.0)}, "not complete"),
    ],
)
def test_a_wrong_position_is_told_and_left_out(gps, said):
    found, report = records(saved(picture(), "JPEG", exif=exif(gps=gps)))
    assert "gps" not in found[0].value
    assert said in report.items[0]["message"]


@pytest.mark.parametrize("value", ["2024:13:01 00:00:00", "yesterday"])
def test_a_wrong_time_is_told_and_left_out(value):
    found, report = records(saved(picture(), "JPEG", exif=exif({0x0132: value})))
    assert "taken" not in found[0].value and "no time" in report.items[0]["message"]


def test_an_empty_time_and_position_are_not_told():
    made = exif({0x0132: "0000:00:00 00:00:00"}, gps={2: (0.0, 0.0, 0.0), 4: (0.0, 0.0, 0.0)})
    found, report = records(saved(picture(), "JPEG", exif=made))
    assert not {"taken", "gps"} & set(found[0].value) and report.count == 0


def test_a_huge_exif_does_no_harm():
    fields = struct.pack("<H", 65535) + struct.pack("<HHII", 0x010F, 2, 5_000_000, 0) * 65535
    facts = document(with_chunk(b"eXIf", b"II*\0\x08\0\0\0" + fields + bytes(5_000_000)))
    assert facts["width"] == 8


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a cat", "has main_object"),
        ({"main_object": ["", 3, "x" * 201, "a\x00b"]}, "is not the name"),
        ({"main_object": {"cat": 1}}, "is not the name"),
    ],
)
def test_declared_objects_that_are_none_are_told(content, said):
    found, report = records(saved(picture(), "PNG"), metadata={"other_data": {"image_content": content}})
    assert found[0].value["objects"] == []
    assert said in report.items[0]["message"]


def test_a_single_declared_object_may_stand_without_list_and_too_many_are_told():
    one = {"other_data": {"image_content": {"main_object": "Cat"}}}
    assert document(saved(picture(), "PNG"), metadata=one)["objects"][0]["name"] == "cat"
    many = {"other_data": {"image_content": {"secondary_object": [f"n{number}" for number in range(300)]}}}
    found, report = records(saved(picture(), "PNG"), metadata=many)
    assert len(found[0].value["objects"]) == module.MAX_OBJECTS and report.count == 1


def test_the_content_decides_not_name_or_type():
    facts = document(saved(picture(), "PNG"), filename="photo.jpg", content_type="image/jpeg; q=1")
    assert facts["content_type"] == "image/png" and facts["declared_content_type"] == "image/jpeg"
    assert "declared_content_type" not in document(saved(picture(), "PNG"), content_type="image/PNG")


def test_without_metadata_the_content_names_the_image():
    found, _report = records(saved(picture(), "PNG"))
    [node] = [record for record in found if isinstance(record, Node)]
    assert node.key["object_id"].startswith("sha256:")


def test_an_animation_is_described_by_its_first_picture():
    frames = [picture().convert("P"), picture().rotate(90).convert("P"), picture().rotate(180).convert("P")]
    facts = document(saved(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert facts["animated"] is True and facts["pictures"] == 3
    pages = document(saved(picture(), "TIFF", save_all=True, append_images=[picture()]))
    assert pages["pictures"] == 2 and "animated" not in pages


def test_a_large_image_has_no_copy_and_the_thumbnail_the_size_that_was_asked_for():
    found, _report = records(saved(picture(size=(2000, 1000)), "PNG"), copy_max_bytes=100, thumbnail=64)
    assert [record.name for record in found if isinstance(record, File)] == ["thumbnail"]
    assert thumbnail(saved(picture(size=(2000, 1000)), "PNG"), thumbnail=64).size == (64, 32)


SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
BOMB = b"GIF89a" + struct.pack("<HHBBB", 60000, 60000, 0, 0, 0) + b"," + bytes(9) + b"\x02\x02\x4c\x01\0;"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (SVG, "not an image that is understood"),
        (b"%PDF-1.7", "not an image that is understood"),
        (b"\xff\xd8\xff", "not an image|damaged"),
        (saved(picture(), "BMP"), "not an image that is understood"),
        (saved(picture(), "JPEG")[:-200], "damaged or cut off"),
        (saved(picture(), "PNG")[:-200], "damaged or cut off"),
        (BOMB, "pixels"),
        (saved(Image.new("1", (8000, 8000)), "PNG"), "8000 × 8000 pixels"),
        (saved(Image.new("1", (66000, 1)), "PNG"), "66000 × 1 pixels"),
        (with_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(100_000_000))), "damaged"),
        (
            saved(picture(size=(8, 8)), "PNG").replace(struct.pack(">II", 8, 8), struct.pack(">II", 0, 8)),
            "not|pixels|damaged",
        ),
    ],
    ids=[
        "empty",
        "svg",
        "pdf",
        "head",
        "bmp",
        "cut jpeg",
        "cut png",
        "gif bomb",
        "png bomb",
        "line",
        "text bomb",
        "no width",
    ],
)
def test_bad_images_are_refused_with_a_reason(data, said):
    with pytest.raises(ParseError, match=said):
        records(data, filename="photo.jpg")


def test_a_jpeg_of_many_scans_is_refused():
    data = saved(picture(), "JPEG", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    with pytest.raises(ParseError, match="scans"):
        records(data[:-2] + scan * 200 + data[-2:])


def test_too_many_bytes_are_refused_before_they_are_all_read():
    class Endless(io.RawIOBase):
        given = 0

        def read(self, size=-1):
            self.given += size
            return b"x" * size

    stream = Endless()
    with pytest.raises(ParseError, match="5000000"):
        list(parse(stream, {"max_bytes": 5_000_000}))
    assert stream.given < 8_000_000


@pytest.mark.parametrize(
    "options", [{"max_bytes": 0}, {"max_pixels": 10**9}, {"thumbnail": "big"}, {"copy_max_bytes": True}, {"detect": 1}]
)
def test_bad_options_are_refused(options):
    with pytest.raises(InvalidInput):
        records(saved(picture(), "PNG"), **options)


@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"RIFF"]),
)
def test_bytes_that_are_no_image_are_refused_cleanly(data, head):
    with pytest.raises(ParseError):
        records(head + data, max_pixels=100_000)


def test_changed_files_do_no_harm():
    spec = importlib.util.spec_from_file_location("fuzz_image", ROOT / "tests/fuzz/image.py")
    fuzz = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fuzz)
    tried, understood = fuzz.fuzz(count=250, seconds=60, seed=5)
    assert tried >= 100 and 0 < understood < tried
