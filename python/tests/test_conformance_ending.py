"""How peerings end, seen from outside. Spec: wire 7.6, 9."""

import pytest

import broker
import peer as scripted
from deadline import DEADLINE_S, FOR_EVER_S, Stopwatch, quick, take, take_one, wait_until
from peer import BYE, Tag, count
from ports import reserved_port
from scene import call, meet

SC = broker.SC
LEFT_BY_US = [SC.PeerRemoved, SC.EndpointUnreachable]
LEFT_BY_PEER = [SC.PeerLost, SC.EndpointUnreachable]
# How long a BYE may stay unanswered. Spec: wire 9.1.
BYE_TIMEOUT_S = 3.0


@pytest.fixture
def statuses(scene, endpoint):
    return scene.use(endpoint.make_status_subscriber(True))


def codes(statuses, number):
    return [status.code() for status in take(statuses, number)]


def unpeer(endpoint, peer):
    """Ends the peering from the endpoint's side, whoever dialed."""
    (network,) = [info.peer.network.get() for info in endpoint.peers() if info.peer.node_id() == peer.name]
    return endpoint.unpeer(network.address, network.port)


def test_unpeer_says_bye_and_waits_for_the_pong(scene, endpoint, statuses, peer_dials, small):
    peer = scene.peer("/x", small=small)
    peer.answers_pings = False
    meet(endpoint, peer, peer_dials)
    assert codes(statuses, 2) == [SC.EndpointDiscovered, SC.PeerAdded]
    assert unpeer(endpoint, peer) is True
    bye = peer.expect_bye()
    peer.pong(bye.payload[:-1] + bytes([bye.payload[-1] ^ 1]))
    peer.expect_nothing()
    peer.pong(bye.payload)
    peer.expect_end()
    assert codes(statuses, 2) == LEFT_BY_US
    assert len(endpoint.peers()) == 0


def test_an_unanswered_bye_is_given_up_after_three_seconds(scene, endpoint, statuses):
    peer = scene.connected_peer(endpoint)
    peer.answers_pings = False
    take(statuses, 2)
    with Stopwatch() as took:
        assert unpeer(endpoint, peer) is True
        peer.expect_bye()
        peer.expect_end()
    print("unanswered BYE: closed after %.2f s" % took.seconds)
    assert took.seconds >= BYE_TIMEOUT_S
    assert codes(statuses, 2) == LEFT_BY_US


def test_shutdown_says_bye_to_all_and_waits_for_the_slowest(scene, endpoint):
    quick, silent = scene.connected_peer(endpoint), scene.connected_peer(endpoint)
    silent.answers_pings = False
    shutdown = scene.background(endpoint.shutdown)
    quick.expect_bye()
    silent.expect_bye()
    quick.expect_end()
    shutdown.result(DEADLINE_S)
    silent.expect_end()


def test_shutdown_is_quick_when_everybody_answers(scene):
    def shut_down():
        endpoint = scene.endpoint()
        peers = [scene.connected_peer(endpoint) for _ in range(3)]
        with Stopwatch() as took:
            shutdown = scene.background(endpoint.shutdown)
            for peer in peers:
                peer.expect_bye()
                peer.expect_end()
            shutdown.result(DEADLINE_S)
        return took.seconds

    # Nobody's goodbye is waited for in vain.
    quick(BYE_TIMEOUT_S, shut_down)


def test_what_was_published_before_comes_before_the_bye(scene, endpoint):
    peer = scene.connected_peer(endpoint, "/x")
    for number in range(2000):
        endpoint.publish("/x", broker.Count(number))
    shutdown = scene.background(endpoint.shutdown)
    received = []
    while True:
        message = peer.next()
        if message.tag == Tag.PING:
            break
        received.append(message.value.body)
    assert received == list(range(2000))
    shutdown.result(DEADLINE_S)


def test_nothing_is_published_behind_the_bye(scene, endpoint):
    peer = scene.connected_peer(endpoint, "/x")
    peer.answers_pings = False
    unpeer(endpoint, peer)
    bye = peer.expect_bye()
    endpoint.publish("/x", 1)
    peer.expect_nothing()
    peer.pong(bye.payload)
    peer.expect_end()


def test_what_the_peer_says_before_the_end_is_heard(scene, endpoint):
    messages = scene.use(endpoint.make_subscriber("/x"))
    peer = scene.connected_peer(endpoint)
    peer.answers_pings = False
    unpeer(endpoint, peer)
    bye = peer.expect_bye()
    peer.publish("/x", count(1))
    peer.pong(bye.payload)
    peer.expect_end()
    assert take_one(messages) == ("/x", broker.Count(1))


def test_a_bye_of_the_peer_is_answered_like_any_ping(scene, endpoint, statuses, peer_dials):
    messages = scene.use(endpoint.make_subscriber("/x"))
    peer = scene.peer("/y")
    meet(endpoint, peer, peer_dials)
    take(statuses, 2)
    peer.publish("/x", count(1))
    peer.ping(BYE + b"8 octets")
    peer.expect_pong(BYE + b"8 octets")
    # Until the other side closes, the peering goes on.
    endpoint.publish("/y", 2)
    peer.expect_data("/y")
    assert take_one(messages) == ("/x", broker.Count(1))
    peer.hang_up()
    assert codes(statuses, 2) == LEFT_BY_PEER


