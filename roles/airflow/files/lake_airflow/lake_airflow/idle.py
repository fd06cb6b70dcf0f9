# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait until no task runs, or waits for a worker.

For who has stopped the scheduler and is about to restart the rest: a task that was queued holds a token that was
signed then, and one that runs the passwords that were valid then.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

PAUSE = 1.0


def busy() -> list[str]:
    """Tasks that a worker has or is to get, as ``dag.task of run (state)``."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.settings import Session
    from airflow.utils.state import TaskInstanceState
    from sqlalchemy import select

    states = [TaskInstanceState.QUEUED, TaskInstanceState.RUNNING, TaskInstanceState.RESTARTING]
    columns = (TaskInstance.dag_id, TaskInstance.task_id, TaskInstance.run_id, TaskInstance.state)
    with Session() as session:
        rows = session.execute(select(*columns).where(TaskInstance.state.in_(states))).all()
    return sorted(f"{dag}.{task} of {run} ({state})" for dag, task, run, state in rows)


def wait(
    look: Callable[[], list[str]],
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> list[str]:
    """Until ``look`` finds nothing, ``seconds`` at most; what it found last."""
    end = clock() + seconds
    while (found := look()) and clock() < end:
        sleep(PAUSE)
    return found


def main() -> int:
    """Entry point of ``lake-airflow-idle``."""
    parser = argparse.ArgumentParser(prog="lake-airflow-idle", description="Wait until no task runs or is queued")
    parser.add_argument("--timeout", type=float, default=600, help="seconds to wait at most")
    given = parser.parse_args()
    from airflow import settings

    settings.initialize()
    found = wait(busy, given.timeout)
    for task in found:
        print(f"still under way after {given.timeout:g} s: {task}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
