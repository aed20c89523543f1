"""A scripted peer: the native protocol, version 1, spoken strictly and by hand.

It shares no code with the package under test. A test decides about every frame, in either TCP role and in
either role of the handshake, with or without the default TLS, and says what has to come back:

    peer = Peer(filter=["/answers"], small=True)     # the smaller id leads the handshake
    peer.dial(port)                                  # or: port = peer.listen(); ...; peer.accept()
    peer.shake_hands()
    peer.sync()                                      # they have installed us: a ping came back
    peer.publish("/questions", count(42))
    assert peer.expect_data("/answers").value == string("because")
    peer.leave()                                     # BYE, their pong, end of the connection

Whatever a well-behaved endpoint never sends raises `Violation` at once. What is late raises `Late`, the end
of the connection raises `Ended`. Nothing here runs in the background: time passes in the calls that wait.
"""

import enum
import ipaddress
import math
import os
import select
import socket
import ssl
import struct
import time
from typing import NamedTuple

MAGIC = b"ZEEK"
VERSION = 1
NOBODY = bytes(16)
TTL = 16
CONTROL_TOPIC = b"<$>"
BYE = b"BYE"
LOCALHOST = "127.0.0.1"

# Lengths an endpoint must be able to read in phase 3. Spec: wire 2.
FRAME_SIZE_MAX = 2**31 - 1 - 4
# Deeper values are refused by this reader. Spec: wire 4.
DEPTH_MAX = 256

# Only a failure waits this long.
DEADLINE_S = 60.0


class Violation(Exception):
    """The other side sent what the protocol forbids, or bytes that do not decode."""


class Late(Exception):
    """What was expected did not come in time."""


class Ended(Exception):
    """The other side ended the connection."""


class Refused(Exception):
    """The other side answered the handshake with drop_conn."""

    def __init__(self, message):
        super().__init__("%d: %s" % (message.code, message.text.decode("utf-8", "replace")))
        self.code = message.code
        self.text = message.text.decode("utf-8", "replace")
        self.id = message.id


class Tag(enum.IntEnum):
    """Types of messages. Spec: wire 5."""

    DATA = 1
    COMMAND = 2
    ROUTING_UPDATE = 3
    PING = 4
    PONG = 5
    HELLO = 6
    PROBE = 7
    VERSION_SELECT = 8
    DROP_CONN = 9
    ORIGINATOR_SYN = 10
    RESPONDER_SYN_ACK = 11
    ORIGINATOR_ACK = 12


class Code(enum.IntEnum):
    """The error codes that appear in drop_conn. Spec: wire 7.4."""

    UNSPECIFIED = 1
    PEER_INCOMPATIBLE = 2
    INVALID_MESSAGE = 20
    SHUTTING_DOWN = 28
    WRONG_MAGIC_NUMBER = 38
    REDUNDANT_CONNECTION = 39
    LOGIC_ERROR = 40


# --- ids -----------------------------------------------------------------------------------------


def new_id(small=None):
    """A random endpoint id; `small` fixes who has the smaller one."""
    octets = bytearray(os.urandom(16))
    if small is not None:
        octets[:4] = b"\x00" * 4 if small else b"\xff" * 4
    octets[6] = 0x50 | octets[6] & 0x0F
    octets[8] = 0x80 | octets[8] & 0x3F
    return bytes(octets)


def id_text(octets):
    digits = octets.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def id_octets(text):
    return bytes.fromhex(text.replace("-", ""))


# --- primitives ----------------------------------------------------------------------------------


def octets_of(text):
    return text.encode() if isinstance(text, str) else bytes(text)


def pack_varbyte(number):
    if number >> 32:
        raise ValueError("no varbyte: %d" % number)
    octets = []
    while number >= 128:
        octets.append(128 | number & 127)
        number >>= 7
    return bytes(octets + [number])


def pack_string(text):
    octets = octets_of(text)
    return pack_varbyte(len(octets)) + octets


def pack_topics(topics):
    topics = list(topics)
    return pack_varbyte(len(topics)) + b"".join(map(pack_string, topics))


