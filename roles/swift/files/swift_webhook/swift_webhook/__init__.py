# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lake adds to a Swift node: webhook middleware, durable outbox, relay to Airflow, rings as declared
state."""
