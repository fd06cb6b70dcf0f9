// SPDX-License-Identifier: GPL-3.0-or-later
// SPDX-FileCopyrightText: neOCampus data lake contributors
SwaggerUIBundle({ url: "/api/v1/openapi.json", dom_id: "#api", deepLinking: true, validatorUrl: null });
