# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from swift.common.swob import Request, Response
from swift_webhook.tls import filter_factory


def test_addresses_that_swift_makes_are_those_that_clients_use():
    app = filter_factory({})(lambda env, start: Response(body=Request(env).host_url)(env, start))
    answer = Request.blank("/v1/AUTH_p1/c", headers={"Host": "lake.test:8080"}).get_response(app)
    assert answer.body == b"https://lake.test:8080"
