# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What schemathesis has to be told of: how bytes of a tus upload are sent. It runs this in its own environment."""

import schemathesis

schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")