# The two infinities have each other's bits, and there is one NaN. Spec: wire 3.2.
REAL_PATTERNS = {
    0x7FF0000000000000: -math.inf,
    0xFFF0000000000000: math.inf,
    0xFFFFFFFFFFFFFFFF: math.nan,
}
REAL_MIN_NORMAL = 2.0**-1022


def pack_real(number):
    if math.isnan(number):
        return b"\xff" * 8
    if math.isinf(number):
        return bytes.fromhex("fff0000000000000" if number > 0 else "7ff0000000000000")
    if 0 < abs(number) < REAL_MIN_NORMAL:
        # The original lets the exponent run into the sign bit.
        fraction, exponent = math.frexp(abs(number))
        word = int(number < 0) << 63
        word |= (exponent - 1 + 1023) << 52 & 2**64 - 1
        word |= int((fraction * 2 - 1) * 2**52)
        return word.to_bytes(8, "big")
    return struct.pack(">d", number)


def unpack_real(octets):
    word = int.from_bytes(octets, "big")
    if word in REAL_PATTERNS:
        return REAL_PATTERNS[word]
    exponent = word >> 52 & 0x7FF
    mantissa = word & 2**52 - 1
    if exponent == 0 and mantissa == 0:
        return struct.unpack(">d", octets)[0]
    sign = -1.0 if word >> 63 else 1.0
    if exponent == 0x7FF:
        return sign * math.inf
    return sign * math.ldexp(1 + mantissa / 2**52, exponent - 1023)


class Cursor:
    """Takes bytes from the front and insists that they are there."""

    def __init__(self, octets):
        self.octets = bytes(octets)
        self.at = 0

    def left(self):
        return len(self.octets) - self.at

    def take(self, size):
        if size > self.left():
            raise Violation("%d bytes wanted at %d, %d left" % (size, self.at, self.left()))
        self.at += size
        return self.octets[self.at - size:self.at]

    def rest(self):
        return self.take(self.left())

    def unsigned(self, size):
        return int.from_bytes(self.take(size), "big")

    def signed(self):
        return int.from_bytes(self.take(8), "big", signed=True)

    def varbyte(self):
        number = 0
        for shift in range(0, 35, 7):
            octet = self.unsigned(1)
            number |= (octet & 127) << shift
            if octet < 128:
                if number >> 32:
                    raise Violation("a varbyte of more than 32 bits")
                return number
        raise Violation("a varbyte of more than five bytes")

    def string(self):
        return self.take(self.varbyte())

    def topics(self):
        return [self.string() for _ in range(self.varbyte())]

    def finish(self, what):
        if self.left():
            raise Violation("%d bytes behind %s" % (self.left(), what))


# --- values --------------------------------------------------------------------------------------


class Kind(enum.IntEnum):
    """Types of values by their tag. Spec: wire 4."""

    NONE = 0
    BOOLEAN = 1
    COUNT = 2
    INTEGER = 3
    REAL = 4
    STRING = 5
    ADDRESS = 6
    SUBNET = 7
    PORT = 8
    TIMESTAMP = 9
    TIMESPAN = 10
    ENUM_VALUE = 11
    SET = 12
    TABLE = 13
    VECTOR = 14


PROTOCOLS = ("?", "tcp", "udp", "icmp")


class Value(NamedTuple):
    """A value as it is on the wire: nothing is sorted, merged or corrected.

    Bodies: bytes of strings and names, the 16 bytes of an address, (16 bytes, raw length) of a subnet,
    (number, protocol number) of a port, nanoseconds, tuples of values, tuples of pairs of values.
    """

    kind: Kind
    body: object = None


def none():
    return Value(Kind.NONE)


def boolean(truth):
    return Value(Kind.BOOLEAN, truth)


def count(number):
    return Value(Kind.COUNT, number)


def integer(number):
    return Value(Kind.INTEGER, number)


def real(number):
    return Value(Kind.REAL, number)


def string(text):
    return Value(Kind.STRING, octets_of(text))


