"""`broker bridge` between real servers of NATS, a ZeroMQ cluster and native peers."""

import signal
import subprocess
import sys
import threading

import pytest

import broker
from cluster import Proxy
from deadline import DEADLINE_S, take_one, wait_until
from nats_server import LOCALHOST, Server
from ports import reserved_port


class Command:
    """The command as a process whose log is read; it has begun when its links are there."""

    def __init__(self, *arguments, links, cwd=None):
        self._process = subprocess.Popen([sys.executable, "-m", "broker", *arguments], cwd=cwd, text=True,
                                         stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.said = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        wait_until(lambda: self._is_over() or self.count("peer_added") >= links, "the links are there")
        assert not self._is_over(), self.said

    def _is_over(self):
        return self._process.poll() is not None

    def _read(self):
        for line in self._process.stderr:
            self.said.append(line)

    def count(self, text):
        return sum(text in line for line in list(self.said))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(DEADLINE_S)
        self._reader.join()
        self._process.stderr.close()


@pytest.fixture
def spaces(tmp_path):
    """Two servers that know nothing of each other."""
    with Server(tmp_path, reserved_port()) as one, Server(tmp_path, reserved_port()) as other:
        yield one, other


def url(server):
    return "nats://%s:%d" % (LOCALHOST, server.port)


def join(scene, server):
    endpoint = scene.endpoint(tls=False)
    assert endpoint.peer(url(server), retry=1.0, timeout=DEADLINE_S)
    return endpoint


def bridge(*urls, topic="/t/"):
    return Command("bridge", *urls, "--topic", topic, "--no-tls", links=len(urls))


def reach(sender, receiver, topic="/t/reach"):
    """Returns when what one publishes comes to the other: servers tell each other of subscriptions in
    their own time."""
    name = "%s/%s" % (topic, sender.node_id())
    with receiver.make_subscriber(name) as messages:
        def arrives():
            sender.publish(name, None)
            return messages.get(1, 0.1) != []
        wait_until(arrives, "messages come through")


@pytest.mark.parametrize("bridges", [1, 2])
def test_two_spaces_on_nats_are_joined_and_each_message_comes_once(scene, spaces, bridges):
    left, right = [join(scene, server) for server in spaces]
    for _ in range(bridges):
        scene.use(bridge(*map(url, spaces)))
    reach(left, right)
    reach(right, left)
    for sender, receiver in (left, right), (right, left):
        with receiver.make_subscriber("/") as messages, sender.make_subscriber("/") as echoes:
            reach(sender, receiver)
            # An echo or a copy would come before the end, which takes the same ways.
            for number in range(200):
                sender.publish("/t/x", number)
            sender.publish("/other", "stays here")
            receiver.publish("/t/back", "end")
            sender.publish("/t/end", "end")
            got = []
            while not got or got[-1] != ("/t/end", "end"):
                got.append(take_one(messages))
            assert [value for topic, value in got if topic == "/t/x"] == list(range(200))
            assert all(topic.startswith("/t/") for topic, _ in got)
            while (echo := take_one(echoes)) != ("/t/back", "end"):
                assert not echo[0].startswith("/t/x")


def test_a_cluster_on_zeromq_and_nats_and_native_peers_are_joined(scene, spaces):
    with Proxy() as proxy:
        far = join(scene, spaces[0])
        near = scene.endpoint(tls=False)
        port = near.listen(LOCALHOST, 0)
        scene.use(bridge(proxy.url, url(spaces[0]), "zeek://%s:%d" % (LOCALHOST, port)))
        reach(near, far)
        reach(far, near)
        member = scene.endpoint(tls=False)
        with member.make_subscriber("/t/") as messages:
            assert member.peer(proxy.url, retry=1.0, timeout=DEADLINE_S)
            for sender in far, near:
                event = broker.zeek.Event("hello", str(sender.node_id()))
                def arrives():
                    sender.publish("/t/x", event)
                    return messages.get(1, 0.1) != []
                wait_until(arrives, "events reach the cluster")
                messages.poll()
