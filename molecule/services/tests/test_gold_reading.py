# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""What objects became, read through the edge: a table, documents, images and their graph; another project sees none."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import shlex
import time
import uuid

import pytest
from PIL import Image

CA = "/etc/pki/lake/ca.crt"
TABLE = "name,floor,area,opened\nlab é,3,21.50,2021-07-22\nhall,0,,2020-02-29\nattic,4,9.25,\n"
DOCUMENTS = [
    {"room": "302", "sensors": [{"kind": "lux"}], "big": 9007199254740993},
    {"room": "303", "lake": "a field of its own", "_id": 5},
    {"room": "302", "floor": 3},
]


def picture(side: int) -> bytes:
    """A JPEG with low frequencies of its own, the same at every size."""
    image = Image.new("RGB", (side, side))
    pixels = [
        tuple(int(127 + 120 * math.sin(a * x / side + b * y / side)) for a, b in ((9, 2), (3, 7), (5, 11)))
        for y in range(side)
        for x in range(side)
    ]
    image.putdata(pixels)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=90)
    return out.getvalue()


@pytest.fixture(scope="module")
def container():
    return f"gold-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def read(call, token, container):
    """read(path) -> what the API answers of the container's gold."""

    def _read(path: str) -> dict:
        status, body = call(f"/api/v1/containers/{container}/{path}", token=token)
        assert status == 200, body
        return body

    return _read


@pytest.fixture(scope="module")
def put(edge, call, token, container):
    """put(name, content, type, metadata) -> id of an object that was processed well."""

    def _put(name: str, content: bytes, kind: str, metadata: dict | None = None) -> str:
        edge.check_output("printf %%s %s | base64 -d > /run/gold-sample", base64.b64encode(content).decode())
        here = f"/api/v1/containers/{container}/objects"
        form = ["-F", f"metadata={json.dumps(metadata or {})};type=application/json"]
        file = ["-F", f"file=@/run/gold-sample;filename={name};type={kind}"]
        status, body = call(here, *form, *file, token=token)
        assert status == 201, body
        end = time.monotonic() + 180
        while True:
            status, document = call(f"{here}/{body['swift_object_id']}", token=token)
            assert not document["failed_operations"], document["failed_operations"]
            if document["successful_operations"]:
                return document["swift_object_id"]
            assert time.monotonic() < end, "it was not processed in time"
            time.sleep(1)

    return _put


@pytest.fixture(scope="module")
def table(put):
    return put("rooms.csv", TABLE.encode(), "text/csv")


@pytest.fixture(scope="module")
def documents(put):
    return put("sensors.json", json.dumps(DOCUMENTS).encode(), "application/json")


@pytest.fixture(scope="module")
def images(put):
    """Two of one picture, the second one smaller."""
    shown = {"other_data": {"image_content": {"main_object": ["Cat"], "secondary_object": ["tree"]}}}
    first = put("large.jpg", picture(320), "image/jpeg", shown)
    return first, put(
        "small.jpg", picture(200), "image/jpeg", {"other_data": {"image_content": {"main_object": ["Cat"]}}}
    )


@pytest.fixture(scope="module")
def download(edge, address, token, container):
    """download(path) -> status and headers; the content is in /run/gold-download of the edge."""

    def _download(path: str) -> tuple[str, str]:
        url = f"https://{address}/api/v1/containers/{container}/{path}"
        form = "%{http_code} %{content_type}"
        ask = ["curl", "-sS", "--cacert", CA, "-H", f"X-Auth-Token: {token}", "-o", "/run/gold-download", "-w", form]
        status, _, kind = edge.check_output(shlex.join([*ask, url])).partition(" ")
        return status, kind

    return _download


def test_a_table_and_its_rows(read, table):
    [name] = read("tables")["items"]
    told = read(f"tables/{name}")
    assert (told["rows"], told["objects"]) == (3, 1)
    assert {column["column"]: column["type"] for column in told["columns"]} == {
        "name": "text",
        "floor": "integer",
        "area": "number",
        "opened": "date",
    }
    rows = read(f"tables/{name}/rows?origin=true&limit=2")
    assert rows["items"][0] == {
        "name": "lab é",
        "floor": 3,
        "area": 21.5,
        "opened": "2021-07-22",
        "lake_origin": {**rows["items"][0]["lake_origin"], "object": table, "row": 1, "line": 2},
    }
    further = read(f"tables/{name}/rows?origin=true&limit=2&cursor={rows['next']}")
    assert [row["name"] for row in further["items"]] == ["attic"] and further["next"] is None
    chosen = read(f"tables/{name}/rows?object={table}&columns=name&where=floor:ge:1&where=opened:null:true")
    assert chosen["items"] == [{"name": "attic"}]


