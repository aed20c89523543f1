"""`broker.aio` and `broker.sync`: the same names, the same arguments, the same answers."""

import inspect
import signal
import threading
import typing

import pytest

import broker
import broker.aio
import broker.sync
from broker import zeek
from deadline import DEADLINE_S, wait_until
from scene import listen

CLASSES = ["Connection", "DurableSubscription", "Events", "Reading", "Store", "Stream", "Subscription"]
ASYNC_ONLY = {"Completions", "Watch"}
COUNTERPARTS = {"__aenter__": "__enter__", "__aexit__": "__exit__", "__aiter__": "__iter__",
                "__anext__": "__next__"}


def public(cls):
    """The names of a class that programs use, those of async protocols as their counterparts."""
    names = set()
    for base in cls.__mro__[:-1]:
        names |= {COUNTERPARTS.get(name, name) for name in vars(base)
                  if not name.startswith("_") or name in {*COUNTERPARTS, *COUNTERPARTS.values()}}
    return names - {"__init__"}


def parameters(function):
    return [(parameter.name, parameter.kind, parameter.default)
            for parameter in inspect.signature(function).parameters.values()]


def test_both_modules_have_the_same_names():
    assert set(broker.aio.__all__) - ASYNC_ONLY == set(broker.sync.__all__)
    for name in broker.aio.__all__:
        if name not in {"connect", *CLASSES, *ASYNC_ONLY}:
            assert getattr(broker.aio, name) is getattr(broker.sync, name), name


def test_connect_takes_the_same_arguments():
    assert parameters(broker.aio.connect) == parameters(broker.sync.connect)


@pytest.mark.parametrize("name", CLASSES)
def test_classes_have_the_same_methods(name):
    one, other = getattr(broker.aio, name), getattr(broker.sync, name)
    assert public(one) == public(other)
    for method in sorted(public(one)):
        if method.startswith("__"):
            continue
        mine, its = inspect.getattr_static(one, method), inspect.getattr_static(other, method)
        assert isinstance(mine, property) == isinstance(its, property), method
        if not isinstance(mine, property):
            assert parameters(mine) == parameters(its), method


@pytest.mark.parametrize("module", [broker.aio, broker.sync], ids=["aio", "sync"])
@pytest.mark.parametrize("name", CLASSES)
def test_everything_is_documented_and_typed(module, name):
    cls = getattr(module, name)
    assert cls.__doc__
    for method in public(cls):
        function = inspect.getattr_static(cls, method, None)
        if method.startswith("__") or isinstance(function, property):
            continue
        assert function.__doc__, method
        assert "return" in typing.get_type_hints(function), method


# --- What a program does with the blocking one ---------------------------------------------------


class Answerer:
    """An endpoint that answers every ping with a pong, from a thread."""

    def __init__(self, scene):
        self.endpoint = scene.endpoint()
        self.messages = scene.use(self.endpoint.make_safe_subscriber("/"))
        self.address = "127.0.0.1:%d" % listen(self.endpoint)
        scene.background(self._serve)

    def _serve(self):
        for topic, value in self.messages:
            event = zeek.Event(value)
            if event.valid() and event.name() == "ping":
                self.endpoint.publish(topic, zeek.Event("pong", *event.args()))

    def publish(self, count, topic="/t"):
        for number in range(count):
            self.send(number, topic)

    def send(self, value, topic="/t"):
        """Publishes once the program has subscribed: it may know of the peering first."""
        self.endpoint.publish(topic, value, wait_for_subscriber=DEADLINE_S)


@pytest.fixture
def answerer(scene):
    return Answerer(scene)


def test_messages_come_in_order(answerer):
    with broker.sync.connect(answerer.address, subscribe=["/t"]) as b:
        answerer.publish(1000)
        received = [message for _, message in zip(range(1000), b)]
    assert [message.value for message in received] == list(range(1000))
    assert {message.topic for message in received} == {"/t"}
    assert {message.peer for message in received} == {answerer.endpoint.node_id()}
    assert {message.event for message in received} == {None}


def test_a_message_over_a_web_socket_names_its_peer(scene):
    answerer = scene.endpoint(tls=False)
    port = answerer.listen_ws("127.0.0.1", 0)
    with broker.sync.connect("ws://127.0.0.1:%d" % port, subscribe=["/t"]) as b:
        for number in range(3):
            answerer.publish("/t", number, wait_for_subscriber=DEADLINE_S)
        received = [message for _, message in zip(range(3), b)]
        info, = b.peers()
    assert [message.value for message in received] == [0, 1, 2]
    assert {message.peer for message in received} == {info.peer.node_id()}


