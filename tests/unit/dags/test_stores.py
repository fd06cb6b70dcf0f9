# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from lake_airflow import stores
from neocampus_lake.pipelines import SINKS

CONFIG = {
    "ca_file": "/etc/pki/lake/ca.crt",
    "influxdb": {"url": "https://gold1:8086", "username": "airflow", "password": "secret", "readers": ["api"]},
    "neo4j": {"url": "bolt://gold1:7687", "username": "airflow", "password": "secret"},
    "sql": {
        "engine": "mariadb",
        "host": "gold1",
        "port": 3306,
        "database": "gold",
        "username": "gold_airflow",
        "password": "secret",
        "readers": [],
        "spool": "/var/tmp",
    },
    "documents": {"host": ["data1:27017"], "replicaSet": "lake", "username": "gold_airflow", "password": "secret"},
}


class Objects:
    def put(self, *arguments):
        raise AssertionError("nothing is put")


def test_every_store_that_the_lake_has_is_a_sink_and_none_is_asked_yet():
    assert {sink.name for sink in stores.sinks(CONFIG, None, Objects())} == SINKS


def test_stores_that_the_lake_does_not_have_are_left_out():
    config = {**CONFIG, "neo4j": None, "sql": None, "documents": None}
    assert {sink.name for sink in stores.sinks(config, None, Objects())} == {"influxdb", "objects"}
