"""Scripted stores: a clone and a master of a data store, each an endpoint of its own.

Both stand on the scripted peer and speak the commands of stores by hand, as `spec: stores` has them. A test
drives their time and decides which commands get lost, doubled or late:

    clone = ScriptedClone("hosts"); clone.dial(port); clone.shake_hands(); clone.attach()
    clone.lose(Op.PUT, incoming=True)           # the next change does not arrive ...
    master.put("k", 1)
    clone.await_value("k", integer(1))          # ... and is asked for again

Time passes in `run` and in what waits; nothing happens in the background. What a well-behaved store never
sends raises `Violation`.
"""

import enum
import random
import struct
import time
from typing import NamedTuple

import peer as wire
from peer import Kind, Late, Peer, Tag, Value, Violation

TICK_S = 0.1
# Ticks between signs of life, and without progress until something is asked for again.
BEAT = 5
PATIENCE = 2


class Op(enum.IntEnum):
    """Commands by their tag. Spec: stores 3.1."""

    PUT = 0
    PUT_UNIQUE = 1
    PUT_UNIQUE_RESULT = 2
    ERASE = 3
    EXPIRE = 4
    ADD = 5
    SUBTRACT = 6
    CLEAR = 7
    ATTACH_WRITER = 8
    KEEPALIVE = 9
    CUMULATIVE_ACK = 10
    NACK = 11
    ACK_CLONE = 12
    RETRANSMIT_FAILED = 13


REQUESTS = {Op.PUT, Op.PUT_UNIQUE, Op.ERASE, Op.ADD, Op.SUBTRACT, Op.CLEAR}
RESULTS = {Op.PUT, Op.PUT_UNIQUE_RESULT, Op.ERASE, Op.EXPIRE, Op.CLEAR}
ACTIONS = REQUESTS | RESULTS

FIELDS = {
    Op.PUT: ("key", "value", "expiry", "publisher"),
    Op.PUT_UNIQUE: ("key", "value", "expiry", "who", "request", "publisher"),
    Op.PUT_UNIQUE_RESULT: ("inserted", "who", "request", "publisher"),
    Op.ERASE: ("key", "publisher"),
    Op.EXPIRE: ("key", "publisher"),
    Op.ADD: ("key", "value", "init", "expiry", "publisher"),
    Op.SUBTRACT: ("key", "value", "expiry", "publisher"),
    Op.CLEAR: ("publisher",),
    Op.ATTACH_WRITER: ("offset", "interval"),
    Op.KEEPALIVE: ("seq",),
    Op.CUMULATIVE_ACK: ("seq",),
    Op.NACK: ("missing",),
    Op.ACK_CLONE: ("offset", "interval", "entries"),
    Op.RETRANSMIT_FAILED: ("seq",),
}


class Entity(NamedTuple):
    """A master, a clone, or who asked."""

    endpoint: bytes
    object: int


NONE = Entity(wire.NOBODY, 0)


def _pack_entries(entries):
    return wire.pack_varbyte(len(entries)) + b"".join(wire.encode(k) + wire.encode(v) for k, v in entries)


def _read_entries(cursor):
    entries = [(_read_value(cursor), _read_value(cursor)) for _ in range(cursor.varbyte())]
    wire._refuse_duplicates(key for key, _ in entries)
    return entries


def _read_value(cursor):
    return wire._read_value(cursor, wire.DEPTH_MAX)


def _read_flag(cursor):
    flag = cursor.unsigned(1)
    if flag > 1:
        raise Violation("a flag of %d" % flag)
    return flag == 1


def _pack_entity(entity):
    return entity.endpoint + struct.pack(">Q", entity.object)


def _read_entity(cursor):
    return Entity(cursor.take(16), cursor.unsigned(8))


def _number(form):
    size = struct.calcsize(form)
    return (lambda number: struct.pack(form, number)), (lambda cursor: cursor.unsigned(size))


