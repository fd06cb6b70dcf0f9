# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the fuzz targets share: a run by atheris, and a short one of random changes that needs nothing but Python.

A target is a function of bytes that may raise nothing but a LakeError (which it catches itself).
"""

from __future__ import annotations

import importlib.util
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

LIBRARY = (
    Path(__file__).resolve().parents[2] / "collections/ansible_collections/neocampus/datalake/plugins/module_utils/lake"
)
SECONDS = 20
"""How long one input may take: what takes longer hangs."""
_WORDS = [b"\x00", b"\xff", b'"', b"\n", b"\r", b",", b";", b"\t", b"<", b">", b"&", b"/", b"=", b"-"]
_WORDS += [b"1e999", b"99999999"]


def use_library() -> None:
    """Makes the library importable as `neocampus_lake`, from this tree, where it is not."""
    if "neocampus_lake" in sys.modules or importlib.util.find_spec("neocampus_lake"):
        return
    spec = importlib.util.spec_from_file_location(
        "neocampus_lake", LIBRARY / "__init__.py", submodule_search_locations=[str(LIBRARY)]
    )
    package = importlib.util.module_from_spec(spec)
    sys.modules["neocampus_lake"] = package
    spec.loader.exec_module(package)


def changed(seeds: Sequence[bytes], count: int, seed: int = 1) -> Iterator[bytes]:
    """`count` inputs that were made of `seeds` by a few random changes; the same for the same `seed`."""
    dice = random.Random(seed)
    for _ in range(count):
        data = bytearray(dice.choice(seeds))
        for _ in range(dice.randint(1, 8)):
            at = dice.randint(0, len(data))
            size = min(dice.choice((1, 1, 2, 8, 64)), len(data) - at)
            what = dice.randrange(6)
            if what == 0:
                data[at : at + size] = dice.randbytes(size)
            elif what == 1:
                del data[at : at + size]
            elif what == 2:
                data[at:at] = dice.choice(_WORDS)
            elif what == 3:
                data[at:at] = data[at : at + size] * dice.randint(1, 20)
            elif what == 4:
                other = dice.choice(seeds)
                start = dice.randint(0, len(other))
                data[at : at + size] = other[start : start + dice.choice((4, 64, 512))]
            else:
                del data[dice.randint(at, len(data)) :]
        yield bytes(data)


def try_all(target: Callable[[bytes], None], inputs: Sequence[bytes] | Iterator[bytes]) -> int:
    """Runs a target on each input; how many. AssertionError: one took too long. What a target raises goes on, with the
    input in a note."""
    count = 0
    for data in inputs:
        start = time.process_time()
        try:
            target(data)
        except BaseException as error:
            error.add_note(f"input: {data[:2000]!r}")
            raise
        took = time.process_time() - start
        assert took < SECONDS, f"{took:.0f} s for {data[:2000]!r}"
        count += 1
    return count


def fuzz(target: Callable[[bytes], None], seeds: Sequence[bytes], modules: Sequence[str]) -> None:
    """Lets atheris look for inputs that hurt, from `seeds` on; arguments are libFuzzer's (a folder of inputs, -runs=…).

    `modules` are those whose branches guide it: they are loaded here, for the first time.
    """
    import atheris

    with atheris.instrument_imports(include=list(modules)):
        for module in modules:
            importlib.import_module(module)
    corpus = next((Path(argument) for argument in sys.argv[1:] if not argument.startswith("-")), None)
    if corpus is not None:
        corpus.mkdir(parents=True, exist_ok=True)
        for number, data in enumerate(seeds):
            (corpus / f"seed-{number}").write_bytes(data)
    atheris.Setup([*sys.argv, "-rss_limit_mb=2048", f"-timeout={SECONDS}"], target)
    atheris.Fuzz()
