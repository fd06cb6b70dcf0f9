# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`swift-rings`: makes Swift's rings agree with a declaration.

    swift-rings [--check] DIRECTORY < declaration.json

    {"part_power": 10, "replicas": 3, "min_part_hours": 1,
     "rings": {"account": 6202, "container": 6201, "object": 6200},
     "devices": [{"name": "d1", "ip": "10.0.0.1", "weight": 100, "region": 1, "zone": 1}, …]}

Every device is in every ring, at that ring's port. A device that is new is added; one with another weight gets it
(weight 0 empties it); one that is not declared any more is removed; the ring is rebalanced whenever that moves
something. Builders and rings are files of DIRECTORY. The answer on standard output is JSON: {"changed": bool,
"changes": [text, …]}. With --check nothing is written.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neocampus_lake.errors import InvalidInput, LakeError
from swift.common.exceptions import RingBuilderError
from swift.common.ring import RingBuilder
from swift.common.ring.utils import validate_device_name

_SEED = "neocampus"  # the same declaration and history give the same ring


@dataclass(frozen=True)
class Device:
    """A disk (or folder) of a storage host. Identified by address and name."""

    name: str
    ip: str
    weight: float
    region: int
    zone: int

    @property
    def key(self) -> tuple[str, str]:
        """What identifies it within a ring."""
        return self.ip, self.name

    def __str__(self) -> str:
        return f"{self.ip}/{self.name}"


