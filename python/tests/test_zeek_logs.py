"""Log streams: records by name, against the JSON logs that the same process wrote."""

import asyncio
import collections.abc
import copy
import datetime
import gc
import ipaddress
import json
import os
import pickle
import select
import subprocess
import sys

import pytest

import broker
import log_stream
import recordings
from broker import zeek
from deadline import DEADLINE_S, wait_until
from log_stream import (ADDR, BOOL, CONN, COUNT, DNS, DOUBLE, ENUM, INTERVAL, PORT, SET, STRING, SUBNET, TIME, VECTOR,
                        Log, batch)
from peer import Tag, encode, event, parse_envelope, vector

UTC = datetime.timezone.utc
OWN = recordings.REPOSITORY / "examples" / "log_stream.json"
NAMES = ["zeek-logs-http.json", "zeek-logs-mixed.json", "zeek-logs-types.json"]
# Zeek wrote the first line of these before the recorder was connected.
EARLY = {"reporter", "packet_filter"}


def load(name):
    return json.loads(recordings.outside("zeek", name).read_text(encoding="utf-8"))


def data_frames(recording):
    """Topic and payload of what Zeek sent after the handshake, whose last frame is an ack (12)."""
    frames = recording["frames"]
    acks = [index for index, frame in enumerate(frames) if frame["hex"] == "000000010c"]
    for frame in frames[acks[0] + 1 if acks else 0:]:
        if frame["dir"] == "in":
            received = parse_envelope(bytes.fromhex(frame["hex"])[4:])
            if received.tag == Tag.DATA:
                yield received.topic, received.payload


def send(peer, recording):
    for topic, payload in data_frames(recording):
        peer.send_envelope(Tag.DATA, topic, payload)


def expected_lines(recording):
    return {path: lines[path in EARLY and "zeek" in recording["title"].lower():]
            for path, lines in recording["expected"].items()}


def receive(logs, count):
    records = []
    for _ in range(count):
        record = logs.recv(DEADLINE_S)
        assert record is not None, "%d of %d; %s" % (len(records), count, logs.last_problem)
        records.append(record)
    return records


def as_json(value):
    """A value as JSON shows it, from its Python object alone."""
    if isinstance(value, datetime.datetime):
        return value.timestamp()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, broker.Port):
        return value.number()
    if isinstance(value, bytes):
        return "".join(chr(b) if 32 <= b < 127 else "\\x%02x" % b for b in value)
    if isinstance(value, (frozenset, tuple)):
        return [as_json(element) for element in value]
    if isinstance(value, (bool, int, float, type(None))):
        return value
    return str(value)


def same(ours, theirs):
    """Equal with types; times have microseconds in Python."""
    if isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    if isinstance(theirs, float):
        return type(ours) is float and ours == pytest.approx(theirs, rel=1e-15, abs=5.1e-7)
    return type(ours) is type(theirs) and ours == theirs


def check(records, recording):
    lines = expected_lines(recording)
    by_path = {path: [] for path in lines}
    for record in records:
        by_path[record.path].append(record)
    for path, theirs in lines.items():
        assert len(by_path[path]) == len(theirs), path
        for record, line in zip(by_path[path], theirs):
            # Text to text: every field in Zeek's order, every number as the same double.
            assert json.dumps(json.loads(record.json())) == json.dumps(line)
            assert list(record) == list(line)
            for name, value in record.items():
                ours, expected = as_json(value), line[name]
                if isinstance(value, frozenset):
                    ours, expected = sorted(ours), sorted(expected)
                # Escapes of control characters are for JSON only.
                if isinstance(value, str) and value != expected:
                    ours = as_json(record.raw(name))
                assert same(ours, expected), (path, name, value, line[name])


def served(scene, recording, names=None):
    """The records of a recording that is served from a socket."""
    endpoint = scene.endpoint()
    logs = scene.use(zeek.logs(endpoint, names))
    peer = scene.connected_peer(endpoint)
    send(peer, recording)
    count = sum(len(lines) for path, lines in expected_lines(recording).items() if names is None or path in names)
    return logs, receive(logs, count)


# --- recordings ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_zeek_and_we_have_the_same_records(scene, name):
    recording = load(name)
    logs, records = served(scene, recording)
    check(records, recording)
    assert (logs.skipped, logs.last_problem, logs.poll()) == (0, None, [])


