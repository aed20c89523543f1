"""Two scripted peers talk to each other: what one says correctly, the other takes."""

import concurrent.futures

import pytest

import peer as scripted
from deadline import DEADLINE_S
from peer import Late, Tag, Violation, count, string, vector


@pytest.fixture
def thread():
    with concurrent.futures.ThreadPoolExecutor(max_workers=1) as pool:
        yield pool.submit


@pytest.fixture
def couple(thread, tls, small):
    with scripted.Peer(["/one"], small=small, tls=tls) as dialer, \
            scripted.Peer(["/two"], small=not small, tls=tls) as listener:
        port = listener.listen()
        accepted = thread(lambda: listener.accept().shake_hands())
        dialer.dial(port).shake_hands()
        accepted.result(DEADLINE_S)
        yield dialer, listener


def test_handshake_gives_ids_filters_and_roles(couple):
    dialer, listener = couple
    assert (dialer.remote, listener.remote) == (listener.id, dialer.id)
    assert (dialer.remote_filter, listener.remote_filter) == ([b"/two"], [b"/one"])
    assert dialer.leads is not listener.leads
    assert dialer.leads is (dialer.id < listener.id)


def test_messages_arrive_in_order_and_out_of_order_expectations_hold(couple):
    dialer, listener = couple
    dialer.publish("/two/a", count(1))
    dialer.publish("/two/b", vector(string("x")))
    assert listener.expect_data("/two/b").value == vector(string("x"))
    assert listener.expect_data("/two/a").value == count(1)


def test_filters_follow_updates(couple):
    dialer, listener = couple
    dialer.announce("/one", "/three")
    listener.expect_filter("/one", "/three")
    listener.expect_filter("/one", "/three")


def test_pings_are_answered(couple, thread):
    dialer, listener = couple
    answered = thread(listener.next)
    dialer.sync()
    assert answered.result(DEADLINE_S).tag == Tag.PING


def test_leaving_waits_for_the_pong(couple, thread):
    dialer, listener = couple
    left = thread(dialer.leave)
    listener.expect_bye()
    left.result(DEADLINE_S)
    listener.expect_end()


def test_nothing_is_told_from_something(couple, thread):
    dialer, listener = couple
    answered = thread(listener.next)
    dialer.expect_nothing()
    assert answered.result(DEADLINE_S).tag == Tag.PING
    listener.publish("/one", count(1))
    answered = thread(listener.next)
    with pytest.raises(Violation):
        dialer.expect_nothing()
    assert answered.result(DEADLINE_S).tag == Tag.PING


def test_silence_is_told_from_noise(couple):
    dialer, listener = couple
    listener.expect_silence(0.02)
    dialer.publish("/two", count(1))
    with pytest.raises(Violation):
        listener.expect_silence(DEADLINE_S)
    with pytest.raises(Late):
        listener.next(0.02)


@pytest.mark.parametrize("fields", [
    {"sender": scripted.NOBODY},
    {"receiver": b"\x11" * 16},
    {"ttl": 15},
], ids=["sender", "receiver", "ttl"])
def test_wrong_envelopes_are_violations(couple, fields):
    dialer, listener = couple
    dialer.publish("/two", count(1), **fields)
    with pytest.raises(Violation):
        listener.next()