def test_both_sides_leaving_at_once(scene, endpoint, statuses):
    peer = scene.connected_peer(endpoint)
    peer.answers_pings = False
    take(statuses, 2)
    unpeer(endpoint, peer)
    bye = peer.expect_bye()
    peer.ping(BYE + b"12345678")
    peer.expect_pong(BYE + b"12345678")
    peer.pong(bye.payload)
    peer.expect_end()
    assert codes(statuses, 2) == LEFT_BY_US


def test_a_crash_while_we_leave_is_still_our_leaving(scene, endpoint, statuses):
    peer = scene.connected_peer(endpoint)
    peer.answers_pings = False
    take(statuses, 2)
    unpeer(endpoint, peer)
    peer.expect_bye()
    peer.hang_up(reset=True)
    assert codes(statuses, 2) == LEFT_BY_US


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_a_lost_connection(scene, endpoint, statuses, tls, peer_dials, reset):
    endpoint = scene.endpoint(tls=tls)
    statuses = scene.use(endpoint.make_status_subscriber(True))
    peer = scene.peer(tls=tls)
    meet(endpoint, peer, peer_dials)
    take(statuses, 2)
    peer.hang_up(reset)
    assert codes(statuses, 2) == LEFT_BY_PEER
    assert len(endpoint.peers()) == 0


def test_leaving_twice_is_leaving_once(scene, endpoint, statuses):
    peer = scene.connected_peer(endpoint)
    peer.answers_pings = False
    take(statuses, 2)
    (network,) = [info.peer.network.get() for info in endpoint.peers()]
    endpoint.unpeer(network.address, network.port)
    endpoint.unpeer_nosync(network.address, network.port)
    bye = peer.expect_bye()
    peer.expect_nothing()
    peer.pong(bye.payload)
    peer.expect_end()
    assert codes(statuses, 2) == LEFT_BY_US


# --- coming back ---------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["bye", "close", "reset"])
def test_a_lost_peering_with_a_retry_interval_is_renewed_at_once(scene, endpoint, how):
    peer = scene.peer("/x")
    port = peer.listen()
    endpoint.peer_nosync(scripted.LOCALHOST, port, FOR_EVER_S)
    peer.accept().shake_hands().sync()
    if how == "bye":
        peer.leave()
    else:
        peer.hang_up(reset=how == "reset")
    # At once, and not after the retry interval.
    peer.accept().shake_hands().sync()
    endpoint.publish("/x", 1)
    peer.expect_data("/x")


def test_without_a_retry_interval_a_lost_peering_stays_lost(scene, endpoint, statuses):
    peer = scene.peer()
    call_port = peer.listen()
    endpoint.peer_nosync(scripted.LOCALHOST, call_port, 0.0)
    peer.accept().shake_hands().sync()
    take(statuses, 2)
    peer.hang_up()
    assert codes(statuses, 2) == LEFT_BY_PEER
    assert not peer.has_caller(0.3)


def test_own_leaving_is_final_even_with_a_retry_interval(scene, endpoint, statuses):
    peer = scene.peer()
    port = peer.listen()
    endpoint.peer_nosync(scripted.LOCALHOST, port, 1.0)
    peer.accept().shake_hands().sync()
    take(statuses, 2)
    endpoint.unpeer(scripted.LOCALHOST, port)
    peer.expect_bye()
    peer.expect_end()
    assert codes(statuses, 2) == LEFT_BY_US
    assert not peer.has_caller(1.3)


def test_unpeer_ends_the_attempts_on_an_address_that_does_not_answer(scene, endpoint, statuses):
    """The original goes on trying for ever; nobody can want that."""
    peer = scene.peer()
    port = peer.listen()
    endpoint.peer_nosync(scripted.LOCALHOST, port, 1.0)
    peer.accept().hang_up()
    assert take_one(statuses).code() == broker.EC.PeerUnavailable
    assert endpoint.unpeer(scripted.LOCALHOST, port) is True
    assert not peer.has_caller(1.3)


def test_a_peering_attempt_goes_on_until_somebody_answers(scene, endpoint):
    peer = scene.peer()
    peering = call(scene, endpoint, peer, 1.0)
    peer.hang_up()
    peer.accept().shake_hands().sync()
    assert peering.result(DEADLINE_S) is True


def test_a_closed_listener_is_free_again(scene):
    first, second, port = scene.endpoint(), scene.endpoint(), reserved_port()
    assert first.listen("127.0.0.1", port) == port
    first.shutdown()
    assert wait_until(lambda: second.listen("127.0.0.1", port), "the port is free again") == port


@pytest.mark.parametrize("code, text", [(39, "redundant connection"),
                                        (40, "detected redundant connection at the responder")])
def test_a_peer_that_has_not_noticed_our_bye_is_called_again(scene, endpoint, code, text):
    """Refusals that refer to a connection that is over here. See ADR 0120."""
    peer = scene.peer("/x", small=False)
    port = peer.listen()
    endpoint.peer_nosync(scripted.LOCALHOST, port, 0.0)
    peer.accept()
    peer.shake_hands().sync()
    errors = scene.use(endpoint.make_status_subscriber())
    endpoint.unpeer_nosync(scripted.LOCALHOST, port)
    peering = scene.background(endpoint.peer, scripted.LOCALHOST, port, 0.0)
    peer.expect_bye()
    peer.expect_end()
    peer.hang_up()
    for _ in range(3):
        peer.accept()
        peer.send(scripted.drop_conn(peer.id, code, text))
        peer.hang_up()
    peer.accept()
    peer.shake_hands().sync()
    assert peering.result(DEADLINE_S) is True
    assert errors.poll() == []
