"""A Zeek cluster that uses ZeroMQ, without Zeek: a proxy of libzmq as a process, and participants."""

import itertools

import zmq

import peer
from deadline import DEADLINE_S, wait_until
from ports import reserved_port
from process import Program

LOCALHOST = "127.0.0.1"
_numbers = itertools.count(1)


class Proxy:
    """A proxy; `kill` and `start` again keep its ports."""

    def __init__(self, *options):
        self.options, self.program = options, None
        self.ports = reserved_port(), reserved_port()
        self.start()

    def start(self):
        self.program = Program("proxy.py", *self.ports, *self.options)
        self.program.expect("ports %d %d" % self.ports)

    def kill(self):
        self.program.__exit__()

    @property
    def url(self):
        return self.at(LOCALHOST)

    def at(self, host):
        xpub, xsub = self.ports
        return "zmq://%s:%d%s" % (host, xpub, "" if xsub == xpub + 1 else "?xsub=%d" % xsub)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()


class Node:
    """What a node of Zeek does: XPUB and XSUB of libzmq."""

    def __init__(self, proxy, *topics, name=None, keys=None, receive_buffer=None):
        self.name = name or "outside-%d" % next(_numbers)
        self.id = "zeromq_%s_host_%d_x" % (self.name, next(_numbers))
        self.context = zmq.Context()
        self.xsub, self.xpub = self.context.socket(zmq.XSUB), self.context.socket(zmq.XPUB)
        self.xpub.setsockopt(zmq.XPUB_VERBOSE, 1)
        self.xpub.setsockopt(zmq.XPUB_NODROP, 1)
        if receive_buffer is not None:
            self.xsub.setsockopt(zmq.RCVBUF, receive_buffer)
            self.xsub.setsockopt(zmq.RCVHWM, 1)
        for socket, port in zip((self.xsub, self.xpub), proxy.ports):
            socket.rcvtimeo = socket.sndtimeo = int(DEADLINE_S * 1000)
            socket.setsockopt(zmq.LINGER, 0)
            if keys is not None:
                socket.curve_serverkey = keys["server_publickey"].encode()
                socket.curve_publickey = keys["client_publickey"].encode()
                socket.curve_secretkey = keys["client_secretkey"].encode()
            socket.connect("tcp://%s:%d" % (LOCALHOST, port))
        self.wanted = set()
        for topic in topics:
            self.subscribe(topic)
        self.probe()

    def probe(self):
        """Until all that others want is known, and what this one wants is known to the proxy."""
        probe = "zeek.zeromq.internal.%s.%d." % (self.id, next(_numbers))
        self.subscribe(probe)
        self.until(probe)
        self.unsubscribe(probe)

    def subscribe(self, topic):
        self.xsub.send(b"\1" + topic.encode())

    def unsubscribe(self, topic):
        self.xsub.send(b"\0" + topic.encode())

    def notices(self):
        """What others want, as far as it was told."""
        while self.xpub.poll(0):
            self._note()
        return self.wanted

    def _note(self):
        notice = self.xpub.recv()
        change = self.wanted.add if notice[:1] == b"\1" else self.wanted.discard
        change(notice[1:].decode())

    def until(self, topic):
        while topic not in self.wanted:
            self._note()

    def until_gone(self, topic):
        while topic in self.wanted:
            self._note()

    def send(self, topic, payload, sender=None, form="broker-bin-v1"):
        if isinstance(payload, peer.Value):
            payload = peer.encode(payload)
        sender = self.id if sender is None else sender
        self.xpub.send_multipart([topic.encode(), sender.encode(), form.encode(), payload])

    def receive(self):
        """Topic, sender and value of the next message."""
        topic, sender, form, payload = self.xsub.recv_multipart()
        assert form == b"broker-bin-v1"
        return topic.decode(), sender.decode(), peer.decode(payload)

    def drain(self):
        """Reads what is there: a socket that is full does not notice the end of its connection."""
        while self.xsub.poll(0):
            self.xsub.recv_multipart()
        return True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.destroy(linger=0)


def wait_for_node(endpoint, name):
    def found():
        return [node for node in endpoint.cluster_nodes() if node.name == name]
    return wait_until(found, "node %s" % name)[0]