def address(text):
    return Value(Kind.ADDRESS, _address_octets(text))


def subnet(text):
    network = ipaddress.ip_network(text)
    raw_length = network.prefixlen + (96 if network.version == 4 else 0)
    return Value(Kind.SUBNET, (_address_octets(network.network_address), raw_length))


def port(number, protocol):
    return Value(Kind.PORT, (number, PROTOCOLS.index(protocol)))


def timestamp(nanoseconds):
    return Value(Kind.TIMESTAMP, nanoseconds)


def timespan(nanoseconds):
    return Value(Kind.TIMESPAN, nanoseconds)


def enum_value(name):
    return Value(Kind.ENUM_VALUE, octets_of(name))


def set_of(*elements):
    return Value(Kind.SET, elements)


def table_of(*entries):
    return Value(Kind.TABLE, entries)


def vector(*elements):
    return Value(Kind.VECTOR, elements)


def event(name, *arguments):
    """A Zeek event."""
    return vector(count(1), count(1), vector(string(name), vector(*arguments)))


def _address_octets(text):
    parsed = ipaddress.ip_address(text)
    return parsed.packed if parsed.version == 6 else bytes(10) + b"\xff\xff" + parsed.packed


def encode(value):
    return bytes([value.kind]) + _BODY_ENCODERS[value.kind](value.body)


def _encode_elements(elements):
    return pack_varbyte(len(elements)) + b"".join(map(encode, elements))


def _encode_entries(entries):
    return pack_varbyte(len(entries)) + b"".join(encode(k) + encode(v) for k, v in entries)


_BODY_ENCODERS = {
    Kind.NONE: lambda body: b"",
    Kind.BOOLEAN: lambda body: bytes([body]),
    Kind.COUNT: lambda body: struct.pack(">Q", body),
    Kind.INTEGER: lambda body: struct.pack(">q", body),
    Kind.REAL: pack_real,
    Kind.STRING: pack_string,
    Kind.ADDRESS: bytes,
    Kind.SUBNET: lambda body: body[0] + bytes([body[1]]),
    Kind.PORT: lambda body: struct.pack(">HB", *body),
    Kind.TIMESTAMP: lambda body: struct.pack(">q", body),
    Kind.TIMESPAN: lambda body: struct.pack(">q", body),
    Kind.ENUM_VALUE: pack_string,
    Kind.SET: _encode_elements,
    Kind.TABLE: _encode_entries,
    Kind.VECTOR: _encode_elements,
}


def decode(octets):
    cursor = Cursor(octets)
    value = _read_value(cursor, DEPTH_MAX)
    cursor.finish("a value")
    return value


def _read_value(cursor, levels):
    if levels < 0:
        raise Violation("values nested too deeply")
    tag = cursor.unsigned(1)
    if tag > max(Kind):
        raise Violation("no value has tag %d" % tag)
    kind = Kind(tag)
    if kind == Kind.NONE:
        return Value(kind)
    if kind == Kind.BOOLEAN:
        return Value(kind, cursor.unsigned(1) != 0)
    if kind == Kind.COUNT:
        return Value(kind, cursor.unsigned(8))
    if kind in (Kind.INTEGER, Kind.TIMESTAMP, Kind.TIMESPAN):
        return Value(kind, cursor.signed())
    if kind == Kind.REAL:
        return Value(kind, unpack_real(cursor.take(8)))
    if kind in (Kind.STRING, Kind.ENUM_VALUE):
        return Value(kind, cursor.string())
    if kind == Kind.ADDRESS:
        return Value(kind, cursor.take(16))
    if kind == Kind.SUBNET:
        return Value(kind, (cursor.take(16), cursor.unsigned(1)))
    if kind == Kind.PORT:
        number, protocol = cursor.unsigned(2), cursor.unsigned(1)
        if protocol >= len(PROTOCOLS):
            raise Violation("port protocol %d" % protocol)
        return Value(kind, (number, protocol))
    size = cursor.varbyte()
    if kind == Kind.TABLE:
        entries = tuple((_read_value(cursor, levels - 1), _read_value(cursor, levels - 1))
                        for _ in range(size))
        _refuse_duplicates(key for key, _ in entries)
        return Value(kind, entries)
    elements = tuple(_read_value(cursor, levels - 1) for _ in range(size))
    if kind == Kind.SET:
        _refuse_duplicates(elements)
    return Value(kind, elements)


