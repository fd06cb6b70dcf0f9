# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Task logs over TLS: Airflow asks the workers' log servers for them by plain HTTP, and has no setting for that.

The log servers themselves are uvicorn's, which is given a certificate. What they are asked with verifies it by
``REQUESTS_CA_BUNDLE``.
"""

from __future__ import annotations

import copy
from typing import Any

from airflow.config_templates.airflow_local_settings import DEFAULT_LOGGING_CONFIG
from airflow.utils.log.file_task_handler import FileTaskHandler


class EncryptedTaskHandler(FileTaskHandler):
    """Airflow's own, but for the scheme by which a worker is asked."""

    def _get_log_retrieval_url(self, *given: Any, **named: Any) -> tuple[str | None, str | None]:
        url, path = super()._get_log_retrieval_url(*given, **named)
        return url and url.replace("http://", "https://", 1), path


LOGGING_CONFIG: dict[str, Any] = copy.deepcopy(DEFAULT_LOGGING_CONFIG)
"""Airflow's own, with that handler (``[logging] logging_config_class``)."""
LOGGING_CONFIG["handlers"]["task"]["class"] = "lake_airflow.logs.EncryptedTaskHandler"
