"""The handshake seen from outside, in every role. Spec: wire 2, 5.1, 7."""

import pytest

import broker
import peer as scripted
from deadline import DEADLINE_S, take, take_one
from peer import (Code, Tag, count, drop_conn, frame, hello, id_octets, originator_ack, originator_syn, probe,
                  responder_syn_ack, version_select)
from scene import call, listen, meet

SC = broker.SC


# --- all roles -----------------------------------------------------------------------------------


def test_every_combination_of_roles(scene, tls, small, peer_dials):
    endpoint = scene.endpoint(tls=tls)
    messages = scene.use(endpoint.make_subscriber("/to-us"))
    statuses = scene.use(endpoint.make_status_subscriber(True))
    peer = scene.peer("/to-peer", small=small, tls=tls)

    meet(endpoint, peer, peer_dials)

    assert peer.leads is small
    assert scripted.id_text(peer.remote) == endpoint.node_id()
    assert peer.remote_filter == [b"/to-us"]
    assert [status.code() for status in take(statuses, 2)] == [SC.EndpointDiscovered, SC.PeerAdded]
    assert [info.peer.node_id() for info in endpoint.peers()] == [peer.name]

    endpoint.publish("/to-peer/x", broker.Count(1))
    assert peer.expect_data("/to-peer/x").value == count(1)
    peer.publish("/to-us/x", count(2))
    assert take_one(messages) == ("/to-us/x", broker.Count(2))

    peer.leave()
    assert [status.code() for status in take(statuses, 2)] == [SC.PeerLost, SC.EndpointUnreachable]
    assert len(endpoint.peers()) == 0


def test_peer_returns_true_once_the_handshake_is_done(scene, small):
    endpoint = scene.endpoint()
    peer = scene.peer("/x", small=small)
    peering = call(scene, endpoint, peer)
    assert peer.expect(Tag.HELLO).id == id_octets(endpoint.node_id())
    assert not peering.done()
    peer.remote = id_octets(endpoint.node_id())
    peer.send(probe())
    if small:
        peer.lead()
    else:
        peer.send(hello(peer.id))
        peer.expect(Tag.VERSION_SELECT)
        peer.follow()
    assert peering.result(DEADLINE_S) is True
    # Their subscriptions are known now: this is not lost.
    endpoint.publish("/x", 1)
    peer.expect_data("/x")


def test_the_acceptor_probes_before_it_hears_anything(scene, endpoint, tls):
    endpoint = scene.endpoint(tls=tls)
    peer = scene.peer(tls=tls).dial(listen(endpoint))
    assert peer.receive() == probe()
    peer.expect_silence(0.05)


def test_the_connector_says_hello_before_it_hears_anything(scene, endpoint):
    peer = scene.peer()
    endpoint.peer_nosync(scripted.LOCALHOST, peer.listen(), 0.0)
    peer.accept()
    assert peer.receive() == hello(id_octets(endpoint.node_id()))
    peer.expect_silence(0.05)


def test_probes_are_welcome_any_number_of_times(scene, endpoint, small):
    peer = scene.peer(small=small).dial(listen(endpoint))
    peer.send(*[probe()] * 20)
    peer.shake_hands()
    peer.sync()


def test_probes_are_welcome_while_version_select_is_awaited(scene, endpoint):
    peer = scene.peer(small=True).dial(listen(endpoint))
    peer.send(hello(peer.id))
    peer.remote = peer.expect(Tag.HELLO).id
    peer.send(probe(), probe())
    peer.lead()
    peer.sync()


def test_segments_may_end_anywhere(scene, small):
    endpoint = scene.endpoint(tls=False)
    messages = scene.use(endpoint.make_subscriber("/x"))
    peer = scene.peer(small=small, tls=False)

    def send_in_pieces(octets, send=peer.send_octets):
        for position in range(len(octets)):
            send(octets[position:position + 1])

    peer.send_octets = send_in_pieces
    peer.dial(listen(endpoint)).shake_hands()
    peer.sync()
    peer.publish("/x", count(1))
    assert take_one(messages) == ("/x", broker.Count(1))


