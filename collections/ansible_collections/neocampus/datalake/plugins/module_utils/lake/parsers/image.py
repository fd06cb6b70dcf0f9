# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images: JPEG, PNG, WebP, GIF, TIFF. What is known of one, a thumbnail, a copy, and the objects in it.

An image becomes

- a document: format, size, EXIF, colours, sharpness, descriptors, objects;
- the file `thumbnail`, and the file `image` (the bytes as they came) unless it is large;
- a node (:Image), a node (:Object {name}) for each object in it, and between them SHOWS {role, source, confidence}.

Objects are those that the metadata declares (`other_data.image_content`: `main_object`, `secondary_object`), and `face`
where faces are found. They are found by the cascade for frontal faces that comes with OpenCV: upright faces seen from
the front, from about 1/20 of the image's side. It finds no face from the side, turned or half covered, and nothing but
faces: the other cascades and the people detector of OpenCV found more things that were none than things that were.

The content says what format an image has, not its name or its declared type. An animation or a file of several pages is
described by its first picture.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
import threading
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, BinaryIO

from ..descriptors import appearance, perceptual_hash
from ..errors import InvalidInput, ParseError
from ..records import Document, File, Node, Record, Relation
from .report import RowErrors, report_of

if TYPE_CHECKING:
    from PIL import Image

Array = Any  # numpy.ndarray

MAX_BYTES = 64 * 1024 * 1024
MAX_PIXELS = 50_000_000
MAX_SIDE = 65_535
COPY_MAX_BYTES = 20 * 1024 * 1024
THUMBNAIL = 256
WORKING = 1024
"""Colours, sharpness and descriptors are those of the image at this size (its longer side) or its own, if smaller."""
MAX_SCANS = 100
"""Scans of a JPEG. Cameras and programs write about ten; each costs as much time as the whole image."""
COUNTED_BYTES = 1024 * 1024
"""Above it the pictures of a GIF or TIFF are not counted: each has to be looked at."""
MAX_OBJECTS = 200
MAX_NAME = 200

FORMATS = {
    "JPEG": "image/jpeg",  # also those with more pictures behind the first, as phones write: Pillow calls them MPO
    "PNG": "image/png",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "TIFF": "image/tiff",
}
ROLES = {"main_object": "main", "secondary_object": "secondary"}

_FACE_SIDE = 480
_FACE_SMALLEST = 24
# Weight of the cascade's last stage. Of 100 labelled faces 85–97 reach it, as what is around them goes; none of 100
# labelled others does, nor anything in 102 photographs, drawings and patterns without a face (tests/bench/images.py).
_FACE_WEIGHT = 55.5
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_DATE = re.compile(r"(\d{4})[:-](\d\d)[:-](\d\d)[ T](\d\d):(\d\d):(\d\d)", re.ASCII)
_OFFSET = re.compile(r"([+-])(\d\d):(\d\d)", re.ASCII)
_cascades = threading.local()