def test_a_message_knows_its_event_and_its_time(answerer):
    with broker.sync.connect("zeek://" + answerer.address, subscribe=["/t"]) as b:
        time = broker.now()
        answerer.send(zeek.Event("e", 1, [2], metadata={1: time}))
        message = b.receive(DEADLINE_S)
        assert (message.event.name(), message.event.args()) == ("e", [1, (2,)])
        assert message.time == broker.Data.to_py(broker.Data(time))
        assert message.event is message.event and message.value is message.value


def test_what_is_read_of_a_value_that_cannot_be_hashed_is_read_only_there(answerer):
    with broker.sync.connect(answerer.address, subscribe=["/t"]) as b:
        answerer.send({frozenset({1})})
        assert b.receive(DEADLINE_S).value == {frozenset({1})}


def test_requests_are_answered(answerer):
    with broker.sync.connect(answerer.address) as b:
        for number in range(5):
            reply = b.request("/t", broker.sync.Event("ping", number), reply="pong", timeout=DEADLINE_S)
            assert reply.args() == [number]
        with pytest.raises(TimeoutError, match="no `pang` came as a reply on /t within 0.01 s"):
            b.request("/t", broker.sync.Event("ping", 1), reply="pang", timeout=0.01)


def test_requests_of_several_threads_get_a_reply_each(scene, answerer):
    with broker.sync.connect(answerer.address) as b:
        def ask(number):
            return b.request("/t", broker.sync.Event("ping", number), reply="pong", timeout=DEADLINE_S,
                             where=lambda reply: reply.args() == [number]).args()

        asked = [scene.background(ask, number) for number in range(8)]
        assert [one.result(DEADLINE_S) for one in asked] == [[number] for number in range(8)]
        assert not b._core._replies._lines


def test_a_function_that_fails_ends_its_own_request(scene, answerer):
    with broker.sync.connect(answerer.address) as b:
        failing = scene.background(b.request, "/t", broker.sync.Event("nothing"), reply="pong",
                                   timeout=DEADLINE_S, where=lambda reply: 1 / 0)
        wait_until(lambda: b._core._replies._lines, "it waits")
        reply = b.request("/t", broker.sync.Event("ping", 1), reply="pong", timeout=DEADLINE_S)
        assert reply.args() == [1]
        with pytest.raises(ZeroDivisionError):
            failing.result(DEADLINE_S)


def test_threads_share_a_subscription(scene, answerer):
    with broker.sync.connect(answerer.address) as b, b.subscribe("/t") as messages:
        taken = []

        def take():
            for message in messages:
                taken.append(message.value)

        taking = [scene.background(take) for _ in range(3)]
        answerer.publish(3000)
        wait_until(lambda: len(taken) == 3000, "all are taken")
        messages.close()
        assert [one.result(DEADLINE_S) for one in taking] == [None] * 3
    assert sorted(taken) == list(range(3000))


def test_a_store_follows_its_master(answerer):
    answerer.endpoint.attach_master("hosts")
    with broker.sync.connect(answerer.address) as b, b.store("hosts", timeout=DEADLINE_S) as hosts:
        with hosts.changes() as changes:
            assert hosts.put_unique("unique", 1) is True
            assert hosts.put_unique("unique", 2) is False
            hosts.put("number", 1)
            hosts.increment("number", 5)
            hosts.decrement("number")
            hosts.append("text", "ab")
            hosts.insert_into("set", 1)
            hosts.insert_into("set", 2)
            hosts.remove_from("set", 1)
            hosts.insert_into("table", "k", "v")
            hosts.push("list", 1)
            hosts.push("list", 2)
            hosts.pop("list")
            hosts.put("gone", 1)
            hosts.erase("gone")
            hosts.idle(DEADLINE_S)
            assert hosts.snapshot() == {"unique": 1, "number": 5, "text": "ab", "set": {2},
                                        "table": {"k": "v"}, "list": (1,)}
            assert hosts.keys() == {"unique", "number", "text", "set", "table", "list"}
            assert (hosts.count(), hosts.exists("set"), hosts.exists("gone")) == (6, True, False)
            assert hosts.get("absent", "default") == "default"
            assert hosts.get_index_from_value("table", "k") == "v"
            assert hosts.get_index_from_value("table", "absent") is None
            first = changes.receive(DEADLINE_S)
            assert (first.kind, first.key, first.value) == ("insert", "unique", 1)
            hosts.clear()
            hosts.idle(DEADLINE_S)
            assert hosts.count() == 0


def test_a_master_can_be_kept_in_a_file(answerer, tmp_path):
    path = tmp_path / "hosts.sqlite"
    for expected in (None, 1):
        with broker.sync.connect(answerer.address) as b, b.master("hosts", path=str(path)) as hosts:
            assert hosts.get("k") == expected
            hosts.put("k", 1)


