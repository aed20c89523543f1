"""Subscribers: every form of `get`, topics, descriptors, the end, and the safe variant."""

import math
import select

import pytest

import broker
from deadline import DEADLINE_S, FOR_EVER_S, Stopwatch, take, take_one, wait_until
from scene import connect, listen

BOTH = ["make_subscriber", "make_safe_subscriber"]


class Source:
    """Publishes to a subscriber from the other end of a peering."""

    def __init__(self, scene, factory="make_subscriber"):
        self.sender, self.receiver = scene.endpoint(), scene.endpoint()
        self.messages = scene.use(getattr(self.receiver, factory)("/t"))
        connect(self.sender, self.receiver)

    def send(self, *values):
        """Publishes values and waits until all of them can be taken."""
        already = self.messages.available()
        for value in values:
            self.sender.publish("/t", value)
        wait_until(lambda: self.messages.available() >= already + len(values), "%d messages" % len(values))


@pytest.fixture(params=BOTH)
def source(scene, request):
    return Source(scene, request.param)


# --- get, in all its forms -----------------------------------------------------------------------


def test_get_is_one_tuple(source):
    source.send("a", "b")
    assert source.messages.get() == ("/t", "a")
    topic, data = source.messages.get()
    assert (type(topic), topic, data) == (str, "/t", "b")


def test_get_waits(scene, source):
    waiting = scene.background(source.messages.get)
    assert not waiting.done()
    source.sender.publish("/t", 1)
    assert waiting.result(DEADLINE_S) == ("/t", 1)


@pytest.mark.parametrize("timeout", [FOR_EVER_S, 1e9, math.inf], ids=repr)
def test_get_float_is_a_tuple_within_that_time(scene, source, timeout):
    source.send("a")
    assert source.messages.get(timeout) == ("/t", "a")
    waiting = scene.background(source.messages.get, timeout)
    source.sender.publish("/t", "b")
    assert waiting.result(DEADLINE_S) == ("/t", "b")


def test_get_float_is_none_after_that_time(source):
    with Stopwatch() as took:
        assert source.messages.get(0.1) is None
    assert 0.09 < took.seconds < DEADLINE_S


@pytest.mark.parametrize("timeout", [0.0, -0.0, -1.0, -math.inf, -1], ids=repr)
def test_get_without_time_looks_once(source, timeout):
    with Stopwatch() as took:
        assert source.messages.get(timeout) is None
    assert took.seconds < DEADLINE_S
    source.send("a")
    assert source.messages.get(timeout) == ("/t", "a")


def test_get_int_is_a_list_of_exactly_that_many(scene, source):
    source.send(1, 2, 3)
    assert source.messages.get(2) == [("/t", 1), ("/t", 2)]
    waiting = scene.background(source.messages.get, 3)
    source.sender.publish("/t", 4)
    source.sender.publish("/t", 5)
    assert waiting.result(DEADLINE_S) == [("/t", 3), ("/t", 4), ("/t", 5)]


@pytest.mark.parametrize("timeout", [int(FOR_EVER_S), FOR_EVER_S, math.inf], ids=repr)
def test_get_int_with_time_is_a_list_once_it_is_complete(source, timeout):
    source.send(1, 2, 3)
    with Stopwatch() as took:
        assert source.messages.get(2, timeout) == [("/t", 1), ("/t", 2)]
    assert took.seconds < DEADLINE_S


@pytest.mark.parametrize("timeout", [0.1, 0, 0.0, -1, -1.0], ids=repr)
def test_get_int_with_time_is_what_came_within_it(source, timeout):
    assert source.messages.get(5, timeout) == []
    source.send(1, 2)
    with Stopwatch() as took:
        assert source.messages.get(5, timeout) == [("/t", 1), ("/t", 2)]
    assert took.seconds < DEADLINE_S


@pytest.mark.parametrize("arguments", [(0,), (0, 5.0), (0, 0), (False,)], ids=repr)
def test_get_zero_is_an_empty_list(source, arguments):
    source.send(1)
    with Stopwatch() as took:
        assert source.messages.get(*arguments) == []
    assert took.seconds < DEADLINE_S
    assert source.messages.available() == 1


def test_get_true_is_get_one(source):
    source.send(1)
    assert source.messages.get(True) == [("/t", 1)]


