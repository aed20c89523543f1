"""`broker bridge` and links of `broker node` on real servers of NATS, alone, in pairs, and as leaf nodes of sites."""

import http.client
import json
import re
import select
import signal
import socket
import subprocess
import sys
import threading

import pytest

import broker
from cluster import Proxy
from deadline import DEADLINE_S, take_one, wait_until
from nats_server import LOCALHOST, RawClient, Server, binary
from ports import reserved_port
from recordings import REPOSITORY

SITES = REPOSITORY / "examples" / "sites"


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


class Line:
    """A line between sites that can be cut: a TCP proxy in front of a port."""

    def __init__(self, port):
        self._to = port
        self._listener = socket.create_server((LOCALHOST, 0))
        self.port = self._listener.getsockname()[1]
        self._is_cut = False
        self._is_over = False
        self._pairs = []
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        while True:
            here, _ = self._listener.accept()
            with self._lock:
                if self._is_over:
                    return here.close()
                if self._is_cut:
                    here.close()
                    continue
                pair = here, socket.create_connection((LOCALHOST, self._to))
                self._pairs.append(pair)
            threading.Thread(target=self._carry, args=pair, daemon=True).start()

    @staticmethod
    def _carry(here, there):
        try:
            while True:
                for source in select.select([here, there], [], [])[0]:
                    octets = source.recv(65536)
                    if not octets:
                        return
                    (there if source is here else here).sendall(octets)
        except (OSError, ValueError):
            pass
        finally:
            for end in here, there:
                end.close()

    def cut(self):
        with self._lock:
            self._is_cut = True
            for pair in self._pairs:
                for end in pair:
                    try:
                        end.shutdown(socket.SHUT_RDWR)
                    except OSError:
                        pass  # It is closed.
            self._pairs.clear()

    def heal(self):
        with self._lock:
            self._is_cut = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.cut()
        with self._lock:
            self._is_over = True
        socket.create_connection((LOCALHOST, self.port)).close()
        self._thread.join()
        self._listener.close()


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


def bridge(*urls, topic="/t/", more=()):
    return Command("bridge", *urls, "--topic", topic, "--no-tls", *more, links=len(urls))


