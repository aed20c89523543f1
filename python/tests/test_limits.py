"""Limits, measured: memory, time, connections, descriptors, slow and absent readers. Figures are printed."""

import contextlib
import socket
import struct
import sys
import threading
import time

import pytest

import broker
import peer as scripted
from deadline import DEADLINE_S, Stopwatch, quick, take, take_one, wait_until
from peer import LOCALHOST, Tag, hello, probe
from process import Program, cpu_seconds, descriptor_count, resident_kib, unread_octets
from scene import call, listen

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="measures through /proc")

SC = broker.SC
MIB = 1 << 20
# Our limits; see the constants of the same meaning in crates/broker/src/config.rs.
UNFINISHED_KIB = 64
HANDSHAKE_TIMEOUT_S = 10.0
PENDING_MAX = 256
STALL_LIMIT_S = 5.0


class Host:
    """An endpoint in a process of its own, to be measured."""

    def __init__(self, *arguments):
        self.program = Program("host.py", *arguments)

    def __enter__(self):
        self.program.__enter__()
        self.port = int(self.program.line())
        return self

    def __exit__(self, *exception):
        self.program.__exit__(*exception)

    @property
    def pid(self):
        return self.program.pid

    def peers(self):
        self.program.tell("?")
        return int(self.program.line().split()[0])


def open_connections(stack, port, number):
    connections = []
    for _ in range(number):
        connections.append(stack.enter_context(socket.create_connection((LOCALHOST, port), 5.0)))
    return connections


def wait_still(measure):
    """Waits until a number has stopped changing."""
    seen = []
    wait_until(lambda: seen.append(measure()) or len(seen) > 20 and len(set(seen[-20:])) == 1, "no change")


def send_what_fits(connection, octets):
    """Sends as much as the other side takes at once."""
    connection.settimeout(0.05)
    with contextlib.suppress(OSError):
        connection.sendall(octets)


# --- memory --------------------------------------------------------------------------------------


