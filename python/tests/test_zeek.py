"""Zeek events, and sessions recorded with a real Zeek."""

import datetime
import ipaddress
import json
import subprocess
import sys

import pytest

import broker
import recordings
from broker.zeek import Event, MetadataType, SafeEvent
from deadline import DEADLINE_S, take_one
from peer import Tag, count, encode, event, integer, parse_envelope, set_of, string, table_of, vector
from scene import connect

Count = broker.Count
ONE = Count(1)
UTC = datetime.timezone.utc
MOMENT = datetime.datetime(2024, 2, 29, 12, 30, tzinfo=UTC)
UNHASHABLE = frozenset([frozenset([1])])


# --- making events -------------------------------------------------------------------------------


def test_an_event():
    ping = Event("ping", 1, "a")
    assert (ping.name(), ping.args(), ping.metadata(), ping.valid()) == ("ping", [1, "a"], None, True)
    assert type(ping.args()) is list
    assert str(ping.as_data()) == "(1, 1, (ping, (1, a)))"


@pytest.mark.parametrize("arguments, expected", [
    (("x",), []), (("x", None), [None]), (("x", [1, 2]), [(1, 2)]), (("x", 1, {1: 2}), [1, {1: 2}]),
    ((b"x", 1), [1]),
], ids=repr)
def test_arguments(arguments, expected):
    made = Event(*arguments)
    assert (made.name(), made.args()) == ("x", expected)


@pytest.mark.parametrize("arguments, error", [
    ((), IndexError), ((5, 1), TypeError), (("x", object()), TypeError), ((object(),), TypeError),
], ids=repr)
def test_what_makes_no_event(arguments, error):
    with pytest.raises(error):
        Event(*arguments)


def test_keywords_are_refused():
    with pytest.raises(TypeError):
        Event(name="x")


@pytest.mark.parametrize("metadata, expected, text", [
    ({1: MOMENT}, [(ONE, MOMENT)], None),
    ({ONE: MOMENT, 200: "v"}, [(ONE, MOMENT), (Count(200), "v")], None),
    ([(Count(200), "v")], [(Count(200), "v")], "(1, 1, (x, (1), ((200, v))))"),
    (((300, "v"),), [(Count(300), "v")], None),
    ([(200, 1, 2)], [(Count(200), 1)], None),
    (iter([(200, 1)]), [(Count(200), 1)], None),
    ({}, None, "(1, 1, (x, (1), ()))"),
    ([], None, "(1, 1, (x, (1), ()))"),
    (None, None, "(1, 1, (x, (1)))"),
], ids=["time", "two", "pairs", "tuple", "extra", "iterator", "empty-dict", "empty-list", "none"])
def test_metadata(metadata, expected, text):
    made = Event("x", 1, metadata=metadata)
    assert made.valid()
    assert made.metadata() == expected
    if text is not None:
        assert str(made.as_data()) == text


@pytest.mark.parametrize("metadata, error", [
    ({"a": 1}, TypeError), ({-1: 1}, (OverflowError, ValueError)), ({200: object()}, TypeError), (5, TypeError),
], ids=repr)
def test_what_is_no_metadata(metadata, error):
    with pytest.raises(error):
        Event("x", 1, metadata=metadata)


def test_metadata_of_the_caller_is_not_changed():
    pairs, table = [(200, "v")], {200: "v"}
    Event("x", metadata=pairs)
    Event("x", metadata=table)
    assert (pairs, table) == ([(200, "v")], {200: "v"})


@pytest.mark.parametrize("stamp", ["no", 1.5, 5])
def test_a_network_timestamp_has_to_be_a_timestamp(stamp):
    made = Event("x", 1, metadata={MetadataType.NetworkTimestamp: stamp})
    assert not made.valid()
    with pytest.raises(ValueError, match="^invalid Event data$"):
        made.metadata()


def test_constants():
    assert (MetadataType.NetworkTimestamp, MetadataType.UserMetadataStart) == (ONE, Count(200))


# --- reading events ------------------------------------------------------------------------------