# How each field is written and read.
CODECS = {
    "key": (wire.encode, _read_value),
    "value": (wire.encode, _read_value),
    "expiry": (lambda span: b"\0" if span is None else b"\1" + struct.pack(">q", span),
               lambda cursor: cursor.signed() if _read_flag(cursor) else None),
    "publisher": (_pack_entity, _read_entity),
    "who": (_pack_entity, _read_entity),
    "request": _number(">Q"),
    "seq": _number(">Q"),
    "offset": _number(">Q"),
    "interval": _number(">H"),
    "inserted": (lambda truth: bytes([truth]), _read_flag),
    "init": (lambda kind: bytes([kind]), lambda cursor: Kind(cursor.unsigned(1))),
    "missing": (lambda numbers: wire.pack_varbyte(len(numbers)) + b"".join(struct.pack(">Q", n) for n in numbers),
                lambda cursor: [cursor.unsigned(8) for _ in range(cursor.varbyte())]),
    "entries": (_pack_entries, _read_entries),
}


class Command(NamedTuple):
    """A command: the header, and its fields by name."""

    op: Op
    seq: int
    sender: Entity
    receiver: Entity
    fields: dict

    def __getitem__(self, name):
        return self.fields[name]

    @property
    def body(self):
        return b"".join(CODECS[name][0](self.fields[name]) for name in FIELDS[self.op])

    def encoded(self):
        header = struct.pack(">Q", self.seq) + _pack_entity(self.sender) + _pack_entity(self.receiver)
        return header + bytes([self.op]) + self.body


def parse(payload):
    cursor = wire.Cursor(payload)
    seq, sender, receiver = cursor.unsigned(8), _read_entity(cursor), _read_entity(cursor)
    tag = cursor.unsigned(1)
    if tag > max(Op):
        raise Violation("command %d" % tag)
    op = Op(tag)
    fields = {name: CODECS[name][1](cursor) for name in FIELDS[op]}
    cursor.finish(op.name)
    return Command(op, seq, sender, receiver, fields)


def value_of(plain):
    """Scripted values from the plain Python that tests like to write: str and int."""
    if isinstance(plain, Value):
        return plain
    return wire.integer(plain) if isinstance(plain, int) else wire.string(plain)


class Outgoing:
    """Numbers actions and keeps them until everybody has them. Spec: stores 4.1."""

    def __init__(self):
        self.last = 1
        self.kept = {}
        self.acknowledged = {}
        self._quiet = 0

    def number(self, command):
        self.last += 1
        self._quiet = 0
        self.kept[self.last] = command._replace(seq=self.last)
        return self.kept[self.last]

    def acknowledge(self, consumer, seq):
        known = self.acknowledged.get(consumer)
        if known is None:
            return
        if seq > self.last:
            raise Violation("%d is acknowledged, %d was the last" % (seq, self.last))
        if seq < known:
            raise Violation("an acknowledgement goes from %d back to %d" % (known, seq))
        self.acknowledged[consumer] = seq
        everybody = min(self.acknowledged.values())
        self.kept = {seq: command for seq, command in self.kept.items() if seq > everybody}

    def is_due(self):
        """A tick passed: is it time for a keepalive?"""
        self._quiet = (self._quiet + 1) % BEAT
        return self._quiet == 0

    def is_done(self):
        return all(seq == self.last for seq in self.acknowledged.values())


class Incoming:
    """Puts actions in order and finds what is missing. Spec: stores 4.2."""

    def __init__(self):
        self.next = None            # unknown before the handshake
        self.end = 0                # behind the last number that is known to exist
        self.early = {}
        self.lost = []              # numbers that the other side gave up
        self._stuck = 0
        self._ticks = 0

    def begin(self, offset):
        self.next = offset + 1
        self.end = max(self.end, self.next)

    def add(self, seq, command):
        """Notes one action, or that it is lost (None); returns what is in order now."""
        self.end = max(self.end, seq + 1)
        if self.next is None or seq >= self.next:
            self.early.setdefault(seq, command)
        ready = []
        while self.next is not None and self.next in self.early:
            command = self.early.pop(self.next)
            (self.lost if command is None else ready).append(self.next if command is None else command)
            self.next += 1
            self._stuck = 0
        return ready

    def hear(self, seq):
        """The other side says how far it is."""
        self.end = max(self.end, seq + 1)

    def missing(self):
        return [] if self.next is None else [n for n in range(self.next, self.end) if n not in self.early]

    def tick(self):
        """What a tick calls for: a nack's numbers, "ack", or nothing."""
        self._ticks += 1
        missing = self.missing()
        self._stuck = self._stuck + 1 if missing else 0
        if self._stuck >= PATIENCE:
            self._stuck = 0
            return missing
        return "ack" if self.next is not None and self._ticks % BEAT == 0 else None


