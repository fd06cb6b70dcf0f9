# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the table of flows means for each pair, and how answers are compared with it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from flows import OUTSIDE, Place, Table
from ports import Row, compare, parse, silent, spans

STORE = Place("store1", "inside", "10.2.0.2")
EDGE = Place("edge1", "outer", "10.1.0.1")


def let(table: Table, source: str, place: Place) -> set[tuple[str, int]]:
    return set(table.let(source, place))


def test_who_is_named_is_let_in(table):
    assert let(table, "edge1", STORE) == {("tcp", 22), ("tcp", 8080), ("tcp", 8081)}
    assert let(table, "watch1", STORE) == {("tcp", 22), ("udp", 161)}


def test_a_neighbour_that_is_not_named_is_let_in_for_what_the_network_may(table):
    assert let(table, "store2", STORE) == let(table, OUTSIDE, STORE) == {("tcp", 22)}


def test_anybody_is_let_in_where_anybody_may(table):
    assert let(table, OUTSIDE, EDGE) == let(table, "store1", EDGE) == {("tcp", 443)}
    assert not table.near("store1", EDGE) and table.near(OUTSIDE, EDGE)


def test_addresses_and_containers_are_read_from_the_inventory(table):
    assert STORE in table.places and EDGE in table.places and len(table.places) == 5
    assert table.containers == {"edge1": "test-edge1", "store1": "store1", "store2": "store2", "watch1": "watch1"}
    assert table.members("all") == {"edge1", "store1", "store2", "watch1"}
    assert table.members("zone") == {"store1", "store2", "watch1"} and table.members("empty") == frozenset()


def test_a_group_that_nobody_declared_is_told(table):
    with pytest.raises(KeyError, match="'sotres'"):
        table.members("sotres")


def test_ports_are_written_as_nmap_takes_them():
    assert spans([1, 2, 3, 7, 9, 10]) == "1-3,7,9-10" and spans(range(1, 65536)) == "1-65535" and spans([]) == ""


REPORT = """<nmaprun><host><address addr="10.2.0.2" addrtype="ipv4"/><address addr="02:42:AC:1E:3C:29" addrtype="mac"/>
<ports><extraports state="filtered" count="9"><extrareasons reason="no-response" count="9" proto="tcp" ports="1-9"/>
</extraports><extraports state="closed" count="3"><extrareasons reason="reset" count="3" proto="tcp" ports="30-31,40"/>
</extraports><port protocol="tcp" portid="8080"><state state="open"/></port>
<port protocol="tcp" portid="22"><state state="closed"/></port>
<port protocol="udp" portid="53"><state state="open|filtered"/></port></ports></host></nmaprun>"""


def test_what_answered_is_read_from_the_report():
    closed = {("tcp", port): "closed" for port in (22, 30, 31, 40)}
    assert parse(REPORT) == {"10.2.0.2": {("tcp", 8080): "open", **closed}}


def compared(table: Table, source: str, place: Place, seen: dict[tuple[str, int], str]) -> Row:
    row = Row(source, 1, 0, 1)
    compare(table, source, [place], {place.address: seen}, row)
    return row


def test_what_is_as_declared_is_no_difference(table):
    row = compared(table, "edge1", STORE, {("tcp", 22): "closed", ("tcp", 8080): "open", ("tcp", 8081): "open"})
    assert (row.let, row.empty, row.differences) == (2, 1, [])


def test_what_no_flow_allows_is_a_difference_even_where_nobody_listens(table):
    row = compared(table, "store2", STORE, {("tcp", 22): "open", ("tcp", 8080): "open", ("udp", 161): "closed"})
    assert row.differences == [
        "store2 → store1.inside 8080/tcp: open, and no flow allows it",
        "store2 → store1.inside 161/udp: closed, and no flow allows it",
    ]


def test_a_declared_port_that_is_silent_or_empty_is_a_difference(table):
    row = compared(table, "edge1", STORE, {("tcp", 22): "open", ("tcp", 8080): "closed"})
    assert row.differences == [
        "edge1 → store1.inside 8080/tcp (store): let in, and nobody listens",
        "edge1 → store1.inside 8081/tcp (store): no answer",
    ]
    assert silent(table, "edge1", [STORE], {STORE.address: {("tcp", 22): "open"}}) == {STORE.address}


def test_a_port_at_which_nobody_may_listen_may_be_empty(table):
    table.flows = [replace(flow, sometimes="while a job runs") for flow in table.flows]
    row = compared(table, "edge1", STORE, {("tcp", 22): "open", ("tcp", 8080): "closed", ("tcp", 8081): "closed"})
    assert (row.let, row.empty, row.differences) == (1, 2, [])


def test_what_a_router_has_to_let_through_may_be_silent(table):
    assert compared(table, "store1", EDGE, {}).differences == []
    assert compared(table, "store1", EDGE, {("tcp", 8080): "open"}).differences != []


def test_silence_by_udp_tells_nothing(table):
    row = compared(table, "watch1", STORE, {("tcp", 22): "open"})
    assert (row.unanswered, row.differences) == (1, [])
