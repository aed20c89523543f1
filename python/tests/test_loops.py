"""Rings and meshes of endpoints: a message comes once, however many ways there are."""

import pytest

from deadline import DEADLINE_S, take, take_one, wait_until
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
