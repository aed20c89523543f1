"""Rings and meshes of endpoints: a message comes once, however many ways there are."""

import threading

import pytest

import broker
from deadline import DEADLINE_S, take, take_one, wait_until
from peer import Ended, Late, Tag, none
from scene import listen


def ring(count):
    return [(number, (number + 1) % count) for number in range(count)]


def mesh(count):
    return [(number, other) for number in range(count) for other in range(number)]


def connect_all(endpoints, links):
    ports = [listen(endpoint) for endpoint in endpoints]
    for dialer, listener in links:
        assert endpoints[dialer].peer("127.0.0.1", ports[listener], 0.0)
        assert endpoints[listener].await_peer(endpoints[dialer].node_id(), DEADLINE_S)


@pytest.mark.parametrize("shape, count", [(ring, 3), (ring, 5), (mesh, 6)])
def test_a_message_comes_once(scene, shape, count):
    endpoints = [scene.endpoint() for _ in range(count)]
    subscribers = [scene.use(endpoint.make_subscriber("/t")) for endpoint in endpoints]
    links = shape(count)
    connect_all(endpoints, links)
    for number in range(10):
        endpoints[0].publish("/t", number)
    for messages in subscribers[1:]:
        assert [data for _, data in take(messages, 10)] == list(range(10))
    # Each link carries a message in both directions, but for those that it came first on.
    copies = 10 * 2 * (len(links) - count + 1)
    dropped = lambda: sum(endpoint.duplicates_dropped() for endpoint in endpoints)
    wait_until(lambda: dropped() == copies, "all copies have come to their end")
    assert [messages.poll() for messages in subscribers] == [[]] * count


def test_a_message_that_is_published_again_is_another_one(scene):
    endpoints = [scene.endpoint() for _ in range(3)]
    subscribers = [scene.use(endpoint.make_subscriber("/t")) for endpoint in endpoints]
    connect_all(endpoints, ring(3))
    for _ in range(100):
        endpoints[0].publish("/t", "alive")
    endpoints[0].publish("/t", "end")
    for messages in subscribers[1:]:
        assert take(messages, 101) == [("/t", "alive")] * 100 + [("/t", "end")]


def test_a_ring_that_is_opened_is_a_chain(scene):
    endpoints = [scene.endpoint() for _ in range(3)]
    subscribers = [scene.use(endpoint.make_subscriber("/t")) for endpoint in endpoints]
    connect_all(endpoints, ring(3))
    endpoints[0].publish("/t", 1)
    assert [take_one(messages) for messages in subscribers[1:]] == [("/t", 1)] * 2
    endpoints[2].shutdown()
    wait_until(lambda: len(endpoints[0].peers()) == 1, "the peer is gone")
    wait_until(lambda: len(endpoints[1].peers()) == 1, "the peer is gone")
    endpoints[1].publish("/t", 2)
    assert take_one(subscribers[0]) == ("/t", 2)
    assert endpoints[0].duplicates_dropped() <= 2


class Originals:
    """Two scripted peers that stand for two endpoints of the original and the link between them: what comes to
    one of them goes on from the other."""

    def __init__(self, scene, endpoint):
        self.peers = [scene.connected_peer(endpoint, "/t") for _ in range(2)]
        self.seen = []
        self._is_over = False
        self._thread = threading.Thread(target=self._pass_on)
        self._thread.start()

    def messages(self):
        """How many of the endpoint's messages came so far."""
        return sum(message.tag == Tag.DATA for message in list(self.seen))

    def _pass_on(self):
        first, second = self.peers
        while not self._is_over:
            for here, there in [(first, second), (second, first)]:
                try:
                    message = here.next(0.001)
                except Late:
                    continue
                except Ended:
                    return
                if message.tag in (Tag.DATA, Tag.COMMAND):
                    self.seen.append(message)
                    there.send_envelope(message.tag, message.topic, message.payload)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._is_over = True
        self._thread.join()


def test_a_circle_through_the_original_is_told_and_cut(scene):
    endpoint = scene.endpoint()
    errors = scene.use(endpoint.make_status_subscriber())
    messages = scene.use(endpoint.make_subscriber("/t"))
    endpoint.forward("/t")
    with Originals(scene, endpoint) as originals:
        endpoint.publish("/t", "round and round")
        error = take_one(errors)
        assert type(error) is broker.Error and error.code() == broker.EC.ForwardingLoop
        assert str(error).startswith("forwarding_loop(") and "`/t`" in error.message()
        assert all(peer.name in error.message() for peer in originals.peers)
        assert endpoint.loops_found() == 1
        assert 2 <= len(messages.poll()) < 18
        # It is cut: everything goes once round, and no further.
        circled = originals.messages()
        endpoint.publish_batch(*[("/t", number) for number in range(100)])
        wait_until(lambda: originals.messages() == circled + 100, "all messages")
        endpoint.publish("/t", "the last")
        wait_until(lambda: originals.messages() == circled + 101, "the last message")
    assert messages.poll() == []


def test_who_publishes_the_same_again_asks_nobody(scene):
    endpoint = scene.endpoint()
    endpoint.forward("/t")
    one, other = [scene.connected_peer(endpoint, "/t") for _ in range(2)]
    for _ in range(1000):
        one.publish("/t", none())
    for _ in range(1000):
        assert other.expect_data("/t").value == none()
    # Nothing else came, to nobody.
    one.sync()
    other.sync()
    one.expect_nothing()
    other.expect_nothing()
    assert endpoint.loops_found() == 0