def test_the_first_envelope_may_come_right_behind_the_handshake(scene, endpoint):
    messages = scene.use(endpoint.make_subscriber("/x"))
    peer = scene.peer(small=True).dial(listen(endpoint))
    peer.send(hello(peer.id))
    peer.remote = peer.expect(Tag.HELLO).id
    peer.send(version_select(peer.id), originator_syn([]))
    peer.expect(Tag.RESPONDER_SYN_ACK)
    data = scripted.envelope(Tag.DATA, peer.id, scripted.NOBODY, "/x", scripted.encode(count(7)))
    peer.send(originator_ack(), data)
    assert take_one(messages) == ("/x", broker.Count(7))


@pytest.mark.parametrize("low, high", [(0, 1), (1, 2), (0, 255)])
def test_a_range_of_versions_with_ours_in_it_is_fine(scene, endpoint, small, low, high):
    peer = scene.peer(small=small).dial(listen(endpoint))
    peer.send(hello(peer.id, low, high))
    peer.remote = id_octets(endpoint.node_id())
    if small:
        assert peer.expect(Tag.HELLO).versions == (1, 1)
        peer.lead()
    else:
        assert peer.expect(Tag.VERSION_SELECT).versions == (1, 1)
        peer.follow()
    peer.sync()


def test_trailing_bytes_of_handshake_messages_are_ignored(scene, endpoint, small):
    peer = scene.peer("/x", small=small).dial(listen(endpoint))
    junk = b"\xaa\xbb"
    peer.send(probe() + junk, hello(peer.id) + junk)
    peer.remote = id_octets(endpoint.node_id())
    if small:
        peer.expect(Tag.HELLO)
        peer.send(version_select(peer.id) + junk, originator_syn(["/x"]) + junk)
        peer.expect(Tag.RESPONDER_SYN_ACK)
        peer.send(originator_ack() + junk)
    else:
        peer.expect(Tag.VERSION_SELECT)
        peer.expect(Tag.ORIGINATOR_SYN)
        peer.send(responder_syn_ack(["/x"]) + junk)
        peer.expect(Tag.ORIGINATOR_ACK)
    peer.sync()
    endpoint.publish("/x", 1)
    peer.expect_data("/x")


@pytest.mark.parametrize("octets", [
    bytes.fromhex("00112233445506778899aabbccddeeff"),
    bytes.fromhex("00112233445596778899aabbccddeeff"),
    bytes.fromhex("ffffffffffffffffffffffffffffffff"),
    bytes.fromhex("00000000000000000000000000000001"),
], ids=["version-0", "version-9", "all-ones", "one"])
def test_ids_without_the_form_of_a_uuid_are_fine_on_the_wire(scene, endpoint, octets):
    messages = scene.use(endpoint.make_subscriber("/x"))
    peer = scene.peer("/y", id=octets).dial(listen(endpoint)).shake_hands()
    peer.sync()
    peer.publish("/x", count(1))
    assert take_one(messages) == ("/x", broker.Count(1))
    endpoint.publish("/y", 1)
    peer.expect_data("/y")


def test_the_id_of_nobody_is_accepted_too(scene, endpoint):
    peer = scene.peer("/y", id=scripted.NOBODY).dial(listen(endpoint)).shake_hands()
    assert peer.leads
    # Its pings count as ours and are not answered; nothing may break, though.
    other = scene.connected_peer(endpoint)
    other.sync()


# --- what cannot be read is refused with a reason ------------------------------------------------

