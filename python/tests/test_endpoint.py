"""Endpoints: options, listening, peering, publishing, shutting down."""

import gc
import logging
import socket
import weakref

import pytest

import broker
from deadline import DEADLINE_S, FOR_EVER_S, Stopwatch, take, take_one, wait_until
from peer import id_octets
from ports import reserved_port
from scene import connect, listen

LOCALHOST = "127.0.0.1"


# --- construction --------------------------------------------------------------------------------


def test_an_endpoint_is_known_by_its_id(endpoint):
    name = endpoint.node_id()
    assert repr(endpoint) == str(endpoint) == name
    assert name == name.lower() and len(name) == 36
    assert len(id_octets(name)) == 16
    assert 1 <= id_octets(name)[6] >> 4 <= 5


def test_every_endpoint_has_an_id_of_its_own(scene):
    assert len({scene.endpoint().node_id() for _ in range(10)}) == 10


@pytest.mark.parametrize("arguments", [(None,), (broker.BrokerOptions(),), ("x",), (1, 2)], ids=repr)
def test_an_endpoint_takes_a_configuration_or_nothing(arguments):
    with pytest.raises(TypeError):
        broker.Endpoint(*arguments)


def test_keyword_arguments_are_refused():
    with pytest.raises(TypeError):
        broker.Endpoint(config=broker.Configuration())


def test_two_endpoints_may_share_a_configuration(scene):
    configuration = broker.Configuration(broker.BrokerOptions())
    one, two = scene.adopt(broker.Endpoint(configuration)), scene.adopt(broker.Endpoint(configuration))
    connect(one, two)


def test_options_are_copied_into_the_configuration(scene):
    options = broker.BrokerOptions()
    options.disable_ssl = True
    configuration = broker.Configuration(options)
    options.disable_ssl = False
    endpoint = scene.adopt(broker.Endpoint(configuration))
    connect(endpoint, scene.endpoint(tls=False))


def test_options_have_their_defaults_and_types():
    options = broker.BrokerOptions()
    names = ["disable_ssl", "disable_forwarding", "ignore_broker_conf", "use_real_time"]
    assert [getattr(options, name) for name in names] == [False, False, False, True]
    for name in names:
        setattr(options, name, True)
        assert getattr(options, name) is True
        setattr(options, name, 0)
        assert getattr(options, name) is False
        with pytest.raises(TypeError):
            setattr(options, name, "x")
    with pytest.raises(AttributeError):
        options.no_such_option = True


def test_configuration_has_its_defaults_and_types():
    configuration = broker.Configuration()
    for name in ("cafile", "capath", "certificate", "key", "passphrase"):
        name = "openssl_" + name
        assert getattr(configuration, name) == ""
        setattr(configuration, name, "/x")
        assert getattr(configuration, name) == "/x"
        setattr(configuration, name, b"/y")
        assert getattr(configuration, name) == "/y"
        with pytest.raises(TypeError):
            setattr(configuration, name, None)
    assert configuration.max_threads == 0
    configuration.max_threads = 2
    assert configuration.max_threads == 2
    with pytest.raises(AttributeError):
        configuration.no_such_option = True


def test_a_bad_verbosity_in_the_environment_is_an_error(monkeypatch):
    monkeypatch.setenv("BROKER_CONSOLE_VERBOSITY", "loud")
    with pytest.raises(ValueError, match="BROKER_CONSOLE_VERBOSITY"):
        broker.Endpoint()


def test_variables_without_effect_are_checked_and_told(scene, monkeypatch, caplog):
    for name in ("BROKER_METRICS_ENDPOINT_NAME", "BROKER_METRICS_EXPORT_TOPIC"):
        monkeypatch.setenv(name, "node")
    with caplog.at_level(logging.WARNING, "broker"):
        scene.endpoint()
    assert [record.getMessage() for record in caplog.records] == [
        "environment variable BROKER_METRICS_ENDPOINT_NAME has no effect",
        "environment variable BROKER_METRICS_EXPORT_TOPIC has no effect",
    ]
    monkeypatch.setenv("BROKER_METRICS_PORT", "abc")
    with pytest.raises(broker.ConfigurationError, match="BROKER_METRICS_PORT: abc "):
        broker.Endpoint()


