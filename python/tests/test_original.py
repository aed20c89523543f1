"""What the original's own tests of its Python package rely on, scenario by scenario.

Zeek, stores and types have files of their own; here is what is left.
"""

import datetime
import faulthandler
import ipaddress
import signal

import pytest

import broker
from deadline import DEADLINE_S, Stopwatch, take, take_one
from scene import connect, listen

# The calls are the original's, which have no time limit. A test that takes longer fails.
TEST_LIMIT_S = 120.0
# A call that does not even notice a signal ends the process, with the stacks of all threads.
PROCESS_LIMIT_S = 240.0


@pytest.fixture(autouse=True)
def deadline(request):
    def fail(number, frame):
        raise TimeoutError("%s is not over after %g s" % (request.node.name, TEST_LIMIT_S))

    previous = signal.signal(signal.SIGALRM, fail)
    faulthandler.dump_traceback_later(PROCESS_LIMIT_S, exit=True)
    signal.setitimer(signal.ITIMER_REAL, TEST_LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, previous)

MESSAGES = [
    ("/test/1", ()),
    ("/test/2", (1, 2, 3)),
    ("/test/3", (42, "foo", {"a": "A", "b": ipaddress.IPv4Address("1.2.3.4")})),
]


def test_ping_and_pong(scene):
    with broker.Endpoint() as one, broker.Endpoint() as two, \
            one.make_subscriber("/test") as here, two.make_subscriber("/test") as there:
        port = one.listen("127.0.0.1", 0)
        assert two.peer("127.0.0.1", port, 1.0)
        one.await_peer(two.node_id())
        two.await_peer(one.node_id())
        two.publish("/test", ["ping"])
        assert here.get() == ("/test", ("ping",))
        one.publish(topic="/test", data=["pong"])
        while there.available() == 0:
            pass
        assert there.poll() == [("/test", ("pong",))]


@pytest.mark.parametrize("factory", ["make_subscriber", "make_safe_subscriber"])
def test_three_messages_and_no_more(scene, factory):
    one, two = scene.endpoint(), scene.endpoint()
    messages = scene.use(getattr(one, factory)("/test"))
    connect(two, one)
    two.publish(*MESSAGES[0])
    two.publish_batch(*MESSAGES[1:])
    assert messages.get(3) == MESSAGES
    assert not messages.available()


def test_normal_and_safe_results(scene):
    one, two = scene.endpoint(), scene.endpoint()
    normal = scene.use(one.make_subscriber("/test"))
    safe = scene.use(one.make_safe_subscriber("/test"))
    connect(two, one)
    two.publish("/test", ({"a": "A"}, {1, 2, 3}, ("a", "b", "c")))
    _, (table, numbers, letters) = take_one(normal)
    table["b"] = "B"
    numbers.add(4)
    assert (table, numbers) == ({"a": "A", "b": "B"}, {1, 2, 3, 4})
    _, (table, numbers, letters) = take_one(safe)
    with pytest.raises(TypeError):
        table["b"] = 1
    with pytest.raises(AttributeError):
        numbers.add(4)
    with pytest.raises(TypeError):
        letters[2] = "D"


def test_a_publisher(scene):
    one, two = scene.endpoint(), scene.endpoint()
    messages = scene.use(one.make_subscriber("/test"))
    connect(two, one)
    with two.make_publisher("/test") as publisher:
        publisher.publish([1, 2, 3])
        publisher.publish_batch(["a", "b", "c"], [True, False])
    assert take(messages, 3) == [("/test", (1, 2, 3)), ("/test", ("a", "b", "c")), ("/test", (True, False))]


def test_statuses_of_both_sides(scene):
    one, two = scene.endpoint(), scene.endpoint()
    here, there = scene.use(one.make_status_subscriber(True)), scene.use(two.make_status_subscriber(True))
    assert two.peer("127.0.0.1", listen(one), 1.0)
    assert one.await_peer(two.node_id())
    assert two.await_peer(one.node_id())
    for statuses in (here.get(2), there.get(2)):
        assert [status.code() for status in statuses] == [broker.SC.EndpointDiscovered, broker.SC.PeerAdded]
        assert statuses[1].context().network.get().address == "127.0.0.1"


def test_an_endpoint_with_idle_subscribers_ends_at_once():
    with Stopwatch() as took:
        with broker.Endpoint() as endpoint, endpoint.make_subscriber("/test"), \
                endpoint.make_status_subscriber(True):
            pass
    assert took.seconds < DEADLINE_S


def test_set_order_and_the_text_of_a_set():
    mixed = {"b", 1, None, 2.5, ipaddress.ip_address("1.2.3.4")}
    assert str(broker.Data(mixed).as_set()) == "Set{nil, 1, 2.500000, b, 1.2.3.4}"
    numbers = broker.Data({1, 2, 3}).as_set()
    assert str(numbers) == "Set{1, 2, 3}"
    numbers.remove(broker.Data(2))
    numbers.clear()
    assert len(numbers) == 0


def test_a_count_below_zero_raises():
    with pytest.raises(Exception):
        broker.Count(-1)


def test_times_of_now_come_back_within_a_microsecond():
    now = datetime.datetime.now(datetime.timezone.utc)
    back = broker.Data.to_py(broker.Data(now))
    assert abs(back - now) <= datetime.timedelta(microseconds=1)
    assert back.tzinfo == broker.utc


def test_a_call_without_an_end_fails_its_test(scene):
    messages = scene.use(scene.endpoint().make_subscriber("/test"))
    signal.setitimer(signal.ITIMER_REAL, .2)
    with pytest.raises(TimeoutError, match="test_a_call_without_an_end_fails_its_test is not over"):
        messages.get()
