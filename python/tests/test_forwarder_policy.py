"""A forwarder whose clients a policy judges, between sockets of libzmq with keys of their own."""

import pytest

pytest.importorskip("zmq")

import broker  # noqa: E402
import peer as wire  # noqa: E402
from deadline import wait_until  # noqa: E402
from test_forwarder import Server, Sockets  # noqa: E402

PREFIXES = ["/netcontrol/", "/notices/", "/end"]


def encoded(name, *arguments):
    return wire.encode(wire.event(name, *arguments))


def policy(soar, siem, may=()):
    """Keys of two principals; `may` is what the second one has a right to subscribe to."""
    roles = {
        "responder": {"publish": ["/netcontrol/", "/end"], "events": {"publish": ["NetControl::*", "end"]}},
        "siem": {"subscribe": list(may) or ["/notices/", "/end"]},
    }
    return {
        "roles": roles,
        "principals": {
            "soar": {"roles": ["responder"], "curve_keys": [soar.public]},
            "siem": {"roles": ["siem"], "curve_keys": [siem.public]},
        },
    }


@pytest.fixture
def judged():
    """Sockets around a forwarder that judges two keys, the endpoint and the keys."""
    server = Server()
    keys = soar, siem = server.client(), server.client()
    configuration = broker.Configuration()
    configuration.policy = policy(*keys)
    with broker.Endpoint(configuration) as endpoint:
        forwarder = broker.zeek.Forwarder(
            xpub="tcp://127.0.0.1:0", xsub="tcp://127.0.0.1:0", curve=server.curve,
            clients=[soar.public, siem.public], policy_of=endpoint)
        with forwarder:
            sockets = Sockets(forwarder)
            yield sockets, endpoint, soar, siem
            for socket in sockets.open:
                socket.__exit__()


def test_clients_of_libzmq_do_what_their_keys_may(judged):
    sockets, endpoint, soar, siem = judged
    endpoint.set_policy(policy(soar, siem, PREFIXES))
    subscriber = sockets.add("SUB", siem)
    for prefix in PREFIXES:
        subscriber.say("subscribe", prefix.encode())
    sockets.wait_for(subscriptions=3)
    publisher = sockets.add("XPUB", soar)
    heard = {bytes(publisher.got()[0]) for _ in PREFIXES}
    assert heard == {b"\1" + prefix.encode() for prefix in PREFIXES}
    good, end = encoded("NetControl::add_rule", wire.string("x")), encoded("end")

    def send(topic, payload, format=b"broker-bin-v1", more=()):
        publisher.say("send", topic, b"node", format, payload, *more)

    denied = [
        (b"/notices/x", good),
        (b"/netcontrol/x", encoded("terminate")),
        (b"/netcontrol/x", good + b"\0"),
        (b"/netcontrol/x", b""),
        (b"/netcontrol/x", good, b"broker-json-v1"),
        (b"/netcontrol/x", good, b"broker-bin-v1", [good]),
    ]
    for message in denied:
        send(*message)
    send(b"/netcontrol/x", good)
    send(b"/end", end)
    assert subscriber.got()[0] == b"/netcontrol/x"
    assert subscriber.got()[0] == b"/end"
    stats = sockets.forwarder.stats()
    assert (stats["denied"], stats["dropped"]) == (len(denied), 0)
    principals = {it.side: it.principal for it in sockets.forwarder.connections()}
    assert principals == {"subscriber": "siem", "publisher": "soar"}


def test_subscriptions_become_what_is_allowed_and_follow_the_policy(judged):
    sockets, endpoint, soar, siem = judged
    subscriber = sockets.add("XSUB", siem)
    for prefix in (b"zeek.cluster.nodeid.x.", b"", b"/netcontrol/"):
        subscriber.say("subscribe", prefix)
    publisher = sockets.add("XPUB", soar)
    heard = sorted(publisher.got()[0] for _ in range(2))
    assert heard == [b"\1/end", b"\1/notices/"]
    endpoint.set_policy(policy(soar, siem, ["/netcontrol/", "/end"]))
    changes = sorted(publisher.got()[0] for _ in range(2))
    assert changes == [b"\0/notices/", b"\1/netcontrol/"]
    publisher.say("send", b"/netcontrol/x", b"node", b"broker-bin-v1", encoded("NetControl::add_rule"))
    assert subscriber.got()[0] == b"/netcontrol/x"
    # Another one has the key now, and nobody the other.
    endpoint.set_policy({"roles": {"all": {"publish": [""], "subscribe": [""]}},
                         "principals": {"other": {"roles": ["all"], "curve_keys": [soar.public]}}})
    wait_until(lambda: all(it.principal == "other" for it in sockets.forwarder.connections()),
               "the old ones are gone")
    wait_until(lambda: sockets.forwarder.stats()["refused"] > 0, "one comes back and is refused")


def test_a_key_without_rights_is_refused(judged):
    sockets, endpoint, soar, siem = judged
    endpoint.set_policy(policy(siem, soar._replace(public=broker.zeek.generate_curve_keypair()[0])))
    sockets.add("XPUB", soar)
    wait_until(lambda: sockets.forwarder.stats()["refused"] > 0, "it is refused")
    assert sockets.forwarder.connections() == []


def test_a_policy_has_public_keys_each_once():
    server = Server()
    one, other = server.client(), server.client()
    configuration = broker.Configuration()
    for wrong, said in [
        (policy(one, one), "belongs to another principal already"),
        (policy(one, other._replace(public="hunter2")), "a CURVE key has 40 characters"),
    ]:
        with pytest.raises(broker.BrokerError, match=said) as caught:
            configuration.policy = wrong
            broker.Endpoint(configuration)
        assert "hunter2" not in str(caught.value)


def test_an_endpoint_without_a_policy_judges_nobody():
    with broker.Endpoint() as endpoint, pytest.raises(broker.BrokerError, match="began without one"):
        broker.zeek.Forwarder(curve=False, policy_of=endpoint)