OURS = scripted.new_id()
WRONG = b"ZEEX"
REFUSALS = [
    ("tag-0", b"\x00", 20, "invalid message type tag"),
    *[("tag-%d" % tag, bytes([tag]) + bytes(40), 20, "invalid message type tag") for tag in range(1, 6)],
    ("tag-13", b"\x0d", 20, "invalid message type tag"),
    ("tag-255", b"\xff" * 30, 20, "invalid message type tag"),
    ("short-hello", hello(OURS)[:-1], 20, None),
    ("short-probe", probe()[:-1], 20, None),
    ("short-version-select", version_select(OURS)[:-1], 20, None),
    ("short-drop-conn", drop_conn(OURS, 39, "text")[:-1], 20, None),
    ("short-syn", originator_syn(["/a", "/b"])[:-1], 20, None),
    ("short-syn-ack", responder_syn_ack(["/a"])[:-1], 20, None),
    ("syn-without-filter", bytes([Tag.ORIGINATOR_SYN]), 20, None),
    ("syn-with-endless-varbyte", bytes([Tag.ORIGINATOR_SYN]) + b"\xff" * 4, 20, None),
    ("syn-with-too-many-topics", bytes([Tag.ORIGINATOR_SYN]) + scripted.pack_varbyte(2**32 - 1), 20, None),
    ("magic-of-hello", hello(OURS, magic=WRONG), 38, "wrong magic number"),
    ("magic-of-probe", probe(magic=WRONG), 38, "wrong magic number"),
    ("magic-of-version-select", version_select(OURS, magic=WRONG), 38, "wrong magic number"),
    ("magic-of-drop-conn", drop_conn(OURS, 39, "text", magic=WRONG), 38, "wrong magic number"),
    ("magic-before-version", hello(OURS, 2, 3, magic=WRONG), 38, "wrong magic number"),
    ("newer-versions", hello(OURS, 2, 3), 2, "unsupported versions offered"),
    ("older-version", hello(OURS, 0, 0), 2, "unsupported versions offered"),
    ("empty-range", hello(OURS, 2, 0), 2, "unsupported versions offered"),
    ("selected-version", version_select(OURS, version=2), 2, "unsupported version selected"),
    ("unknown-code", drop_conn(OURS, 77, "some text"), 1, "some text"),
    ("code-41", drop_conn(OURS, 41, "some text"), 1, "some text"),
]


@pytest.mark.parametrize("payload, code, text", [
    pytest.param(*case[1:], id=case[0]) for case in REFUSALS])
def test_unreadable_messages_are_refused(scene, endpoint, peer_dials, payload, code, text):
    peer = scene.peer()
    if peer_dials:
        peer.dial(listen(endpoint))
    else:
        endpoint.peer_nosync(scripted.LOCALHOST, peer.listen(), 0.0)
        peer.accept()
        peer.expect(Tag.HELLO)
    peer.send(payload)
    refusal = peer.expect_refusal(code, text)
    assert refusal.id == id_octets(endpoint.node_id())
    if text is None:
        assert refusal.text.startswith(b"failed to parse")


def test_unreadable_messages_are_refused_late_in_the_handshake_too(scene, endpoint, small):
    peer = scene.peer(small=small).dial(listen(endpoint))
    reach(peer, "orig-ack" if small else "resp-syn-ack")
    peer.send(b"\x0d")
    peer.expect_refusal(Code.INVALID_MESSAGE, "invalid message type tag")


@pytest.mark.parametrize("payload, cause", [
    (hello(OURS, 2, 3), "unsupported versions offered"),
    (probe(magic=WRONG), "not a Broker endpoint"),
    (drop_conn(OURS, Code.PEER_INCOMPATIBLE, "only version 7 here"), "only version 7 here"),
    (drop_conn(OURS, Code.SHUTTING_DOWN, "shutting down"), "shutting down"),
])
def test_the_reason_of_a_refusal_reaches_the_user(scene, endpoint, payload, cause):
    errors = scene.use(endpoint.make_status_subscriber())
    peer = scene.peer()
    peering = call(scene, endpoint, peer)
    peer.send(payload)
    assert peering.result(DEADLINE_S) is False
    error = take_one(errors)
    assert error.code() == broker.EC.PeerUnavailable
    assert "unable to connect to remote peer" in repr(error)
    assert cause in repr(error)