def test_a_store_without_a_master_is_said_to_have_none(answerer):
    with broker.sync.connect(answerer.address) as b:
        with pytest.raises(TimeoutError, match="no master of store `nothing` answered within 0.05 s"):
            b.store("nothing", timeout=0.05)


def test_a_full_subscription_keeps_the_newest(answerer):
    with broker.sync.connect(answerer.address, subscribe=["/end"]) as b:
        with b.subscribe("/t", buffer=10, overflow="drop_oldest") as messages:
            answerer.publish(100)
            answerer.publish(1, "/end")
            b.receive(DEADLINE_S)
            kept = [messages.receive(DEADLINE_S).value for _ in range(10)]
            assert (kept, messages.dropped) == (list(range(90, 100)), 90)


def test_who_cannot_be_reached_is_named_with_the_reason():
    with pytest.raises(broker.sync.ConnectError) as raised:
        broker.sync.connect("127.0.0.1:1", timeout=0.2)
    assert isinstance(raised.value, (TimeoutError, ConnectionError))
    assert list(raised.value.reasons) == ["zeek://127.0.0.1:1"]
    assert "nobody answers there" in str(raised.value)


def test_what_is_wrong_is_told_as_the_doctor_tells_it(scene):
    endpoint = scene.endpoint()
    port = endpoint.listen_ws("127.0.0.1", 0, tls=False)
    address = "zeek://127.0.0.1:%d" % port

    def diagnosis():
        with pytest.raises(broker.sync.ConnectError) as raised:
            broker.sync.connect(address, timeout=2)
        # A machine that is busy may not find out in time.
        return raised.value.diagnoses.get(address)

    found = wait_until(diagnosis, "what is wrong")
    assert found.code == "is-websocket" and "WebSocket" in found.what
    assert any("ws://127.0.0.1:%d" % port in remedy for remedy in found.remedies)


def test_an_error_has_the_reason_and_the_diagnosis_of_each_address():
    found = broker.sync.Diagnosis("port-closed", "nothing listens there", "It is closed.", ["open it", "go"])
    error = broker.sync.ConnectError({"zeek://a:1": "not in time", "zeek://b:1": "no"}, {"zeek://a:1": found})
    assert str(error) == ("cannot peer with zeek://a:1: not in time: nothing listens there. It is closed. Try: open it.;"
                          " cannot peer with zeek://b:1: no")
    assert list(error.reasons) == ["zeek://a:1", "zeek://b:1"]
    assert error.diagnoses == {"zeek://a:1": found}


def test_without_waiting_it_peers_later(scene):
    peers = []
    endpoint = scene.endpoint()
    port = listen(endpoint)
    with broker.sync.connect("127.0.0.1:%d" % port, subscribe=["/t"], wait=False,
                             on_connect=peers.append, on_disconnect=peers.append) as b:
        assert endpoint.await_peer(b.endpoint.node_id(), DEADLINE_S)
        endpoint.publish("/t", 1)
        assert b.receive(DEADLINE_S).value == 1
        endpoint.shutdown()
        while len(peers) < 2:
            with pytest.raises(TimeoutError):
                b.receive(0.05)
    assert [peer.node_id() for peer in peers] == [endpoint.node_id()] * 2


def test_what_is_published_last_arrives(answerer):
    counter = answerer.endpoint.make_subscriber("/t")
    with broker.sync.connect(answerer.address) as b:
        for number in range(2000):
            b.publish("/t", number)
    assert [value for _, value in counter.get(2000, DEADLINE_S)] == list(range(2000))


def test_iterations_end_when_the_connection_does(scene, answerer):
    b = broker.sync.connect(answerer.address, subscribe=["/t"])
    statuses, other = b.status(), b.subscribe("/t")
    reading = [scene.background(list, items) for items in (b, statuses, other)]
    answerer.publish(3)
    b.close()
    messages, _, others = (one.result(DEADLINE_S) for one in reading)
    assert [message.value for message in messages] == [message.value for message in others] == [0, 1, 2]
    with pytest.raises(broker.ClosedError):
        b.publish("/t", 1)


def test_an_interrupt_passes_through_and_loses_nothing(answerer):
    with broker.sync.connect(answerer.address, subscribe=["/t"]) as b:
        timer = threading.Timer(0.1, signal.raise_signal, [signal.SIGINT])
        with pytest.raises(KeyboardInterrupt):
            timer.start()
            b.receive(DEADLINE_S)
        timer.join()
        answerer.publish(3)
        assert [b.receive(DEADLINE_S).value for _ in range(3)] == [0, 1, 2]


def test_a_connection_cannot_be_used_with_a_coroutine_function_without_a_loop(answerer):
    async def told(peer):
        pass

    with pytest.raises(TypeError, match="coroutine function"):
        broker.sync.connect(answerer.address, on_connect=told)