@pytest.mark.parametrize("message", [
    (ONE, ONE, ("pong", (7,))), [ONE, ONE, ["pong", [7]]], broker.Data((ONE, ONE, ("pong", (7,)))),
    Event("pong", 7), (ONE, ONE, ("pong", (7,)), 9), (ONE, ONE, ("pong", (7,), (), 9)),
    (ONE, ONE, ("pong", (7,), ((Count(200), None),))),
], ids=["tuple", "list", "data", "event", "longer", "longer-inside", "metadata"])
def test_events_from_messages(message):
    pong = Event(message)
    assert (pong.valid(), pong.name(), pong.args()) == (True, "pong", [7])


NOT_AN_EVENT = "invalid Event data/type"
MALFORMED = "invalid Event data"


@pytest.mark.parametrize("message, text", [
    (5, NOT_AN_EVENT), (None, NOT_AN_EVENT), (b"ping", NOT_AN_EVENT), ((), NOT_AN_EVENT),
    ((ONE, ONE), NOT_AN_EVENT),
    ((1, 1, ("pong", (7,))), NOT_AN_EVENT),
    ((ONE, Count(2), ("pong", (7,))), NOT_AN_EVENT),
    ((ONE, ONE, (5, (7,))), MALFORMED), ((ONE, ONE, ("p", 7)), MALFORMED), ((ONE, ONE, ("p",)), MALFORMED),
    ((ONE, ONE, ("p", (7,), 5)), MALFORMED), ((ONE, ONE, ("p", (7,), ((1, 2),))), MALFORMED),
    ((ONE, ONE, ("p", (7,), ((Count(1), "no"),))), MALFORMED),
    ((ONE, ONE, ("p", (7,), ((Count(200), 1, 2),))), MALFORMED),
], ids=repr)
def test_messages_that_are_no_events(message, text):
    made = Event(message)
    assert made.valid() is False
    for read in (made.name, made.args, made.metadata):
        with pytest.raises(ValueError) as info:
            read()
        assert text in str(info.value)


@pytest.mark.parametrize("version", [Count(0), Count(2)])
def test_a_wrong_version_is_invalid_and_nothing_is_printed(capfd, version):
    assert Event((version, ONE, ("pong", (7,)))).valid() is False
    assert capfd.readouterr() == ("", "")


def test_an_argument_that_is_no_text_is_bytes():
    assert Event("x", b"ok\x82").args() == [b"ok\x82"]


def test_unhashable_arguments():
    with pytest.raises(TypeError) as info:
        Event("x", UNHASHABLE).args()
    assert str(info.value) == "unhashable type: 'set'"
    table = {broker.ImmutableData.HashableReadOnlyDict({"a": 1}): 1}
    with pytest.raises(TypeError) as info:
        Event("x", table).args()
    assert str(info.value) == "unhashable type: 'dict'"


def test_safe_events():
    made = SafeEvent("x", UNHASHABLE, {1: {2}}, metadata={300: {1: 2}})
    assert made.args() == [UNHASHABLE, {1: {2}}]
    hash(tuple(made.args()))
    assert made.metadata() == [(Count(300), {1: 2})]
    assert isinstance(made, Event)
    assert SafeEvent(Event("a", {1: 2})).args() == [{1: 2}]


def test_events_are_values():
    expected = (ONE, ONE, ("ping", (1,)))
    assert broker.Data.to_py(broker.Data(Event("ping", 1))) == expected
    assert broker.Data.to_py(broker.Data({"e": [Event("ping", 1)]})) == {"e": (expected,)}
    assert isinstance(Event("ping"), broker._broker.zeek.Message)


def test_events_travel(scene):
    one, two = scene.endpoint(), scene.endpoint()
    messages = scene.use(two.make_subscriber("/t"))
    safe = scene.use(two.make_safe_subscriber("/t"))
    connect(one, two)
    one.publish("/t", Event("hello", 1, {"a": {1}}, metadata={1: MOMENT, 200: "v"}))
    _, data = take_one(messages)
    made = Event(data)
    assert (made.name(), made.args()) == ("hello", [1, {"a": {1}}])
    assert made.metadata() == [(ONE, MOMENT), (Count(200), "v")]
    _, data = take_one(safe)
    assert SafeEvent(data).args() == [1, {"a": {1}}]


