"""A worker of a recorded Zeek cluster at a proxy: XPUB_PORT XSUB_PORT PULL_PORT, behind the recording's path.

It writes the bytes that the worker wrote, from the greeting on, checks that what the worker was asked comes
byte for byte, answers as the worker did, and pushes the worker's logs.
"""

import json
import socket
import struct
import sys

LOCALHOST = "127.0.0.1"
DEADLINE_S = 60.0
ASKED, ANSWER = b"zmqtest.in.worker-1", b"zmqtest.out"
MORE, LONG, COMMAND = 1, 2, 4


class Connection:
    """A connection to one port, which begins with the bytes that were recorded of a link."""

    def __init__(self, port, recorded):
        self.stream = socket.create_connection((LOCALHOST, port), timeout=DEADLINE_S)
        self.recorded = [bytes.fromhex(frame["hex"]) for frame in recorded["frames"]]
        # Greeting and READY.
        self.stream.sendall(b"".join(self.recorded[:2]))
        self.read = b""
        self.take(64)

    def take(self, size):
        while len(self.read) < size:
            data = self.stream.recv(1 << 16)
            if not data:
                raise ConnectionError("the proxy ended the connection")
            self.read += data
        taken, self.read = self.read[:size], self.read[size:]
        return taken

    def frame(self):
        """Flags and body of the next frame."""
        flags, = self.take(1)
        size, = struct.unpack(">Q", self.take(8)) if flags & LONG else self.take(1)
        return flags, self.take(size)

    def message(self):
        """The parts of the next message; commands are passed over."""
        parts = []
        while True:
            flags, body = self.frame()
            if not flags & COMMAND:
                parts.append(body)
                if not flags & MORE:
                    return parts


def frame(body, more):
    size = struct.pack(">BQ", more | LONG, len(body)) if len(body) > 255 else bytes([more, len(body)])
    return size + body


def body(hexadecimal):
    """The part in a recorded frame."""
    data = bytes.fromhex(hexadecimal)
    return data[9:] if data[0] & LONG else data[2:]


def messages(link):
    """The recorded messages of a link, as lists of frames."""
    found = [[]]
    for recorded in link["frames"]:
        if recorded["kind"] == "message":
            found[-1].append(recorded["hex"])
            if not recorded["more"]:
                found.append([])
    return [it for it in found if len(it) == 4]


def first(link, topic):
    return next(it for it in messages(link) if body(it[0]) == topic)


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        recording = json.load(file)
    xpub, xsub, pull = map(int, sys.argv[2:])
    links = {(it["link"], it["dir"]): it for it in recording["zmtp"]}
    reading, writing = "worker-1 XSUB - proxy XPUB", "worker-1 XPUB - proxy XSUB"
    reader = Connection(xpub, links[reading, "node->listener"])
    reader.stream.sendall(b"".join(reader.recorded[2:]))
    writer = Connection(xsub, links[writing, "node->listener"])
    while writer.message() != [b"\1" + ANSWER]:
        pass
    asked = [body(part) for part in first(links[reading, "listener->node"], ASKED)]
    while True:
        topic, _, form, payload = reader.message()
        if topic == ASKED:
            break
    if [form, payload] != asked[2:]:
        sys.exit("asked %r instead of %r" % ([form, payload], asked[2:]))
    print("asked as recorded: %d bytes" % len(payload))
    writer.stream.sendall(b"".join(map(bytes.fromhex, first(links[writing, "node->listener"], ANSWER))))
    pushing = Connection(pull, links["manager PUSH - logger-1 PULL", "node->listener"])
    for batch in recording["logs"]["real"]:
        parts = [bytes.fromhex(part) for part in batch["frames"]]
        pushing.stream.sendall(b"".join(frame(part, part is not parts[-1]) for part in parts))
    print("answered, and pushed %d batches of logs" % len(recording["logs"]["real"]))
    # Until the other side has read all of it: it is what ends this connection.
    sys.stdout.flush()
    try:
        while pushing.stream.recv(1 << 16):
            pass
    except ConnectionError:
        pass


if __name__ == "__main__":
    main()