def parse(stream: BinaryIO, options: Mapping[str, Any]) -> Iterator[Record]:
    """The records of one image.

    Options: `max_bytes` and `max_pixels` (larger images are refused), `thumbnail` (longest side in pixels, 16–1024),
    `copy_max_bytes` (larger ones have no copy in gold; 0: none has), `detect` (whether faces are looked for),
    `metadata` (the object's document). What is wrong in EXIF or in declared objects goes to `options.report`.
    Errors: ParseError when it is no image of these formats, is cut off or damaged, or is over a limit; InvalidInput for
    a bad option.
    """
    report = report_of(options)
    limit = _number(options, "max_bytes", MAX_BYTES, 1, 1024**3)
    max_pixels = _number(options, "max_pixels", MAX_PIXELS, 1, 89_000_000)  # Pillow's own limit is little more
    thumbnail = _number(options, "thumbnail", THUMBNAIL, 16, WORKING)
    copy_limit = _number(options, "copy_max_bytes", COPY_MAX_BYTES, 0, 1024**3)
    detect = options.get("detect", True)
    if not isinstance(detect, bool):
        raise InvalidInput(f"detect is true or false, not {detect!r:.60}")
    metadata = options.get("metadata") or {}

    data = _read(stream, limit)
    facts, picture, exif = _decode(data, max_pixels)
    grey = picture.convert("L")
    facts.update(_exif_facts(exif, report))
    facts.update(_measure(picture, grey))
    facts["bytes"] = len(data)
    facts["sha256"] = hashlib.sha256(data).hexdigest()
    content_type = facts["content_type"]
    declared_type = str(options.get("content_type") or "").partition(";")[0].strip().lower()
    if declared_type and declared_type not in (content_type, "image/jpg", "application/octet-stream"):
        facts["declared_content_type"] = declared_type
    filename = options.get("filename")
    if filename:
        facts["filename"] = str(filename)

    objects = declared_objects(metadata, report)
    if detect:
        objects += _faces(grey, facts["width"] / picture.width)
    facts["objects"] = objects
    yield Document(facts)

    small = picture.copy()
    small.thumbnail((thumbnail, thumbnail))
    yield File(
        "thumbnail", "image/jpeg", _jpeg(small), {"width": small.width, "height": small.height, "of": content_type}
    )
    if len(data) <= copy_limit:
        yield File("image", content_type, data, {"width": facts["width"], "height": facts["height"]})

    # Where there is no metadata (a dry run), the content itself is what identifies it.
    object_id = str(metadata.get("swift_object_id") or "sha256:" + facts["sha256"])
    kept = ("width", "height", "format", "content_type", "filename", "taken", "phash", "appearance", "sharpness")
    properties = {key: facts[key] for key in kept if facts.get(key) is not None}
    properties.update(facts.get("gps", {}))
    image = Node("Image", {"object_id": object_id}, properties)
    yield image
    seen = set()
    for item in objects:
        node = Node("Object", {"name": item["name"]})
        if item["name"] not in seen:
            seen.add(item["name"])
            yield node
        detail: dict[str, Any] = {key: item[key] for key in ("role", "source", "confidence", "count") if key in item}
        yield Relation("SHOWS", image, node, detail)


def _number(options: Mapping[str, Any], name: str, default: int, least: int, most: int) -> int:
    value = options.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidInput(f"{name}: a whole number from {least} to {most} is expected, not {value!r:.60}")
    return value


def _read(stream: BinaryIO, limit: int) -> bytes:
    chunks, size = [], 0
    while True:
        chunk = stream.read(1024 * 1024)
        if not chunk:
            break
        size += len(chunk)
        if size > limit:
            raise ParseError(f"the image has over {limit} bytes, which is the limit")
        chunks.append(chunk)
    if not size:
        raise ParseError("the file is empty")
    return b"".join(chunks)


def _decode(data: bytes, max_pixels: int) -> tuple[dict[str, Any], Image.Image, Image.Exif | None]:
    """Facts of the format, the picture (RGB, upright, at most WORKING pixels a side), its EXIF if it can be read."""
    from PIL import Image, UnidentifiedImageError

    if data[:3] == b"\xff\xd8\xff" and data.count(b"\xff\xda") > MAX_SCANS:
        raise ParseError(f"a JPEG of over {MAX_SCANS} scans, made to take long, is not read")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are of metadata and sizes, which are checked here
            image = Image.open(io.BytesIO(data), formats=tuple(FORMATS))
            kind, mode, (width, height) = str(image.format).replace("MPO", "JPEG"), image.mode, image.size
            if not width or not height:
                raise ParseError(f"the image has no pixels: {width} × {height}")
            if max(width, height) > MAX_SIDE or width * height > max_pixels:
                raise ParseError(
                    f"the image has {width} × {height} pixels; the limit is {max_pixels}, {MAX_SIDE} a side"
                )
            facts: dict[str, Any] = {"format": kind, "content_type": FORMATS[kind]}
            facts.update(mode=mode, **_pictures(image, kind, len(data)))
            image.draft("RGB", (WORKING, WORKING))  # a JPEG is decoded at a part of its size, where that is enough
            image.load()
            exif = _exif(image)
            picture = _rgb(image)
    except ParseError:
        raise
    except UnidentifiedImageError:
        raise ParseError(f"not an image that is understood ({', '.join(sorted(FORMATS))})") from None
    except Image.DecompressionBombError:
        raise ParseError(f"the image has over {max_pixels} pixels, which is the limit") from None
    except Exception as error:  # decoders raise whatever their format's damage leads to
        raise ParseError(f"the image is damaged or cut off: {error or type(error).__name__}") from error
    orientation = exif.get(_ORIENTATION) if exif is not None else None
    if isinstance(orientation, int) and 2 <= orientation <= 8:
        picture = picture.transpose(_UPRIGHT[orientation])
        facts["orientation"] = orientation
        if orientation >= 5:
            width, height = height, width
    facts.update(width=width, height=height)
    return facts, picture, exif