def _refuse_duplicates(elements):
    seen = set()
    for element in elements:
        key = _comparable(element)
        if key in seen:
            raise Violation("%r twice" % (element,))
        seen.add(key)


def _comparable(value):
    """A value's identity as an element: by meaning, whatever order containers came in."""
    if value.kind == Kind.SET:
        return value.kind, frozenset(map(_comparable, value.body))
    if value.kind == Kind.TABLE:
        return value.kind, frozenset((_comparable(k), _comparable(v)) for k, v in value.body)
    if value.kind == Kind.VECTOR:
        return value.kind, tuple(map(_comparable, value.body))
    if value.kind == Kind.REAL and math.isnan(value.body):
        return value.kind, "nan"
    return value.kind, value.body


# --- messages ------------------------------------------------------------------------------------


def hello(sender, low=VERSION, high=VERSION, magic=MAGIC):
    return bytes([Tag.HELLO]) + magic + sender + bytes([low, high])


def probe(magic=MAGIC):
    return bytes([Tag.PROBE]) + magic


def version_select(sender, version=VERSION, magic=MAGIC):
    return bytes([Tag.VERSION_SELECT]) + magic + sender + bytes([version])


def drop_conn(sender, code, text, magic=MAGIC):
    return bytes([Tag.DROP_CONN]) + magic + sender + bytes([code]) + pack_string(text)


def originator_syn(topics):
    return bytes([Tag.ORIGINATOR_SYN]) + pack_topics(topics)


def responder_syn_ack(topics):
    return bytes([Tag.RESPONDER_SYN_ACK]) + pack_topics(topics)


def originator_ack():
    return bytes([Tag.ORIGINATOR_ACK])


class Handshake(NamedTuple):
    """A message of phase 1 or 2; fields it does not have are None."""

    tag: Tag
    id: bytes = None
    versions: tuple = None
    code: int = None
    text: bytes = None
    topics: list = None


def parse_handshake(payload):
    cursor = Cursor(payload)
    tag = cursor.unsigned(1)
    if not Tag.HELLO <= tag <= Tag.ORIGINATOR_ACK:
        raise Violation("tag %d during the handshake" % tag)
    fields = {}
    if tag <= Tag.DROP_CONN:
        magic = cursor.take(4)
        if magic != MAGIC:
            raise Violation("magic %r" % magic)
        if tag != Tag.PROBE:
            fields["id"] = cursor.take(16)
    if tag == Tag.HELLO:
        fields["versions"] = (cursor.unsigned(1), cursor.unsigned(1))
    elif tag == Tag.VERSION_SELECT:
        version = cursor.unsigned(1)
        fields["versions"] = (version, version)
    elif tag == Tag.DROP_CONN:
        fields["code"] = cursor.unsigned(1)
        fields["text"] = cursor.string()
    elif tag in (Tag.ORIGINATOR_SYN, Tag.RESPONDER_SYN_ACK):
        fields["topics"] = cursor.topics()
    cursor.finish(Tag(tag).name)
    return Handshake(Tag(tag), **fields)


def envelope(tag, sender, receiver, topic, payload, ttl=TTL):
    topic = octets_of(topic)
    return sender + receiver + struct.pack(">BHH", tag, ttl, len(topic)) + topic + payload


class Envelope(NamedTuple):
    """A message of phase 3."""

    sender: bytes
    receiver: bytes
    tag: Tag
    ttl: int
    topic: bytes
    payload: bytes

    @property
    def value(self):
        return decode(self.payload)

    @property
    def topics(self):
        cursor = Cursor(self.payload)
        topics = cursor.topics()
        cursor.finish("a filter")
        return topics


