"""Status and error events: their order, their texts and what they know. Spec: wire 9.3, python-api 6."""

import math
import select
import signal

import pytest

import broker
from deadline import DEADLINE_S, Stopwatch, take, take_one, wait_until
from ports import reserved_port
from scene import connect, listen

SC, EC = broker.SC, broker.EC
LOCALHOST = "127.0.0.1"


@pytest.fixture
def watched(scene):
    """Two endpoints and their status subscribers."""
    one, two = scene.endpoint(), scene.endpoint()
    return one, two, scene.use(one.make_status_subscriber(True)), scene.use(two.make_status_subscriber(True))


def fail(endpoint):
    """Causes an error event."""
    port = reserved_port()
    assert endpoint.peer(LOCALHOST, port, 0.0) is False
    return port


# --- what happens when ---------------------------------------------------------------------------


def test_a_peering_begins_and_ends(watched):
    one, two, here, there = watched
    port = connect(one, two)
    assert [status.code() for status in take(here, 2)] == [SC.EndpointDiscovered, SC.PeerAdded]
    assert [status.code() for status in take(there, 2)] == [SC.EndpointDiscovered, SC.PeerAdded]
    one.unpeer(LOCALHOST, port)
    assert [status.code() for status in take(here, 2)] == [SC.PeerRemoved, SC.EndpointUnreachable]
    assert [status.code() for status in take(there, 2)] == [SC.PeerLost, SC.EndpointUnreachable]
    assert here.poll() == there.poll() == []


def test_events_are_there_when_peer_returns(scene):
    for _ in range(20):
        one, two = scene.endpoint(), scene.endpoint()
        statuses = scene.use(one.make_status_subscriber(True))
        assert one.peer(LOCALHOST, listen(two), 0.0)
        assert statuses.available() == 2


def test_the_text_of_events(watched):
    one, two, here, there = watched
    port = connect(one, two)
    name = two.node_id()
    network = "%s, %s:%d" % (name, LOCALHOST, port)
    assert list(map(repr, take(here, 2))) == [
        'endpoint_discovered(%s, "found a new peer in the network")' % name,
        'peer_added(%s, "handshake successful")' % network,
    ]
    one.unpeer(LOCALHOST, port)
    assert list(map(str, take(here, 2))) == [
        'peer_removed(%s, "removed connection to remote peer")' % network,
        'endpoint_unreachable(%s, "lost the last path")' % name,
    ]
    lost = repr(take(there, 4)[2])
    assert lost.startswith("peer_lost(%s, %s:" % (one.node_id(), LOCALHOST))
    assert lost.endswith(', "lost connection to remote peer")')


def test_the_context_of_events(watched):
    one, two, here, there = watched
    port = connect(one, two)
    discovered, added = take(here, 2)
    assert type(discovered) is type(added) is broker.Status
    for status in (discovered, added):
        assert status.context().node_id() == repr(status.context()) == two.node_id()
        assert status.context().type == "invalid"
    assert not discovered.context().network.is_set()
    network = added.context().network.get()
    assert (network.address, network.port) == (LOCALHOST, port)
    assert take(there, 2)[1].context().network.get().address == LOCALHOST


def test_changes_of_a_context_stay(watched):
    one, two, here, _ = watched
    connect(one, two)
    added = take(here, 2)[1]
    added.context().type = "changed"
    assert added.context().type == "changed"


def test_an_address_as_it_was_given(scene, watched):
    one, two, here, _ = watched
    assert one.peer("localhost", listen(two), 0.0)
    assert take(here, 2)[1].context().network.get().address == "localhost"


def test_a_listener_on_all_interfaces_sees_mapped_addresses(scene, watched):
    one, two, _, there = watched
    assert one.peer(LOCALHOST, two.listen("", 0), 0.0)
    assert take(there, 2)[1].context().network.get().address in ("::ffff:127.0.0.1", "127.0.0.1")


def test_nobody_there(watched):
    one, _, here, _ = watched
    port = fail(one)
    error = take_one(here)
    assert type(error) is broker.Error
    assert type(error.code()) is int
    assert error.code() == EC.PeerUnavailable
    assert not error.code() != EC.PeerUnavailable
    nobody = "00000000-0000-0000-0000-000000000000"
    assert repr(error) == str(error) == (
        'peer_unavailable(endpoint_info(%s, *%s:%d), "unable to connect to remote peer")'
        % (nobody, LOCALHOST, port))


def test_unpeering_nobody(watched):
    one, _, here, _ = watched
    assert one.unpeer(LOCALHOST, 9) is True
    error = take_one(here)
    assert error.code() == EC.PeerInvalid
    assert "cannot unpeer from unknown peer" in repr(error)
    assert "%s:9" % LOCALHOST in repr(error)


def test_every_failed_attempt_is_an_event(watched):
    one, _, here, _ = watched
    with Stopwatch() as took:
        one.peer_nosync(LOCALHOST, reserved_port(), 1.0)
        errors = take(here, 3)
    assert {error.code() for error in errors} == {int(EC.PeerUnavailable)}
    assert 1.5 < took.seconds < DEADLINE_S


def test_errors_only_unless_asked_for_more(scene):
    one, two = scene.endpoint(), scene.endpoint()
    errors = scene.use(one.make_status_subscriber())
    connect(one, two)
    fail(one)
    error = take_one(errors)
    assert (type(error), errors.poll()) == (broker.Error, [])


