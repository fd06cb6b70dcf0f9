# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steady clients of a lake that keep a record of what was acknowledged to them, and the check of what became of it."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

PAUSE = 0.3  # seconds between two files of a client
TIMEOUT = 20.0  # seconds after which a client gives an attempt up
START = datetime(2021, 7, 22, tzinfo=UTC)


@dataclass
class Person:
    """A member of the lake's project, logged in once: the token outlives a run of the faults."""

    openrc: Path
    rc: dict[str, str] = field(init=False)
    token: str = field(init=False)
    project: str = field(init=False)

    def __post_init__(self) -> None:
        lines = (line.removeprefix("export ") for line in self.openrc.read_text().splitlines())
        self.rc = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
        given = {"username": "OS_USERNAME", "password": "OS_PASSWORD", "project": "OS_PROJECT_NAME"}
        body = {key: self.rc[name] for key, name in given.items()}
        answer = self.session().post(f"{self.rc['LAKE_API_URL']}/auth/token", json=body, timeout=TIMEOUT)
        answer.raise_for_status()
        self.token, self.project = answer.json()["token"], answer.json()["project"]["id"]

    def session(self) -> requests.Session:
        """A connection of its own."""
        session = requests.Session()
        session.trust_env = False
        session.verify = self.rc["OS_CACERT"]
        if hasattr(self, "token"):
            session.headers["X-Auth-Token"] = self.token
        return session

    def api(self, path: str) -> str:
        """Address of a resource of the REST API."""
        return self.rc["LAKE_API_URL"] + path

    def swift(self, path: str) -> str:
        """Address of a container or object in Swift."""
        return f"https://{urlsplit(self.rc['OS_AUTH_URL']).hostname}:8080/v1/AUTH_{self.project}{path}"


@dataclass(eq=False)
class Client:
    """Puts one small sensor file after the other until it is told to stop; each has one reading of its own."""

    person: Person
    door: str  # api or swift
    container: str
    name: str
    acknowledged: dict[str, tuple[str, str]] = field(default_factory=dict)  # key of the object → topic and time
    attempts: int = 0
    failures: int = 0
    stall: float = 0.0  # longest time between two acknowledgements, seconds

    def __post_init__(self) -> None:
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, name=self.name, daemon=True)

    def start(self) -> None:
        """Begin to put files."""
        self._thread.start()

    def stop(self) -> None:
        """Put no other file; the one under way ends first."""
        self._ending.set()

    def join(self) -> None:
        """Wait for the end."""
        self._thread.join()

    def _work(self) -> None:
        session, number, last = self.person.session(), 0, time.monotonic()
        while not self._ending.is_set():
            stamp = (START + timedelta(seconds=number)).strftime("%Y-%m-%dT%H:%M:%SZ")
            reading = {"topic": f"faults/{self.name}/x", "value": float(number), "value_units": "n", "subID": "f"}
            data = json.dumps({**reading, "unitID": "f", "time": stamp}).encode()
            self.attempts += 1
            try:
                key = self._put(session, f"{self.name}-{number}.json", data)
            except requests.RequestException:
                self.failures += 1  # not acknowledged: the same file again
                session = self.person.session()
                self._ending.wait(PAUSE)
                continue
            self.acknowledged[key] = (str(reading["topic"]), stamp)
            self.stall = max(self.stall, time.monotonic() - last)
            last, number = time.monotonic(), number + 1
            self._ending.wait(PAUSE)
        self.stall = max(self.stall, time.monotonic() - last)

    def _put(self, session: requests.Session, name: str, data: bytes) -> str:
        if self.door == "api":
            files = {"file": (name, data, "application/json")}
            address = self.person.api(f"/containers/{self.container}/objects")
            answer = session.post(address, files=files, timeout=TIMEOUT)
            answer.raise_for_status()
            return str(answer.json()["swift_object_id"])
        headers = {"Content-Type": "application/json"}
        answer = session.put(
            self.person.swift(f"/{self.container}/{name}"), data=data, headers=headers, timeout=TIMEOUT
        )
        answer.raise_for_status()
        return name


@dataclass
class Outcome:
    """What is wrong with the acknowledged objects; nothing where all is well."""

    missing: int = 0  # no document, or no successful operation
    failed: int = 0  # the document says that an operation failed, and none that it succeeded
    twice: int = 0  # more than one document of an object, or more than one point of a reading
    points: int = 0  # readings that are not in gold, or with another value

    @property
    def well(self) -> bool:
        """Whether every acknowledged object is in gold exactly once and its document says so."""
        return not (self.missing or self.failed or self.twice or self.points)


class Check:
    """Reads back, through the REST API, what clients were promised."""

    def __init__(self, person: Person) -> None:
        self.person = person
        self.session = person.session()

    def __call__(self, clients: list[Client]) -> Outcome:
        """How it stands now. Errors: requests.RequestException where the API does not answer."""
        outcome = Outcome()
        for container in sorted({client.container for client in clients}):
            documents: dict[str, list[dict[str, Any]]] = {}
            for document in self._items(f"/containers/{container}/objects"):
                for key in {document["swift_object_id"], document["swift_object_name"]}:
                    documents.setdefault(key, []).append(document)
            found: dict[tuple[str, str], list[float]] = {}
            for point in self._items(f"/containers/{container}/timeseries/points", measurement="n"):
                found.setdefault((point["topic"], point["time"]), []).append(point["value"])
            for client in (client for client in clients if client.container == container):
                for key, reading in client.acknowledged.items():
                    same = documents.get(key, [])
                    outcome.twice += len(same) > 1
                    if not any(document["successful_operations"] for document in same):
                        if any(document["failed_operations"] for document in same):
                            outcome.failed += 1
                        else:
                            outcome.missing += 1
                    values = found.get(reading, [])
                    outcome.twice += len(values) > 1
                    right = (datetime.fromisoformat(reading[1]) - START).total_seconds()
                    outcome.points += right not in values
        return outcome

    def _items(self, path: str, **query: str) -> list[Any]:
        found: list[Any] = []
        while True:
            answer = self.session.get(self.person.api(path), params={**query, "limit": "1000"}, timeout=60)
            if answer.status_code == 404:  # nothing of this container has come through yet
                return found
            answer.raise_for_status()
            found += answer.json()["items"]
            if not answer.json()["next"]:
                return found
            query["cursor"] = answer.json()["next"]