@pytest.mark.parametrize("arguments", [
    (2.0, 1.0), (None,), ("1",), (2, None), (2, "1"), (1, 2, 3), ([],), (1j,),
], ids=repr)
def test_get_refuses_other_arguments(source, arguments):
    source.send(1)
    with pytest.raises(TypeError):
        source.messages.get(*arguments)
    assert source.messages.available() == 1


@pytest.mark.parametrize("arguments", [(math.nan,), (2, math.nan)], ids=repr)
def test_get_refuses_nan(source, arguments):
    with pytest.raises(ValueError):
        source.messages.get(*arguments)


# --- poll, available, fd -------------------------------------------------------------------------


def test_poll_is_a_list_of_what_is_there(source):
    assert source.messages.poll() == []
    source.send(1, 2, 3)
    assert source.messages.available() == 3
    assert source.messages.poll() == [("/t", 1), ("/t", 2), ("/t", 3)]
    assert source.messages.poll() == []
    assert not source.messages.available()


@pytest.mark.parametrize("size, total, most", [(1, 10000, 4096), (1 << 20, 8, 2)], ids=["messages", "octets"])
def test_poll_leaves_the_rest_of_a_flood_for_the_next_call(source, size, total, most):
    """Whoever handles a batch at a time comes back soon enough not to count as stuck."""
    data = "x" * size
    for number in range(total):
        source.sender.publish("/t", (number, data))
    wait_until(lambda: source.messages.available() == total, "everything has come")
    received = []
    while source.messages.available():
        batch = source.messages.poll()
        assert 0 < len(batch) <= most
        received += batch
    assert [number for _, (number, _) in received] == list(range(total))


def test_a_reader_that_comes_late_finds_everything_in_order(source):
    for number in range(20000):
        source.sender.publish("/t", number)
    received = []
    wait_until(lambda: received.extend(source.messages.poll()) or len(received) >= 20000, "20000 messages")
    assert [data for _, data in received] == list(range(20000))


def is_readable(descriptor, timeout=0.0):
    return bool(select.select([descriptor], [], [], timeout)[0])


def test_the_descriptor_is_readable_while_there_is_something(source):
    descriptor = source.messages.fd()
    assert type(descriptor) is int
    assert not is_readable(descriptor)
    source.send(1, 2, 3)
    assert is_readable(descriptor, DEADLINE_S)
    source.messages.get()
    assert is_readable(descriptor)
    source.messages.get(2)
    assert not is_readable(descriptor)
    source.send(4)
    assert is_readable(descriptor, DEADLINE_S)
    source.messages.poll()
    assert not is_readable(descriptor)
    assert source.messages.fd() == descriptor


def test_the_descriptor_asked_for_late_is_readable_too(source):
    source.send(1)
    assert is_readable(source.messages.fd(), DEADLINE_S)


# --- topics --------------------------------------------------------------------------------------


@pytest.mark.parametrize("topics", [
    "/t", broker.Topic("/t"), ["/t"], ("/x", "/t"), {"/t"}, ["/t", broker.Topic("/x")], iter(["/t"]),
    (topic for topic in ["/x", "/t"]), {"/t": 1},
], ids=lambda topics: type(topics).__name__)
def test_topics_of_subscribers(scene, topics):
    one, two = scene.endpoint(), scene.endpoint()
    messages = scene.use(two.make_subscriber(topics))
    connect(one, two)
    one.publish("/unasked", 1)
    one.publish("/t", 2)
    assert take_one(messages) == ("/t", 2)


@pytest.mark.parametrize("topics", [None, 5, [None], ["/t", 5]], ids=repr)
def test_topics_that_are_none(endpoint, topics):
    for make in (endpoint.make_subscriber, endpoint.make_safe_subscriber, endpoint.forward):
        with pytest.raises(TypeError):
            make(topics)


def test_qsize_is_accepted(scene, endpoint):
    scene.use(endpoint.make_subscriber("/t", 5))
    scene.use(endpoint.make_subscriber(topics="/t", qsize=0))
    scene.use(endpoint.make_safe_subscriber("/t", qsize=1))
    for qsize in (-1, "1", None, 1.5):
        with pytest.raises((TypeError, OverflowError, ValueError)):
            endpoint.make_subscriber("/t", qsize)


