# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fuzzes the parser of images: changed, cut and joined files of every format. It either understands a file or refuses
it with ParseError, within bounded time and memory.

    python tests/fuzz/image.py [--seconds 60] [--seed 1]

The unit tests run a short, always equal piece of it.
"""

from __future__ import annotations

import argparse
import io
import random
import resource
import sys
import time
from pathlib import Path

MAX_SECONDS = 10.0
MAX_PIXELS = 2_000_000
MAX_MEGABYTES = 800
"""Of the whole process, libraries included, with MAX_PIXELS."""


def seeds() -> list[bytes]:
    """Small files of every format, mode and sort of metadata that the parser knows."""
    from PIL import Image

    picture = Image.radial_gradient("L").resize((48, 40))
    colour = Image.merge("RGB", (picture, picture.rotate(90), picture.rotate(180)))
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "Camera"
    exif.get_ifd(0x8769).update({0x9003: "2024:02:29 12:00:00", 0x9011: "+02:00", 0x829A: 0.01})
    exif.get_ifd(0x8825).update({1: "N", 2: (43.0, 33.0, 40.0), 3: "E", 4: (1.0, 28.0, 2.0), 5: b"\0", 6: 150.0})
    made = []

    def save(image: Image.Image, kind: str, **options: object) -> None:
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        made.append(buffer.getvalue())

    save(colour, "JPEG", exif=exif)
    save(colour, "JPEG", progressive=True)
    save(colour.convert("CMYK"), "JPEG")
    save(colour, "PNG", exif=exif)
    save(colour.convert("RGBA"), "PNG")
    save(colour.convert("P"), "PNG", transparency=0)
    save(picture.convert("I;16"), "PNG")
    save(colour, "PNG", save_all=True, append_images=[colour.rotate(90)])
    save(colour, "WEBP", exif=exif)
    save(colour.convert("RGBA"), "WEBP", lossless=True)
    save(colour, "GIF", save_all=True, append_images=[colour.rotate(90), picture])
    save(picture.convert("F"), "TIFF")
    save(colour, "TIFF", compression="tiff_lzw")
    save(picture, "TIFF", save_all=True, append_images=[picture])
    return made


def mutate(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """The file with some of it changed, cut, repeated, or replaced by another one's."""
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 8)):
        place = rng.randrange(len(changed) + 1)
        what = rng.randrange(6)
        if what == 0 and changed:
            changed[place % len(changed)] = rng.randrange(256)
        elif what == 1 and changed:
            changed[place % len(changed)] ^= 1 << rng.randrange(8)
        elif what == 2:
            changed[place : place + 4] = rng.choice(
                [b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\x80\0\0\0"]
            )
        elif what == 3:
            del changed[place : place + rng.randrange(1, 64)]
        elif what == 4:
            changed[place:place] = changed[place : place + rng.randrange(1, 64)] * rng.randrange(1, 4)
        else:
            other = rng.choice(others)
            start = rng.randrange(len(other))
            changed[place : place + 32] = other[start : start + 32]
    if rng.random() < 0.1:
        del changed[rng.randrange(len(changed) + 1) :]
    return bytes(changed)


def _peak() -> int:
    """Megabytes that this process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def fuzz(count: int | None, seconds: float, seed: int) -> tuple[int, int]:
    """Tries `count` files (None: as many as the seconds allow); how many were tried and how many were understood.

    AssertionError, with the file in hexadecimal: something else than records or ParseError came out, or it took too
    long or too much memory.
    """
    from neocampus_lake.errors import ParseError
    from neocampus_lake.parsers.image import parse
    from neocampus_lake.parsers.report import Options

    rng = random.Random(seed)
    files = seeds()
    end, tried, understood = time.monotonic() + seconds, 0, 0
    allowed = max(MAX_MEGABYTES, _peak())  # what came before in this process is not this parser's
    while tried != count and time.monotonic() < end:
        data = mutate(rng.choice(files), files, rng)
        tried += 1
        begun = time.process_time()
        try:
            understood += len(list(parse(io.BytesIO(data), Options(max_pixels=MAX_PIXELS)))) > 0
        except ParseError:
            pass
        except BaseException as error:
            raise AssertionError(f"{type(error).__name__}: {error}; file {data.hex()}") from error
        took = time.process_time() - begun
        if took > MAX_SECONDS:
            raise AssertionError(f"{took:.1f} s; file {data.hex()}")
        if _peak() > allowed:
            raise AssertionError(f"{_peak()} MB; file {data.hex()}")
    return tried, understood


def main() -> None:
    """Fuzz for the time that the arguments say."""
    parser = argparse.ArgumentParser(description="Fuzz the parser of images.")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    arguments = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit"))
    __import__("conftest")  # makes the library importable
    print(f"seed {arguments.seed}")
    tried, understood = fuzz(None, arguments.seconds, arguments.seed)
    print(f"{tried} files, {understood} understood, the others refused")


if __name__ == "__main__":
    main()
