"""Publishers."""

import select

import pytest

import broker
from deadline import DEADLINE_S, take, take_one
from scene import connect


@pytest.fixture
def channel(scene):
    """A publisher and a subscriber that gets what it publishes."""
    sender, receiver = scene.endpoint(), scene.endpoint()
    messages = scene.use(receiver.make_subscriber("/t"))
    connect(sender, receiver)
    return scene.use(sender.make_publisher("/t")), messages


@pytest.mark.parametrize("topic", ["/t/x", b"/t/x", broker.Topic("/t/x")], ids=repr)
def test_topics_of_publishers(scene, topic):
    sender, receiver = scene.endpoint(), scene.endpoint()
    messages = scene.use(receiver.make_subscriber("/t"))
    connect(sender, receiver)
    with sender.make_publisher(topic) as publisher:
        assert publisher.publish(1) is None
    assert take_one(messages) == ("/t/x", 1)


@pytest.mark.parametrize("topic", [None, 5, ["/t"]], ids=repr)
def test_topics_that_are_none(endpoint, topic):
    with pytest.raises(TypeError):
        endpoint.make_publisher(topic)


def test_every_item_of_a_batch_is_a_message(channel):
    publisher, messages = channel
    assert publisher.publish_batch() is None
    assert publisher.publish_batch(["a", "b", "c"], [True, False]) is None
    assert take(messages, 2) == [("/t", ("a", "b", "c")), ("/t", (True, False))]


def test_one_bad_item_sends_nothing(channel):
    publisher, messages = channel
    with pytest.raises(TypeError, match="unsupported data type"):
        publisher.publish_batch("unsent", object())
    publisher.publish("sent")
    assert take_one(messages) == ("/t", "sent")


def test_events_can_be_published(channel):
    publisher, messages = channel
    publisher.publish(broker.zeek.Event("ping", 1))
    assert broker.zeek.Event(take_one(messages)[1]).args() == [1]


def test_many_messages_in_order(channel):
    publisher, messages = channel
    for number in range(20000):
        publisher.publish(number)
    assert [data for _, data in take(messages, 20000)] == list(range(20000))


def test_numbers(channel):
    publisher, _ = channel
    for name in ("buffered", "capacity", "demand", "free_capacity", "send_rate"):
        assert type(getattr(publisher, name)()) is int, name
    assert publisher.capacity() > 0
    assert publisher.free_capacity() == publisher.capacity() - publisher.buffered()


def test_the_descriptor_is_readable_while_there_is_room(channel):
    publisher, _ = channel
    descriptor = publisher.fd()
    assert type(descriptor) is int
    assert select.select([descriptor], [], [], DEADLINE_S)[0] == [descriptor]


def test_reset(channel):
    publisher, _ = channel
    publisher.reset()
    publisher.reset()
    for name, arguments in (("publish", (1,)), ("publish_batch", (1,)), ("buffered", ()), ("fd", ())):
        with pytest.raises(AttributeError):
            getattr(publisher, name)(*arguments)


def test_publishing_after_shutdown_is_an_error(scene):
    endpoint = scene.endpoint()
    publisher = endpoint.make_publisher("/t")
    endpoint.shutdown()
    for publish in (lambda: publisher.publish(1), lambda: publisher.publish_batch(1, 2)):
        with pytest.raises(broker.ClosedError, match="endpoint is shut down") as failed:
            publish()
        assert failed.value.code == broker.EC.ShuttingDown


def test_the_native_publisher_is_still_there(endpoint):
    assert hasattr(broker._broker.Publisher, "drop_all_on_destruction")
