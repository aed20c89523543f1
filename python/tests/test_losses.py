"""Messages that are lost because they are not taken: counted, told, raised."""

import asyncio

import sys

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
    last = scene.use(endpoint.make_subscriber("/last"))
    sender = scene.endpoint()
    connect(sender, endpoint)
    flood = scene.background(lambda: [sender.publish("/t", LARGE) for _ in range(200)])
    wait_until(lambda: messages.dropped > 0, "messages are dropped")
    flood.result(DEADLINE_S)
    # What is still on its way would be lost later, and told again.
    sender.publish("/last", None)
    last.get(DEADLINE_S)
    return messages, events


def test_a_loss_is_told_counted_and_raised(lossy):
    messages, events = lossy
    began = take_one(events)
    assert began.code() == broker.EC.MessagesLost and began.ec() == broker.EC.MessagesLost
    assert (began.count, began.topics, began.reason) == (None, ["/t"], "drop_newest")
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
    assert (ended.count, ended.topics, ended.reason) == (failed.value.count, ["/t"], "drop_newest")
    assert ended.message().startswith("a subscriber of `/t` lost %d messages " % ended.count)
    assert ended.message().endswith("(policy drop_newest)")
    lost = messages.dropped
    messages.reset()
    assert messages.dropped == lost > 0


def test_a_loop_over_messages_is_told_of_a_loss(lossy):
    """Once, at the place of the next message; after that it can go on."""
    messages, _ = lossy

    async def take_ten(taken):
        async for topic, _ in messages:
            taken.append(topic)
            if len(taken) == 10:
                return

    async def main():
        taken = []
        with pytest.raises(broker.MessagesLost) as failed:
            await take_ten(taken)
        assert (failed.value.count, taken) == (messages.dropped, [])
        await asyncio.wait_for(take_ten(taken), DEADLINE_S)
        return taken

    assert asyncio.run(main()) == ["/t"] * 10


def test_a_peer_that_loses_messages_is_named(scene):
    options = broker.BrokerOptions()
    options.disable_ssl = True
    options.peer_buffer_size, options.peer_overflow_policy = 16, "drop_oldest"
    endpoint = scene.adopt(broker.Endpoint(broker.Configuration(options)))
    events = scene.use(endpoint.make_status_subscriber())
    other = scene.endpoint(tls=False)
    messages = scene.use(other.make_subscriber("/t"))
    connect(other, endpoint)
    wait_until(lambda: endpoint.publish("/t", LARGE) or events.available(), "messages are dropped")
    told = 0
    while not told:
        event = take_one(events)
        assert event.code() == broker.EC.MessagesLost and event.context().node_id() == other.node_id()
        assert (event.topics, event.reason) == ([], "drop_oldest")
        told = event.count or 0
        messages.poll()
    # More may have been lost after that.
    assert [peer.dropped >= told for peer in endpoint.peers()] == [True]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="the client needs Python 3.11")
def test_a_web_socket_client_that_loses_messages_is_named_by_its_topics(scene):
    import websockets.sync.client as websockets

    endpoint = scene.endpoint(tls=False)
    events = scene.use(endpoint.make_status_subscriber())
    port = endpoint.listen_ws("127.0.0.1", 0, overflow="drop_newest", buffer_size=4)
    url = "ws://127.0.0.1:%d/v1/messages/json" % port
    # It reads little and stays: by default it leaves at a message of a megabyte.
    with websockets.connect(url, proxy=None, max_queue=1, max_size=None) as client:
        client.send('["/t"]')
        client.recv(DEADLINE_S)
        wait_until(lambda: endpoint.publish("/t", LARGE) or events.available(), "messages are dropped")
        began = take_one(events)
        assert (began.count, began.topics, began.reason) == (None, ["/t"], "drop_newest")
        assert began.message().startswith("a WebSocket client of `/t` does not take its messages")


def test_options_of_peers():
    options = broker.BrokerOptions()
    assert (options.peer_buffer_size, options.peer_overflow_policy) == (0, "disconnect")
    for policy in ("drop_newest", "drop_oldest", "block", "disconnect"):
        options.peer_overflow_policy = policy
        assert options.peer_overflow_policy == policy
    with pytest.raises(ValueError, match="found `explode`"):
        options.peer_overflow_policy = "explode"
    for size in (-1, None, "many"):
        with pytest.raises(TypeError):
            options.peer_buffer_size = size


def test_other_errors_have_no_loss(scene, endpoint):
    events = scene.use(endpoint.make_status_subscriber())
    endpoint.unpeer("127.0.0.1", 9)
    error = take_one(events)
    assert (error.count, error.topics, error.reason) == (None, [], None)
    error = broker.Error()
    assert (error.count, error.topics, error.reason) == (None, [], None)


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
