# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which listeners are asked, and a server of each kind: good, old, plain, of another name."""

from __future__ import annotations

import datetime
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from listeners import listeners, wrong
from probe import look, refused


def test_each_encrypted_listener_is_asked_once_from_who_may(table):
    found = {(one.place.node, one.port, one.client) for one in listeners(table)}
    assert found == {
        ("edge1", 443, "outside"),
        ("store1", 8080, "edge1"),
        ("store1", 8081, "edge1"),
        ("store2", 8080, "edge1"),
        ("store2", 8081, "edge1"),
    }


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    """A file with a key and a certificate that signed itself, for the name `good.test`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "good.test")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("good.test"), x509.IPAddress(ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return file


class Hello(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_given: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    def handle_error(self, *_given: Any) -> None:
        """Refused handshakes are what this is about."""


@pytest.fixture
def serve(certificate) -> Iterator[Callable[..., dict[str, Any]]]:
    """serve(least version, or None for no TLS): a server's address for the probe."""
    running = []

    def start(least: ssl.TLSVersion | None, name: str = "good.test") -> dict[str, Any]:
        server = Server(("127.0.0.1", 0), Hello)
        if least is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.minimum_version = least
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        running.append(server)
        port = server.server_address[1]
        return {"address": "127.0.0.1", "port": port, "name": name, "starttls": None, "ca": str(certificate)}

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def test_a_good_server(serve):
    seen = look(serve(ssl.TLSVersion.TLSv1_2))
    assert (seen["version"], seen["old"], seen["plain"], wrong(seen)) == ("TLSv1.3", [], None, [])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_server_that_takes_old_versions(serve):
    seen = look(serve(ssl.TLSVersion.TLSv1))
    assert wrong(seen) == ["takes TLS 1.0", "takes TLS 1.1"]


def test_a_server_without_tls(serve):
    [told] = wrong(look(serve(None)))
    assert told.startswith("no TLS of 1.2 or later")


def test_a_server_of_another_name(serve):
    [told] = wrong(look(serve(ssl.TLSVersion.TLSv1_2, "other.test")))
    assert "Hostname mismatch" in told


def test_refusals():
    assert refused(443, b"HTTP/1.1 400 Bad Request\r\n") and refused(443, b"") and refused(636, b"\x15\x03\x01")
    assert not refused(443, b"HTTP/1.1 200 OK\r\n") and not refused(6379, b"-NOAUTH Authentication required.\r\n")
    assert refused(5432, b"E\0\0\0\x60SFATAL\0VFATAL\0C28000\0M") and not refused(5432, b"R\0\0\0\x17\0\0\0\n")