def test_a_subscriber_class_of_ones_own(scene, pair):
    class Loud(broker.Subscriber):
        def get(self, *arguments):
            topic, data = super().get(*arguments)
            return topic.upper(), data

    one, two = pair
    messages = scene.use(two.make_subscriber("/t", subscriber_class=Loud))
    assert type(messages) is Loud
    wait_until(one.peer_subscriptions, "the subscription")
    one.publish("/t", 1)
    assert messages.get() == ("/T", 1)


def test_a_subscriber_class_gets_the_native_one_as_its_only_argument(scene, endpoint):
    seen = []

    class Curious(broker.Subscriber):
        def __init__(self, internal):
            seen.append(internal)
            super().__init__(internal)

    messages = scene.use(endpoint.make_subscriber("/t", 20, Curious))
    assert len(seen) == 1 and messages.available() == 0


@pytest.mark.parametrize("more", ["/more", b"/more", broker.Topic("/more")], ids=repr)
def test_topics_can_be_added_and_removed(scene, source, more):
    assert source.messages.add_topic(more, block=True) is None
    wait_until(lambda: "/more" in map(str, source.sender.peer_subscriptions()), "the new topic")
    source.sender.publish("/more", 1)
    assert take_one(source.messages) == ("/more", 1)
    assert source.messages.remove_topic(topic=more, block=True) is None
    source.sender.publish("/more", 2)
    source.sender.publish("/t", 3)
    assert take_one(source.messages) == ("/t", 3)
    assert source.messages.remove_topic("/never/there") is None
    assert source.messages.add_topic("/later") is None


def test_every_subscriber_gets_its_own_copy(scene):
    one, two = scene.endpoint(), scene.endpoint()
    subscribers = [scene.use(two.make_subscriber("/t")) for _ in range(3)]
    connect(one, two)
    one.publish("/t", {"a": 1})
    values = [take_one(messages)[1] for messages in subscribers]
    values[0]["b"] = 2
    assert values[1:] == [{"a": 1}, {"a": 1}]


# --- values --------------------------------------------------------------------------------------


def test_normal_values_can_be_changed(scene):
    source = Source(scene)
    source.send({"a": {1}}, {1, 2})
    (_, table), (_, numbers) = source.messages.get(2)
    table["b"] = 1
    table["a"].add(2)
    numbers.add(3)
    assert (table, numbers) == ({"a": {1, 2}, "b": 1}, {1, 2, 3})


@pytest.mark.parametrize("take_two", [
    lambda messages: messages.get(2),
    lambda messages: messages.get(2, DEADLINE_S),
    lambda messages: [messages.get(), messages.get()],
    lambda messages: [messages.get(DEADLINE_S), messages.get(DEADLINE_S)],
    lambda messages: messages.poll(),
], ids=["get-n", "get-n-t", "get", "get-t", "poll"])
def test_safe_values_cannot_be_changed(scene, take_two):
    source = Source(scene, "make_safe_subscriber")
    source.send({"a": {1}}, [{1, 2}])
    (_, table), (_, (numbers,)) = take_two(source.messages)
    with pytest.raises(TypeError):
        table["b"] = 1
    with pytest.raises(AttributeError):
        numbers.add(3)
    with pytest.raises(AttributeError):
        table["a"].add(3)
    hash((table, numbers))
    assert (table, numbers) == ({"a": {1}}, {1, 2})
    assert isinstance(table, dict)


UNHASHABLE = {broker.ImmutableData.HashableReadOnlyDict({"a": 1}): "d"}


def test_what_python_cannot_hash_raises_and_only_that_message_is_lost(scene):
    source = Source(scene)
    source.send(1, UNHASHABLE, 2, 3)
    received, errors = [], []
    while len(received) + len(errors) < 4:
        try:
            received += source.messages.get(3, 1.0)
        except TypeError as error:
            errors.append(str(error))
    assert [data for _, data in received] == [1, 2, 3]
    assert len(errors) == 1 and "unhashable type: 'dict'" in errors[0]


@pytest.mark.parametrize("value, text", [
    (UNHASHABLE, "unhashable type: 'dict'"), (frozenset([frozenset([1])]), "unhashable type: 'set'"),
], ids=["dict", "set"])
def test_the_text_of_the_error(scene, value, text):
    source = Source(scene)
    source.send(value, 1)
    with pytest.raises(TypeError) as info:
        source.messages.get()
    assert str(info.value) == text
    assert source.messages.get() == ("/t", 1)