def test_chosen_logs_of_a_recorded_zeek(scene):
    recording = load("zeek-logs-mixed.json")
    _, records = served(scene, recording, ["conn", "dns"])
    assert {record.path for record in records} == {"conn", "dns"}


def test_types_of_a_recorded_zeek(scene):
    _, records = served(scene, load("zeek-logs-types.json"), ["demo"])
    first, second = records
    assert first["ts"] == datetime.datetime(2023, 11, 14, 22, 13, 20, 123456, UTC)
    assert (first["b"], first["i"], first["c"], first["d"]) == (True, -5, 2**64 - 1, 1.5e-10)
    assert first["iv"] == datetime.timedelta(seconds=90.25)
    assert (first["s"], first["e"], first["bin"]) == ("h\u00e9 \"q\" \\ \n", "tcp", "\x00\udcff\x7f")
    assert first.raw("bin") == b"\x00\xff\x7f"
    assert (first["p"], first["pu"]) == (broker.Port(443, broker.Port.TCP), broker.Port(53, broker.Port.UDP))
    assert first["a6"] == ipaddress.ip_address("2001:db8::1")
    assert first["n4"] == ipaddress.ip_network("10.0.0.0/8")
    assert first["sa"] == {ipaddress.ip_address("1.2.3.4"), ipaddress.ip_address("::1")}
    assert first["vi"] == (datetime.timedelta(seconds=1), datetime.timedelta(minutes=2))
    assert first["unset"] is None and "unset" not in first
    assert second["ts"] == datetime.datetime(1970, 1, 1, tzinfo=UTC)
    assert second["ss"] == {""} and second["sa"] == frozenset() and second["vc"] == ()
    assert "id.orig_h" in first.schema.names and second["id.orig_h"] is None


def test_our_own_recording(scene):
    recording = json.loads(OWN.read_text(encoding="utf-8"))
    assert recording == log_stream.recording(), "run python/tests/log_stream.py again"
    logs, records = served(scene, recording)
    check(records, recording)
    assert (logs.skipped, logs.poll()) == (0, [])
    assert {(schema.path, schema.stream) for schema in logs.schemas} == {
        ("conn", "Conn::LOG"), ("conn-short", "Conn::LOG"), ("dns", "DNS::LOG"), ("demo", "Demo::LOG")}


# --- the stream ----------------------------------------------------------------------------------

TINY = Log("Tiny::LOG", "tiny", ("n", COUNT), ("text", STRING))


@pytest.fixture
def stream(scene):
    """A log stream and what publishes into it."""
    endpoint = scene.endpoint()
    logs = scene.use(zeek.logs(endpoint, ["tiny", "other"]))
    peer = scene.connected_peer(endpoint)

    def publish(*messages):
        for message in messages:
            peer.send_envelope(Tag.DATA, "zeek/logs/Tiny::LOG", encode(message))

    return logs, publish, endpoint


def test_records_wait_for_their_announcement(stream):
    logs, publish, _ = stream
    publish(TINY.write(1, "a"), TINY.write(2, "b"))
    assert logs.recv(0.05) is None
    publish(TINY.create(), TINY.write(3, "c"))
    assert [record["n"] for record in receive(logs, 3)] == [1, 2, 3]


def test_bad_messages_are_skipped_and_counted(stream):
    logs, publish, _ = stream
    other = Log("Tiny::LOG", "tiny", ("n", STRING), ("text", STRING))
    publish(TINY.create(), vector(), other.write("x", "y"), batch(TINY.write(1, "a"), vector()), TINY.write(2, "b"))
    assert receive(logs, 1)[0]["n"] == 2
    assert logs.skipped == 3
    assert logs.last_problem.startswith("not a message of Zeek: ")


@pytest.mark.parametrize("kind, name", [(SET, "set"), (VECTOR, "vector")])
def test_elements_of_another_type_are_told_like_fields_of_another_type(stream, kind, name):
    logs, publish, _ = stream
    log = Log("Tiny::LOG", "tiny", ("n", COUNT), ("addresses", kind, ADDR))
    texts = Log("Tiny::LOG", "tiny", ("n", COUNT), ("addresses", kind, STRING))
    text = Log("Tiny::LOG", "tiny", ("n", STRING), ("addresses", kind, ADDR))
    publish(log.create(), text.write("1", ["::1"]), log.write(2, ["::1"]))
    assert receive(logs, 1)[0]["n"] == 2
    assert logs.last_problem == "record of log `tiny` (Tiny::LOG): field `n`: expected count, found string"
    publish(texts.write(3, ["::1"]), log.write(4, []))
    assert receive(logs, 1)[0]["n"] == 4
    assert logs.last_problem == ("record of log `tiny` (Tiny::LOG): field `addresses`:"
                                 " expected %s[addr], found string among its elements" % name)
    assert logs.skipped == 2


