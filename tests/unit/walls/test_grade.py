# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Grades of findings, as SSL Labs' guide has them."""

from __future__ import annotations

import json

import pytest
from grade import Finding, findings, rate

GOOD = {
    "SSLv2": ("OK", "not offered"),
    "SSLv3": ("OK", "not offered"),
    "TLS1": ("INFO", "not offered"),
    "TLS1_1": ("INFO", "not offered"),
    "TLS1_2": ("OK", "offered"),
    "TLS1_3": ("OK", "offered with final"),
    "PFS": ("OK", "offered"),
    "cert_keySize": ("OK", "EC 256 bits"),
    "cert_chain_of_trust": ("OK", "passed."),
    "cert_trust": ("OK", "Ok via SAN (SNI mandatory)"),
    "cert_revocation": ("HIGH", "Neither CRL nor OCSP URI provided"),
    "HSTS": ("OK", "offered"),
    "cipher_x1302": ("OK", "x1302   TLS_AES_256_GCM_SHA384   ECDH 253   AESGCM   256   TLS_AES_256_GCM_SHA384"),
    "cipher_xc02f": ("OK", "xc02f   ECDHE-X   ECDH 256   AESGCM   128   TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
}


def rated(**changed: tuple[str, str]):
    return rate([Finding(name, severity, text) for name, (severity, text) in {**GOOD, **changed}.items()])


def test_a_good_server():
    rating = rated()
    assert (rating.grade, rating.score, rating.reasons) == ("A+", 0.3 * 100 + 0.3 * 90 + 0.4 * 90, [])


@pytest.mark.parametrize(
    ("changed", "grade"),
    [
        ({"HSTS": ("LOW", "not offered")}, "A+"),
        ({"HSTS": ("MEDIUM", "not offered")}, "A"),
        ({"TLS1_3": ("MEDIUM", "not offered")}, "A-"),
        ({"TLS1_1": ("LOW", "offered (deprecated)")}, "B"),
        ({"PFS": ("MEDIUM", "not offered")}, "B"),
        ({"RC4": ("HIGH", "VULNERABLE")}, "C"),
        ({"SSLv2": ("CRITICAL", "offered")}, "F"),
        ({"heartbleed": ("CRITICAL", "VULNERABLE")}, "F"),
        ({"something_new": ("HIGH", "bad")}, "C"),
        ({"cert_chain_of_trust": ("CRITICAL", "failed (self signed CA in chain)")}, "T"),
        ({"cert_trust": ("HIGH", "certificate does not match supplied URI")}, "M"),
    ],
)
def test_what_is_weak_caps_the_grade(changed, grade):
    rating = rated(**changed)
    assert rating.grade == grade
    assert bool(rating.reasons) == (grade != "A+")


def test_a_weak_key_lowers_the_score():
    assert rated(cert_keySize=("HIGH", "RSA 1024 bits")).score == pytest.approx(0.3 * 100 + 0.3 * 80 + 0.4 * 90)


def test_a_run_that_reached_nothing_is_no_grade():
    with pytest.raises(ValueError, match="did it reach"):
        rate([Finding("scanProblem", "FATAL", "no connection")])


def test_findings_of_several_certificates_have_one_name():
    report = json.dumps([{"id": "cert_keySize <hostCert#1>", "severity": "OK", "finding": "RSA 4096 bits "}])
    assert findings(report) == [Finding("cert_keySize", "OK", "RSA 4096 bits")]