def test_a_stranger_who_speaks_something_else_is_named_as_such(scene):
    endpoint = scene.endpoint(tls=False)
    errors = scene.use(endpoint.make_status_subscriber())
    peer = scene.peer(tls=False)
    peering = call(scene, endpoint, peer)
    peer.send_octets(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
    assert peering.result(DEADLINE_S) is False
    text = repr(take_one(errors))
    assert "not a Broker endpoint" in text, text


@pytest.mark.parametrize("code", [Code.REDUNDANT_CONNECTION, Code.LOGIC_ERROR, Code.UNSPECIFIED])
def test_being_refused_by_a_stranger_is_a_failure_and_gets_no_answer(scene, endpoint, code):
    peer = scene.peer()
    peering = call(scene, endpoint, peer)
    peer.expect(Tag.HELLO)
    peer.send(drop_conn(peer.id, code, "no"))
    peer.expect_end()
    assert peering.result(DEADLINE_S) is False


def test_a_refused_attempt_is_repeated_after_the_retry_interval(scene, endpoint):
    errors = scene.use(endpoint.make_status_subscriber())
    peer = scene.peer()
    port = peer.listen()
    endpoint.peer_nosync(scripted.LOCALHOST, port, 1.0)
    peer.accept().expect(Tag.HELLO)
    peer.send(drop_conn(peer.id, Code.SHUTTING_DOWN, "not now"))
    peer.expect_end()
    assert take_one(errors).code() == broker.EC.PeerUnavailable
    peer.hang_up()
    peer.accept().shake_hands()
    peer.sync()


def test_refusing_an_accepted_connection_leaves_no_trace(scene, endpoint):
    statuses = scene.use(endpoint.make_status_subscriber(True))
    stranger = scene.peer().dial(listen(endpoint))
    stranger.send(drop_conn(stranger.id, Code.LOGIC_ERROR, "no"))
    stranger.expect(Tag.PROBE, skip_probes=False)
    stranger.expect_end()
    scene.connected_peer(endpoint)
    assert [status.code() for status in take(statuses, 2)] == [SC.EndpointDiscovered, SC.PeerAdded]


# --- what comes at the wrong time ends the connection without a word -----------------------------

MESSAGES = {
    "probe": lambda peer: probe(),
    "hello": lambda peer: hello(peer.id),
    "version-select": lambda peer: version_select(peer.id),
    "drop-conn": lambda peer: drop_conn(peer.id, Code.LOGIC_ERROR, "no"),
    "orig-syn": lambda peer: originator_syn([]),
    "syn-ack": lambda peer: responder_syn_ack([]),
    "ack": lambda peer: originator_ack(),
}
# State of the endpoint: who has the smaller id, and what it does not take then.
ILLEGAL = {
    "hello": (None, ["version-select", "orig-syn", "syn-ack", "ack"]),
    "version-select": (True, ["hello", "orig-syn", "syn-ack", "ack"]),
    "orig-syn": (True, ["probe", "hello", "version-select", "drop-conn", "syn-ack", "ack"]),
    "orig-ack": (True, ["probe", "hello", "version-select", "drop-conn", "orig-syn", "syn-ack"]),
    "resp-syn-ack": (False, ["probe", "hello", "version-select", "drop-conn", "orig-syn", "ack"]),
}


def reach(peer, state):
    """Brings an endpoint that was dialed to the state in which it awaits this message."""
    peer.expect(Tag.PROBE, skip_probes=False)
    if state == "hello":
        return
    peer.send(hello(peer.id))
    if state == "resp-syn-ack":
        peer.expect(Tag.VERSION_SELECT)
        peer.expect(Tag.ORIGINATOR_SYN)
        return
    peer.expect(Tag.HELLO)
    if state == "version-select":
        return
    peer.send(version_select(peer.id))
    if state == "orig-syn":
        return
    peer.send(originator_syn([]))
    peer.expect(Tag.RESPONDER_SYN_ACK)


@pytest.mark.parametrize("state, message", [
    (state, message) for state, (_, messages) in ILLEGAL.items() for message in messages])
def test_illegal_messages_end_an_accepted_connection(scene, endpoint, state, message):
    peer = scene.peer(small=ILLEGAL[state][0]).dial(listen(endpoint))
    reach(peer, state)
    peer.send(MESSAGES[message](peer))
    peer.expect_end()


@pytest.mark.parametrize("message", ["orig-syn", "syn-ack", "ack"])
def test_illegal_messages_end_a_dialed_connection(scene, endpoint, message):
    peer = scene.peer()
    peering = call(scene, endpoint, peer)
    peer.expect(Tag.HELLO)
    peer.send(MESSAGES[message](peer))
    peer.expect_end()
    assert peering.result(DEADLINE_S) is False


def test_an_empty_frame_ends_the_connection_without_a_word(scene, endpoint, small):
    peer = scene.peer(small=small).dial(listen(endpoint))
    peer.expect(Tag.PROBE, skip_probes=False)
    peer.send_octets(frame(b""))
    peer.expect_end()


def test_a_huge_frame_ends_the_connection_long_before_it_is_there(scene, endpoint):
    peer = scene.peer().dial(listen(endpoint))
    peer.expect(Tag.PROBE, skip_probes=False)
    peer.send_octets(b"\x7f\xff\xff\xff" + bytes([Tag.ORIGINATOR_SYN]))
    with pytest.raises((scripted.Ended, scripted.Refused)):
        peer.expect(Tag.HELLO)


def test_a_large_filter_is_no_reason_to_give_up(scene, endpoint, small):
    topics = ["/topic/%05d" % number for number in range(5000)]
    peer = scene.peer(*topics, small=small).dial(listen(endpoint)).shake_hands()
    peer.sync()
    endpoint.publish("/topic/04999", 1)
    peer.expect_data("/topic/04999")


# --- one peering per id --------------------------------------------------------------------------


def test_a_second_connection_is_refused_by_the_leading_side(scene, endpoint):
    port = listen(endpoint)
    statuses = scene.use(endpoint.make_status_subscriber(True))
    first = scene.peer(small=False).dial(port).shake_hands().sync()
    take(statuses, 2)
    second = scene.peer(id=first.id).dial(port)
    second.send(hello(second.id))
    second.expect_refusal(Code.REDUNDANT_CONNECTION, "redundant connection")
    first.sync()
    assert statuses.poll() == []


def test_a_second_connection_is_refused_by_the_following_side(scene, endpoint):
    port = listen(endpoint)
    first = scene.peer(small=True).dial(port).shake_hands().sync()
    second = scene.peer(id=first.id).dial(port)
    second.send(hello(second.id))
    second.expect(Tag.HELLO)
    second.send(version_select(second.id))
    second.expect_refusal(Code.LOGIC_ERROR, "detected redundant connection at the responder")
    first.sync()


def test_peering_again_succeeds_when_the_other_side_calls_it_redundant(scene, endpoint):
    statuses = scene.use(endpoint.make_status_subscriber(True))
    first = scene.connected_peer(endpoint, small=True)
    take(statuses, 2)
    second = scene.peer(id=first.id)
    peering = call(scene, endpoint, second)
    second.expect(Tag.HELLO)
    second.send(probe(), drop_conn(second.id, Code.REDUNDANT_CONNECTION, "redundant connection"))
    assert peering.result(DEADLINE_S) is True
    second.expect_end()
    first.sync()
    assert statuses.poll() == []
    assert len(endpoint.peers()) == 1


def test_peering_again_succeeds_when_we_call_it_redundant(scene, endpoint):
    first = scene.connected_peer(endpoint, small=False)
    second = scene.peer(id=first.id)
    peering = call(scene, endpoint, second)
    second.expect(Tag.HELLO)
    second.send(probe(), hello(second.id))
    second.expect_refusal(Code.REDUNDANT_CONNECTION, "redundant connection")
    assert peering.result(DEADLINE_S) is True
    assert len(endpoint.peers()) == 1


def test_a_connection_waits_for_the_attempt_before_it(scene, endpoint):
    port = listen(endpoint)
    first = scene.peer(small=False).dial(port)
    reach(first, "resp-syn-ack")
    second = scene.peer(id=first.id).dial(port)
    second.expect(Tag.PROBE, skip_probes=False)
    second.send(hello(second.id))
    # The notice must not overtake the handshake in progress.
    second.expect_silence(0.2)
    first.send(responder_syn_ack([]))
    first.expect(Tag.ORIGINATOR_ACK)
    second.expect_refusal(Code.REDUNDANT_CONNECTION, "redundant connection")
    first.remote = id_octets(endpoint.node_id())
    first.sync()


def test_a_waiting_connection_takes_the_place_of_a_failed_attempt(scene, endpoint):
    """The original never serves it again and leaves it open; see ADR 0011."""
    port = listen(endpoint)
    first = scene.peer(small=False).dial(port)
    reach(first, "resp-syn-ack")
    second = scene.peer(id=first.id).dial(port)
    second.expect(Tag.PROBE, skip_probes=False)
    second.send(hello(second.id))
    second.expect_silence(0.1)
    first.hang_up()
    second.remote = second.expect(Tag.VERSION_SELECT).id
    second.follow()
    second.sync()


def test_a_responder_refuses_while_another_attempt_is_under_way(scene, endpoint):
    port = listen(endpoint)
    first = scene.peer(small=True).dial(port)
    reach(first, "orig-ack")
    second = scene.peer(id=first.id).dial(port)
    second.send(hello(second.id))
    second.expect(Tag.HELLO)
    second.send(version_select(second.id))
    second.expect_refusal(Code.LOGIC_ERROR, "detected redundant connection at the responder")
    first.send(originator_ack())
    first.remote = id_octets(endpoint.node_id())
    first.sync()


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_an_id_may_come_back_after_its_connection_was_lost(scene, endpoint, small, reset):
    port = listen(endpoint)
    statuses = scene.use(endpoint.make_status_subscriber(True))
    peer = scene.peer("/x", small=small)
    for _ in range(3):
        peer.dial(port).shake_hands().sync()
        assert [status.code() for status in take(statuses, 2)] == [SC.EndpointDiscovered, SC.PeerAdded]
        endpoint.publish("/x", 1)
        peer.expect_data("/x")
        peer.hang_up(reset)
        assert [status.code() for status in take(statuses, 2)] == [SC.PeerLost, SC.EndpointUnreachable]


def test_both_sides_connecting_at_once_make_one_peering(scene):
    for _ in range(10):
        one, two = scene.endpoint(), scene.endpoint()
        ports = listen(one), listen(two)
        messages = scene.use(two.make_subscriber("/x"))
        calls = [scene.background(one.peer, "127.0.0.1", ports[1], 0.0),
                 scene.background(two.peer, "127.0.0.1", ports[0], 0.0)]
        assert [made.result(DEADLINE_S) for made in calls] == [True, True]
        assert one.await_peer(two.node_id()) and two.await_peer(one.node_id())
        assert (len(one.peers()), len(two.peers())) == (1, 1)
        one.publish("/x", "once")
        one.publish("/x", "last")
        assert [data for _, data in take(messages, 2)] == ["once", "last"]


def test_peering_with_oneself_fails(scene, endpoint):
    port = listen(endpoint)
    assert endpoint.peer("127.0.0.1", port, 0.0) is False
    assert len(endpoint.peers()) == 0


# --- filters that change meanwhile ---------------------------------------------------------------


def test_a_subscription_made_during_the_handshake_is_announced_after_it(scene, endpoint, small):
    peer = scene.peer(small=small).dial(listen(endpoint))
    peer.remote = id_octets(endpoint.node_id())
    if small:
        reach(peer, "orig-ack")
    else:
        reach(peer, "resp-syn-ack")
    peer.remote_filter = []
    scene.use(endpoint.make_subscriber("/late"))
    if small:
        peer.send(originator_ack())
    else:
        peer.send(responder_syn_ack([]))
        peer.expect(Tag.ORIGINATOR_ACK)
    peer.expect_filter("/late")