def test_broker_conf_in_the_working_directory_counts_more_than_options(scene, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broker.conf").write_text("broker {\n  disable-ssl = true\n}\n")
    configured = scene.adopt(broker.Endpoint())
    options = broker.BrokerOptions()
    options.ignore_broker_conf = True
    options.disable_ssl = True
    connect(configured, scene.adopt(broker.Endpoint(broker.Configuration(options))))
    options.disable_ssl = False
    encrypted = scene.adopt(broker.Endpoint(broker.Configuration(options)))
    assert not encrypted.peer("127.0.0.1", configured.listen("127.0.0.1", 0), 0)


def test_what_makes_no_sense_in_a_configuration_file_has_its_place(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "broker.conf"
    for text, cause in (
        ("broker {\n  ttl = 70000\n}\n", "line 2, column 3: `broker.ttl` is no number up to 65535"),
        ("broker {\n", "line 2, column 1: expected `}`"),
        ("broker.disable-sll = true\n", "unknown option `broker.disable-sll`; there is `broker.disable-ssl`"),
    ):
        path.write_text(text)
        with pytest.raises(broker.ConfigurationError) as raised:
            broker.Endpoint()
        assert str(raised.value).startswith("`broker.conf`, ")
        assert cause in str(raised.value)


def test_a_configuration_file_that_is_named_has_to_be_there(scene, monkeypatch, tmp_path, caplog):
    monkeypatch.chdir(tmp_path)
    options = broker.BrokerOptions()
    assert options.config_file == ""
    options.config_file = tmp_path / "other.conf"
    with pytest.raises(broker.ConfigurationError, match=r"other\.conf.*cannot be read"):
        broker.Endpoint(broker.Configuration(options))
    (tmp_path / "broker.conf").write_text("broken")
    (tmp_path / "other.conf").write_text("broker.ttl = 8\nsomething.else = 1\n")
    with caplog.at_level(logging.WARNING, "broker"):
        scene.adopt(broker.Endpoint(broker.Configuration(options)))
        broker.logging.flush()
    assert [record.fields["option"] for record in caplog.records] == ["broker.ttl"]


def test_the_environment_records_what_an_endpoint_sends(scene, monkeypatch, tmp_path):
    monkeypatch.setenv("BROKER_RECORDING_DIRECTORY", str(tmp_path / "recordings"))
    monkeypatch.setenv("BROKER_OUTPUT_GENERATOR_FILE_CAP", "2")
    endpoint = broker.Endpoint()
    for number in range(3):
        endpoint.publish("/topic", f"message {number}")
    endpoint.shutdown()
    (recording,) = (tmp_path / "recordings").iterdir()
    content = recording.read_bytes()
    assert content.startswith(b"ZKBREC")
    assert [content.count(b"message %d" % number) for number in range(3)] == [1, 1, 0]


def test_options_under_their_names_in_old_releases():
    options = broker.BrokerOptions()
    assert (options.forward, options.ttl) == (True, 16)
    options.forward = False
    assert options.disable_forwarding is True
    options.disable_forwarding = False
    assert options.forward is True
    options.ttl = 65535
    assert options.ttl == 65535
    for value in (-1, 65536, "x", None):
        with pytest.raises((OverflowError, TypeError)):
            options.ttl = value
    with pytest.raises(TypeError):
        options.forward = "no"


def test_an_endpoint_is_an_ordinary_object(scene):
    class Named(broker.Endpoint):
        pass

    endpoint = scene.adopt(Named())
    endpoint.nickname = "x"
    assert endpoint.nickname == "x"
    assert weakref.ref(endpoint)() is endpoint
    assert endpoint == endpoint and endpoint != scene.endpoint()
    assert len({endpoint, endpoint}) == 1


# --- listening -----------------------------------------------------------------------------------


@pytest.mark.parametrize("address", [LOCALHOST, "localhost", "", b"127.0.0.1", "0.0.0.0"], ids=repr)
def test_listen_returns_the_port(scene, endpoint, address):
    port = endpoint.listen(address, 0)
    assert 0 < port < 65536
    assert scene.endpoint().peer(LOCALHOST, port, 0.0)


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this machine")
def test_listen_on_ipv6(scene, endpoint):
    port = endpoint.listen("::1", 0)
    other = scene.endpoint()
    assert other.peer("::1", port, 0.0)
    (info,) = other.peers()
    assert info.peer.network.get().address == "::1"


def test_several_listeners(scene, endpoint):
    ports = [listen(endpoint) for _ in range(3)]
    assert len(set(ports)) == 3
    for port in ports:
        assert scene.endpoint().peer(LOCALHOST, port, 0.0)
    wait_until(lambda: len(endpoint.peers()) == 3, "three peers")


def test_listening_on_a_given_port(endpoint):
    port = reserved_port()
    assert endpoint.listen(LOCALHOST, port) == port


@pytest.mark.parametrize("arguments", [
    (LOCALHOST,), (LOCALHOST, -1), (LOCALHOST, 65536), (LOCALHOST, "0"), (LOCALHOST, 0.0), (None, 0),
], ids=repr)
def test_listen_refuses_what_is_no_address(endpoint, arguments):
    with pytest.raises((TypeError, OverflowError)):
        endpoint.listen(*arguments)


# --- peering -------------------------------------------------------------------------------------


def test_peering_by_name_and_keyword(scene, endpoint):
    port = listen(endpoint)
    other = scene.endpoint()
    assert other.peer(addr="localhost", port=port, retry=0) is True
    (info,) = other.peers()
    assert info.peer.network.get().address == "localhost"


def test_peering_twice_is_peering_once(scene, endpoint):
    port = listen(endpoint)
    other = scene.endpoint()
    assert [other.peer(LOCALHOST, port, 0.0) for _ in range(3)] == [True] * 3
    assert len(other.peers()) == 1


def test_nobody_there(endpoint):
    with Stopwatch() as took:
        assert endpoint.peer(LOCALHOST, reserved_port(), 0.0) is False
    assert took.seconds < DEADLINE_S
    assert endpoint.peer(LOCALHOST, reserved_port(), 0) is False


def test_a_host_that_has_no_address(scene, endpoint):
    errors = scene.use(endpoint.make_status_subscriber())
    assert endpoint.peer("no.such.host.invalid", 9999, 0) is False
    assert take_one(errors).code() == broker.EC.PeerUnavailable


@pytest.mark.parametrize("arguments", [
    (LOCALHOST,), (LOCALHOST, "9999"), (LOCALHOST, 9999, None), (LOCALHOST, 9999, "soon"), (None, 9999),
    (LOCALHOST, 70000),
], ids=repr)
def test_peer_refuses_what_is_no_address(endpoint, arguments):
    with pytest.raises((TypeError, OverflowError)):
        endpoint.peer(*arguments)


def test_peer_waits_for_a_listener_that_comes_later(scene, endpoint):
    port = reserved_port()
    late = scene.endpoint()
    errors = scene.use(endpoint.make_status_subscriber())
    peering = scene.background(endpoint.peer, LOCALHOST, port, 1.0)
    take_one(errors)
    assert late.listen(LOCALHOST, port) == port
    assert peering.result(DEADLINE_S) is True


def test_peer_nosync_returns_at_once(scene, endpoint):
    port = listen(endpoint)
    other = scene.endpoint()
    assert other.peer_nosync(LOCALHOST, port, 0.0) is None
    assert other.await_peer(endpoint.node_id()) is True


def test_await_peer_before_the_peering(scene, endpoint):
    other = scene.endpoint()
    waiting = scene.background(endpoint.await_peer, other.node_id(), DEADLINE_S)
    assert not waiting.done()
    assert other.peer(LOCALHOST, listen(endpoint), 0.0)
    assert waiting.result(DEADLINE_S) is True


@pytest.mark.parametrize("timeout", [0.05, "0.05"], ids=repr)
def test_await_peer_gives_up(scene, endpoint, timeout):
    with Stopwatch() as took:
        assert endpoint.await_peer(scene.endpoint().node_id(), timeout) is False
    assert 0.04 < took.seconds < DEADLINE_S
    assert endpoint.await_peer(endpoint.node_id(), timeout) is False


def test_await_peer_has_a_default_timeout(scene, pair):
    one, two = pair
    for timeout in (None, 0, 0.0, 5):
        assert one.await_peer(two.node_id(), timeout) is True


@pytest.mark.parametrize("node", [
    "nonsense", "", "00000000-0000-0000-0000-00000000000", "00112233-4455-0677-8899-aabbccddeeff",
    "00112233-4455-9677-8899-aabbccddeeff",
])
def test_await_peer_refuses_what_is_no_id(endpoint, node):
    with pytest.raises(ValueError):
        endpoint.await_peer(node, 0.05)


def test_await_peer_wants_text_and_a_number(scene, endpoint):
    with pytest.raises(TypeError):
        endpoint.await_peer(None)
    with pytest.raises((TypeError, ValueError)):
        endpoint.await_peer(scene.endpoint().node_id(), "soon")


def test_await_peer_counts_direct_peers_only(scene, pair):
    one, two = pair
    three = scene.endpoint()
    connect(three, two)
    assert one.await_peer(three.node_id(), 0.05) is False


def test_unpeer(scene):
    one, two = scene.endpoint(), scene.endpoint()
    port = connect(one, two)
    assert one.unpeer(LOCALHOST, port) is True
    wait_until(lambda: not one.peers() and not two.peers(), "no peers")
    assert one.peer(LOCALHOST, port, 0.0) is True
    assert one.unpeer_nosync(LOCALHOST, port) is None
    wait_until(lambda: not one.peers() and not two.peers(), "no peers")


def test_unpeer_goes_by_the_spelling_of_the_address(scene):
    one, two = scene.endpoint(), scene.endpoint()
    statuses = scene.use(one.make_status_subscriber(True))
    port = connect(one, two)
    take(statuses, 2)
    assert one.unpeer("localhost", port) is True
    error = take_one(statuses)
    assert (type(error), error.code()) == (broker.Error, broker.EC.PeerInvalid)
    assert len(one.peers()) == 1


# --- peers ---------------------------------------------------------------------------------------


def test_peers(scene):
    dialer, listener = scene.endpoint(), scene.endpoint()
    port = connect(dialer, listener)
    (there,), (here,) = dialer.peers(), listener.peers()
    assert there.peer.node_id() == repr(there.peer) == listener.node_id()
    assert here.peer.node_id() == dialer.node_id()
    network = there.peer.network
    assert network.is_set()
    assert (network.get().address, network.get().port) == (LOCALHOST, port)
    assert repr(network) == repr(network.get()) == "%s:%d" % (LOCALHOST, port)
    assert here.peer.network.get().address == LOCALHOST
    assert here.peer.network.get().port not in (0, port)
    for info in (there, here):
        assert info.flags == broker.PeerFlags.Remote
        assert info.status == broker.PeerStatus.Peered
        assert info.peer.type == "native"


def test_the_list_of_peers_is_a_list(pair):
    endpoint, _ = pair
    peers = endpoint.peers()
    assert len(peers) == 1 and peers and peers[-1].peer.node_id() == peers[0].peer.node_id()
    assert len(peers[:1]) == 1
    peers.append(peers[0])
    peers.extend(peers)
    peers.insert(0, peers.pop())
    del peers[0]
    assert len(peers) == 3
    peers.clear()
    assert not peers
    assert len(endpoint.peers()) == 1


def test_peer_infos_are_snapshots_that_may_be_changed(pair):
    endpoint, _ = pair
    (info,) = endpoint.peers()
    info.status = broker.PeerStatus.Disconnected
    info.flags = broker.PeerFlags.Local
    assert (info.status, info.flags) == (broker.PeerStatus.Disconnected, broker.PeerFlags.Local)
    info.peer.type = "x"
    assert info.peer.type == "x"
    network = info.peer.network.get()
    network.address, network.port = "x", 5
    assert repr(network) == "x:5"
    with pytest.raises(TypeError):
        info.peer.network = None
    (fresh,) = endpoint.peers()
    assert fresh.status == broker.PeerStatus.Peered


def test_a_network_that_is_not_set(scene, pair):
    endpoint, _ = pair
    statuses = scene.use(endpoint.make_status_subscriber(True))
    connect(scene.endpoint(), endpoint)
    discovered = take_one(statuses)
    network = discovered.context().network
    assert not network.is_set()
    assert repr(network) == "nil"
    with pytest.raises(ValueError):
        network.get()


def test_peer_subscriptions(scene, pair):
    one, two = pair
    scene.use(two.make_subscriber(["/a", "/b"]))
    wait_until(lambda: sorted(map(str, one.peer_subscriptions())) == ["/a", "/b"], "the topics of the peer")
    assert all(isinstance(topic, broker.Topic) for topic in one.peer_subscriptions())
    assert list(two.peer_subscriptions()) == []


# --- publishing ----------------------------------------------------------------------------------


@pytest.mark.parametrize("topic", ["/t/x", b"/t/x", broker.Topic("/t/x")], ids=repr)
def test_topics_of_publish(scene, topic):
    one, two = scene.endpoint(), scene.endpoint()
    messages = scene.use(two.make_subscriber("/t"))
    connect(one, two)
    assert one.publish(topic, 1) is None
    assert one.publish(topic=topic, data=2) is None
    assert take(messages, 2) == [("/t/x", 1), ("/t/x", 2)]


@pytest.mark.parametrize("topic", [None, 5, ["/t"]], ids=repr)
def test_topics_that_are_none(endpoint, topic):
    with pytest.raises(TypeError):
        endpoint.publish(topic, 1)


def test_a_value_that_is_none_is_refused_without_a_peer_too(endpoint):
    with pytest.raises(TypeError, match="unsupported data type"):
        endpoint.publish("/t", object())


def test_prefixes_match(scene):
    one, two = scene.endpoint(), scene.endpoint()
    some = scene.use(two.make_subscriber("/t"))
    connect(one, two)
    everything = scene.use(two.make_subscriber(""))
    wait_until(lambda: "" in map(str, one.peer_subscriptions()), "the subscription to everything")
    for topic in ("/t", "/t/x", "/tx", "/u", "/T"):
        one.publish(topic, topic)
    assert [topic for topic, _ in take(everything, 5)] == ["/t", "/t/x", "/tx", "/u", "/T"]
    assert [topic for topic, _ in take(some, 3)] == ["/t", "/t/x", "/tx"]
    assert some.poll() == []


def test_an_empty_topic_is_not_sent_to_peers(scene, pair):
    """Older releases close the connection when they see one. Spec: wire 12."""
    one, two = pair
    everything = scene.use(two.make_subscriber(""))
    wait_until(one.peer_subscriptions, "the subscription to everything")
    one.publish("", 1)
    one.publish("/t", 2)
    assert take_one(everything) == ("/t", 2)


def test_who_wants_everything_gets_status_events_too(scene):
    """Their topics begin with the empty prefix like all others."""
    one, two = scene.endpoint(), scene.endpoint()
    everything = scene.use(one.make_subscriber(""))
    connect(two, one)
    assert [topic for topic, _ in take(everything, 2)] == ["<$>/local/data/statuses"] * 2


def test_nothing_comes_back_to_the_publisher(scene, pair):
    one, two = pair
    own = scene.use(one.make_subscriber("/t"))
    other = scene.use(two.make_subscriber("/t"))
    wait_until(one.peer_subscriptions, "the subscription of the peer")
    one.publish("/t", 1)
    with one.make_publisher("/t") as publisher:
        publisher.publish(2)
    assert take(other, 2) == [("/t", 1), ("/t", 2)]
    two.publish("/t", 3)
    assert take_one(own) == ("/t", 3)
    assert own.poll() == []


def test_publish_batch(scene):
    one, two = scene.endpoint(), scene.endpoint()
    messages = scene.use(two.make_subscriber("/t"))
    connect(one, two)
    assert one.publish_batch() is None
    assert one.publish_batch(("/t/1", (1, 2)), ["/t/2", {"a": 1}], (broker.Topic("/t/3"), None)) is None
    assert take(messages, 3) == [("/t/1", (1, 2)), ("/t/2", {"a": 1}), ("/t/3", None)]


@pytest.mark.parametrize("item, error", [
    (("/t",), ValueError), (("/t", 1, 2), ValueError), (("/t", object()), TypeError), ((None, 1), TypeError),
    (5, TypeError), (("/" * 65536, 1), ValueError), ((b"/" * 65536, 1), ValueError),
], ids=lambda value: repr(value)[:20])
def test_one_bad_item_sends_nothing(scene, item, error):
    one, two = scene.endpoint(), scene.endpoint()
    messages = scene.use(two.make_subscriber("/t"))
    connect(one, two)
    with pytest.raises(error):
        one.publish_batch(("/t", "unsent"), item)
    one.publish("/t", "sent")
    assert take_one(messages) == ("/t", "sent")


def test_order_is_kept_between_all_ways_of_publishing(scene):
    one, two = scene.endpoint(), scene.endpoint()
    messages = scene.use(two.make_subscriber("/t"))
    connect(one, two)
    with one.make_publisher("/t/p") as first, one.make_publisher("/t/q") as second:
        for number in range(0, 400, 4):
            one.publish("/t", number)
            first.publish(number + 1)
            second.publish_batch(number + 2)
            one.publish_batch(("/t", number + 3))
    assert [data for _, data in take(messages, 400)] == list(range(400))


def test_large_messages(scene):
    one, two = scene.endpoint(), scene.endpoint()
    messages = scene.use(two.make_subscriber("/t"))
    connect(one, two)
    text = "x" * (5 << 20)
    one.publish("/t", [text, text])
    assert take_one(messages) == ("/t", (text, text))


def test_a_topic_that_is_too_long_is_not_sent(scene):
    one, two = scene.endpoint(), scene.endpoint()
    messages = scene.use(two.make_subscriber("/t"))
    connect(one, two)
    try:
        one.publish("/t" * 40000, 1)
    except ValueError:
        pass
    one.publish("/t", 2)
    assert take_one(messages) == ("/t", 2)


# --- shutting down -------------------------------------------------------------------------------


def test_the_context_manager_shuts_down(scene):
    with broker.Endpoint() as endpoint:
        assert isinstance(endpoint, broker.Endpoint)
        port = listen(endpoint)
    with pytest.raises(OSError):
        socket.create_connection((LOCALHOST, port), 1.0).close()
    with pytest.raises(KeyError), broker.Endpoint():
        raise KeyError


def test_shutdown_is_idempotent_and_prompt(scene, pair):
    one, two = pair
    scene.use(one.make_subscriber("/t"))
    with Stopwatch() as took:
        one.shutdown()
        one.shutdown()
        two.shutdown()
    assert took.seconds < DEADLINE_S


AFTER_SHUTDOWN = {
    "listen": lambda endpoint: endpoint.listen(LOCALHOST, 0),
    "peer": lambda endpoint: endpoint.peer(LOCALHOST, 9999, 0.0),
    "peer_nosync": lambda endpoint: endpoint.peer_nosync(LOCALHOST, 9999, 0.0),
    "unpeer": lambda endpoint: endpoint.unpeer(LOCALHOST, 9999),
    "await_peer": lambda endpoint: endpoint.await_peer("00112233-4455-5677-8899-aabbccddeeff", 0.1),
    "peers": lambda endpoint: endpoint.peers(),
    "peer_subscriptions": lambda endpoint: endpoint.peer_subscriptions(),
    "forward": lambda endpoint: endpoint.forward("/t"),
    "make_subscriber": lambda endpoint: endpoint.make_subscriber("/t"),
    "make_safe_subscriber": lambda endpoint: endpoint.make_safe_subscriber("/t"),
    "make_status_subscriber": lambda endpoint: endpoint.make_status_subscriber(),
    "make_publisher": lambda endpoint: endpoint.make_publisher("/t"),
}


@pytest.mark.parametrize("name", AFTER_SHUTDOWN)
def test_use_after_shutdown_is_an_error(endpoint, name):
    endpoint.shutdown()
    with pytest.raises(RuntimeError, match="endpoint is shut down"):
        AFTER_SHUTDOWN[name](endpoint)


def test_what_still_works_after_shutdown(endpoint):
    name = endpoint.node_id()
    endpoint.shutdown()
    assert endpoint.node_id() == repr(endpoint) == name


def test_publishing_after_shutdown_is_an_error(endpoint):
    endpoint.shutdown()
    for publish in (lambda: endpoint.publish("/t", 1), lambda: endpoint.publish_batch(("/t", 1))):
        with pytest.raises(broker.ClosedError, match="endpoint is shut down"):
            publish()


def test_shutdown_ends_waiting_calls(scene, endpoint):
    other = scene.endpoint()
    errors = scene.use(endpoint.make_status_subscriber())
    waiting = [scene.background(endpoint.await_peer, other.node_id(), FOR_EVER_S),
               scene.background(endpoint.peer, LOCALHOST, reserved_port(), FOR_EVER_S)]
    take_one(errors)
    with Stopwatch() as took:
        endpoint.shutdown()
        for call in waiting:
            try:
                assert call.result(DEADLINE_S) is False
            except RuntimeError:
                pass
    assert took.seconds < DEADLINE_S


def test_an_endpoint_without_references_shuts_down(scene):
    other = scene.endpoint()
    endpoint = broker.Endpoint()
    connect(endpoint, other)
    messages = endpoint.make_subscriber("/t")
    publisher = endpoint.make_publisher("/t")
    del endpoint
    gc.collect()
    wait_until(lambda: not other.peers(), "the peer has gone")
    with pytest.raises(broker.ClosedError):
        publisher.publish(1)
    try:
        assert messages.get(0.05) is None
    except RuntimeError:
        pass
    publisher.reset()
    messages.reset()
