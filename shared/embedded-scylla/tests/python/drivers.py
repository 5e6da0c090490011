"""What a Python driver does with a server: `drivers.py PORT COMPRESSION`, COMPRESSION one of none, lz4, snappy and default.

Runs with cassandra-driver and with scylla-driver, which have one API. Prints `ok` at the end; whatever is wrong is an exception.
"""

import datetime
import decimal
import ipaddress
import sys
import uuid

from cassandra import AlreadyExists, ConsistencyLevel, InvalidRequest
from cassandra.cluster import Cluster
from cassandra.protocol import ProtocolException, SyntaxException
from cassandra.query import BatchStatement, SimpleStatement, dict_factory
from cassandra.util import Date, Duration, SortedSet, Time, uuid_from_time

COMPRESSIONS = {"none": False, "lz4": "lz4", "snappy": "snappy", "default": True}

TYPES = {
    "ascii": "plain",
    "bigint": -(2**63),
    "blob": b"\x00\xff" * 3,
    "boolean": True,
    "date": Date(datetime.date(1969, 12, 31)),
    "decimal": decimal.Decimal("-12.3450"),
    "double": 1.5e300,
    "duration": Duration(1, -2 * -1, 3),
    "float": 0.25,
    "inet": "2001:db8::1",
    "int": -1,
    "smallint": 32767,
    "text": "grün ☂",
    "time": Time(86399999999999),
    "timestamp": datetime.datetime(2024, 2, 29, 12, 30, 0, 123000),
    "timeuuid": uuid_from_time(1_700_000_000.5),
    "tinyint": -128,
    "uuid": uuid.UUID("11111111-2222-3333-4444-555555555555"),
    "varint": 2**100,
    "frozen<list<int>>": [3, 1, 2],
    "frozen<set<text>>": SortedSet(["a", "b"]),
    "frozen<map<text, frozen<list<bigint>>>>": {"x": [1, 2], "y": []},
    "frozen<tuple<int, text>>": (7, "seven"),
}


def eq(left, right, what=""):
    assert left == right, f"{what}: {left!r} is not {right!r}"


def refused(kind, session, text):
    try:
        session.execute(text)
    except kind:
        return
    raise AssertionError(f"{text} was not refused")