def test_field_lists_that_differ_in_elements_only(stream):
    """As while the nodes of a cluster run different scripts."""
    logs, publish, _ = stream
    addresses = Log("Tiny::LOG", "tiny", ("a", SET, ADDR))
    texts = Log("Tiny::LOG", "tiny", ("t", SET, STRING))
    publish(addresses.create(), texts.create(), addresses.write(["::1"]), texts.write(["x"]))
    assert [dict(record) for record in receive(logs, 2)] == [{"a": {ipaddress.ip_address("::1")}}, {"t": {"x"}}]


def test_announcements_of_a_restarted_zeek(stream):
    logs, publish, _ = stream
    grown = Log("Tiny::LOG", "tiny", ("n", COUNT), ("text", STRING), ("more", BOOL))
    publish(TINY.create(), TINY.write(1, "a"), grown.create(), grown.write(2, "b", True), TINY.write(3, "c"),
            TINY.create(), TINY.write(4, "d"))
    records = receive(logs, 4)
    assert [len(record.schema.names) for record in records] == [2, 3, 2, 2]
    assert records[0].schema is records[3].schema


def test_a_batch_can_be_polled(stream):
    logs, publish, _ = stream
    publish(TINY.create())
    publish(batch(*(TINY.write(n, None) for n in range(400))))
    records = []
    while len(records) < 400:
        readable, _, _ = select.select([logs.fd()], [], [], DEADLINE_S)
        assert readable
        records += logs.poll()
    assert [record["n"] for record in records] == list(range(400))
    assert select.select([logs.fd()], [], [], 0) == ([], [], [])


def test_the_iteration_ends_with_the_endpoint(scene, stream):
    logs, publish, endpoint = stream
    publish(TINY.create(), TINY.write(1, "a"))
    seen = []
    ended = scene.background(lambda: seen.extend(record["n"] for record in logs))
    wait_until(lambda: logs.schemas, "the announcement")
    endpoint.shutdown()
    ended.result(DEADLINE_S)
    assert seen == [1]


def test_reset_ends_the_subscription(scene, stream):
    logs, _, _ = stream
    waiting = scene.background(lambda: list(logs))
    logs.reset()
    assert waiting.result(DEADLINE_S) == []
    with pytest.raises(broker.ClosedError, match="log stream was closed"):
        logs.recv(0)
    logs.reset()


# --- asyncio -------------------------------------------------------------------------------------


async def within(awaitable):
    return await asyncio.wait_for(awaitable, DEADLINE_S)


def soon(loop, function, *arguments):
    """Runs a function that may block beside the loop."""
    return loop.run_in_executor(None, function, *arguments)


def test_async_for(stream):
    logs, publish, _ = stream

    async def main():
        loop = asyncio.get_running_loop()
        numbers = []

        async def read():
            async for record in logs:
                numbers.append(record["n"])
                if record["n"] == 599:
                    return

        reading = asyncio.ensure_future(read())
        # It waits now, and the loop goes on.
        await asyncio.sleep(0)
        await soon(loop, publish, TINY.create(), TINY.write(0, "a"))
        await soon(loop, publish, batch(*(TINY.write(n, None) for n in range(1, 600))))
        await within(reading)
        return numbers

    assert asyncio.run(main()) == list(range(600))


def test_what_async_for_leaves_for_takes(stream):
    logs, publish, _ = stream
    publish(TINY.create(), batch(TINY.write(1, "a"), TINY.write(2, "b"), TINY.write(3, "c")))

    async def first():
        async for record in logs:
            return record["n"]

    assert asyncio.run(first()) == 1
    assert next(iter(logs))["n"] == 2
    assert asyncio.run(first()) == 3


