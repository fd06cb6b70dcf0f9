# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The name under which Airflow's other hosts find this one."""

from __future__ import annotations

from airflow.configuration import conf


def hostname() -> str:
    """This host's name on the process network (``[lake] hostname``), where its log server listens."""
    return conf.get("lake", "hostname")