@pytest.mark.parametrize("announced_kib", [30, 60, 16 * 1024], ids="{} KiB".format)
def test_unfinished_connections_cost_little_memory(announced_kib):
    number = 200
    with Host("plain") as host, contextlib.ExitStack() as stack:
        # One that gets through, so that everything is loaded and allocated.
        warm = stack.enter_context(scripted.Peer(tls=False))
        warm.dial(host.port).shake_hands().sync()
        before = resident_kib(host.pid)
        connections = open_connections(stack, host.port, number)
        for connection in connections:
            # A frame that is never finished: what is announced, and as much of it as they take.
            beginning = struct.pack(">IB", announced_kib * 1024, Tag.ORIGINATOR_SYN)
            send_what_fits(connection, (beginning + bytes(announced_kib * 1024))[:min(announced_kib, 256) * 1024])
        wait_still(lambda: unread_octets(host.port))
        warm.sync()
        growth = resident_kib(host.pid) - before
        print("%d unfinished connections that announce %d KiB: %d KiB, %.1f KiB each, %d KiB unread"
              % (number, announced_kib, growth, growth / number, unread_octets(host.port) // 1024))
        assert growth < number * UNFINISHED_KIB * 1.25


def test_unfinished_tls_handshakes_cost_little_memory():
    number = 200
    with Host("tls") as host, contextlib.ExitStack() as stack:
        warm = stack.enter_context(scripted.Peer())
        warm.dial(host.port).shake_hands().sync()
        before = resident_kib(host.pid)
        for connection in open_connections(stack, host.port, number):
            # The beginning of a TLS record.
            send_what_fits(connection, b"\x16\x03\x01\x40\x00" + bytes(10000))
        wait_until(lambda: unread_octets(host.port) == 0, "everything is read")
        warm.sync()
        growth = resident_kib(host.pid) - before
        print("%d unfinished TLS handshakes: %d KiB, %.1f KiB each" % (number, growth, growth / number))
        assert growth < number * UNFINISHED_KIB * 1.25


@pytest.mark.parametrize("sent_kib", [0, 30], ids="{} KiB".format)
def test_strangers_who_are_through_with_tls_cost_little_memory(sent_kib):
    number = 100
    with Host("tls") as host, contextlib.ExitStack() as stack:
        warm = stack.enter_context(scripted.Peer())
        warm.dial(host.port).shake_hands().sync()
        before = resident_kib(host.pid)
        for _ in range(number):
            stranger = stack.enter_context(scripted.Peer()).dial(host.port)
            if sent_kib:
                beginning = struct.pack(">IB", sent_kib * 1024, Tag.ORIGINATOR_SYN)
                # On a busy machine the first may have been sent away.
                with contextlib.suppress(OSError):
                    stranger.send_octets(beginning + bytes(sent_kib * 1024 - 10))
        wait_until(lambda: unread_octets(host.port) == 0, "everything is read")
        warm.sync()
        growth = resident_kib(host.pid) - before
        print("%d strangers behind TLS with %d KiB of a frame: %d KiB, %.1f KiB each"
              % (number, sent_kib, growth, growth / number))
        assert growth < number * UNFINISHED_KIB * 1.25


def test_an_announced_frame_costs_nothing_before_it_comes():
    with Host("plain") as host, scripted.Peer(tls=False) as peer:
        peer.dial(host.port).shake_hands().sync()
        before = resident_kib(host.pid)
        peer.send_octets(struct.pack(">I", scripted.FRAME_SIZE_MAX) + bytes(MIB))
        wait_until(lambda: unread_octets(host.port) == 0, "everything is read")
        # Another peer is served meanwhile.
        with scripted.Peer(tls=False) as other:
            other.dial(host.port).shake_hands().sync()
        growth = resident_kib(host.pid) - before
        print("2 GiB announced, 1 MiB sent: %d KiB" % growth)
        assert growth < 8 * 1024


def test_strangers_cannot_announce_large_frames():
    with Host("plain") as host, scripted.Peer(tls=False) as stranger:
        before = resident_kib(host.pid)
        stranger.dial(host.port)
        stranger.send_octets(struct.pack(">I", 512 * MIB) + bytes([Tag.ORIGINATOR_SYN]))
        with pytest.raises((scripted.Ended, scripted.Refused)):
            stranger.expect(Tag.HELLO)
        assert resident_kib(host.pid) - before < 8 * 1024


def test_a_filter_of_many_topics_is_kept_small():
    """What repeats is not kept twice."""
    topics = ["/t%d" % (number % 10) for number in range(20000)]
    with Host("plain") as host, scripted.Peer(topics, tls=False) as peer:
        peer.dial(host.port).shake_hands().sync()
        before = resident_kib(host.pid)
        for _ in range(20):
            peer.announce(*topics)
        peer.sync()
        growth = resident_kib(host.pid) - before
        print("20 updates of 20000 topics: %d KiB" % growth)
        assert growth < 8 * 1024


# --- time ----------------------------------------------------------------------------------------

SILENCES = {
    "tcp": ("tls", lambda peer: None),
    "plain": ("plain", lambda peer: None),
    "drip": ("plain", lambda peer: peer.send_octets(struct.pack(">I", 23) + hello(peer.id)[:5])),
    "hello": ("plain", lambda peer: peer.send(hello(peer.id))),
    # Whoever talks without ever shaking hands is no better.
    "chatter": ("plain", lambda peer: threading.Thread(target=chatter, args=(peer,)).start()),
}


def chatter(peer):
    """Sends probes until the other side has enough of it."""
    with contextlib.suppress(OSError, AttributeError):
        while True:
            peer.send(probe())
            time.sleep(0.05)


@pytest.fixture(scope="module")
def silence():
    """Strangers that fall silent, and servers that never speak: all wait at the same time."""
    results = {}
    with contextlib.ExitStack() as stack:
        hosts = {mode: stack.enter_context(Host(mode)) for mode in ("tls", "plain")}
        options = broker.BrokerOptions()
        options.disable_ssl = True
        dialer = stack.enter_context(broker.Endpoint(broker.Configuration(options)))
        secure = stack.enter_context(broker.Endpoint())
        errors = {"plain": stack.enter_context(dialer.make_status_subscriber()),
                  "tls": stack.enter_context(secure.make_status_subscriber())}
        servers = {name: stack.enter_context(scripted.Peer(tls=False)) for name in errors}
        started = time.monotonic()
        for name, endpoint in (("plain", dialer), ("tls", secure)):
            endpoint.peer_nosync(LOCALHOST, servers[name].listen(), 0.0)
            servers[name].accept()
        strangers = {}
        for name, (mode, speak) in SILENCES.items():
            peer = stack.enter_context(scripted.Peer(tls=False, small=False))
            strangers[name] = peer.dial(hosts[mode].port)
            speak(peer)
        for name, peer in strangers.items():
            with contextlib.suppress(scripted.Ended):
                while True:
                    peer.receive()
            results[name] = time.monotonic() - started
        for name, subscriber in errors.items():
            results["dial-" + name] = (take_one(subscriber), time.monotonic() - started)
        yield results


@pytest.mark.parametrize("name", SILENCES)
def test_a_stranger_who_falls_silent_is_sent_away(silence, name):
    print("%s: closed after %.2f s" % (name, silence[name]))
    assert silence[name] > HANDSHAKE_TIMEOUT_S - 1


@pytest.mark.parametrize("name", ["plain", "tls"])
def test_a_server_that_never_speaks_is_given_up_with_the_reason(silence, name):
    error, seconds = silence["dial-" + name]
    print("%r after %.2f s" % (error, seconds))
    assert seconds > HANDSHAKE_TIMEOUT_S - 1
    assert error.code() == broker.EC.PeerUnavailable
    text = repr(error)
    assert "unable to connect to remote peer: " in text
    assert any(word in text for word in ("timed out", "timeout", "no answer", "within 10")), text


# --- numbers -------------------------------------------------------------------------------------


def test_there_are_never_more_strangers_than_the_limit():
    with Host("plain") as host, contextlib.ExitStack() as stack:
        friend = stack.enter_context(scripted.Peer(tls=False))
        friend.dial(host.port).shake_hands().sync()
        idle = descriptor_count(host.pid)
        open_connections(stack, host.port, PENDING_MAX + 100)
        wait_until(lambda: descriptor_count(host.pid) >= idle + PENDING_MAX * 9 // 10, "the strangers are in")
        most = 0
        for _ in range(100):
            friend.sync()
            most = max(most, descriptor_count(host.pid) - idle)
        print("%d strangers at the door: up to %d are in" % (PENDING_MAX + 100, most))
        assert most <= PENDING_MAX + 2
        stack.pop_all().close()
        wait_until(lambda: descriptor_count(host.pid) <= idle, "the strangers are gone")
        with scripted.Peer(tls=False) as late:
            late.dial(host.port).shake_hands().sync()


def test_running_out_of_descriptors_passes():
    limit = 64
    with Host("plain", limit) as host, contextlib.ExitStack() as strangers:
        connections = open_connections(strangers, host.port, limit + 40)
        wait_until(lambda: descriptor_count(host.pid) >= limit - 1, "no descriptor is left")
        before, started = cpu_seconds(host.pid), time.monotonic()
        with pytest.raises(scripted.Late), scripted.Peer(tls=False) as watcher:
            watcher.listen()
            watcher.accept(1.5)
        share = (cpu_seconds(host.pid) - before) / (time.monotonic() - started)
        print("without descriptors: %.1f %% of a processor" % (share * 100))
        assert share < 0.05
        for connection in connections:
            connection.close()
        with scripted.Peer(tls=False) as late:
            late.dial(host.port).shake_hands().sync()
        assert host.peers() <= 1


def test_an_idle_endpoint_costs_nothing():
    with Host("tls") as host, scripted.Peer() as peer:
        peer.dial(host.port).shake_hands().sync()
        before, started = cpu_seconds(host.pid), time.monotonic()
        peer.expect_silence(1.0)
        used = cpu_seconds(host.pid) - before
        print("idle with one peer: %.1f %% of a processor" % (100 * used / (time.monotonic() - started)))
        assert used < 0.05


# --- readers that are slow, or absent ------------------------------------------------------------


def test_a_subscriber_nobody_drains_does_not_stall_the_others(scene):
    one, two = scene.endpoint(tls=False), scene.endpoint(tls=False)
    abandoned = scene.use(two.make_subscriber("/x"))
    drained = scene.use(two.make_subscriber("/x"))
    assert one.peer(LOCALHOST, listen(two), 0.0)
    data = "x" * MIB
    total = 100

    def publish():
        for number in range(total):
            one.publish("/x", (number, data))

    publishing = scene.background(publish)
    # It costs the stall limit once, and not for each message.
    with Stopwatch() as took:
        received = [number for _, (number, _) in take(drained, total)]
    publishing.result(DEADLINE_S)
    print("%d MiB past a subscriber that holds %d messages: %.2f s"
          % (total, abandoned.available(), took.seconds))
    assert received == list(range(total))
    assert abandoned.available() > 0


def test_a_fast_publisher_does_not_lose_its_peer(scene, tls):
    total = 300_000
    one, two = scene.endpoint(tls=tls), scene.endpoint(tls=tls)
    messages = scene.use(two.make_subscriber("/x"))
    statuses = scene.use(one.make_status_subscriber(True))
    assert one.peer(LOCALHOST, listen(two), 0.0)
    take(statuses, 2)

    def publish():
        for number in range(total):
            one.publish("/x", number)

    with Stopwatch() as took:
        publishing = scene.background(publish)
        received = []
        while len(received) < total:
            batch = messages.get(10_000, DEADLINE_S)
            assert batch, "only %d of %d" % (len(received), total)
            received += [number for _, number in batch]
    publishing.result(DEADLINE_S)
    print("%d messages in %.2f s: %.0f per second" % (total, took.seconds, total / took.seconds))
    assert received == list(range(total))
    assert statuses.poll() == []


def flood(endpoint, over):
    """Publishes until it is over."""
    data = "x" * MIB
    while not over.is_set():
        endpoint.publish("/x", data)


def test_a_peer_that_does_not_read_is_disconnected(scene):
    endpoint = scene.endpoint(tls=False)
    statuses = scene.use(endpoint.make_status_subscriber(True))
    port = listen(endpoint)
    stuck, friend = scene.peer("/x", tls=False), scene.peer("/y", tls=False)
    for peer in (stuck, friend):
        peer.dial(port).shake_hands().sync()
    take(statuses, 4)
    over = threading.Event()
    with Stopwatch() as took:
        flooding = scene.background(flood, endpoint, over)
        try:
            removed, unreachable = take(statuses, 2)
        finally:
            over.set()
    print("a peer that does not read is gone after %.2f s: %r" % (took.seconds, removed))
    assert (removed.code(), unreachable.code()) == (SC.PeerRemoved, SC.EndpointUnreachable)
    assert removed.context().node_id() == stuck.name
    assert "caf::sec::backpressure_overflow" in repr(removed)
    assert took.seconds > STALL_LIMIT_S - 1
    flooding.result(DEADLINE_S)
    # Everybody else never noticed.
    endpoint.publish("/y", 1)
    friend.expect_data("/y")


def test_a_slow_peer_is_waited_for(scene):
    """As long as it reads at all, it is not stuck and nothing is lost."""
    endpoint = scene.endpoint(tls=False)
    statuses = scene.use(endpoint.make_status_subscriber(True))
    slow = scene.connected_peer(endpoint, "/x", tls=False)
    take(statuses, 2)
    total = 120

    def publish():
        data = "x" * MIB
        for number in range(total):
            endpoint.publish("/x/%d" % number, data)

    publishing = scene.background(publish)
    wait_until(lambda: not publishing.done(), "the flood has begun")
    # A megabyte every so often: the whole takes longer than the stall limit.
    with Stopwatch() as took:
        for number in range(total):
            assert slow.expect_data().topic == b"/x/%d" % number
            assert statuses.available() == 0
            if number < 60:
                time.sleep(0.1)
    publishing.result(DEADLINE_S)
    print("a reader of %.0f MiB/s was waited for" % (total / took.seconds))
    assert took.seconds > STALL_LIMIT_S


def test_a_reader_that_works_on_every_batch_loses_nothing(scene):
    """Whoever keeps reading is not stuck, however long its work on what it read takes."""
    one, two = scene.endpoint(tls=False), scene.endpoint(tls=False)
    messages = scene.use(two.make_subscriber("/x"))
    assert one.peer(LOCALHOST, listen(two), 0.0)
    total = 150

    def publish():
        data = "x" * MIB
        for number in range(total):
            one.publish("/x", (number, data))

    publishing = scene.background(publish)
    # The publisher waits: every buffer between the two is full.
    wait_still(messages.available)
    received = []
    while len(received) < total:
        first = messages.get(DEADLINE_S)
        assert first, "only %d of %d" % (len(received), total)
        for _, (number, _) in [first] + messages.poll():
            assert number == len(received)
            received.append(number)
            # As a whole a full mailbox takes longer than the stall limit.
            if number < 75:
                time.sleep(0.1)
    publishing.result(DEADLINE_S)


def test_a_silent_peer_does_not_hold_up_the_peering_of_others(scene):
    def peer_meanwhile():
        endpoint = scene.endpoint(tls=False)
        silent = scene.peer(tls=False)
        others = [scene.endpoint(tls=False) for _ in range(3)]
        with Stopwatch() as took:
            peering = call(scene, endpoint, silent)
            for other in others:
                assert endpoint.peer(LOCALHOST, listen(other), 0.0)
        silent.hang_up()
        assert peering.result(DEADLINE_S) is False
        return took.seconds

    # The silent one is given up after its handshake's time.
    quick(HANDSHAKE_TIMEOUT_S, peer_meanwhile)
