"""Logs of a cluster over ZeroMQ, pushed by libzmq: what a real worker sent against its JSON logs."""

import json

import pytest

import broker
from recordings import outside

zmq = pytest.importorskip("zmq")

PATIENCE = 30


@pytest.fixture(scope="module")
def real():
    with open(outside("zeek", "zeek-zeromq.json")) as file:
        messages = json.load(file)["logs"]["real"]
    return [([bytes.fromhex(part) for part in it["frames"]], it["expected"]) for it in messages]


class Sockets:
    """Sockets of libzmq, which are kept until all are closed."""

    def __init__(self):
        self.context = zmq.Context()
        self.kept = []

    def socket(self, kind):
        socket = self.context.socket(kind)
        self.kept.append(socket)
        return socket

    def close(self):
        for socket in self.kept:
            socket.close(linger=0)
        self.context.term()


@pytest.fixture
def context():
    sockets = Sockets()
    try:
        yield sockets
    finally:
        sockets.close()


def push(context, port, keys=None):
    socket = context.socket(zmq.PUSH)
    socket.sndtimeo = PATIENCE * 1000
    if keys is not None:
        socket.curve_serverkey = keys["server_publickey"].encode()
        socket.curve_publickey = keys["client_publickey"].encode()
        socket.curve_secretkey = keys["client_secretkey"].encode()
    socket.connect("tcp://127.0.0.1:%d" % port)
    return socket


def make_keys():
    keys = {}
    for side in "server", "client":
        public, secret = broker.zeek.generate_curve_keypair()
        keys.update({side + "_publickey": public, side + "_secretkey": secret})
    return keys


def test_keys_are_those_of_libzmq():
    public, secret = broker.zeek.generate_curve_keypair()
    assert zmq.curve_public(secret.encode()).decode() == public
    assert broker.zeek.generate_curve_keypair() != (public, secret)


@pytest.mark.parametrize("encrypted", [False, True])
def test_every_record_of_a_real_worker_equals_its_json(context, real, encrypted):
    keys = make_keys() if encrypted else None
    receiver = broker.zeek.LogReceiver("zmq-pull://127.0.0.1:0", curve=keys or False)
    compared = 0
    with broker.zeek.logs(receiver) as logs:
        # Several nodes; one after the other, so that the order is known.
        nodes = [push(context, receiver.port, keys) for _ in range(2)]
        for number, (parts, expected) in enumerate(real):
            nodes[number % 2].send_multipart(parts)
            for line in expected:
                record = logs.recv(PATIENCE)
                assert type(record) is broker.zeek.LogRecord
                assert json.loads(record.json()) == line
                compared += 1
        assert compared > 80
        assert logs.skipped == 0
        assert receiver.stats()["connections"] == 2


def test_names_filter_and_other_messages_are_counted(context, real):
    receiver = broker.zeek.LogReceiver("tcp://127.0.0.1:0", curve=False)
    logs = broker.zeek.logs(receiver, "conn")
    socket = push(context, receiver.port)
    socket.send_multipart([b"log-write", b"id", b"zeek-bin-v1", b""])
    for parts, _ in real:
        socket.send_multipart(parts)
    for _, expected in real:
        for line in expected:
            if "conn_state" in line:
                assert json.loads(logs.recv(PATIENCE).json()) == line
    assert logs.skipped == 1
    assert "zeek-bin-v1" in logs.last_problem
    logs.reset()
    with pytest.raises(broker.ClosedError):
        logs.recv(0)


def test_a_logger_behind_it_gets_every_message_unchanged(context, real):
    logger = context.socket(zmq.PULL)
    logger.rcvtimeo = PATIENCE * 1000
    port = logger.bind_to_random_port("tcp://127.0.0.1")
    receiver = broker.zeek.LogReceiver(
        "zmq-pull://127.0.0.1:0", curve=False, forward_to="tcp://127.0.0.1:%d" % port, queue_bytes=1)
    socket = push(context, receiver.port)
    for parts, _ in real:
        socket.send_multipart(parts)
    for parts, _ in real:
        assert logger.recv_multipart() == parts
    # Nothing was taken here, and only what came first has room.
    assert receiver.stats()["dropped"] == len(real) - 1


def test_what_is_wrong_is_named(tmp_path, monkeypatch):
    with pytest.raises(broker.BrokerError, match="the scheme is `zmq-pull` or `tcp`"):
        broker.zeek.logs("zmq-push://127.0.0.1:1")
    with pytest.raises(broker.BrokerError, match="there is none of server_publickey"):
        broker.zeek.logs("zmq-pull://127.0.0.1:0", curve=tmp_path)
    with pytest.raises(TypeError, match="of an endpoint"):
        broker.zeek.logs("zmq-pull://127.0.0.1:0", curve=False, topics=["x"])
    keys = make_keys()
    variable = "ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_CLIENT_PUBLICKEY"
    monkeypatch.setenv(variable, keys["client_publickey"])
    with pytest.raises(broker.BrokerError, match="CURVE_SERVER_SECRETKEY` is missing") as raised:
        broker.zeek.logs("zmq-pull://127.0.0.1:0")
    assert keys["client_publickey"] not in str(raised.value)