@pytest.mark.parametrize("argument, statuses", [
    (True, True), (1, True), (False, False), (0, False), (None, False),
])
def test_asking_for_statuses(scene, argument, statuses):
    one, two = scene.endpoint(), scene.endpoint()
    events = scene.use(one.make_status_subscriber(receive_statuses=argument))
    connect(one, two)
    assert bool(events.poll()) is statuses


def test_asking_with_text_is_refused(endpoint):
    with pytest.raises(TypeError):
        endpoint.make_status_subscriber("yes")


def test_earlier_events_are_not_repeated(scene, pair):
    one, _ = pair
    assert scene.use(one.make_status_subscriber(True)).poll() == []


def test_several_status_subscribers_all_get_everything(scene):
    one = scene.endpoint()
    subscribers = [scene.use(one.make_status_subscriber(True)) for _ in range(3)]
    fail(one)
    assert [take_one(errors).code() for errors in subscribers] == [4, 4, 4]


# --- get, in all its forms -----------------------------------------------------------------------


def test_get_is_one_event(watched):
    one, _, here, _ = watched
    fail(one)
    assert type(here.get()) is broker.Error


def test_a_get_without_arguments_after_peering_is_what_programs_wait_for(watched):
    """Programs of the manual take the first event after `peer()` for PeerAdded."""
    one, two, here, _ = watched
    connect(one, two)
    status = here.get()
    assert type(status) == broker.Status  # noqa: E721  (as the manual says it)
    assert status.code() == SC.PeerAdded
    assert here.poll() == []


def test_other_forms_keep_every_event(watched):
    one, two, here, there = watched
    connect(one, two)
    wait_until(lambda: there.available() == 2, "two events")
    assert [status.code() for status in here.get(2)] == [SC.EndpointDiscovered, SC.PeerAdded]
    assert [status.code() for status in there.poll()] == [SC.EndpointDiscovered, SC.PeerAdded]


def test_get_float(watched):
    one, _, here, _ = watched
    with Stopwatch() as took:
        assert here.get(0.1) is None
    assert 0.09 < took.seconds < DEADLINE_S
    fail(one)
    assert type(here.get(DEADLINE_S)) is broker.Error
    assert here.get(0.0) is None
    assert here.get(-1.0) is None


def test_get_int(watched):
    one, _, here, _ = watched
    fail(one)
    fail(one)
    assert [type(event) for event in here.get(2)] == [broker.Error] * 2
    assert here.get(0) == []
    assert here.get(2, 0.05) == []
    fail(one)
    assert [type(event) for event in here.get(2, 0.05)] == [broker.Error]


@pytest.mark.parametrize("arguments", [(2.0, 1.0), (None,), ("1",), (2, None)], ids=repr)
def test_get_refuses_other_arguments(watched, arguments):
    with pytest.raises(TypeError):
        watched[2].get(*arguments)


def test_get_refuses_nan(watched):
    with pytest.raises(ValueError):
        watched[2].get(math.nan)


def test_poll_available_and_descriptor(watched):
    one, _, here, _ = watched
    descriptor = here.fd()
    assert (here.available(), here.poll()) == (0, [])
    assert not select.select([descriptor], [], [], 0)[0]
    fail(one)
    assert here.available() == 1
    assert select.select([descriptor], [], [], DEADLINE_S)[0]
    assert len(here.poll()) == 1
    assert not select.select([descriptor], [], [], 0)[0]


def test_get_waits(scene, watched):
    one, _, here, _ = watched
    waiting = scene.background(here.get)
    fail(one)
    assert type(waiting.result(DEADLINE_S)) is broker.Error


def test_reset(watched):
    here = watched[2]
    here.reset()
    here.reset()
    with pytest.raises(AttributeError):
        here.poll()


def test_shutdown_ends_waiting(scene, watched):
    one, _, here, _ = watched
    waiting = scene.background(here.get)
    one.shutdown()
    with pytest.raises(RuntimeError):
        waiting.result(DEADLINE_S)


def test_own_shutdown_is_reported_before_the_end(watched):
    one, two, here, there = watched
    connect(one, two)
    take(here, 2)
    one.shutdown()
    assert [status.code() for status in here.poll()] == [SC.PeerRemoved, SC.EndpointUnreachable]
    assert [status.code() for status in take(there, 4)[2:]] == [SC.PeerLost, SC.EndpointUnreachable]


# --- Status and Error as classes -----------------------------------------------------------------


def test_status_without_content():
    status = broker.Status()
    assert (status.code(), status.context(), repr(status)) == (SC.Unspecified, None, 'unspecified("")')


def test_error_without_content():
    error = broker.Error()
    assert (error.code(), repr(error)) == (0, "none")


def test_codes_compare_with_numbers():
    code = 4
    assert code == EC.PeerUnavailable and EC.PeerUnavailable == code
    assert not code != EC.PeerUnavailable
    assert code != EC.PeerInvalid
    assert {EC.PeerUnavailable: "x"}[code] == "x"
    assert SC.PeerAdded != 1


def test_events_of_an_interrupted_call_are_put_back(watched):
    """And the descriptor says that they are there."""
    one, two, here, _ = watched
    connect(one, two)
    wait_until(lambda: here.available() == 2, "both events")
    descriptor = here.fd()

    def ring(*_):
        raise InterruptedError

    previous = signal.signal(signal.SIGALRM, ring)
    try:
        with pytest.raises(InterruptedError):
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            here.get(3)
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert here.available() == 2
    assert select.select([descriptor], [], [], DEADLINE_S)[0]
    assert [status.code() for status in here.poll()] == [SC.EndpointDiscovered, SC.PeerAdded]
    assert not select.select([descriptor], [], [], 0.0)[0]
