"""Messages that are lost because they are not taken: counted, told, raised."""

import pytest

import broker
from deadline import DEADLINE_S, take_one, wait_until
from scene import connect

# A message of this size fills the 64 MiB of a subscriber after a few dozen.
LARGE = "x" * (1 << 20)


@pytest.fixture(params=["make_subscriber", "make_safe_subscriber"])
def lossy(scene, endpoint, request):
    """A subscriber that has lost messages and raises, its end of a peering, and its events."""
    messages = scene.use(getattr(endpoint, request.param)("/t", on_loss="raise"))
    events = scene.use(endpoint.make_status_subscriber())
    sender = scene.endpoint()
    connect(sender, endpoint)
    flood = scene.background(lambda: [sender.publish("/t", LARGE) for _ in range(200)])
    wait_until(lambda: messages.dropped > 0, "messages are dropped", 60)
    flood.result(60)
    return messages, events


def test_a_loss_is_told_counted_and_raised(lossy):
    messages, events = lossy
    began = take_one(events)
    assert began.code() == broker.EC.MessagesLost and began.ec() == broker.EC.MessagesLost
    assert began.message() == "a subscriber of `/t` does not take its messages: new ones are being dropped"
    with pytest.raises(broker.MessagesLost) as failed:
        messages.get(DEADLINE_S)
    assert failed.value.count > 0 and failed.value.code == broker.EC.MessagesLost
    assert isinstance(failed.value, RuntimeError) and isinstance(failed.value, broker.BrokerError)
    # Told once; what is there can be taken, by every form.
    assert messages.get(DEADLINE_S) == ("/t", LARGE)
    assert next(messages) == ("/t", LARGE)
    assert len(messages.get(2, DEADLINE_S)) == 2 and messages.poll()
    ended = take_one(events)
    assert ended.code() == broker.EC.MessagesLost
    assert ended.message().startswith("a subscriber of `/t` lost ")
    assert ended.message().endswith("(policy drop_newest)")
    lost = messages.dropped
    messages.reset()
    assert messages.dropped == lost > 0


def test_nothing_is_lost_where_messages_are_taken(scene, endpoint):
    messages = scene.use(endpoint.make_subscriber("/t", on_loss="raise"))
    sender = scene.endpoint()
    connect(sender, endpoint)
    sender.publish("/t", 1)
    assert messages.get(DEADLINE_S) == ("/t", 1)
    assert messages.dropped == 0
    assert [peer.dropped for peer in sender.peers()] == [0]


def test_on_loss_is_ignore_or_raise(endpoint):
    with pytest.raises(ValueError, match="ignore or raise"):
        endpoint.make_subscriber("/t", on_loss="perhaps")