def schema(cluster, session):
    session.execute(
        "CREATE KEYSPACE py WITH replication = {'class': 'NetworkTopologyStrategy', 'replication_factor': 3}"
    )
    session.set_keyspace("py")
    session.execute(
        "CREATE TABLE rows (p int, c int, v text, s text static, PRIMARY KEY (p, c))"
        " WITH CLUSTERING ORDER BY (c DESC) AND comment = 'some rows' AND cdc = {'enabled': true}"
    )
    keyspace = cluster.metadata.keyspaces["py"]
    eq(keyspace.replication_strategy.export_for_schema()[1:26], "'class': 'NetworkTopology")
    table = keyspace.tables["rows"]
    eq([column.name for column in table.partition_key], ["p"])
    eq([(column.name, column.is_reversed) for column in table.clustering_key], [("c", True)])
    eq({name: column.cql_type for name, column in table.columns.items()}, {"p": "int", "c": "int", "v": "text", "s": "text"})
    eq(table.options["comment"], "some rows")
    assert "CLUSTERING ORDER BY (c DESC)" in table.export_as_string(), table.export_as_string()
    # What the driver exports, another keyspace takes.
    session.execute("CREATE KEYSPACE copied WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
    session.execute(table.as_cql_query().replace("py.", "copied.", 1))
    cluster.refresh_schema_metadata()
    assert "rows_scylla_cdc_log" in cluster.metadata.keyspaces["py"].tables
    assert "rows" in cluster.metadata.keyspaces["copied"].tables
    eq(len(cluster.metadata.token_map.ring), 16, "token ranges")
    refused(AlreadyExists, session, "CREATE TABLE rows (p int PRIMARY KEY)")
    refused(SyntaxException, session, "SELEC * FROM rows")
    refused(InvalidRequest, session, "SELECT nothing FROM rows")


def types(session):
    columns = ", ".join(f"c{number} {name}" for number, name in enumerate(TYPES))
    session.execute(f"CREATE TABLE types (p int PRIMARY KEY, {columns})")
    names = ", ".join(f"c{number}" for number in range(len(TYPES)))
    marks = ", ".join("?" for _ in TYPES)
    insert = session.prepare(f"INSERT INTO types (p, {names}) VALUES (?, {marks})")
    session.execute(insert, [1, *TYPES.values()])
    session.execute(insert, [2, *(None for _ in TYPES)])
    [row] = session.execute(f"SELECT {names} FROM types WHERE p = 1")
    for (name, given), read in zip(TYPES.items(), row):
        if name == "inet":
            given, read = ipaddress.ip_address(given), ipaddress.ip_address(read)
        eq(read, given, name)
    [row] = session.execute(f"SELECT {names} FROM types WHERE p = 2")
    assert all(value is None for value in row), row
    # Values that the driver writes into the text, and named ones that it sends beside it.
    for number, (name, given) in enumerate(TYPES.items()):
        if "tuple" in name:  # the drivers write it as a list, which no server takes for one
            continue
        session.execute(f"INSERT INTO types (p, c{number}) VALUES (%(p)s, %(v)s)", {"p": 3, "v": given})
    named = session.prepare("SELECT c10 FROM types WHERE p = :key")
    eq(session.execute(named, {"key": 1}).one()[0], -1)
    [row] = session.execute("SELECT json_free FROM types WHERE p = 1".replace("json_free", "c12, CAST(c10 AS text)"))
    eq(tuple(row), (TYPES["text"], "-1"))


def pages(cluster, session):
    insert = session.prepare("INSERT INTO rows (p, c, v) VALUES (?, ?, ?)")
    wanted = {(p, c) for p in range(5) for c in range(20)}
    for p, c in wanted:
        session.execute(insert, (p, c, "v" * 300))
    for size in (1, 7, 99, 100, 101):
        statement = SimpleStatement("SELECT p, c FROM rows", fetch_size=size)
        eq(sorted((row.p, row.c) for row in session.execute(statement)), sorted(wanted), f"pages of {size}")
    # A page by its state alone, on another connection, with writes in between.
    statement = SimpleStatement("SELECT p, c, v FROM rows", fetch_size=7)
    seen, state = [], None
    while True:
        other = cluster.connect("py")
        result = other.execute(statement, paging_state=state)
        seen += [(row.p, row.c) for row in result.current_rows]
        state = result.paging_state
        other.shutdown()
        session.execute(insert, (99, len(seen), "late"))
        if state is None:
            break
    eq(sorted(pair for pair in seen if pair[0] != 99), sorted(wanted), "pages by state")
    prepared = session.prepare("SELECT c FROM rows WHERE p = ? LIMIT 12")
    prepared.fetch_size = 5
    eq([row.c for row in session.execute(prepared, [3])], list(range(19, 7, -1)))


def nonsense(session):
    """A state that no page gave: refused as what breaks the protocol, upon which the driver hangs up."""
    statement = SimpleStatement("SELECT p, c FROM rows", fetch_size=7)
    try:
        session.execute(statement, paging_state=b"\x01nonsense")
    except ProtocolException as error:
        assert "Invalid value for the paging state" in str(error), error
    else:
        raise AssertionError("nonsense was taken for a page's state")


def statements(session):
    def one(text):
        return session.execute(text).one()

    eq(one("INSERT INTO rows (p, c) VALUES (50, 1) IF NOT EXISTS").applied, True)
    eq(one("INSERT INTO rows (p, c) VALUES (50, 1) IF NOT EXISTS").applied, False)
    batch = BatchStatement(consistency_level=ConsistencyLevel.QUORUM)
    insert = session.prepare("INSERT INTO rows (p, c, v) VALUES (?, ?, ?)")
    for c in range(3):
        batch.add(insert, (60, c, "batched"))
    batch.add(SimpleStatement("DELETE FROM rows WHERE p = 50 AND c = %s"), (1,))
    session.execute(batch)
    eq(one("SELECT COUNT(*) FROM rows WHERE p = 60")[0], 3)
    eq(one("SELECT MIN(c), MAX(c), SUM(c) FROM rows WHERE p = 60")[:3], (0, 2, 3))
    # A prepared statement outlives a change of its table.
    select = session.prepare("SELECT * FROM rows WHERE p = ? AND c = ?")
    session.execute("ALTER TABLE rows ADD added int")
    session.execute("UPDATE rows SET added = 5 WHERE p = 60 AND c = 0")
    session.row_factory = dict_factory
    eq(session.execute(select, (60, 0)).one()["added"], 5)
    [described] = session.execute("DESCRIBE TABLE types")
    assert described["create_statement"].startswith("CREATE TABLE py.types ("), described


def traces(session):
    result = session.execute(SimpleStatement("SELECT * FROM rows WHERE p = 60"), trace=True)
    trace = result.get_query_trace()
    eq(trace.request_type, "Execute CQL3 query")
    eq(str(trace.client), "127.0.0.1")
    eq(trace.parameters["query"], "SELECT * FROM rows WHERE p = 60")
    assert trace.duration is not None and trace.events, trace
    told = [event.description for event in trace.events]
    assert "Read 3 rows" in told, told
    assert all(a.source_elapsed <= b.source_elapsed for a, b in zip(trace.events, trace.events[1:]))
    prepared = session.prepare("INSERT INTO rows (p, c) VALUES (?, ?)")
    trace = session.execute(prepared, (61, 1), trace=True).get_query_trace()
    eq(trace.parameters["query"], prepared.query_string)


def compressed(session, wanted):
    # Far more than what is sent as it is, both ways.
    value = "compress me " * 50_000
    session.execute("INSERT INTO rows (p, c, v) VALUES (%s, %s, %s)", (70, 1, value))
    eq(session.execute("SELECT v FROM rows WHERE p = 70").one()["v"], value)
    [pool] = session.get_pools()
    connections = getattr(pool, "_connections", None)
    connection = list(connections.values())[0] if connections else pool._connection
    eq(connection.compressor is not None, wanted, "compression")


def main():
    port, compression = int(sys.argv[1]), sys.argv[2]
    cluster = Cluster(["127.0.0.1"], port=port)
    if compression != "default":
        cluster = Cluster(["127.0.0.1"], port=port, compression=COMPRESSIONS[compression])
    session = cluster.connect()
    eq(cluster.protocol_version, 4, "protocol")
    schema(cluster, session)
    types(session)
    pages(cluster, session)
    statements(session)
    traces(session)
    compressed(session, compression != "none")
    nonsense(session)
    cluster.shutdown()
    print("ok")


main()
