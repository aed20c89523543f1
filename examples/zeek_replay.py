#!/usr/bin/env python3
"""Plays the Zeek side of a recorded session to one peer.

The files in vectors/zeek hold every frame that went between a real Zeek process and a program that
peered with it; log_stream.json beside this program has a session of our own making. This program
listens on a free port, prints it, and then does what Zeek did: it sends the frames Zeek sent, at the
point of the conversation where Zeek sent them, and insists that the peer sends byte for byte what the
recorded program sent.

Two things cannot be as recorded. Endpoint ids are random, so ours and the peer's replace the recorded
ones in every frame; and the token of a closing BYE is the choice of whoever leaves.

    python3 examples/zeek_replay.py vectors/zeek/zeek-ping-responder.json
"""

import json
import pathlib
import socket
import struct
import sys

DEADLINE_S = 60.0

# Offsets in a frame with its four-byte length prefix.
HELLO, TAG_HELLO, TAG_VERSION_SELECT = slice(9, 25), 6, 8
HANDSHAKE_TAG, TAG_ORIGINATOR_ACK = 4, 12
ENVELOPE_TAG = 36
TAG_PING, TAG_PONG = 4, 5
BYE, BYE_SIZE = b"BYE", 11


class Deviation(Exception):
    """The peer did something else than the recorded program."""


def is_bye(frame):
    return frame[-BYE_SIZE:].startswith(BYE)


class Session:
    """One connection and the recording it follows."""

    def __init__(self, connection, recording):
        self.connection = connection
        self.frames = [(frame["dir"], bytes.fromhex(frame["hex"])) for frame in recording["frames"]]
        self.recorded_zeek = self._first_id("in")
        self.recorded_peer = self._first_id("out")
        # The endpoint with the smaller id leads the handshake. An extreme id keeps the recorded roles
        # whatever the peer's id is.
        extreme = b"\x00" if self.recorded_zeek < self.recorded_peer else b"\xff"
        self.zeek = extreme * 4 + self.recorded_zeek[4:]
        self.peer = None
        self.bye = None
        self.sent = 0
        self.received = 0

    def play(self):
        """Follows the recording to its end: whoever said goodbye closes the connection."""
        is_handshake, leaver = True, None
        for direction, frame in self.frames:
            tag = frame[HANDSHAKE_TAG if is_handshake else ENVELOPE_TAG]
            if is_handshake:
                is_handshake = tag != TAG_ORIGINATOR_ACK
            elif tag in (TAG_PING, TAG_PONG) and not is_bye(frame):
                continue  # The recorder's own question whether Zeek was ready; not part of a session.
            elif tag == TAG_PING:
                leaver = direction
            if direction == "in":
                self._send(frame)
            else:
                self._expect(frame)
        if leaver == "out" and self.connection.recv(1):
            raise Deviation("the peer sent more than the recorded program")

    def _first_id(self, direction):
        for way, frame in self.frames:
            if way == direction and frame[HANDSHAKE_TAG] in (TAG_HELLO, TAG_VERSION_SELECT):
                return frame[HELLO]
        raise ValueError("the recording has no handshake")

    def _substituted(self, frame):
        frame = frame.replace(self.recorded_zeek, self.zeek)
        frame = frame.replace(self.recorded_peer, self.peer) if self.peer else frame
        # The answer to a goodbye repeats its token.
        return frame[:-BYE_SIZE] + self.bye if self.bye else frame

    def _send(self, frame):
        frame = self._substituted(frame)
        if is_bye(frame):
            self.bye = frame[-BYE_SIZE:]
        self.connection.sendall(frame)
        self.sent += 1

    def _expect(self, frame):
        actual = self._receive()
        if self.peer is None:
            if actual[HANDSHAKE_TAG] != TAG_HELLO:
                raise Deviation("the first frame is no hello: %s" % actual.hex())
            self.peer = actual[HELLO]
        if is_bye(frame) and is_bye(actual) and not self.bye:
            self.bye = actual[-BYE_SIZE:]
        expected = self._substituted(frame)
        if actual != expected:
            raise Deviation("frame %d differs\n  recorded: %s\n  received: %s"
                            % (self.received + 1, expected.hex(), actual.hex()))
        self.received += 1

    def _receive(self):
        (size,) = struct.unpack(">I", self._receive_exactly(4))
        return struct.pack(">I", size) + self._receive_exactly(size)

    def _receive_exactly(self, size):
        data = b""
        while len(data) < size:
            part = self.connection.recv(size - len(data))
            if not part:
                raise Deviation("the peer closed the connection early")
            data += part
        return data


def main():
    recording = json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(DEADLINE_S)
        print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
        connection, _ = listener.accept()
    with connection:
        connection.settimeout(DEADLINE_S)
        session = Session(connection, recording)
        try:
            session.play()
        except (Deviation, OSError) as error:
            print("not as recorded: %s" % error, flush=True)
            return 1
    print("%s: %d frames sent, %d received, every byte as recorded"
          % (recording["title"], session.sent, session.received), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