class Fault:
    """Commands that do not go their ordinary way."""

    def __init__(self, peer, what, ops, incoming, skip, times, behind, where):
        self.peer, self.what, self.ops, self.incoming = peer, what, ops, incoming
        self.skip, self.times, self.behind, self.where = skip, times, behind, where
        self.hits = 0
        self.held = []

    def catches(self, command, incoming):
        if incoming != self.incoming or command.op not in self.ops or not self.where(command):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is not None and self.hits >= self.times:
            return False
        self.hits += 1
        return True

    def cancel(self):
        self.peer.faults.remove(self)


class StorePeer(Peer):
    """What clones and masters have in common: commands, time, faults."""

    def __init__(self, name, own, other, object=None, **settings):
        self.name_of_store = name
        self.own_topic = ("%s/<$>/data/%s" % (name, own)).encode()
        self.other_topic = ("%s/<$>/data/%s" % (name, other)).encode()
        super().__init__(filter=[self.own_topic], **settings)
        self.me = Entity(self.id, object or random.randrange(1, 2**32))
        self.faults = []
        self.arrived = []           # every command that came, lost ones included
        self.sent = []
        self._next_tick = None
        self._bodies = {}           # of actions by sender and number, to compare what is sent again
        self._highest = {}          # number on the wire by sender
        self.gaps_allowed = False   # frames may be missing while the connection changes

    # - faults

    def _fault(self, what, ops, incoming=False, skip=0, times=1, behind=1, where=lambda command: True):
        ops = {ops} if isinstance(ops, Op) else set(ops)
        fault = Fault(self, what, ops, incoming, skip, times, behind, where)
        self.faults.append(fault)
        return fault

    def lose(self, ops, **when):
        return self._fault("lose", ops, **when)

    def double(self, ops, **when):
        return self._fault("double", ops, **when)

    def hold(self, ops, **when):
        """They pass after the next actions, as many as `behind` says."""
        return self._fault("hold", ops, **when)

    def silence(self, *ops):
        return self.lose(ops, times=None)

    def _go(self, command, incoming, deliver):
        for fault in self.faults:
            if fault.catches(command, incoming):
                if fault.what == "hold":
                    fault.held.append([fault.behind, deliver])
                for _ in range(2 if fault.what == "double" else 0):
                    deliver()
                return
        deliver()
        if command.op not in ACTIONS:
            return
        for fault in self.faults:
            for entry in [entry for entry in fault.held if fault.incoming == incoming]:
                entry[0] -= 1
                if entry[0] <= 0:
                    fault.held.remove(entry)
                    entry[1]()

    # - out

    def command(self, op, receiver=NONE, **fields):
        return Command(op, 0, self.me, receiver, fields)

    def tell(self, command, to=wire.NOBODY):
        self._go(command, False, lambda: self.transmit(command, to))

    def transmit(self, command, to=wire.NOBODY):
        """Past all faults."""
        self.sent.append(command)
        if self._socket is not None:
            self.send_envelope(Tag.COMMAND, self.other_topic, command.encoded(), receiver=to)

    # - time

    def run(self, seconds=0.0, until=None):
        """Takes in what comes and lets the clock tick, until the condition holds; returns its result."""
        deadline = time.monotonic() + seconds
        while True:
            now = time.monotonic()
            if self._next_tick is None or now - self._next_tick > 10 * TICK_S:
                self._next_tick = now + TICK_S
            if self._next_tick <= now:
                self._next_tick += TICK_S
                self.tick()
            found = until() if until else None
            if found:
                return found
            if now >= deadline:
                if until:
                    raise Late("not within %g s" % seconds)
                return None
            try:
                message = self.next(max(min(self._next_tick, deadline) - now, 0.001))
            except Late:
                continue
            if message.tag == Tag.COMMAND:
                self._take(message)

    def _take(self, message):
        command = parse(message.payload)
        self.arrived.append(command)
        if message.topic != self.own_topic:
            raise Violation("a command on %r" % message.topic)
        if command.sender.endpoint != self.remote:
            raise Violation("a command of somebody else: %r" % (command,))
        directed = message.receiver == self.id
        if command.receiver not in (NONE, self.me) and (command.receiver.endpoint == self.id or not directed):
            # For another store that listens to the topic, or for what we were before.
            if command.op != Op.NACK:
                return
        elif command.op in ACTIONS:
            self._check_number(command)
        elif command.seq != 0 and command.op != Op.ACK_CLONE:
            raise Violation("a control command with a number: %r" % (command,))
        self.check(command, directed)
        self._go(command, True, lambda: self.handle(command))

    def _check_number(self, command):
        """Numbers come without gaps, and what is sent again is the same. Spec: stores 4.1."""
        key = command.sender, command.seq
        if self._bodies.setdefault(key, (command.op, command.body)) != (command.op, command.body):
            raise Violation("another action under the same number: %r" % (command,))
        highest = self._highest.get(command.sender)
        if highest is not None and command.seq > highest + 1 and not self.gaps_allowed:
            raise Violation("%d follows %d" % (command.seq, highest))
        if highest is None or command.seq > highest:
            self._highest[command.sender] = command.seq
            self.gaps_allowed = False

    def await_command(self, op, seconds=wire.DEADLINE_S, **fields):
        """The first command of this kind that came, or comes, with these fields; each is found once."""
        def find():
            for position, command in enumerate(self.arrived):
                if command.op == op and all(command[name] == fields[name] for name in fields):
                    return self.arrived.pop(position)
            return None
        return self.run(seconds, find)

    # - connections

    def return_to(self, port):
        """A new connection; what both sides know stays."""
        self.hang_up()
        self.gaps_allowed = True
        self.dial(port)
        self.shake_hands()

    def welcome_back(self):
        """As `return_to`, when the other side dials."""
        self.hang_up()
        self.gaps_allowed = True
        self.accept()
        self.shake_hands()