def test_a_cancelled_task_loses_no_record(stream):
    logs, publish, _ = stream

    async def main():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(logs.__anext__(), 0.01)
        await soon(asyncio.get_running_loop(), publish, TINY.create(), TINY.write(1, "a"))
        return (await within(logs.__anext__()))["n"]

    assert asyncio.run(main()) == 1


def test_several_tasks_share_the_records(stream):
    logs, publish, _ = stream

    async def main():
        waiting = [asyncio.ensure_future(logs.__anext__()) for _ in range(2)]
        await asyncio.sleep(0)
        await soon(asyncio.get_running_loop(), publish, TINY.create(), TINY.write(1, "a"), TINY.write(2, "b"))
        return sorted([(await within(task))["n"] for task in waiting])

    assert asyncio.run(main()) == [1, 2]


@pytest.mark.parametrize("end", ["shutdown", "reset", "reset here"])
def test_the_async_iteration_ends(stream, end):
    logs, publish, endpoint = stream
    publish(TINY.create(), TINY.write(1, "a"))

    async def main():
        seen = []

        async def read():
            async for record in logs:
                seen.append(record["n"])

        reading = asyncio.ensure_future(read())
        loop = asyncio.get_running_loop()
        while not seen:
            await asyncio.sleep(0.001)
        if end == "shutdown":
            await soon(loop, endpoint.shutdown)
        elif end == "reset":
            await soon(loop, logs.reset)
        else:
            logs.reset()
        await within(reading)
        return seen

    descriptors = set(os.listdir("/dev/fd"))
    assert asyncio.run(main()) == [1]
    assert len(os.listdir("/dev/fd")) <= len(descriptors) + 1


def test_others_on_the_loop_get_their_turn(stream):
    logs, publish, _ = stream
    publish(TINY.create(), batch(*(TINY.write(n, None) for n in range(1000))))
    assert logs.recv(DEADLINE_S)["n"] == 0

    async def main():
        turns = 0
        last = 0

        async def other():
            nonlocal turns
            while last < 999:
                turns += 1
                await asyncio.sleep(0)

        others = asyncio.ensure_future(other())
        async for record in logs:
            last = record["n"]
            if last == 999:
                break
        await others
        return turns

    # No record is waited for, and yet it had more turns than one before and one after.
    assert asyncio.run(main()) >= 9


# --- topics --------------------------------------------------------------------------------------


def test_topics():
    assert zeek.log_topics() == ["zeek/logs/"]
    assert zeek.log_topics(["Conn::LOG"], loggers=["logger-1", "logger-2"]) == [
        "zeek/logs/Conn::LOG", "zeek/cluster/node/logger-1/", "zeek/cluster/node/logger-2/"]


@pytest.mark.parametrize("names, keywords, topics", [
    (None, {}, {b"zeek/logs/"}),
    ("conn", {}, {b"zeek/logs/"}),
    (["Conn::LOG", "dns"], {}, {b"zeek/logs/"}),
    (["Conn::LOG", "DNS::LOG"], {}, {b"zeek/logs/Conn::LOG", b"zeek/logs/DNS::LOG"}),
    (None, {"loggers": ["a"]}, {b"zeek/logs/", b"zeek/cluster/node/a/"}),
    (["conn"], {"topics": ["x/"], "loggers": ["a"]}, {b"x/"}),
], ids=repr)
def test_subscriptions(scene, names, keywords, topics):
    endpoint = scene.endpoint()
    scene.use(zeek.logs(endpoint, names, **keywords))
    peer = scene.connected_peer(endpoint)
    assert {bytes(topic) for topic in peer.remote_filter} == topics


def test_records_sent_to_a_logger_of_a_cluster(scene):
    endpoint = scene.endpoint()
    logs = scene.use(zeek.logs(endpoint, ["Tiny::LOG"], loggers=["logger-1"]))
    peer = scene.connected_peer(endpoint)
    peer.send_envelope(Tag.DATA, "zeek/logs/Tiny::LOG", encode(TINY.create()))
    peer.send_envelope(Tag.DATA, "zeek/cluster/node/logger-1/", encode(event("Cluster::something")))
    peer.send_envelope(Tag.DATA, "zeek/cluster/node/logger-1/", encode(TINY.write(1, "a")))
    assert receive(logs, 1)[0]["n"] == 1
    assert logs.skipped == 0


