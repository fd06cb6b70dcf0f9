# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Swift's own functional tests, from its source distribution, against the deployed Swift with the webhook in it.

    python tests/swift_functional/run.py [--environment local] [--markdown FILE] [PYTEST ARGUMENT …]

The suite wipes the accounts that it is given: it gets projects, users and a domain of its own in Keystone, made for the
run and removed after it. Exit status 1 where a test fails.
"""

from __future__ import annotations

import argparse
import configparser
import hashlib
import json
import os
import re
import secrets
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import openstack
from openstack.identity.v3._proxy import Proxy as Identity

ROOT = Path(__file__).resolve().parent.parent.parent
LOCK = ROOT / "locks/tests-swift-functional.txt"
NAME = "swift-functional"
"""Name of the domain and role of its own, and the description by which all that is made for the run is known again."""
OTHERWISE = {
    "test/functional/s3api/test_bucket.py::TestS3ApiBucket::test_head_bucket_error": "no length",
    "test/functional/s3api/test_bucket.py::TestS3ApiBucketSigV4::test_head_bucket_error": "no length",
    "test/functional/s3api/test_multi_upload.py::TestS3ApiMultiUpload::"
    "test_mpu_copy_part_from_mpu_part_number_then_abort": "no length",
    "test/functional/s3api/test_multi_upload.py::TestS3ApiMultiUpload::"
    "test_mpu_copy_part_from_range_then_abort": "no length",
    "test/functional/s3api/test_multi_upload.py::TestS3ApiMultiUpload::test_object_multi_upload": "no length",
    "test/functional/s3api/test_multi_upload.py::TestS3ApiMultiUploadSigV4::"
    "test_mpu_copy_part_from_mpu_part_number_then_abort": "no length",
    "test/functional/s3api/test_multi_upload.py::TestS3ApiMultiUploadSigV4::"
    "test_mpu_copy_part_from_range_then_abort": "no length",
    "test/functional/s3api/test_multi_upload.py::TestS3ApiMultiUploadSigV4::test_object_multi_upload": "no length",
    "test/functional/s3api/test_object.py::TestS3ApiObject::test_put_object_weird_metadata": "names",
    "test/functional/s3api/test_object.py::TestS3ApiObjectSigV4::test_put_object_weird_metadata": "names",
    "test/functional/test_account.py::TestAccount::test_GET_HEAD_content_type": "no length",
    "test/functional/test_container.py::TestContainer::test_GET_HEAD_content_type": "no length",
    "test/functional/test_container.py::TestContainer::test_null_name": "null",
    "test/functional/test_object.py::TestObject::test_null_name": "null",
    "test/functional/test_object.py::TestObject::test_metadata": "case",
}
"""Tests that ask for what the reverse proxies before Swift rightly do otherwise, and why (REASONS)."""
REASONS = {
    "no length": "asks for Content-Length: 0 in an answer 204, which RFC 9110 (8.6) forbids: nginx takes it away",
    "null": "asks for Swift's words where a path has a NUL: nginx answers 400 in its own",
    "case": "asks for capitals in the names of headers, which have no case (RFC 9110, 5.1): haproxy makes them small",
    "names": "sends names of headers with characters that RFC 9110 (5.6.2) has not in them, as (: haproxy answers 400",
}


@dataclass(frozen=True)
class User:
    """A user of the suite: the options `username<suffix>` … of its configuration, and what Keystone has to have."""

    suffix: str
    project: str
    role: str
    domain: str = "Default"


# As its tests of access control (test_access_control.py) have them, which know users and projects by name.
USERS = [
    User("", "test", "member"),
    User("2", "test2", "member"),
    User("3", "test", NAME),  # of the first one's project, with a role that Swift gives nothing for
    User("4", "test4", "member", NAME),  # in a domain that is not the default one
    User("5", "test5", "service"),
    User("6", "test", "ResellerAdmin"),
]


def environment_of_suite(folder: Path) -> tuple[Path, Path]:
    """The interpreter and the unpacked source of Swift, in the version and with the hashes of the lock."""
    venv, python = folder / "venv", folder / "venv/bin/python"
    mark = folder / f".ready-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]}"
    source = next(folder.glob("swift-*/"), None)
    if not mark.exists() or source is None:
        subprocess.run(["uv", "venv", "--quiet", "--clear", "--python", sys.executable, str(venv)], check=True)
        install = ["uv", "pip", "install", "--quiet", "--python", str(python), "--require-hashes", "-r", str(LOCK)]
        subprocess.run(install, check=True)
        pinned = re.search(r"^swift==(?:.*\\\n)*.*$", LOCK.read_text(), re.M)
        assert pinned is not None, f"{LOCK} has no swift"
        (folder / "swift.txt").write_text(pinned[0] + "\n")
        download = ["pip", "download", "--quiet", "--no-deps", "--no-binary", "swift", "--require-hashes"]
        subprocess.run([*download, "--dest", str(folder), "-r", str(folder / "swift.txt")], check=True)
        [archive] = folder.glob("swift-*.tar.gz")
        with tarfile.open(archive) as file:
            file.extractall(folder, filter="data")
        archive.unlink()
        mark.touch()
        source = next(folder.glob("swift-*/"))
    return python, source


@contextmanager
def people(identity: Identity) -> Iterator[dict[str, dict[str, str]]]:
    """Users by suffix, as the suite's configuration has them, with a pair of keys for S3; removed at the end."""
    remove(identity)
    try:
        identity.create_domain(name=NAME, description="Swift's own functional tests")
        identity.create_role(name=NAME)
        found: dict[str, dict[str, str]] = {}
        for user in USERS:
            domain = identity.find_domain(user.domain, ignore_missing=False)
            project = identity.find_project(user.project, domain_id=domain.id)
            if project is not None and project.description != NAME:
                sys.exit(f"Keystone has a project {user.project}, which the suite would wipe: run it on another lake")
            project = project or identity.create_project(name=user.project, domain_id=domain.id, description=NAME)
            password = f"{secrets.token_urlsafe(24)}aA1"
            account = identity.create_user(
                name=f"tester{user.suffix}",
                domain_id=domain.id,
                description=NAME,
                password=password,
                default_project_id=project.id,
            )
            # "service" besides: the suite sends tokens of all of them as service tokens, and the lake's proxies refuse
            # those of who has not that role (service_token_roles_required).
            for name in {user.role, "service"}:
                role = identity.find_role(name, ignore_missing=False)
                identity.assign_project_role_to_user(project, account, role)
            found[user.suffix] = {
                "account": project.name,
                "username": account.name,
                "password": password,
                "domain": user.domain,
            }
            pair = {"access": secrets.token_hex(16), "secret": secrets.token_hex(16)}
            identity.create_credential(type="ec2", user_id=account.id, project_id=project.id, blob=json.dumps(pair))
            found[user.suffix] |= pair
        yield found
    finally:
        remove(identity)