def read(port, path):
    connection = http.client.HTTPConnection(LOCALHOST, port, timeout=DEADLINE_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200, answer.status
        return answer.read().decode()
    finally:
        connection.close()


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


def test_what_crossed_a_link_is_told_over_all_its_connections(scene, spaces):
    left, right = [join(scene, server) for server in spaces]
    http_port = reserved_port()
    scene.use(bridge(*map(url, spaces), more=["--http-listen", "%s:%d" % (LOCALHOST, http_port)]))
    reach(left, right)

    def link(server):
        links = {it["address"]: it for it in json.loads(read(http_port, "/v1/stats"))["links"]}
        assert sorted(links) == sorted(map(url, spaces))
        return links[url(server)]

    with right.make_subscriber("/t/x") as messages:
        reach(left, right, "/t/x")
        for number in range(100):
            left.publish("/t/x", number)
        while take_one(messages)[1] != 99:
            pass
    near, far = map(link, spaces)
    assert near["peer"] and far["peer"] and near["import"] == near["export"] == ["/t/"]
    assert near["received"]["messages"] >= 100 and near["received"]["bytes"] >= 100
    wait_until(lambda: link(spaces[1])["sent"]["messages"] >= 100, "what was sent is counted")
    sent, connects = far["sent"]["messages"], far["connects"]
    assert connects >= 1 and far["dropped"] == 0

    # A line that is cut is told, and its counts go on once it is there again.
    spaces[1].kill()
    wait_until(lambda: link(spaces[1])["peer"] is None, "it is told that the link is cut")
    assert 'broker_link_up{link="%s"} 0' % url(spaces[1]) in read(http_port, "/metrics")
    status = subprocess.run([sys.executable, "-m", "broker", "status", "http://%s:%d" % (LOCALHOST, http_port)],
                            capture_output=True, text=True, timeout=DEADLINE_S)
    assert re.search(re.escape(url(spaces[1])) + r" +cut ", status.stdout), status
    spaces[1].start()
    wait_until(lambda: link(spaces[1])["connects"] > connects, "the link is there again")
    wait_until(lambda: right.nats_peer_counts()[url(spaces[1])]["peered"], "so is that of the other program")
    reach(left, right)
    assert link(spaces[1])["sent"]["messages"] > sent
    metrics = read(http_port, "/metrics")
    found = re.search(r'broker_link_sent_messages_total{link="%s"} (\d+)' % re.escape(url(spaces[1])), metrics)
    assert int(found[1]) > sent


def test_clients_of_a_bridge_are_judged_before_what_they_say_crosses(scene, spaces, tmp_path):
    far = join(scene, spaces[0])
    (tmp_path / "policy.toml").write_text("""
        [roles.sensor]
        publish = ["/t/alerts/"]
        subscribe = ["/t/back"]
        [principals.anonymous]
        roles = ["sensor"]
    """)
    port = reserved_port()
    (tmp_path / "node.toml").write_text("""
        listen = ["%s:%d"]
        [policy]
        file = "policy.toml"
        [[link]]
        peer = "%s"
        import = ["/t/"]
        export = ["/t/"]
    """ % (LOCALHOST, port, url(spaces[0])))
    scene.use(Command("node", "--config", "node.toml", "--no-tls", links=1, cwd=tmp_path))
    near = scene.endpoint(tls=False)
    assert near.peer(LOCALHOST, port, retry=0.0)
    reach(near, far, "/t/alerts/reach")
    with far.make_subscriber("/t/") as messages, near.make_subscriber("/t/") as back:
        reach(near, far, "/t/alerts/reach")
        near.publish("/t/secret", 1)
        near.publish("/t/alerts/x", 2)
        while (message := take_one(messages))[0] != "/t/alerts/x":
            assert message[0].startswith("/t/alerts/"), message
        # Nor does it get what comes over the link but for its topics.
        def arrives():
            far.publish("/t/denied", 3)
            far.publish("/t/back", 4)
            return back.get(1, 0.1)
        found = wait_until(arrives, "what it may have arrives") + back.poll()
        assert {topic for topic, _ in found} == {"/t/back"}


def placed(folder, ports):
    """Copies the files of the recipe, with free ports in the place of those in them."""
    for path in SITES.iterdir():
        text = path.read_text()
        for before, after in ports.items():
            text = re.sub(r"\b%d\b" % before, str(after), text)
        (folder / path.name).write_text(text)


class Configured(Server):
    """A server with one of these files."""

    def __init__(self, path, port):
        self.port = port
        self._path = path
        self._process = None
        self.start()

    def start(self):
        with open(self._path.with_suffix(".log"), "ab") as log:
            self._process = subprocess.Popen([binary(), "-c", str(self._path)], cwd=self._path.parent,
                                             stdout=log, stderr=log)
        wait_until(self._is_up, "the server listens")


def request(port, subject, body):
    """A request to JetStream, as `nats stream add --config` makes it; the answer."""
    client = RawClient(port)
    try:
        octets = json.dumps(body).encode()
        client.send(b"SUB answers 1\r\nPUB %s answers %d\r\n%s\r\n" % (subject.encode(), len(octets), octets))
        words = client._file.readline().split()
        assert words[0] == b"MSG", words
        return json.loads(client._file.read(int(words[-1]) + 2))
    finally:
        client.close()


def test_two_sites_and_a_central_one_with_a_line_that_is_cut_and_healed(scene, tmp_path):
    listed = [4222, 4223, 4224, 7422, 9990, 9991, 9992]
    ports = {port: reserved_port() for port in listed}
    line = scene.use(Line(ports[7422]))
    placed(tmp_path, {**ports, 7422: line.port})
    central_conf = tmp_path / "central.conf"
    central_conf.write_text(central_conf.read_text().replace(str(line.port), str(ports[7422])))
    for name, port in ("central", 4222), ("site-a", 4223), ("site-b", 4224):
        scene.use(Configured(tmp_path / (name + ".conf"), ports[port]))
    nodes = {}
    for name in "central", "site-a", "site-b":
        nodes[name] = scene.use(Command("node", "--config", name + ".toml", "--no-tls", links=1, cwd=tmp_path))
    programs = {}
    for name, port in ("central", 9990), ("site-a", 9991), ("site-b", 9992):
        programs[name] = scene.endpoint(tls=False)
        assert programs[name].peer(LOCALHOST, ports[port], retry=0.0)
    central, a, b = programs["central"], programs["site-a"], programs["site-b"]

    # Alerts go to the centre and nowhere else, intelligence to all sites, other topics nowhere.
    reach(a, central, "/alerts/reach")
    reach(central, b, "/intel/reach")
    reach(central, a, "/intel/reach")
    with central.make_subscriber("/") as at_centre, b.make_subscriber("/") as at_b:
        reach(a, central, "/alerts/reach")
        reach(central, b, "/intel/reach")
        a.publish("/local", 1)
        for number in range(100):
            a.publish("/alerts/scan", number)
        central.publish("/intel/new", "end")
        came = []
        while len(came) < 100:
            topic, value = take_one(at_centre)
            assert topic.startswith("/alerts/"), topic
            came += [value] if topic == "/alerts/scan" else []
        assert came == list(range(100))
        topic = ""
        while topic != "/intel/new":
            topic, _ = take_one(at_b)
            assert topic.startswith("/intel/"), topic

    # What site a keeps durably, the centre mirrors.
    keeper = scene.endpoint(tls=False)
    assert keeper.peer("nats://%s:%d" % (LOCALHOST, ports[4223]), retry=1.0, timeout=DEADLINE_S)
    keeper.make_stream("alerts", ["/alerts/kept"])
    reader = scene.endpoint(tls=False)
    assert reader.peer("nats://%s:%d" % (LOCALHOST, ports[4222]), retry=1.0, timeout=DEADLINE_S)
    mirror = json.loads((tmp_path / "mirror-a.json").read_text())
    made = request(ports[4222], "$JS.API.STREAM.CREATE.alerts-a", mirror)
    assert "error" not in made, made
    keeper.publish("/alerts/kept", "before", durable=True)
    with reader.make_subscriber("/alerts/kept", durable="siem", start="first", stream="alerts-a") as kept:
        assert take_one(kept).value == "before"

        # The line is cut: the site goes on, and nothing that is durable is lost.
        line.cut()
        other = scene.endpoint(tls=False)
        with other.make_subscriber("/alerts/") as here:
            assert other.peer(LOCALHOST, ports[9991], retry=0.0)
            reach(a, other, "/alerts/reach")
        for number in range(50):
            keeper.publish("/alerts/kept", number, durable=True)
        line.heal()
        assert [take_one(kept).value for _ in range(50)] == list(range(50))
    reach(a, central, "/alerts/reach")
    reach(central, a, "/intel/reach")
