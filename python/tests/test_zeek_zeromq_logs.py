"""Logs of a cluster over ZeroMQ, pushed by libzmq: what a real worker sent against its JSON logs."""

import json
import pathlib
import pickle
import subprocess
import sys

import pytest

import broker
from recordings import outside

zmq = pytest.importorskip("zmq")

PATIENCE = 60


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


def test_secrets_are_not_shown_by_accident():
    pair = broker.zeek.generate_curve_keypair()
    assert pair == (pair.public, pair.secret) == pickle.loads(pickle.dumps(pair))
    for text in repr(pair), str(pair), "%s" % (pair,), "{}".format(pair), repr([pair]):
        assert pair.public in text and pair.secret not in text


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


def records_of(context, real):
    """All records of a real worker."""
    receiver = broker.zeek.LogReceiver("zmq-pull://127.0.0.1:0", curve=False)
    with broker.zeek.logs(receiver) as logs:
        socket = push(context, receiver.port)
        for parts, _ in real:
            socket.send_multipart(parts)
        return [logs.recv(PATIENCE) for _, expected in real for _ in expected]


@pytest.mark.parametrize("encrypted", [False, True])
def test_what_a_sender_pushes_is_received(context, real, encrypted):
    keys = make_keys() if encrypted else False
    records = records_of(context, real)
    receiver = broker.zeek.LogReceiver("zmq-pull://127.0.0.1:0", curve=keys)
    address = "zmq-push://127.0.0.1:%d" % receiver.port
    with broker.zeek.logs(receiver) as logs:
        with broker.zeek.LogSender(address, curve=keys) as sender:
            assert sender.send(iter(records)) == len(records)
            assert sender.send(records[0]) == 1
            for record in records + records[:1]:
                received = logs.recv(PATIENCE)
                assert received == record and received.json() == record.json()
            assert sender.connected and sender.stats()["dropped"] == 0
            assert sender.close(PATIENCE)
            for method in sender.stats, lambda: sender.send(records), lambda: sender.send_batch(b""):
                with pytest.raises(broker.ClosedError):
                    method()
            assert sender.close()


def test_a_pull_socket_of_libzmq_gets_what_a_sender_pushes(context, real):
    logger = context.socket(zmq.PULL)
    logger.rcvtimeo = PATIENCE * 1000
    port = logger.bind_to_random_port("tcp://127.0.0.1")
    records = records_of(context, real)
    with broker.zeek.LogSender("tcp://127.0.0.1:%d" % port, curve=False, sender_id="tool") as sender:
        assert sender.send_batch(real[0][0][3])
        assert logger.recv_multipart() == [b"log-write", b"tool", b"zeek-bin-serializer", real[0][0][3]]
        record = records[0]
        assert sender.send([record] * 1001) == 1001
        tag, who, form, payload = logger.recv_multipart()
        assert (tag, who, form) == (b"log-write", b"tool", b"zeek-bin-serializer")
        # As many as Zeek's nodes put into one, and the rest in another.
        assert len(payload) > len(logger.recv_multipart()[3])


def test_a_sender_has_a_bounded_queue_and_refuses_what_is_no_record():
    with broker.zeek.LogSender("zmq-push://127.0.0.1:1", curve=False, queue_bytes=1000) as sender:
        assert [sender.send_batch(bytes(700)) for _ in range(3)] == [True, False, False]
        assert not sender.connected
        assert sender.stats() == {"messages": 0, "waiting": 1, "dropped": 2}
        for wrong in 5, [5], ["text"], None:
            with pytest.raises(TypeError):
                sender.send(wrong)
        # Nobody is there, so it cannot be written.
        assert not sender.close(0.01)
    with pytest.raises(broker.BrokerError, match="the scheme is `zmq-push` or `tcp`"):
        broker.zeek.LogSender("zmq-pull://127.0.0.1:1")


def test_recorded_batches_are_read_again(context, real, tmp_path):
    path = pathlib.Path(tmp_path, "logs.rec")
    command = [sys.executable, "-m", "broker", "record", str(path), "-n", str(len(real)),
               "-u", "zmq-pull://127.0.0.1:0", "--curve", "off"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        port = int(process.stderr.readline().rsplit(":", 1)[1])
        socket = push(context, port)
        for parts, _ in real:
            socket.send_multipart(parts)
        _, said = process.communicate(timeout=2 * PATIENCE)
    assert process.returncode == 0, said
    logs = broker.zeek.logs(path)
    expected = [line for _, lines in real for line in lines]
    assert [json.loads(record.json()) for record in logs] == expected
    assert logs.skipped == 0
    only = [record.path for record in broker.zeek.logs(path, "conn")]
    assert only and set(only) == {"conn"}
    # What is damaged is told, behind everything that is not.
    path.write_bytes(path.read_bytes()[:-1])
    logs = broker.zeek.logs(path)
    assert len(list(logs)) < len(expected)
    assert logs.skipped == 1 and "cannot be read" in logs.last_problem
    with pytest.raises(broker.ClosedError):
        logs.recv()
    with pytest.raises(broker.BrokerError):
        broker.zeek.logs(tmp_path / "none")