def remove(identity: Identity) -> None:
    """Take away all that an earlier run made. Their accounts in Swift are empty: the suite cleans up."""
    for domain in filter(None, (identity.find_domain(name) for name in ("Default", NAME))):
        for user in identity.users(domain_id=domain.id):
            if user.description == NAME:
                for credential in identity.credentials(user_id=user.id):
                    identity.delete_credential(credential)
                identity.delete_user(user)
        for project in identity.projects(domain_id=domain.id):
            if project.description == NAME:
                identity.delete_project(project)
    role = identity.find_role(NAME)
    if role:
        identity.delete_role(role)
    own = identity.find_domain(NAME)
    if own:
        identity.update_domain(own, is_enabled=False)
        identity.delete_domain(own)


def write_configuration(file: Path, users: dict[str, dict[str, str]], keystone: str, ca: str) -> None:
    """The suite's test.conf, for its owner alone."""
    storage = f"https://{urlsplit(keystone).hostname}:8080"
    options = {"auth_version": "3", "auth_uri": f"{keystone}/", "insecure": "no", "collate": "C"}
    for suffix, user in users.items():
        options |= {f"{key}{suffix}": user[key] for key in ("account", "username", "password", "domain")}
    options |= {"s3_storage_url": storage, "s3_region": "RegionOne"}
    s3 = {"endpoint": storage, "ca_cert": ca, "region": "RegionOne", "s3_acl_tests_enabled": "False"}
    for number, suffix in ((1, ""), (2, "2"), (3, "3")):
        ending = "" if number == 1 else str(number)
        options |= {
            f"s3_access_key{ending}": users[suffix]["access"],
            f"s3_secret_key{ending}": users[suffix]["secret"],
        }
        s3 |= {f"access_key{number}": users[suffix]["access"], f"secret_key{number}": users[suffix]["secret"]}
    parser = configparser.ConfigParser(interpolation=None)
    parser["func_test"], parser["s3api_test"] = options, s3
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as target:
        parser.write(target)