def test_the_example_prints_json_lines(scene):
    recording = json.loads(OWN.read_text(encoding="utf-8"))
    peer = scene.peer()
    program = subprocess.Popen(
        [sys.executable, str(recordings.REPOSITORY / "examples" / "logs.py"), "127.0.0.1", str(peer.listen()),
         "dns", "Conn::LOG"], stdout=subprocess.PIPE, text=True)
    try:
        peer.accept()
        peer.shake_hands().sync()
        send(peer, recording)
        lines = [program.stdout.readline() for _ in range(4)]
    finally:
        program.kill()
        program.wait()
        program.stdout.close()
    expected = recording["expected"]
    assert [line.split(" ", 1)[0] for line in lines] == ["conn", "conn", "conn-short", "dns"]
    assert [json.loads(line.split(" ", 1)[1]) for line in lines] == [
        *expected["conn"], *expected["conn-short"], *expected["dns"]]


# --- records -------------------------------------------------------------------------------------


def make(scene, log, *values):
    endpoint = scene.endpoint()
    logs = scene.use(zeek.logs(endpoint))
    peer = scene.connected_peer(endpoint)
    for message in (log.create(), log.write(*values)):
        peer.send_envelope(Tag.DATA, "zeek/logs/x", encode(message))
    return receive(logs, 1)[0]


def test_a_record_is_a_mapping(scene):
    record = make(scene, TINY, 7, None)
    assert isinstance(record, collections.abc.Mapping)
    assert (record["n"], record["text"], record.get("text"), record.get("text", 5), record.get("no", 6)) == (
        7, None, None, 5, 6)
    assert ("n" in record, "text" in record, "no" in record, 5 in record) == (True, False, False, False)
    for name in ("no", 5):
        with pytest.raises(KeyError) as info:
            record[name]
        assert info.value.args == (name,)
    with pytest.raises(TypeError):
        record[[]]
    assert (len(record), list(record), list(record.keys()), list(record.values())) == (1, ["n"], ["n"], [7])
    assert list(record.items()) == [("n", 7)]
    assert dict(record) == record.to_dict() == {**record} == {"n": 7}
    assert record == {"n": 7} and {"n": 7} == record and record != {"n": 8} and record != 7
    assert record == copy.copy(record) == pickle.loads(pickle.dumps(record)) and type(copy.copy(record)) is dict
    assert repr(record) == "<LogRecord tiny {'n': 7}>"
    assert (record.path, record.stream, record.json()) == ("tiny", "Tiny::LOG", '{"n":7}')
    with pytest.raises(TypeError):
        hash(record)
    with pytest.raises(TypeError):
        zeek.LogRecord()
    with pytest.raises(AttributeError):
        record.path = "x"


def test_a_schema_describes_its_log(scene):
    schema = make(scene, DNS, None, None, None, None).schema
    assert (schema.path, schema.stream, schema.writer) == ("dns", "DNS::LOG", log_stream.WRITER)
    assert schema.names == ("ts", "query", "answers", "TTLs")
    assert [(field.name, field.type, field.optional) for field in schema.fields] == [
        ("ts", "time", True), ("query", "string", True), ("answers", "vector[string]", True),
        ("TTLs", "vector[interval]", True)]
    assert (repr(schema), repr(schema.fields[2])) == ("<LogSchema dns (DNS::LOG)>",
                                                      "<LogField answers: vector[string]>")


def test_values_that_python_cannot_represent(scene):
    log = Log("X::LOG", "x", ("t", TIME), ("i", INTERVAL), ("d", DOUBLE), ("nan", DOUBLE))
    record = make(scene, log, 1e300, float("inf"), float("-inf"), float("nan"))
    assert record["t"] == datetime.datetime.max.replace(tzinfo=UTC)
    assert (record["i"], record["d"]) == (datetime.timedelta.max, float("-inf"))
    assert (record.raw("t"), record.raw("i"), record.raw("d")) == (1e300, float("inf"), float("-inf"))
    assert json.loads(record.json()) == {"t": 1e300, "i": None, "d": None, "nan": None}