def _exif(image: Image.Image) -> Image.Exif | None:
    """The EXIF fields; None where they are damaged, which is no reason to refuse the image."""
    try:
        return image.getexif()
    except Exception:  # as with images: whatever damage leads to
        return None


def _pictures(image: Any, kind: str, size: int) -> dict[str, Any]:
    """Whether a file has several pictures, and how many, where that is known without decoding them all."""
    if not getattr(image, "is_animated", False):  # Pillow's word for any file of several pictures
        return {}
    found: dict[str, Any] = {} if kind in ("JPEG", "TIFF") else {"animated": True}
    if kind not in ("GIF", "TIFF") or size <= COUNTED_BYTES:
        found["pictures"] = image.n_frames
    return found


def _rgb(image: Image.Image) -> Image.Image:
    """The picture as people see it: 8 bits, three colours, on white where it is transparent; at most WORKING a side."""
    import numpy
    from PIL import Image

    if image.mode.startswith("I;16"):
        image = Image.fromarray((numpy.asarray(image) >> 8).astype(numpy.uint8))
    elif image.mode in ("I", "F"):
        image = Image.fromarray(_to_bytes(numpy.asarray(image)))
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image.thumbnail((WORKING, WORKING))
        picture = Image.new("RGB", image.size, "white")
        picture.paste(image, mask=image.getchannel("A"))
        return picture
    if image.mode not in ("L", "RGB", "CMYK", "YCbCr"):  # those can be made smaller as they are
        image = image.convert("RGB")
    image.thumbnail((WORKING, WORKING))
    return image.convert("RGB")


def _to_bytes(values: Array) -> Array:
    """Numbers of any range (heights, temperatures…) as 0–255, the least as black and the greatest as white."""
    import numpy

    finite = numpy.isfinite(values)
    if not finite.any():
        return numpy.zeros(values.shape, numpy.uint8)
    least, most = float(values[finite].min()), float(values[finite].max())
    scale = 255.0 / (most - least) if most > least and math.isfinite(most - least) else 0.0
    made = numpy.empty(values.shape, numpy.uint8)
    for number, row in enumerate(
        values
    ):  # a row at a time: as numbers of 8 bytes all would take eight times the memory
        made[number] = numpy.clip((numpy.where(finite[number], row, least) - least) * scale, 0, 255)
    return made


def _measure(picture: Image.Image, grey: Image.Image) -> dict[str, Any]:
    """Colours (0–255), the commonest ones, sharpness (variance of the Laplacian: below about 100 it is blurred), and
    the descriptors; `phash` is None for an image too plain to be compared."""
    import cv2
    import numpy
    from PIL import Image, ImageStat

    pixels, light = numpy.asarray(picture), numpy.asarray(grey)
    colours, greys = ImageStat.Stat(picture), ImageStat.Stat(grey)
    small = picture.resize((64, 64), Image.Resampling.BOX).quantize(5)
    palette = small.getpalette() or []
    counted: list[tuple[int, Any]] = sorted(small.getcolors() or [], reverse=True)
    common = []
    for count, index in counted:
        red, green, blue = palette[3 * index : 3 * index + 3]
        common.append({"colour": f"#{red:02x}{green:02x}{blue:02x}", "share": round(count / (64 * 64), 3)})
    phash = perceptual_hash(light)
    return {
        "colours": {
            "mean": [round(value, 1) for value in colours.mean],
            "deviation": [round(value, 1) for value in colours.stddev],
            "brightness": round(greys.mean[0], 1),
            "contrast": round(greys.stddev[0], 1),
            "common": common,
        },
        "sharpness": round(float(cv2.Laplacian(light, cv2.CV_64F).var()), 1),
        "phash": None if phash is None else f"{phash:016x}",
        "appearance": appearance(pixels),
    }