def test_events_on_the_wire(scene, endpoint):
    peer = scene.connected_peer(endpoint, "/t")
    endpoint.publish("/t", Event("ping", 1, Count(2), {3}))
    assert peer.expect_data("/t").value == event("ping", integer(1), count(2), set_of(integer(3)))
    endpoint.publish("/t", Event("ping", metadata={200: {}}))
    metadata = vector(vector(count(200), table_of()))
    expected = vector(count(1), count(1), vector(string("ping"), vector(), metadata))
    assert peer.expect_data("/t").payload == encode(expected)


# --- recorded sessions ---------------------------------------------------------------------------

REPLAY = recordings.REPOSITORY / "examples" / "zeek_replay.py"
SESSIONS = recordings.VECTORS / "zeek"


class Zeek:
    """Plays the Zeek side of a recording in a second process, and checks what we send."""

    def __init__(self, name):
        self.process = subprocess.Popen([sys.executable, str(REPLAY), str(SESSIONS / name)], text=True,
                                        stdout=subprocess.PIPE)

    def __enter__(self):
        self.port = json.loads(self.process.stdout.readline())["port"]
        return self

    def __exit__(self, *exception):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def finish(self):
        output, _ = self.process.communicate(timeout=DEADLINE_S)
        assert self.process.returncode == 0, output


@pytest.mark.parametrize("name", ["zeek-ping-originator.json", "zeek-ping-responder.json"])
def test_a_recorded_zeek_answers_pings(scene, name):
    endpoint = scene.endpoint(tls=False)
    messages = scene.use(endpoint.make_subscriber("/topic/test"))
    with Zeek(name) as zeek:
        assert endpoint.peer("127.0.0.1", zeek.port, 0.0)
        for argument in (0, 1, 2, Count(9), 77):
            endpoint.publish("/topic/test", Event("ping", argument))
            if argument != Count(9):
                pong = Event(take_one(messages)[1])
                assert (pong.valid(), pong.name(), pong.args()) == (True, "pong", [argument])
        endpoint.unpeer("127.0.0.1", zeek.port)
        zeek.finish()


def test_a_recorded_zeek_sends_all_types(scene):
    endpoint = scene.endpoint(tls=False)
    messages = scene.use(endpoint.make_subscriber("/types/out"))
    with Zeek("zeek-all-types.json") as zeek:
        assert endpoint.peer("127.0.0.1", zeek.port, 0.0)
        endpoint.publish("/types/in", Event("ask", Count(42)))
        answer = Event(take_one(messages)[1])
        assert (answer.name(), len(answer.args())) == ("all_types", 20)
        kinds = {type(argument) for argument in answer.args()}
        assert kinds >= {bool, int, Count, float, bytes, datetime.datetime, datetime.timedelta, broker.Port,
                         broker.Enum, ipaddress.IPv4Address, ipaddress.IPv4Network, tuple, set, dict}
        for value, text in [(ONE, "1"), ("x", "x"), ((ONE, "y"), "(1, y)"), (None, "nil"),
                            ({ipaddress.ip_address("10.0.0.1")}, "{10.0.0.1}")]:
            endpoint.publish("/types/in", Event("echo_any", value))
            answer = Event(take_one(messages)[1])
            assert answer.args() == [ONE, "[data=broker::data{%s}]" % text]
        endpoint.unpeer("127.0.0.1", zeek.port)
        zeek.finish()


# The sessions of Zeek's WebSocket server have tests of their own.
@pytest.mark.parametrize("name", sorted(path.name for path in SESSIONS.glob("*.json") if "websocket" not in path.name))
def test_everything_that_a_recorded_zeek_published_can_be_read(scene, endpoint, name):
    payloads = [bytes.fromhex(frame["hex"])[4:] for frame in recordings.load("zeek/" + name)["frames"]
                if frame["dir"] == "in" and frame["decoded"]["type"] == "data"]
    peer = scene.connected_peer(endpoint)
    messages = scene.use(endpoint.make_subscriber(""))
    for payload in payloads:
        envelope = parse_envelope(payload)
        peer.send_envelope(Tag.DATA, envelope.topic, envelope.payload)
        topic, data = take_one(messages)
        assert topic == envelope.topic.decode()
        assert data[0] == ONE
        assert Event(data).valid() is (data[1] == ONE)
