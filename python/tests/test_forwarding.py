"""Messages that pass through endpoints."""

import pytest

from deadline import DEADLINE_S, Stopwatch, take, take_one, wait_until
from scene import connect, listen


@pytest.fixture
def chain(scene):
    """Makes endpoints; `link` peers them in a row once they have their subscribers."""
    return lambda number: [scene.endpoint() for _ in range(number)]


def link(endpoints):
    for left, right in zip(endpoints, endpoints[1:]):
        connect(left, right)


def test_both_ends_of_a_chain_hear_each_other(scene, chain):
    endpoints = chain(4)
    first, _, _, last = [scene.use(endpoint.make_subscriber("/t")) for endpoint in endpoints]
    link(endpoints)
    endpoints[0].publish("/t/a", "from the left")
    assert take_one(last) == ("/t/a", "from the left")
    endpoints[3].publish("/t/b", "from the right")
    assert take_one(first) == ("/t/b", "from the right")


def test_every_node_of_a_chain_gets_each_message_once(scene, chain):
    endpoints = chain(4)
    subscribers = [scene.use(endpoint.make_subscriber("/t")) for endpoint in endpoints]
    link(endpoints)
    for number in range(100):
        endpoints[0].publish("/t", number)
    for messages in subscribers[1:]:
        assert [data for _, data in take(messages, 100)] == list(range(100))
        assert messages.poll() == []
    assert subscribers[0].poll() == []


def test_subscriptions_do_not_travel_by_themselves(scene, chain):
    left, middle, right = endpoints = chain(3)
    messages = scene.use(right.make_subscriber(["/t", "/end"]))
    middle.forward("/end")
    link(endpoints)
    left.publish("/t", "the middle did not ask for this")
    left.publish("/end", 1)
    assert take_one(messages) == ("/end", 1)


@pytest.mark.parametrize("topics", ["/t", ["/t"], ("/x", "/t")], ids=repr)
def test_forward_is_enough_for_the_node_in_the_middle(scene, chain, topics):
    left, middle, right = endpoints = chain(3)
    assert middle.forward(topics) is None
    messages = scene.use(right.make_subscriber("/t"))
    link(endpoints)
    left.publish("/t", 1)
    assert take_one(messages) == ("/t", 1)


def test_forward_after_the_peering(scene, chain):
    left, middle, right = endpoints = chain(3)
    messages = scene.use(right.make_subscriber("/t"))
    link(endpoints)
    middle.forward("/t")
    wait_until(left.peer_subscriptions, "the topics of the middle")
    left.publish("/t", 1)
    assert take_one(messages) == ("/t", 1)


def test_without_forwarding_a_node_keeps_messages_to_itself(scene):
    left, right = scene.endpoint(), scene.endpoint()
    middle = scene.endpoint(forwarding=False)
    passed = scene.use(right.make_subscriber("/t"))
    kept = scene.use(middle.make_subscriber("/t"))
    connect(left, middle)
    connect(middle, right)
    left.publish("/t", "from the left")
    assert take_one(kept) == ("/t", "from the left")
    middle.publish("/t", "from the middle")
    assert take_one(passed) == ("/t", "from the middle")


def test_a_star(scene):
    hub = scene.endpoint()
    hub.forward("/t")
    port = listen(hub)
    rays = [scene.endpoint() for _ in range(5)]
    subscribers = [scene.use(ray.make_subscriber("/t")) for ray in rays]
    for ray in rays:
        assert ray.peer("127.0.0.1", port, 0.0)
        assert hub.await_peer(ray.node_id())
    for number, ray in enumerate(rays):
        ray.publish("/t", number)
    for number, messages in enumerate(subscribers):
        others = sorted(set(range(5)) - {number})
        assert sorted(data for _, data in take(messages, 4)) == others
        assert messages.poll() == []


def test_waiting_for_an_indirect_peer_ends_in_time(chain):
    left, middle, right = endpoints = chain(3)
    link(endpoints)
    with Stopwatch() as took:
        assert left.await_peer(right.node_id(), 0.1) is False
    assert took.seconds < DEADLINE_S
