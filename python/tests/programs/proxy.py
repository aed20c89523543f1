"""The proxy of a Zeek cluster, as its manager runs it, on libzmq: XPUB_PORT XSUB_PORT [OPTION...].

Options: `drop` for a proxy whose slow subscribers lose messages, `quiet` for one that tells no repeated
subscriptions, as in Zeek 7.1, `stuck` for one that passes nothing on, `curve SERVER_SECRET CLIENT_PUBLIC`.
"""

import sys
import time

import zmq
from zmq.auth.thread import ThreadAuthenticator

ports, options = [int(port) for port in sys.argv[1:3]], sys.argv[3:]
context = zmq.Context()
sockets = context.socket(zmq.XPUB), context.socket(zmq.XSUB)
if "quiet" not in options:
    sockets[0].setsockopt(zmq.XPUB_VERBOSER, 1)
if "drop" not in options:
    sockets[0].setsockopt(zmq.XPUB_NODROP, 1)
if "curve" in options:
    secret, client = (text.encode() for text in options[options.index("curve") + 1:])

    class Provider:
        def callback(self, domain, key):
            return key == client

    authenticator = ThreadAuthenticator(context)
    authenticator.start()
    authenticator.configure_curve_callback("*", Provider())
    for socket in sockets:
        socket.curve_server = True
        socket.curve_secretkey, socket.curve_publickey = secret, zmq.curve_public(secret)
bound = []
for socket, port in zip(sockets, ports):
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.IPV6, 1)
    socket.bind("tcp://[::]:%d" % port if port else "tcp://[::]:*")
    bound.append(socket.getsockopt(zmq.LAST_ENDPOINT).decode().rstrip("\0").rpartition(":")[2])
print("ports", *bound)
while "stuck" in options:
    time.sleep(3600)
zmq.proxy(*sockets)