@dataclass(frozen=True)
class Declaration:
    """What the rings must be. rings: name -> port."""

    part_power: int
    replicas: float
    min_part_hours: int
    rings: dict[str, int]
    devices: tuple[Device, ...]

    @classmethod
    def parse(cls, text: str) -> Declaration:
        """Errors: InvalidInput, saying what is wrong with which device."""
        try:
            raw = json.loads(text)
            devices = tuple(
                Device(str(one["name"]), str(one["ip"]), float(one["weight"]), int(one["region"]), int(one["zone"]))
                for one in raw["devices"]
            )
            self = cls(
                int(raw["part_power"]),
                float(raw["replicas"]),
                int(raw["min_part_hours"]),
                {str(name): int(port) for name, port in raw["rings"].items()},
                devices,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidInput(f"the declaration of the rings is not understood: {error!r}") from error
        for device in devices:
            if not validate_device_name(device.name) or "/" in device.name or device.weight < 0:
                raise InvalidInput(
                    f"device {device}: its name is that of a folder, its weight 0 or more (here: {device.weight:g})"
                )
        if len({device.key for device in devices}) < len(devices):
            raise InvalidInput("a device is declared twice")
        if sum(device.weight > 0 for device in devices) < self.replicas:
            raise InvalidInput(f"{self.replicas:g} replicas need as many devices that have a weight")
        return self


def apply(directory: Path, declaration: Declaration, *, check: bool = False) -> list[str]:
    """Make builders and rings in `directory` agree with the declaration. Returns what was changed (or would be).

    Nothing is written unless all rings can be made. Errors: InvalidInput, OSError.
    """
    changes: list[str] = []
    made = []
    for name, port in declaration.rings.items():
        builder, found = _agree(directory, name, port, declaration)
        changes += [f"{name}: {change}" for change in found]
        ring_file = directory / f"{name}.ring.gz"
        if not found and not ring_file.exists():
            found = ["its file is missing"]
            changes.append(f"{name}: its file is missing")
        if found:
            made.append((builder, ring_file, directory / f"{name}.builder"))
    if not check:
        for builder, ring_file, builder_file in made:
            _save(builder.save, builder_file)
            _save(builder.get_ring().save, ring_file)
    return changes


def _agree(directory: Path, name: str, port: int, declaration: Declaration) -> tuple[RingBuilder, list[str]]:
    """A builder that agrees with the declaration, and what that took."""
    changes: list[str] = []
    path = directory / f"{name}.builder"
    if path.exists():
        builder = RingBuilder.load(str(path))
        if builder.part_power != declaration.part_power:
            raise InvalidInput(
                f"ring {name} has the part power {builder.part_power}, declared is {declaration.part_power}: "
                "it can't be changed by a deployment (see swift-object-relinker)"
            )
    else:
        builder = RingBuilder(declaration.part_power, declaration.replicas, declaration.min_part_hours)
        changes.append("made")
    if builder.replicas != declaration.replicas:
        changes.append(f"replicas {builder.replicas:g} -> {declaration.replicas:g}")
        builder.set_replicas(declaration.replicas)
    place = bool(changes)
    if builder.min_part_hours != declaration.min_part_hours:
        changes.append(f"min_part_hours {builder.min_part_hours} -> {declaration.min_part_hours}")
        builder.change_min_part_hours(declaration.min_part_hours)

    there = {(dev["ip"], dev["device"]): dev for dev in builder.devs if dev is not None}
    declared = {device.key: device for device in declaration.devices}
    leaving = [dev for key, dev in there.items() if key not in declared]
    _refuse_loss(builder, name, leaving)
    for dev in leaving:
        changes.append(f"device {dev['ip']}/{dev['device']} removed")
        builder.remove_dev(dev["id"])
    for key, device in declared.items():
        if key in there:
            changes += _agree_device(builder, there[key], device, port)
        else:
            changes.append(f"device {device} added")
            builder.add_dev(_entry(device, port))
    if place or builder.devs_changed or _overdue(builder):
        moved, _balance, _removed = builder.rebalance(seed=_SEED)
        builder.validate()
        if moved:
            changes.append(f"{moved} partitions placed")
    return builder, changes


def _agree_device(builder: RingBuilder, dev: dict[str, Any], device: Device, port: int) -> list[str]:
    """Make a device that is in the builder what is declared. Returns what that took."""
    changes: list[str] = []
    setters = {"weight": builder.set_dev_weight, "region": builder.set_dev_region, "zone": builder.set_dev_zone}
    for item, setter in setters.items():
        wanted = getattr(device, item)
        if dev[item] != wanted:
            changes.append(f"device {device}: {item} {dev[item]:g} -> {wanted:g}")
            setter(dev["id"], wanted)
    if dev["port"] != port or dev["replication_port"] != port:
        changes.append(f"device {device}: port {dev['port']} -> {port}")
        dev["port"] = dev["replication_port"] = port
        builder.devs_changed = True
    return changes


def _entry(device: Device, port: int) -> dict[str, Any]:
    return {
        "region": device.region,
        "zone": device.zone,
        "ip": device.ip,
        "port": port,
        "replication_ip": device.ip,
        "replication_port": port,
        "device": device.name,
        "weight": device.weight,
        "meta": "",
    }


def _overdue(builder: RingBuilder) -> bool:
    """True where partitions had moved too recently to move again (min_part_hours) when a device came or was emptied,
    and may by now."""
    if builder.min_part_seconds_left > 0:
        return False
    share = builder.weight_of_one_part()
    return any(
        (dev["weight"] == 0 and dev["parts"]) or dev["parts"] < min(dev["weight"] * share, builder.parts) / 2
        for dev in builder.devs
        if dev
    )


def _refuse_loss(builder: RingBuilder, name: str, leaving: Sequence[dict[str, Any]]) -> None:
    """Errors: InvalidInput where every replica of a partition is on devices that are to be removed."""
    gone = {dev["id"] for dev in leaving}
    if not gone or not builder.ever_rebalanced:
        return
    lost = sum(all(dev["id"] in gone for dev in builder.get_part_devices(part)) for part in range(builder.parts))
    if lost:
        devices = ", ".join(f"{dev['ip']}/{dev['device']}" for dev in leaving)
        raise InvalidInput(
            f"ring {name}: {lost} partitions have all their replicas on {devices}. Give these devices the weight 0, "
            "let the replicators empty them (swift-recon), then remove them."
        )


def _save(save: Any, path: Path) -> None:
    """Replace a file at once: daemons read rings while they run."""
    part = path.with_name(f".{path.name}.part")
    save(str(part))
    os.chmod(part, 0o644)
    os.replace(part, path)


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="swift-rings", description="Makes Swift's rings agree with a declaration (JSON, standard input)."
    )
    parser.add_argument("--check", action="store_true", help="say what would change, write nothing")
    parser.add_argument("directory", type=Path, help="folder of builders and rings")
    arguments = parser.parse_args(argv)
    try:
        with redirect_stdout(sys.stderr):  # the library prints
            changes = apply(arguments.directory, Declaration.parse(sys.stdin.read()), check=arguments.check)
    except (LakeError, RingBuilderError, OSError) as error:
        print(f"swift-rings: {error}", file=sys.stderr)
        return 1
    print(json.dumps({"changed": bool(changes), "changes": changes}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