class ScriptedClone(StorePeer):
    """A clone: `entries` is its copy."""

    def __init__(self, name, **settings):
        super().__init__(name, "clone", "master", **settings)
        self._forget()

    def _forget(self):
        self.master = None
        self.offset = None
        self.entries = {}
        self.applied = []
        self.answers = {}
        self.incoming = Incoming()
        self.outgoing = Outgoing()
        self.heard_at = 0.0
        self.searching = False
        self._asked_at = 0
        self._requests = 0
        self._backlog = []

    # - life

    def search(self):
        self.searching = True
        self._nack([0])

    def attach(self, seconds=wire.DEADLINE_S):
        """Finds the master and gets its entries; requests can be made."""
        self.search()
        self.run(seconds, lambda: self.master and self.outgoing.acknowledged[self.master])
        return self

    def restart(self):
        """Another clone at the same endpoint."""
        self.me = Entity(self.id, self.me.object + 1)
        self._forget()

    def tick(self):
        if not self.searching:
            return
        if self.master is None:
            self._asked_at += 1
            if self._asked_at % PATIENCE == 0:
                self._nack([0])
            return
        due = self.incoming.tick()
        if due == "ack":
            self.acknowledge()
        elif due:
            self._nack(due)
        if self.outgoing.is_due():
            if not self.outgoing.acknowledged[self.master]:
                self._attach_writer()
            self.tell(self.command(Op.KEEPALIVE, seq=self.outgoing.last))

    # - out

    def acknowledge(self):
        self.tell(self.command(Op.CUMULATIVE_ACK, self.master, seq=self.incoming.next - 1), self.master.endpoint)

    def _nack(self, numbers):
        receiver = self.master or NONE
        self.tell(self.command(Op.NACK, receiver, missing=numbers), receiver.endpoint)

    def _attach_writer(self):
        self.tell(self.command(Op.ATTACH_WRITER, self.master, offset=1, interval=BEAT))

    def request(self, op, **fields):
        """Makes a request; before there is a master it waits."""
        fields = {"publisher": self.me, **fields}
        if self.master is None:
            self._backlog.append((op, fields))
            return
        self.tell(self.outgoing.number(self.command(op, self.master, **fields)))

    def put(self, key, value, expiry=None, **fields):
        self.request(Op.PUT, key=value_of(key), value=value_of(value), expiry=expiry, **fields)

    def erase(self, key):
        self.request(Op.ERASE, key=value_of(key))

    def clear(self):
        self.request(Op.CLEAR)

    def add(self, key, value, init=Kind.NONE, expiry=None):
        self.request(Op.ADD, key=value_of(key), value=value_of(value), init=init, expiry=expiry)

    def subtract(self, key, value, expiry=None):
        self.request(Op.SUBTRACT, key=value_of(key), value=value_of(value), expiry=expiry)

    def put_unique(self, key, value, expiry=None):
        """Returns what `answer` takes."""
        self._requests += 1
        who = Entity(self.id, self.me.object + 2**40)
        self.request(Op.PUT_UNIQUE, key=value_of(key), value=value_of(value), expiry=expiry, who=who,
                     request=self._requests)
        return who, self._requests

    def answer(self, ticket, seconds=wire.DEADLINE_S):
        self.run(seconds, lambda: ticket in self.answers)
        return self.answers[ticket]

    # - in

    def check(self, command, directed):
        op = command.op
        if op in ACTIONS:
            if op not in RESULTS:
                raise Violation("a master sends no %s" % op.name)
            if command.receiver not in (NONE, self.me):
                raise Violation("an action for %r" % (command.receiver,))
            if op in (Op.EXPIRE, Op.PUT_UNIQUE_RESULT) and command["publisher"] != command.sender:
                raise Violation("%s of somebody else" % op.name)
            return
        if op == Op.ATTACH_WRITER:
            raise Violation("a master attaches no writer")
        if op == Op.KEEPALIVE:
            if command.receiver not in (NONE, self.me):
                raise Violation("a keepalive for %r" % (command.receiver,))
            return
        if command.receiver != self.me or not directed:
            raise Violation("not addressed to us: %r" % (command,))
        if op == Op.ACK_CLONE:
            if command.seq != command["offset"] or command["interval"] == 0:
                raise Violation("a strange handshake: %r" % (command,))
            highest = self._highest.setdefault(command.sender, command["offset"])
            if self.master is None and highest > command["offset"]:
                raise Violation("changes came before the snapshot")

    def handle(self, command):
        if not self.searching or command.receiver not in (NONE, self.me):
            return
        if self.master is not None and command.sender != self.master:
            return
        op = command.op
        if op == Op.ACK_CLONE:
            if self.master is None:
                self._begin(command)
        elif self.master is None:
            return
        elif op in ACTIONS:
            self._apply(self.incoming.add(command.seq, command))
        elif op == Op.KEEPALIVE:
            self.heard_at = time.monotonic()
            self.incoming.hear(command["seq"])
        elif op == Op.RETRANSMIT_FAILED:
            self._apply(self.incoming.add(command["seq"], None))
        elif op == Op.CUMULATIVE_ACK:
            self.outgoing.acknowledge(self.master, command["seq"])
        elif op == Op.NACK:
            for seq in command["missing"]:
                if seq == 0:
                    self._attach_writer()
                elif seq in self.outgoing.kept:
                    self.tell(self.outgoing.kept[seq])
                else:
                    self.tell(self.command(Op.RETRANSMIT_FAILED, self.master, seq=seq))

    def _begin(self, command):
        self.master, self.offset = command.sender, command["offset"]
        self.entries = dict(command["entries"])
        self.incoming.begin(self.offset)
        self.acknowledge()
        self.outgoing.acknowledged[self.master] = 0
        self._attach_writer()
        backlog, self._backlog = self._backlog, []
        for op, fields in backlog:
            self.request(op, **fields)

    def _apply(self, commands):
        for command in commands:
            self.applied.append(command)
            if command.op == Op.PUT:
                self.entries[command["key"]] = command["value"]
            elif command.op in (Op.ERASE, Op.EXPIRE):
                self.entries.pop(command["key"], None)
            elif command.op == Op.CLEAR:
                self.entries = {}
            else:
                self.answers[command["who"], command["request"]] = command["inserted"]

    # - conditions

    def await_value(self, key, value, seconds=wire.DEADLINE_S):
        """Waits until the copy has this; `None`: until it has no such key."""
        value = None if value is None else value_of(value)
        try:
            self.run(seconds, lambda: self.entries.get(value_of(key)) == value)
        except Late:
            raise Late("%r is %r, not %r" % (key, self.entries.get(value_of(key)), value)) from None

    def catch_up(self, seconds=wire.DEADLINE_S):
        """Waits until both sides have everything: requests are acknowledged, and a keepalive that came later
        says that no change is missing."""
        self.run(seconds, self.outgoing.is_done)
        since = time.monotonic()
        self.run(seconds, lambda: self.heard_at > since and not self.incoming.missing())