def report(results: Path) -> tuple[str, int]:
    """A table of the outcome with the reason of each skip, and how many failed."""
    cases = list(ElementTree.parse(results).getroot().iter("testcase"))  # noqa: S314 (made by this run)
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    reasons: Counter[str] = Counter()
    for case in cases:
        skipped = case.find("skipped")
        if skipped is not None:
            reasons[skipped.get("message") or "no reason given"] += 1
    skips = sum(reasons.values())
    lines = ["| outcome | tests |", "|---|---|", f"| passed | {len(cases) - len(failed) - skips} |"]
    lines += [f"| failed | {len(failed)} |", f"| skipped | {skips} |"]
    lines += [f"| – {reason} | {count} |" for reason, count in reasons.most_common()]
    lines.append(f"| left out | {len(OTHERWISE)} |")
    lines += [f"| – {REASONS[key]} | {count} |" for key, count in Counter(OTHERWISE.values()).most_common()]
    lines += [f"\nfailed: {case.get('classname')}.{case.get('name')}" for case in failed]
    return "\n".join(lines), len(failed)


def main() -> int:
    """Run the suite; 1 where a test failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", choices=["local", "test"], default="local")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there too")
    arguments, pytest_arguments = parser.parse_known_args()
    lines = (ROOT / f"build/{arguments.environment}/admin-openrc").read_text().splitlines()
    rc = dict(line.removeprefix("export ").split("=", 1) for line in lines if line.startswith("export "))
    folder = ROOT / "build/swift-functional"
    folder.mkdir(parents=True, exist_ok=True)
    print("== environment and source of Swift", flush=True)
    python, source = environment_of_suite(folder)
    identity: Any = openstack.connect(
        auth_url=rc["OS_AUTH_URL"],
        username=rc["OS_USERNAME"],
        password=rc["OS_PASSWORD"],
        project_name=rc["OS_PROJECT_NAME"],
        user_domain_name=rc["OS_USER_DOMAIN_NAME"],
        project_domain_name=rc["OS_PROJECT_DOMAIN_NAME"],
        cacert=rc["OS_CACERT"],
        identity_api_version="3",
        identity_interface="public",
    ).identity
    configuration, results = folder / "test.conf", folder / "results.xml"
    results.unlink(missing_ok=True)
    print("== accounts of its own, and the suite (some 15 minutes)", flush=True)
    with people(identity) as users:
        write_configuration(configuration, users, rc["OS_AUTH_URL"], rc["OS_CACERT"])
        variables = {
            **{key: value for key, value in os.environ.items() if not key.startswith("OS_")},
            "SWIFT_TEST_CONFIG_FILE": str(configuration),
            "SWIFT_TEST_IN_PROCESS": "0",
            "AWS_CA_BUNDLE": rc["OS_CACERT"],
            "REQUESTS_CA_BUNDLE": rc["OS_CACERT"],
            "SSL_CERT_FILE": rc["OS_CACERT"],
        }
        suite = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={results}"]
        chosen = pytest_arguments or ["test/functional", *(f"--deselect={name}" for name in OTHERWISE)]
        subprocess.run([*suite, *chosen], cwd=source, env=variables)  # what failed stands in the results
    configuration.unlink()
    if not results.exists():
        print("FAILED: the suite did not run")
        return 1
    table, failures = report(results)
    print(f"\n{table}")
    if arguments.markdown:
        arguments.markdown.write_text(table + "\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