def test_documents(read, documents):
    first = read("documents?limit=2")
    assert [one["room"] for one in first["items"]] == ["302", "303"]
    assert first["items"][0]["big"] == 9007199254740993
    assert first["items"][1]["_id"] == 5 and first["items"][1]["lake"]["value"] == "a field of its own"
    [last] = read(f"documents?limit=2&cursor={first['next']}")["items"]
    assert last["lake"]["id"] == f"{documents}-2" and read(f"documents/{documents}-2") == last
    where = "where=room:eq:%22302%22&where=floor:null:true"
    assert [one["lake"]["number"] for one in read(f"documents?{where}")["items"]] == [0]


def test_images_and_their_files(edge, read, images, download):
    [document] = read(f"documents?object={images[0]}")["items"]
    assert (document["width"], document["format"]) == (320, "JPEG")
    files = {one["name"]: one for one in read(f"files?object={images[0]}")["items"]}
    assert files["image"]["sha256"] == hashlib.sha256(picture(320)).hexdigest()
    for path, name in (
        (f"documents/{images[0]}-0/data", "image"),
        (f"documents/{images[0]}-0/data?file=thumbnail", "thumbnail"),
        (f"files/{images[0]}/thumbnail", "thumbnail"),
    ):
        assert download(path) == ("200", "image/jpeg")
        assert edge.check_output("sha256sum /run/gold-download").split()[0] == files[name]["sha256"]


def test_the_graph_of_images(read, images):
    first, second = images
    assert read("graph/objects")["items"] == [{"name": "cat", "images": 2}, {"name": "tree", "images": 1}]
    assert {one["object_id"] for one in read("graph/images?object=cat")["items"]} == set(images)
    known = read(f"graph/images/{first}")
    assert [one["name"] for one in known["objects"]] == ["cat", "tree"]
    assert (known["width"], known["similar"]) == (320, 1) and len(known["descriptors"]["phash"]) == 16
    assert known["tags"]["image_content"]["secondary_object"] == ["tree"]
    [near] = read(f"graph/images/{first}/similar")["items"]
    assert near["object_id"] == second and near["distance"] <= 10 and 0 <= near["score"] <= 1


def test_what_an_object_became_is_linked(call, token, read, table, documents, images):
    for object_id, stores in ((table, {"sql"}), (documents, {"mongodb"}), (images[0], {"mongodb", "neo4j"})):
        items = read(f"objects/{object_id}/gold")["items"]
        assert {item["store"] for item in items} == stores
        for link in (link for item in items for link in item["links"]):
            assert call(link, token=token)[0] == 200, link
    [item] = read(f"objects/{table}/gold")["items"]
    assert item["counts"]["rows"] == 3


def test_another_project_sees_nothing(call, log_in, read, container, table, documents, images):
    status, body = log_in("guest", "guests")
    assert status == 201, body
    [name] = read("tables")["items"]
    for path in (
        "tables",
        f"tables/{name}",
        f"tables/{name}/rows",
        "documents",
        f"documents/{documents}-0",
        f"documents/{images[0]}-0/data",
        "files",
        f"files/{images[0]}/image",
        "graph/objects",
        "graph/images?object=cat",
        f"graph/images/{images[0]}",
        f"graph/images/{images[0]}/similar",
        f"objects/{table}/gold",
    ):
        status, here = call(f"/api/v1/containers/{container}/{path}", token=body["token"])
        assert (status, here["error"]["code"]) == (404, "not_found")
        _status, nowhere = call(f"/api/v1/containers/{container}x/{path}", token=body["token"])
        assert nowhere["error"]["message"].replace(f"{container}x", container) == here["error"]["message"]
        assert call(f"/api/v1/containers/{container}/{path}")[0] == 401