@pytest.mark.parametrize("seconds, time, interval", [
    # The end of a certificate is up to who made it.
    (253402300799.0, datetime.datetime(9999, 12, 31, 23, 59, 59), datetime.timedelta(seconds=253402300799)),
    (253402300800.0, datetime.datetime.max, datetime.timedelta(seconds=253402300800)),
    (9223372037.0, datetime.datetime(2262, 4, 11, 23, 47, 17), datetime.timedelta(seconds=9223372037)),
    (-62135596800.0, datetime.datetime.min, datetime.timedelta(seconds=-62135596800)),
    (-62135596801.0, datetime.datetime.min, datetime.timedelta(seconds=-62135596801)),
    (1e18, datetime.datetime.max, datetime.timedelta.max),
    (-1e300, datetime.datetime.min, datetime.timedelta.min),
    (float("-inf"), datetime.datetime.min, datetime.timedelta.min),
    (0.0000005, datetime.datetime(1970, 1, 1), datetime.timedelta()),
    (-0.000001, datetime.datetime(1969, 12, 31, 23, 59, 59, 999999), datetime.timedelta(microseconds=-1)),
])
def test_times_are_times_wherever_they_are(scene, seconds, time, interval):
    log = Log("X::LOG", "x", ("t", TIME), ("i", INTERVAL), ("v", VECTOR, TIME))
    record = make(scene, log, seconds, seconds, [seconds])
    assert (record["t"], record["i"], record["v"]) == (time.replace(tzinfo=UTC), interval, (time.replace(tzinfo=UTC),))
    assert (record.raw("t"), record.raw("i"), record.raw("v")) == (seconds, seconds, (seconds,))


def test_a_time_that_is_no_number_is_none(scene):
    record = make(scene, Log("X::LOG", "x", ("t", TIME), ("i", INTERVAL)), float("nan"), float("nan"))
    assert (record["t"], record["i"]) == (None, None)
    assert str(record.raw("t")) == "nan"


@pytest.mark.parametrize("octets", [b"/cmd.exe?\xff", b"\xed\xa0\x80", b"\xed\xa0\xbd\xed\xb8\x80", b"\xc0\xaf"], ids=repr)
def test_strings_are_str_whatever_their_bytes_are(scene, octets):
    text = octets.decode("utf-8", "surrogateescape")
    log = Log("X::LOG", "x", ("s", STRING), ("e", ENUM), ("set", SET, STRING), ("v", VECTOR, STRING), ("n", COUNT),
              ("u", STRING))
    record = make(scene, log, octets, octets, [octets], [octets, None], 5, None)
    values = (record["s"], record["e"], record["set"], record["v"])
    assert values == (text, text, {text}, (text, None))
    assert tuple(map(record.raw, ("s", "e", "set", "v", "n", "u"))) == (
        octets, octets, {octets}, (octets, None), 5, None)
    with pytest.raises(KeyError, match="nothing"):
        record.raw("nothing")
    escaped = "".join("\\x%02x" % octet if octet > 127 else chr(octet) for octet in octets)
    assert json.loads(record.json())["s"] == escaped
    # What was received can be sent on.
    assert zeek.Event("x", *values).args() == [octets, octets, {octets}, (octets, None)]


def test_sets_and_vectors_of_every_type(scene):
    log = Log("X::LOG", "x", ("p", SET, PORT), ("n", SET, SUBNET), ("e", SET, ENUM), ("a", VECTOR, ADDR),
              ("t", VECTOR, TIME))
    record = make(scene, log, ["1/tcp", "1/udp"], ["10.0.0.0/8"], ["A::B"], ["::1", None], [0.0])
    assert record["p"] == {broker.Port(1, broker.Port.TCP), broker.Port(1, broker.Port.UDP)}
    assert record["n"] == {ipaddress.ip_network("10.0.0.0/8")}
    assert record["e"] == {"A::B"}
    assert record["a"] == (ipaddress.ip_address("::1"), None)
    assert record["t"] == (datetime.datetime(1970, 1, 1, tzinfo=UTC),)


def test_records_outlive_their_endpoint(scene):
    record = make(scene, CONN, *[None] * len(CONN.fields))
    scene.close()
    gc.collect()
    assert record.to_dict() == {}


# --- other spellings -----------------------------------------------------------------------------


SPELLED = Log("Demo::LOG", "demo", ("ts", TIME), ("s", STRING), ("u", STRING), ("v", VECTOR, STRING), ("d", DOUBLE))