@pytest.mark.parametrize("take_two", [
    lambda messages: [messages.recv(5), messages.recv(5)],
    lambda messages: messages.recv_many(2, 5),
    lambda messages: [next(messages), next(messages)],
], ids=["recv", "recv-many", "iteration"])
def test_no_message_ends_a_loop_over_messages(scene, take_two):
    source = Source(scene)
    hostile = frozenset([frozenset([1])])
    source.send(hostile, UNHASHABLE)
    (_, elements), (_, table) = take_two(source.messages)
    assert (elements, table) == ({frozenset([1])}, UNHASHABLE)
    assert (type(elements), type(table)) == (set, dict)


def test_poll_loses_only_the_bad_message_too(scene):
    source = Source(scene)
    source.send(1, UNHASHABLE, 2)
    received, errors = [], 0
    while len(received) + errors < 3:
        try:
            received += source.messages.poll()
        except TypeError:
            errors += 1
    assert ([data for _, data in received], errors) == ([1, 2], 1)


def test_the_descriptor_does_not_forget_what_a_bad_message_left_behind(scene):
    """Whoever waits for the descriptor must hear of the messages around the bad one."""
    source = Source(scene)
    source.send(1, UNHASHABLE, 2)
    descriptor = source.messages.fd()
    with pytest.raises(TypeError):
        source.messages.poll()
    assert source.messages.available() == 2
    assert is_readable(descriptor, DEADLINE_S)
    assert [data for _, data in source.messages.poll()] == [1, 2]
    assert not is_readable(descriptor)


def test_safe_subscribers_have_no_such_trouble(scene):
    source = Source(scene, "make_safe_subscriber")
    source.send(UNHASHABLE, frozenset([frozenset([1])]))
    assert [data for _, data in source.messages.get(2)] == [UNHASHABLE, {frozenset([1])}]
    assert issubclass(broker.SafeSubscriber, broker.Subscriber)


# --- the end -------------------------------------------------------------------------------------


def test_reset(source):
    source.messages.reset()
    source.messages.reset()
    for name, arguments in (("get", ()), ("poll", ()), ("available", ()), ("fd", ()), ("add_topic", ("/x",))):
        with pytest.raises(AttributeError):
            getattr(source.messages, name)(*arguments)


def test_the_context_manager_resets(scene, endpoint):
    with endpoint.make_subscriber("/t") as messages:
        assert messages.poll() == []
    with pytest.raises(AttributeError):
        messages.poll()


def test_reset_ends_a_waiting_get(scene, source):
    waiting = scene.background(source.messages.get)
    source.messages.reset()
    with pytest.raises((RuntimeError, AttributeError)):
        waiting.result(DEADLINE_S)


def test_after_shutdown_what_is_there_can_still_be_taken(source):
    source.send(1, 2, 3)
    source.receiver.shutdown()
    assert source.messages.get() == ("/t", 1)
    assert source.messages.poll() == [("/t", 2), ("/t", 3)]
    assert source.messages.poll() == []


@pytest.mark.parametrize("arguments", [(), (FOR_EVER_S,), (2,), (2, FOR_EVER_S)], ids=repr)
def test_after_the_end_get_says_so(source, arguments):
    source.receiver.shutdown()
    with Stopwatch() as took, pytest.raises(RuntimeError, match="subscriber queue closed"):
        source.messages.get(*arguments)
    assert took.seconds < DEADLINE_S


def test_shutdown_wakes_a_waiting_get(scene, source):
    waiting = [scene.background(source.messages.get), scene.background(source.messages.get, 3),
               scene.background(source.messages.get, FOR_EVER_S)]
    source.receiver.shutdown()
    for call in waiting:
        with pytest.raises(RuntimeError, match="subscriber queue closed"):
            call.result(DEADLINE_S)


def test_the_descriptor_is_readable_at_the_end(source):
    descriptor = source.messages.fd()
    source.receiver.shutdown()
    assert is_readable(descriptor, DEADLINE_S)


def test_subscribers_of_unpeered_endpoints_stay(scene, source):
    port = listen(source.receiver)
    source.send(1)
    assert take(source.messages, 1) == [("/t", 1)]
    other = scene.endpoint()
    other.peer("127.0.0.1", port, 0.0)
    other.publish("/t", 2)
    assert take_one(source.messages) == ("/t", 2)
