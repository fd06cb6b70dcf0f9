# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""testssl.sh on the public ports of the edge, with the grade that its findings come to.

    python tests/walls/grade.py [--environment local] [--ports 443 5000 …] [--markdown FILE]

The grade is that of SSL Labs' "SSL Server Rating Guide" (2009r): a score of protocols, key and ciphers, and caps for
what is weak or missing. testssl.sh 3.2 gives one itself; Debian's 3.0 has the findings alone. The certificate is of the
lake's own authority: testssl.sh is told to trust that one, so that the chain and the name count as they do for who has
installed it. Exit status 1 where a port has less than an A.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from flows import ROOT, Table
from inside import CommandFailed, run

GRADES = "A+", "A", "A-", "B", "C", "D", "E", "F", "M", "T"
"""The best one first. M: the name is another; T: nobody trusts the certificate."""
PROTOCOLS = {"SSLv2": 0, "SSLv3": 80, "TLS1": 90, "TLS1_1": 95, "TLS1_2": 100, "TLS1_3": 100}
CAPS = {
    "SSLv2": "F",
    "heartbleed": "F",
    "CCS": "F",
    "ticketbleed": "F",
    "ROBOT": "F",
    "DROWN": "F",
    "POODLE_TLS": "F",
    "FREAK": "F",
    "secure_renego": "F",
    "cipherlist_NULL": "F",
    "cipherlist_aNULL": "F",
    "cipherlist_EXPORT": "F",
    "SSLv3": "C",
    "POODLE_SSL": "C",
    "CRIME_TLS": "C",
    "RC4": "C",
    "cipherlist_LOW": "C",
    "cipherlist_3DES_IDEA": "C",
    "TLS1": "B",
    "TLS1_1": "B",
    "LOGJAM": "B",
    "PFS": "B",
    "cert_signatureAlgorithm": "F",
    "TLS1_3": "A-",
    "fallback_SCSV": "A-",
    "secure_client_renego": "A-",
    "HSTS": "A",
    "HSTS_time": "A",
    "cert_expirationStatus": "T",
    "cert_chain_of_trust": "T",
    "cert_trust": "M",
}
"""Findings of testssl.sh, and the best grade that is left where one is not as it should be."""
FINE = ("OK", "INFO", "LOW")
WORSE = {"CRITICAL": "F", "HIGH": "C"}
"""The best grade that a finding of such severity leaves that CAPS does not name."""
PASSED_OVER = {
    "cert_revocation": "the lake's own authority publishes no list of revoked certificates",
    "DNS_CAArecord": "a name that is not in public DNS",
    "cipher_order": "all ciphers are strong ones, so that clients choose what is fastest for them (Mozilla's guide)",
}
"""Findings that say nothing of the server, or only of public authorities, and why."""
SECONDS = 600.0


@dataclass(frozen=True)
class Finding:
    """What testssl.sh says of one thing."""

    name: str
    severity: str
    text: str


@dataclass(frozen=True)
class Rating:
    """A grade, the score before caps, and what keeps it from being better."""

    grade: str
    score: float
    reasons: list[str]


def findings(report: str) -> list[Finding]:
    """From testssl.sh's flat JSON. The name of a finding about a certificate has that one's number after it."""
    return [
        Finding(re.split(r"[ <]", item["id"])[0], item["severity"], item["finding"].strip())
        for item in json.loads(report)
    ]


def _key(found: Sequence[Finding]) -> int:
    """Score of the weakest key: of certificates, in bits of RSA that are as strong, and of Diffie-Hellman groups."""
    scores = []
    for finding in found:
        size = re.search(r"(RSA|EC|DSA|EdDSA|DH|ECDSA) ?(\d+)", finding.text)
        if finding.name in ("cert_keySize", "DH_groups") and size:
            bits = int(size[2]) * (12 if size[1].startswith("E") else 1)
            scores.append(next(score for least, score in LEAST if bits >= least))
    return min(scores, default=0)


LEAST = ((4096, 100), (2048, 90), (1024, 80), (512, 40), (0, 20))
"""Bits of an RSA key, and what they score. A key on an elliptic curve of 256 bits is as strong as one of 3072."""


def _cipher_bits(found: Sequence[Finding]) -> list[int]:
    texts = (finding.text for finding in found if re.match(r"cipher[-_](x|TLS|tls)", finding.name))
    return [int(match[1]) for match in (re.search(r"\s(\d{2,3})\s+TLS_\w+\s*$", text) for text in texts) if match]