def test_json_of_choice(scene):
    record = make(scene, SPELLED, 1700000000.123456, b"a\xff\x01", None, ["x", None], 1.5)
    assert record.json() == \
        '{"ts":1700000000.123456,"s":"a\\\\xff\\\\x01","v":["x",null],"d":1.5}'
    assert json.loads(record.json(include_unset=True))["u"] is None
    assert json.loads(record.json(timestamps="millis"))["ts"] == 1700000000123
    assert json.loads(record.json(timestamps="iso8601"))["ts"] == "2023-11-14T22:13:20.123456Z"
    assert json.loads(record.json(escape="surrogate"))["s"] == record["s"] == "a\udcff\x01"
    assert json.loads(record.json(escape="replace"))["s"] == "a\ufffd\x01"
    for wrong in ({"timestamps": "iso"}, {"escape": "no"}):
        with pytest.raises(ValueError, match="expected"):
            record.json(**wrong)


def test_lines_of_ascii_logs(scene):
    record = make(scene, SPELLED, 1700000000.123456, b"a\t\xff", None, ["x,y", "", "-", None], 2.0)
    assert record.tsv() == "1700000000.123456\ta\\x09\\xff\t-\tx\\x2cy,(empty),\\x2d,-\t2.0"
    time = datetime.datetime(2023, 11, 14, 22, 13, 20)
    assert record.schema.tsv_header(time).split("\n") == [
        "#separator \\x09", "#set_separator\t,", "#empty_field\t(empty)", "#unset_field\t-", "#path\tdemo",
        "#open\t2023-11-14-22-13-20", "#fields\tts\ts\tu\tv\td",
        "#types\ttime\tstring\tstring\tvector[string]\tdouble", ""]
    assert record.schema.tsv_footer(time) == "#close\t2023-11-14-22-13-20\n"
    assert len(record.schema.tsv_footer()) == len(record.schema.tsv_footer(time))


def from_ascii(text, kind):
    """What a reader of ASCII logs makes of a field, as JSON shows it."""
    if text == "-":
        return None
    if kind.startswith(("set[", "vector[")):
        inner = kind[kind.index("[") + 1:-1]
        return [] if text == "(empty)" else [from_ascii(element, inner) for element in text.split(",")]
    if kind == "bool":
        return text == "T"
    if kind in ("int", "count", "port"):
        return int(text)
    if kind in ("double", "time", "interval"):
        return float(text)
    return "" if text == "(empty)" else text


@pytest.mark.parametrize("name", NAMES)
def test_ascii_lines_of_a_recorded_zeek_say_what_its_json_says(scene, name):
    _, records = served(scene, load(name))
    compared = 0
    for record in records:
        line, texts = json.loads(record.json(include_unset=True)), record.tsv().split("\t")
        assert len(texts) == len(record.schema.fields) == len(line)
        for field, text in zip(record.schema.fields, texts):
            read, expected = from_ascii(text, field.type), line[field.name]
            if isinstance(expected, float):
                assert read == pytest.approx(expected, abs=5.1e-7)
            elif isinstance(read, list) and expected in ([""], [None]):
                # An empty string in a set reads as an empty set.
                assert read in ([], [None])
            elif not isinstance(expected, str) or "\\" not in text:
                assert read == (pytest.approx(expected) if isinstance(expected, list) and expected
                                and isinstance(expected[0], float) else expected), field.name
            compared += 1
    assert compared > 50


@pytest.mark.parametrize("name, nearest", [("Conn", "`conn`"), ("conn.log", "`conn`"), ("CONN::LOG", "`Conn::LOG`")])
def test_a_name_that_is_never_announced_is_warned_of(scene, caplog, name, nearest):
    endpoint = scene.endpoint()
    logs = scene.use(zeek.logs(endpoint, [name, "dns"], topics=["zeek/logs/"]))
    peer = scene.connected_peer(endpoint)
    for log in (CONN, DNS):
        peer.send_envelope(Tag.DATA, "zeek/logs/" + log.stream, encode(log.create()))
    peer.send_envelope(Tag.DATA, "zeek/logs/" + DNS.stream, encode(DNS.write(*[None] * len(DNS.fields))))
    [record] = receive(logs, 1)
    assert record.path == "dns"
    [warning] = [entry for entry in caplog.records if entry.name == "broker.zeek"]
    assert warning.levelname == "WARNING"
    assert warning.getMessage().startswith("no log `%s` has been announced; the nearest names that have are %s"
                                           % (name, nearest))