def _jpeg(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85, optimize=True)
    return buffer.getvalue()


_ORIENTATION, _EXIF_PART, _GPS_PART = 0x0112, 0x8769, 0x8825
# Orientation as EXIF 2.32 counts it -> what makes the picture upright (PIL.Image.Transpose).
_UPRIGHT: dict[int, Any] = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
_TEXTS = {
    0x010F: "make",
    0x0110: "model",
    0x0131: "software",
    0x010E: "description",
    0x013B: "artist",
    0x8298: "copyright",
}
_LENS = 0xA434
_NUMBERS = {0x829A: "exposure_seconds", 0x829D: "f_number", 0x8827: "iso", 0x920A: "focal_length_mm"}
_TAKEN = ((0x9003, 0x9011), (0x9004, 0x9012), (0x0132, 0x9010))  # original, digitized, changed; each with its offset


def _exif_facts(exif: Image.Exif | None, report: RowErrors) -> dict[str, Any]:
    """`exif` (camera, exposure), `taken` and `gps`, each only where it is there and makes sense (EXIF 2.32).

    `taken` is ISO 8601: in UTC where the camera knew its offset from it, else its own clock's time with no zone.
    """
    if exif is None:
        report.add(1, "EXIF is damaged")
        return {}
    main: Mapping[int, Any] = exif
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is used is checked here
            detail: Mapping[int, Any] = exif.get_ifd(_EXIF_PART)
            gps: Mapping[int, Any] = exif.get_ifd(_GPS_PART)
    except Exception as error:  # damage in a part; the rest is used
        report.add(1, f"EXIF is damaged: {error}")
        detail = gps = {}
    facts: dict[str, Any] = {}
    found = {name: text for tag, name in _TEXTS.items() if (text := _text(main.get(tag)))}
    if lens := _text(detail.get(_LENS)):
        found["lens"] = lens
    numbers = {}
    for tag, name in _NUMBERS.items():
        value = detail.get(tag)
        number = _real(value[0] if isinstance(value, tuple) and value else value)
        if number is not None and number >= 0:
            numbers[name] = number
    if found or numbers:
        facts["exif"] = {**found, **numbers}
    for tag, offset in _TAKEN:
        value = _text(detail.get(tag) or main.get(tag))
        if not value or not value.strip("0: "):
            continue
        taken = _time(value, _text(detail.get(offset)))
        if taken is None:
            report.add(1, f"EXIF: {value!r:.40} is no time")
            continue
        facts["taken"] = taken
        break
    if gps:
        place = _place(gps)
        if place is None:
            report.add(1, "EXIF: the position is not complete, or not on Earth")
        elif place:
            facts["gps"] = place
    return facts


def _text(value: Any) -> str | None:
    """A field's text without what cannot be seen, shortened; None where there is none."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return None
    return _UNSEEN.sub("", value.partition("\0")[0]).strip()[:MAX_NAME] or None


def _real(value: Any) -> float | None:
    """A field's number; None where it is none (0/0 is a usual way to say "not known")."""
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return round(number, 9) if math.isfinite(number) else None


def _time(value: str, offset: str | None) -> str | None:
    match = _DATE.match(value)
    if not match:
        return None
    try:
        moment = datetime(*(int(part) for part in match.groups()))  # type: ignore[arg-type]  # noqa: DTZ001
        zone = _OFFSET.fullmatch(offset) if offset else None
        if zone:
            away = timedelta(hours=int(zone[2]), minutes=int(zone[3]))
            moment = (moment - away if zone[1] == "+" else moment + away).replace(tzinfo=timezone.utc)
    except (ValueError, OverflowError):
        return None
    return moment.isoformat().replace("+00:00", "Z")


