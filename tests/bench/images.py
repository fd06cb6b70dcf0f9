# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of the parser of images: images a second, memory, near-duplicates and faces that are found. Needs no lake.

    python tests/bench/images.py [FOLDER …]

The pictures are the samples that come with scikit-image, and those of the folders.
"""

from __future__ import annotations

import io
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit"))
__import__("conftest")  # makes the library importable


def _peak() -> int:
    """Megabytes that this process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def pictures(folders: list[str]) -> dict[str, Any]:
    """The sample pictures by name, at most 1024 pixels a side."""
    import skimage
    from PIL import Image

    found = {}
    for folder in [Path(skimage.__file__).parent / "data", *map(Path, folders)]:
        for file in sorted(folder.rglob("*")):
            if file.suffix in (".png", ".jpg", ".webp"):
                with Image.open(file) as image:
                    small = image.convert("RGB")
                    small.thumbnail((1024, 1024))
                    found[file.name] = small
    return found


def changes() -> dict[str, Callable[[Any], Any]]:
    """What is done to a picture that has to be found again."""
    from PIL import Image, ImageEnhance

    def jpeg(image: Any) -> Any:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=30)
        return Image.open(io.BytesIO(buffer.getvalue()))

    def crop(image: Any) -> Any:
        across, down = image.width // 40, image.height // 40
        return image.crop((across, down, image.width - across, image.height - down))

    return {
        "half the size": lambda image: image.resize((max(1, image.width // 2), max(1, image.height // 2))),
        "JPEG of quality 30": jpeg,
        "5 % cropped": crop,
        "30 % brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
        "30 % darker": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
        "turned by 90°": lambda image: image.rotate(90, expand=True),
        "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    }


def near_duplicates(found: dict[str, Any]) -> None:
    """Print how many changed pictures are found again, and which others are taken for one."""
    import numpy
    from neocampus_lake.descriptors import THRESHOLD, distance, perceptual_hash

    def hashed(image: Any) -> int | None:
        made: int | None = perceptual_hash(numpy.asarray(image.convert("L")))
        return made

    hashes = {name: value for name, image in found.items() if (value := hashed(image)) is not None}
    print(f"{len(found)} pictures, {len(found) - len(hashes)} too plain for a hash; at most {THRESHOLD} bits")
    for what, change in changes().items():
        apart = [
            64 if (other := hashed(change(found[name]))) is None else distance(value, other)
            for name, value in hashes.items()
        ]
        again = sum(bits <= THRESHOLD for bits in apart)
        print(f"  {what}: {again / len(apart):.0%} found again, median of bits {statistics.median(apart)}")
    names = sorted(hashes)
    pairs = [(distance(hashes[a], hashes[b]), a, b) for number, a in enumerate(names) for b in names[number + 1 :]]
    print(
        f"  of {len(pairs)} pairs of different files taken for near-duplicates:",
        [pair for pair in pairs if pair[0] <= THRESHOLD],
    )


def faces(found: dict[str, Any]) -> None:
    """Print in which pictures faces are seen, and in how many of the labelled ones."""
    import numpy
    from neocampus_lake.parsers.image import parse
    from PIL import Image
    from skimage import data

    labelled: Any = data

    def seen(image: Any) -> bool:
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        facts: Any = next(iter(parse(io.BytesIO(buffer.getvalue()), {})))
        return bool(facts.value["objects"])

    counts = [0, 0]
    for number, pixels in enumerate(labelled.lfw_subset()):
        page = Image.new("L", (180, 180), 128)
        page.paste(
            Image.fromarray((pixels * 255).astype(numpy.uint8)).resize((100, 100), Image.Resampling.BICUBIC), (40, 40)
        )
        counts[number >= 100] += seen(page)
    print(f"faces: in {counts[0]} of 100 with one, in {counts[1]} of 100 without")
    print(f"  in the pictures: {[name for name, image in found.items() if seen(image)]}")


def speed(found: dict[str, Any]) -> None:
    """Print images a second, of a JPEG of one megapixel."""
    from neocampus_lake.parsers.image import parse

    buffer = io.BytesIO()
    found["astronaut.png"].resize((1000, 1000)).save(buffer, "JPEG", quality=90)
    data = buffer.getvalue()
    for detect in (True, False):
        list(parse(io.BytesIO(data), {"detect": detect}))
        begun, count = time.process_time(), 30
        for _ in range(count):
            list(parse(io.BytesIO(data), {"detect": detect}))
        rate = count / (time.process_time() - begun)
        print(
            f"JPEG, 1 megapixel, {len(data)} bytes, faces looked for: {detect}:",
            f"{rate:.1f} images/s and core, {_peak()} MB",
        )


def main() -> None:
    """Print all figures."""
    found = pictures(sys.argv[1:])
    speed(found)
    near_duplicates(found)
    faces(found)


if __name__ == "__main__":
    main()
