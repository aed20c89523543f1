"""One socket of libzmq: KIND PORT [OPTION=VALUE...], steered by lines on standard input.

Options: `subscribe` a topic before there is a connection, as hex; `server`, `public`, `secret` keys of CURVE;
`receive_buffer` of the system, in bytes, with room for one message in the queue of libzmq.
Commands: `subscribe`, `unsubscribe`, `send`, `repeat` (until the next command) with parts as hex, `x*N` as so
many bytes; `rest` and `read`: stop reading and go on. What comes is printed as `got` with the first bytes of
each part as hex.
"""

import os
import sys

import zmq

SHOWN_BYTES = 64
REPEAT_MS = 10

kind, port, options = sys.argv[1], sys.argv[2], dict(option.split("=", 1) for option in sys.argv[3:])
socket = zmq.Context().socket(getattr(zmq, kind))
socket.setsockopt(zmq.LINGER, 0)
if kind == "XPUB":
    socket.setsockopt(zmq.XPUB_VERBOSER, 1)
if "receive_buffer" in options:
    socket.setsockopt(zmq.RCVBUF, int(options["receive_buffer"]))
    socket.setsockopt(zmq.RCVHWM, 1)
else:
    socket.setsockopt(zmq.RCVHWM, 0)
    socket.setsockopt(zmq.SNDHWM, 0)
if "server" in options:
    socket.curve_serverkey, socket.curve_publickey, socket.curve_secretkey = (
        options[name].encode() for name in ("server", "public", "secret"))
if "subscribe" in options:
    socket.subscribe(bytes.fromhex(options["subscribe"]))
socket.connect("tcp://127.0.0.1:%s" % port)

poller = zmq.Poller()
poller.register(sys.stdin.fileno(), zmq.POLLIN)
if kind != "PUB":
    poller.register(socket, zmq.POLLIN)
repeated, typed = None, b""


def decode(word):
    return b"x" * int(word[2:]) if word.startswith("x*") else bytes.fromhex(word.strip("-"))


print("started")
while True:
    ready = dict(poller.poll(REPEAT_MS if repeated else None))
    if socket in ready:
        parts = socket.recv_multipart()
        print("got", *(part[:SHOWN_BYTES].hex() or "-" for part in parts))
    if sys.stdin.fileno() in ready:
        typed += os.read(sys.stdin.fileno(), 1 << 16) or sys.exit()
    while b"\n" in typed:
        line, _, typed = typed.partition(b"\n")
        command, *words = line.decode().split()
        parts = [decode(word) for word in words]
        repeated = parts if command == "repeat" else None
        if command in ("subscribe", "unsubscribe"):
            if kind == "SUB":
                getattr(socket, command)(parts[0])
            else:
                socket.send((b"\1" if command == "subscribe" else b"\0") + parts[0])
        elif command == "send":
            socket.send_multipart(parts)
        elif command == "rest":
            poller.unregister(socket)
            print("resting")
        elif command == "read":
            poller.register(socket, zmq.POLLIN)
    if repeated:
        socket.send_multipart(repeated)