def parse_envelope(payload):
    cursor = Cursor(payload)
    sender, receiver = cursor.take(16), cursor.take(16)
    tag = cursor.unsigned(1)
    if not Tag.DATA <= tag <= Tag.PONG:
        raise Violation("tag %d in an envelope" % tag)
    ttl = cursor.unsigned(2)
    topic = cursor.take(cursor.unsigned(2))
    return Envelope(sender, receiver, Tag(tag), ttl, topic, cursor.rest())


def frame(payload):
    return struct.pack(">I", len(payload)) + payload


# --- TLS -----------------------------------------------------------------------------------------


def anonymous_tls(server_side):
    """What endpoints use when nothing is configured: encrypted, nobody authenticated. Spec: wire 10."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
    if not server_side:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ecdh_curve("secp384r1")
    context.set_ciphers("AECDH-AES256-SHA@SECLEVEL=0")
    return context


# --- the peer ------------------------------------------------------------------------------------


class Peer:
    """One endpoint id and at most one connection."""

    def __init__(self, filter=(), small=None, id=None, tls=True):
        self.id = id if id is not None else new_id(small)
        self.filter = [octets_of(topic) for topic in filter]
        self.tls = tls
        self.answers_pings = True
        self.leads = None           # we are the originator
        self.remote = None          # their id
        self.remote_filter = None   # what they last said they want
        self._listener = None
        self._socket = None
        self._dialed = None
        self._received = bytearray()
        self._unread = []

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    @property
    def name(self):
        """Our id as endpoints print it."""
        return id_text(self.id)

    @property
    def local_port(self):
        return self._socket.getsockname()[1]

    @property
    def encryption(self):
        """Version of TLS and name of the suite."""
        return self._socket.version(), self._socket.cipher()[0]

    # - connections

    def listen(self):
        self._listener = socket.create_server((LOCALHOST, 0))
        return self._listener.getsockname()[1]

    def accept(self, timeout=DEADLINE_S):
        """Takes the next connection: TCP and TLS, no handshake."""
        self._listener.settimeout(timeout)
        try:
            connection, _ = self._listener.accept()
        except socket.timeout:
            raise Late("nobody connected within %g s" % timeout) from None
        return self._adopt(connection, dialed=False)

    def has_caller(self, timeout=0.0):
        """Whether a connection waits to be accepted."""
        return bool(select.select([self._listener], [], [], timeout)[0])

    def dial(self, port, host=LOCALHOST):
        """Connects: TCP and TLS, no handshake."""
        return self._adopt(socket.create_connection((host, port), DEADLINE_S), dialed=True)

    def _adopt(self, connection, dialed):
        self._dialed = dialed
        self._received.clear()
        self._unread.clear()
        connection.settimeout(DEADLINE_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.tls:
            context = anonymous_tls(not dialed) if self.tls is True else self.tls
            try:
                connection = context.wrap_socket(connection, server_side=not dialed)
            except BaseException:
                connection.close()
                raise
        self._socket = connection
        return self

    def hang_up(self, reset=False):
        """Closes the connection without a word; `reset` makes it look like a crash."""
        if self._socket is None:
            return
        if reset:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()
        self._socket = None

    def close(self):
        self.hang_up()
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    # - frames

    def send_octets(self, octets):
        self._socket.settimeout(DEADLINE_S)
        self._socket.sendall(octets)

    def send(self, *payloads):
        """Sends frames, all of them in one piece."""
        self.send_octets(b"".join(map(frame, payloads)))

    def receive(self, timeout=DEADLINE_S):
        """The payload of the next frame."""
        deadline = time.monotonic() + timeout
        while True:
            payload = self._next_frame()
            if payload is not None:
                return payload
            self._fill(deadline - time.monotonic(), timeout)

    def _next_frame(self):
        if len(self._received) < 4:
            return None
        (size,) = struct.unpack_from(">I", self._received)
        if size == 0 or size > FRAME_SIZE_MAX:
            raise Violation("a frame of %d bytes" % size)
        if len(self._received) < 4 + size:
            return None
        payload = bytes(self._received[4:4 + size])
        del self._received[:4 + size]
        return payload

    def _fill(self, remaining, timeout):
        if remaining <= 0:
            raise Late("nothing came within %g s" % timeout)
        self._socket.settimeout(remaining)
        try:
            octets = self._socket.recv(1 << 18)
        except socket.timeout:
            raise Late("nothing came within %g s" % timeout) from None
        except OSError as error:
            raise Ended(str(error)) from None
        if not octets:
            raise Ended("within a frame" if self._received else "the end")
        self._received += octets

    def expect_end(self, timeout=DEADLINE_S):
        """Waits for the end of the connection; nothing may come before it."""
        try:
            payload = self.receive(timeout)
        except Ended:
            return
        raise Violation("a frame instead of the end: %s" % payload.hex())

    def expect_silence(self, seconds):
        """Nothing comes and the connection stays, for this long."""
        try:
            payload = self.receive(seconds)
        except Late:
            return
        raise Violation("a frame instead of silence: %s" % payload.hex())

    # - the handshake

    def shake_hands(self):
        """Goes through the handshake in the role that the ids and the connection give us."""
        if self._dialed:
            self.expect(Tag.PROBE, skip_probes=False)
            self.send(hello(self.id))
            answer = self.expect(Tag.HELLO, Tag.VERSION_SELECT)
            self.remote = answer.id
            if (answer.tag == Tag.HELLO) != (self.id < self.remote):
                raise Violation("the larger id took the lead")
        else:
            self.send(probe())
            answer = self.expect(Tag.HELLO)
            self.remote = answer.id
            if self.id > self.remote:
                self.send(hello(self.id))
                answer = self.expect(Tag.VERSION_SELECT)
                if answer.id != self.remote:
                    raise Violation("the id changed during the handshake")
        if self.id < self.remote:
            self.lead()
        else:
            self.follow()
        return self

    def lead(self):
        """The originator's half of phase 2."""
        self.leads = True
        self.send(version_select(self.id), originator_syn(self.filter))
        self.remote_filter = self.expect(Tag.RESPONDER_SYN_ACK).topics
        self.send(originator_ack())

    def follow(self):
        """The responder's half of phase 2."""
        self.leads = False
        self.remote_filter = self.expect(Tag.ORIGINATOR_SYN).topics
        self.send(responder_syn_ack(self.filter))
        self.expect(Tag.ORIGINATOR_ACK)

    def expect(self, *tags, skip_probes=True):
        """The next message of the handshake, which must be one of these."""
        while True:
            message = parse_handshake(self.receive())
            if message.tag == Tag.PROBE and skip_probes and not self._dialed:
                raise Violation("a probe from the side that connected")
            if message.tag in tags:
                break
            if message.tag == Tag.DROP_CONN:
                raise Refused(message)
            if message.tag != Tag.PROBE or not skip_probes:
                raise Violation("%s instead of %s" % (message.tag.name, tags))
        if message.versions not in (None, (VERSION, VERSION)):
            raise Violation("versions %d to %d" % message.versions)
        return message

    def expect_refusal(self, code, text=None):
        """drop_conn with this code, then the end."""
        message = self.expect(Tag.DROP_CONN)
        if message.code != code or text is not None and message.text != octets_of(text):
            raise Violation("drop_conn %d %r" % (message.code, message.text))
        self.expect_end()
        return message

    # - operation

    def send_envelope(self, tag, topic, payload, receiver=NOBODY, sender=None, ttl=TTL):
        sender = self.id if sender is None else sender
        self.send(envelope(tag, sender, receiver, topic, payload, ttl))

    def publish(self, topic, value, **fields):
        self.send_envelope(Tag.DATA, topic, encode(value), **fields)

    def announce(self, *topics):
        """Tells the other side a new filter."""
        self.filter = [octets_of(topic) for topic in topics]
        self.send_envelope(Tag.ROUTING_UPDATE, CONTROL_TOPIC, pack_topics(self.filter), receiver=self.remote)

    def ping(self, payload, **fields):
        self.send_envelope(Tag.PING, CONTROL_TOPIC, payload, **{"receiver": self.remote, **fields})

    def pong(self, payload, **fields):
        self.send_envelope(Tag.PONG, CONTROL_TOPIC, payload, **{"receiver": self.remote, **fields})

    def next(self, timeout=DEADLINE_S):
        """The next envelope. Pings are answered, filters are noted, both are returned all the same."""
        if self._unread:
            return self._unread.pop(0)
        return self._arrival(timeout)

    def _arrival(self, timeout):
        message = parse_envelope(self.receive(timeout))
        if message.sender != self.remote:
            raise Violation("sender %s instead of %s" % (message.sender.hex(), self.remote.hex()))
        if message.receiver not in (NOBODY, self.id):
            raise Violation("a message for %s" % message.receiver.hex())
        if message.ttl != TTL:
            raise Violation("TTL %d" % message.ttl)
        if message.tag in (Tag.ROUTING_UPDATE, Tag.PING, Tag.PONG):
            if message.topic != CONTROL_TOPIC or message.receiver != self.id:
                raise Violation("%r" % (message,))
        if message.tag == Tag.DATA:
            decode(message.payload)
        if message.tag == Tag.ROUTING_UPDATE:
            self.remote_filter = message.topics
        if message.tag == Tag.PING and self.answers_pings:
            self.pong(message.payload)
        return message

    def expect_message(self, wanted, what, timeout=DEADLINE_S):
        """The next envelope that fits; others stay for later calls."""
        for position, message in enumerate(self._unread):
            if wanted(message):
                return self._unread.pop(position)
        deadline = time.monotonic() + timeout
        while True:
            remaining = deadline - time.monotonic()
            try:
                message = self._arrival(max(remaining, 0.0))
            except Late:
                raise Late("no %s within %g s" % (what, timeout)) from None
            if wanted(message):
                return message
            self._unread.append(message)

    def expect_data(self, topic=None, timeout=DEADLINE_S):
        wanted = None if topic is None else octets_of(topic)
        return self.expect_message(
            lambda message: message.tag == Tag.DATA and wanted in (None, message.topic),
            "data for %s" % topic, timeout)

    def expect_pong(self, payload, timeout=DEADLINE_S):
        return self.expect_message(
            lambda message: message.tag == Tag.PONG and message.payload == payload, "pong", timeout)

    def expect_bye(self, timeout=DEADLINE_S):
        bye = self.expect_message(
            lambda message: message.tag == Tag.PING and message.payload[:3] == BYE, "BYE", timeout)
        if len(bye.payload) != 11:
            raise Violation("a BYE of %d bytes" % len(bye.payload))
        return bye

    def expect_filter(self, *topics, timeout=DEADLINE_S):
        """Waits until the other side wants exactly these topics."""
        wanted = [octets_of(topic) for topic in topics]
        if self.remote_filter != wanted:
            self.expect_message(
                lambda message: message.tag == Tag.ROUTING_UPDATE and message.topics == wanted,
                "filter %s (it is %s)" % (topics, self.remote_filter), timeout)

    def sync(self):
        """Everything sent so far has been worked on, and we are installed as a peer. Spec: wire 8.3."""
        payload = os.urandom(8)
        self.ping(payload)
        self.expect_pong(payload)
        return self

    def expect_nothing(self):
        """Nothing came: what was sent so far has been worked on, and the answer to this is the next message."""
        payload = os.urandom(8)
        self.ping(payload)
        message = self.next()
        if message.tag != Tag.PONG or message.payload != payload:
            raise Violation("%r instead of nothing" % (message,))

    def unread_data(self):
        """Data that came so far, without waiting; call `sync` first."""
        data = [message for message in self._unread if message.tag == Tag.DATA]
        self._unread = [message for message in self._unread if message.tag != Tag.DATA]
        return data

    def leave(self):
        """Ends the peering in order."""
        payload = BYE + os.urandom(8)
        self.ping(payload)
        self.expect_pong(payload)
        self.hang_up()