def rate(found: Sequence[Finding]) -> Rating:
    """The grade that findings come to. Errors: ValueError where they are not those of a whole run."""
    offered = [
        score
        for name, score in PROTOCOLS.items()
        if any(one.name == name and one.text.startswith("offered") for one in found)
    ]
    ciphers = [0 if not bits else 20 if bits < 128 else 80 if bits < 256 else 100 for bits in _cipher_bits(found)]
    if not offered or not ciphers or not _key(found):
        raise ValueError("testssl.sh found no protocol, cipher or key: did it reach the server?")
    score = 0.3 * _middle(offered) + 0.3 * _key(found) + 0.4 * _middle(ciphers)
    grade = next(
        letter for least, letter in ((80, "A+"), (65, "B"), (50, "C"), (35, "D"), (20, "E"), (0, "F")) if score >= least
    )
    reasons = []
    for finding in found:
        cap = cap_of(finding)
        if cap is not None:
            reasons.append(f"{finding.name} ({finding.severity}): {finding.text}: {cap} at best")
            grade = max(grade, cap, key=GRADES.index)
    return Rating(grade, score, reasons)


def cap_of(finding: Finding) -> str | None:
    """The best grade that a finding leaves; None where it leaves all."""
    if finding.severity in FINE or finding.name in PASSED_OVER:
        if finding.name in ("TLS1", "TLS1_1", "SSLv2", "SSLv3") and finding.text.startswith("offered"):
            return CAPS[finding.name]
        return None
    if finding.name in CAPS:
        return CAPS[finding.name]
    return WORSE.get(finding.severity)


def _middle(scores: Iterable[float]) -> float:
    values = list(scores)
    return (max(values) + min(values)) / 2


def program() -> str:
    """testssl.sh. Errors: CommandFailed where it isn't installed."""
    found = shutil.which("testssl.sh") or shutil.which("testssl")
    if found is None:
        raise CommandFailed("testssl.sh is not on this machine: tools/scanners installs it")
    return found


def examine(address: str, name: str, port: int, ca: Path) -> list[Finding]:
    """What testssl.sh finds at a port. Errors: CommandFailed."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [program(), "--quiet", "--color", "0", "--warnings", "batch", "--add-ca", str(ca), "--ip", address]
        command += ["--jsonfile", str(report), f"{name}:{port}"]
        # Its exit status counts what it found; the report tells what that is.
        run(["sh", "-c", '"$@" || [ -s "$0" ]', str(report), *command], SECONDS)
        return findings(report.read_text())


def markdown(rated: Sequence[tuple[str, int, Rating]]) -> str:
    """A row for each port, and what keeps a grade from being better."""
    lines = ["| port | what | score | grade |", "|---|---|---|---|"]
    lines += [f"| {port} | {what} | {rating.score:.0f} | {rating.grade} |" for what, port, rating in rated]
    lines += ["", *(f"{port}: {reason}" for _what, port, rating in rated for reason in rating.reasons)]
    return "\n".join(lines).rstrip()


def main() -> int:
    """Examine, print the table; 1 where a grade is less than A."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", choices=["local", "test"], default="local")
    parser.add_argument("--ports", nargs="+", type=int, help="some of the public ones")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there too")
    arguments = parser.parse_args()
    table, ca = Table.of(arguments.environment), ROOT / "build" / arguments.environment / "pki/ca.crt"
    public = {
        port: flow for flow in table.flows if flow.sources == "any" and flow.proto == "tcp" for port in flow.ports
    }
    rated = []
    try:
        for port in arguments.ports or sorted(public):
            node = min(public[port].targets)
            name = f"{node}.{public[port].network}.{table.domain}"
            rating = rate(examine(table.addresses[node][public[port].network], name, port, ca))
            print(f"== {port} ({public[port].name}): {rating.grade}", flush=True)
            rated.append((public[port].name, port, rating))
    except CommandFailed as error:
        print(f"FAILED: {error}")
        return 1
    text = markdown(rated)
    print(f"\n{text}")
    if arguments.markdown:
        arguments.markdown.parent.mkdir(parents=True, exist_ok=True)
        arguments.markdown.write_text(text + "\n")
    return 0 if all(rating.grade in ("A+", "A") for _what, _port, rating in rated) else 1


if __name__ == "__main__":
    sys.exit(main())