def _place(gps: Mapping[int, Any]) -> dict[str, float] | None:
    """Latitude and longitude in degrees (WGS 84), altitude in metres; {} where there are none, None where wrong."""
    if 2 not in gps and 4 not in gps:
        return {}
    latitude, longitude = _degrees(gps.get(2), gps.get(1), "S", 90), _degrees(gps.get(4), gps.get(3), "W", 180)
    if latitude is None or longitude is None:
        return None
    if latitude == longitude == 0:  # in the sea off Ghana: what programs write that do not know the place
        return {}
    place = {"latitude": latitude, "longitude": longitude}
    altitude = _real(gps.get(6))
    if altitude is not None and abs(altitude) < 100_000:
        place["altitude"] = -altitude if gps.get(5) in (1, b"\x01") else altitude
    return place


def _degrees(value: Any, side: Any, negative: str, most: int) -> float | None:
    parts = [_real(part) for part in value] if isinstance(value, (tuple, list)) else []
    if len(parts) != 3 or any(part is None or part < 0 for part in parts):
        return None
    degrees: float = sum((part or 0.0) / 60**power for power, part in enumerate(parts))
    if degrees > most:
        return None
    return round(-degrees if _text(side) == negative else degrees, 7)


def declared_objects(metadata: Mapping[str, Any], report: RowErrors) -> list[dict[str, Any]]:
    """The objects that an image's metadata declares: `name`, `role` (main, secondary), `source`, `confidence`.

    A name is in lower case, with single spaces. What is no name goes to the report; main goes before secondary.
    """
    other = metadata.get("other_data")
    content = other.get("image_content") if isinstance(other, Mapping) else None
    if content is None:
        return []
    if not isinstance(content, Mapping):
        report.add(1, f"image_content has main_object and secondary_object, this is {content!r:.60}")
        return []
    roles: dict[str, str] = {}
    for key, role in ROLES.items():
        for name in _names(content.get(key), key, report):
            if len(roles) == MAX_OBJECTS and name not in roles:
                report.add(1, f"image_content: only the first {MAX_OBJECTS} objects are kept")
                break
            roles.setdefault(name, role)
    return [{"name": name, "role": role, "source": "declared", "confidence": 1.0} for name, role in roles.items()]


def _names(value: Any, key: str, report: RowErrors) -> Iterable[str]:
    for item in value if isinstance(value, (list, tuple)) else [] if value is None else [value]:
        name = " ".join(unicodedata.normalize("NFC", item).lower().split()) if isinstance(item, str) else ""
        if not name or len(name) > MAX_NAME or _UNSEEN.search(name):
            report.add(1, f"image_content.{key}: {item!r:.60} is not the name of an object")
        else:
            yield name


def _faces(grey: Image.Image, scale: float) -> list[dict[str, Any]]:
    """[`face` with `count` and `boxes` ([left, top, width, height], pixels of the upright image)], or nothing.

    `scale` is the image's width over that of `grey`. Confidence goes with the cascade's weight, from 0.5 at the least
    that counts to 1 at what hardly any face exceeds: an order, not a probability.
    """
    import cv2
    import numpy

    small = grey.copy()
    small.thumbnail((_FACE_SIDE, _FACE_SIDE))
    if min(small.size) < _FACE_SMALLEST:
        return []
    scale *= grey.width / small.width
    found, _levels, weights = _cascade().detectMultiScale3(
        cv2.equalizeHist(numpy.asarray(small)),
        scaleFactor=1.1,
        minNeighbors=5,
        minSize=(_FACE_SMALLEST, _FACE_SMALLEST),
        outputRejectLevels=True,
    )
    faces = [
        (float(weight), [round(float(side) * scale) for side in box])
        for box, weight in zip(found, numpy.ravel(weights))  # noqa: B905 (3.9)
        if weight >= _FACE_WEIGHT
    ]
    if not faces:
        return []
    faces.sort(reverse=True)
    confidence = round(min(1.0, 0.5 + (faces[0][0] - _FACE_WEIGHT) / 4), 2)
    return [
        {
            "name": "face",
            "role": "detected",
            "source": "detected",
            "confidence": confidence,
            "count": len(faces),
            "boxes": [box for _weight, box in faces],
        }
    ]


def _cascade() -> Any:
    """OpenCV's cascade for frontal faces, one for each thread (it keeps what it works on)."""
    import cv2
    import cv2.data

    cascade = getattr(_cascades, "face", None)
    if cascade is None:
        cv2.setNumThreads(1)  # a worker has a process for each core already
        cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_alt2.xml")
        _cascades.face = cascade
    return cascade
