# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""The tutorial of docs/pipelines.md, done word for word on a deployed lake."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OPENRC = Path(os.environ.get("LAKE_OPENRC", "build/local/openrc"))
FOLDER = ROOT / "build/tutorial"


def test_the_tutorial_works(member, container):
    text = (ROOT / "docs/pipelines.md").read_text()
    environment = OPENRC.parent.name
    # Another lake than the local one, and a container that no earlier run left points in.
    for told, meant in (("build/local/", f"{OPENRC.parent}/"), ("inventories/local", f"inventories/{environment}")):
        text = text.replace(told, meant)
    text = text.replace("tutorial-rain", container)
    files = dict(re.findall(r"<!-- file: (\S+) -->\n```\w*\n(.*?)```\n", text, re.DOTALL))
    commands = re.findall(r"<!-- run -->\n```sh\n(.*?)```\n", text, re.DOTALL)
    assert len(files) == 5 and len(commands) == 6, "the tutorial has other parts than this test knows"
    shutil.rmtree(FOLDER, ignore_errors=True)
    for name, content in files.items():
        file = ROOT / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    *steps, remove = commands
    told = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(f"{step}\necho ==== END" for step in steps)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    try:
        assert told.returncode == 0, told.stdout[-3000:] + told.stderr[-3000:]
        _deployed, dry_run, inserted, points, replayed, _rest = told.stdout.split("==== END\n")
        assert '"pipeline":"RAIN_demo_gauges"' in dry_run and "rain_gauge:parse" in dry_run
        assert "3 points to influxdb; 1 rows left out" in inserted and '"version":"1"' in inserted
        assert points.count("campus/roof-1/rain") == 2 and points.count("campus/garden/rain") == 1
        assert '"objects":1' in replayed and '"dry_run":true' in replayed
        listed = member.items("/pipelines")
        assert [item["version"] for item in listed if item["name"] == "RAIN_demo_gauges"] == ["1"]
    finally:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f". .venv/bin/activate\n{remove}"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert [item for item in member.items("/pipelines") if item["name"] == "RAIN_demo_gauges"] == []