class ScriptedMaster(StorePeer):
    """A master in memory; it knows puts, erases and counters, which is what the tests ask of it."""

    def __init__(self, name, entries=(), **settings):
        super().__init__(name, "master", "clone", **settings)
        self.entries = {value_of(key): value_of(value) for key, value in entries}
        self.answers_searches = True
        self.addressed_keepalives = False
        self._forget()

    def _forget(self):
        self.outgoing = Outgoing()
        self.writers = {}
        self.applied = []
        self._offsets = {}

    @property
    def clones(self):
        return self.outgoing.acknowledged

    def restart(self):
        """Another master at the same endpoint, with the same entries; nobody is attached."""
        self.me = Entity(self.id, self.me.object + 1)
        self._forget()

    def forget(self, clone):
        """As after 50 s of silence: it is sent nothing by name, and its requests are ignored."""
        for table in (self.clones, self._offsets, self.writers):
            table.pop(clone, None)

    def tick(self):
        for clone, writer in self.writers.items():
            due = writer.tick()
            if due == "ack":
                self._acknowledge(clone)
            elif due:
                self._tell_clone(clone, Op.NACK, missing=due)
        if self.outgoing.is_due():
            self.keepalive()

    # - out

    def keepalive(self):
        if self.addressed_keepalives:
            for clone in self.clones:
                self._tell_clone(clone, Op.KEEPALIVE, seq=self.outgoing.last)
        else:
            self.tell(self.command(Op.KEEPALIVE, seq=self.outgoing.last))

    def _tell_clone(self, clone, op, **fields):
        self.tell(self.command(op, clone, **fields), clone.endpoint)

    def _acknowledge(self, clone):
        self._tell_clone(clone, Op.CUMULATIVE_ACK, seq=self.writers[clone].next - 1)

    def snapshot(self, clone, offset=None):
        """The answer to a clone that searches."""
        if clone not in self.clones:
            self.clones[clone] = 0
            self._offsets[clone] = self.outgoing.last
        offset = self._offsets[clone] if offset is None else offset
        command = self.command(Op.ACK_CLONE, clone, offset=offset, interval=BEAT, entries=list(self.entries.items()))
        self.tell(command._replace(seq=offset), clone.endpoint)

    def broadcast(self, op, **fields):
        """A change under the next number; the entries stay as they are."""
        command = self.outgoing.number(self.command(op, **{"publisher": self.me, **fields}))
        self.tell(command)
        return command.seq

    def put(self, key, value, publisher=None):
        self.entries[value_of(key)] = value_of(value)
        return self.broadcast(Op.PUT, key=value_of(key), value=value_of(value), expiry=None,
                              publisher=publisher or self.me)

    def erase(self, key, publisher=None):
        self.entries.pop(value_of(key), None)
        return self.broadcast(Op.ERASE, key=value_of(key), publisher=publisher or self.me)

    def give_up(self, seq):
        """What is asked for again is not there any more."""
        self.outgoing.kept.pop(seq, None)

    # - in

    def check(self, command, directed):
        op, clone = command.op, command.sender
        if op in ACTIONS:
            if op not in REQUESTS:
                raise Violation("a clone sends no %s" % op.name)
            if command["publisher"] != clone:
                raise Violation("a request in the name of %r" % (command["publisher"],))
        if op == Op.ACK_CLONE:
            raise Violation("a clone sends no ack_clone")
        is_search = op == Op.NACK and command["missing"] == [0]
        if not is_search and command.receiver != self.me and (op, command.receiver) != (Op.KEEPALIVE, NONE):
            raise Violation("for another master: %r" % (command,))
        if op in (Op.CUMULATIVE_ACK, Op.NACK) and not is_search and not directed:
            raise Violation("not addressed to us: %r" % (command,))
        if op == Op.CUMULATIVE_ACK and clone in self.clones and command["seq"] < self._offsets[clone]:
            raise Violation("acknowledges less than the snapshot: %r" % (command,))

    def handle(self, command):
        op, clone = command.op, command.sender
        if op == Op.NACK and command["missing"] == [0]:
            if self.answers_searches:
                self.snapshot(clone)
        elif op == Op.ATTACH_WRITER:
            if clone not in self.writers:
                self.writers[clone] = Incoming()
                self.writers[clone].begin(command["offset"])
                self._acknowledge(clone)
        elif op == Op.CUMULATIVE_ACK:
            self.outgoing.acknowledge(clone, command["seq"])
        elif op == Op.NACK:
            for seq in command["missing"]:
                if seq in self.outgoing.kept:
                    self.tell(self.outgoing.kept[seq], clone.endpoint)
                else:
                    self._tell_clone(clone, Op.RETRANSMIT_FAILED, seq=seq)
        elif clone not in self.writers:
            return
        elif op in ACTIONS:
            for request in self.writers[clone].add(command.seq, command):
                self._apply(request)
        elif op == Op.KEEPALIVE:
            self.writers[clone].hear(command["seq"])
        elif op == Op.RETRANSMIT_FAILED:
            self.writers[clone].add(command["seq"], None)

    def _apply(self, command):
        self.applied.append(command)
        key, publisher = command.fields.get("key"), command["publisher"]
        if command.op == Op.ERASE and key in self.entries:
            self.erase(key, publisher)
        elif command.op == Op.CLEAR:
            self.entries = {}
            self.broadcast(Op.CLEAR, publisher=publisher)
        elif command.op == Op.PUT:
            self.put(key, command["value"], publisher)
        elif command.op == Op.ADD and command["init"] == Kind.INTEGER:
            before = self.entries.get(key, wire.integer(0))
            self.put(key, wire.integer(before.body + command["value"].body), publisher)
        elif command.op == Op.PUT_UNIQUE:
            absent = key not in self.entries
            if absent:
                self.put(key, command["value"], publisher)
            self.broadcast(Op.PUT_UNIQUE_RESULT, inserted=absent, who=command["who"], request=command["request"])

    # - conditions

    def await_clone(self, seconds=wire.DEADLINE_S):
        """A clone that got its snapshot and may make requests."""
        def attached():
            return [clone for clone, seq in self.clones.items() if seq and clone in self.writers]
        return self.run(seconds, attached)[-1]

    def await_request(self, op, seconds=wire.DEADLINE_S, **fields):
        """The next request of this kind, in order."""
        def find():
            for position, command in enumerate(self.applied):
                if command.op == op and all(command[name] == fields[name] for name in fields):
                    return self.applied.pop(position)
            return None
        return self.run(seconds, find)

    def catch_up(self, seconds=wire.DEADLINE_S):
        """Waits until the clones have acknowledged everything and their requests are in."""
        self.run(seconds, lambda: self.clones and self.outgoing.is_done()
                 and not any(writer.missing() for writer in self.writers.values()))
