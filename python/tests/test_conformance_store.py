"""Stores on the wire: our master with a scripted clone, our clone with a scripted master. Spec: stores 3 to 6."""

import threading

import pytest

import broker
import peer as wire
from deadline import DEADLINE_S, wait_until
from peer import Kind, count, integer, string
from scene import call, connect, listen, meet
from store_peer import NONE, Command, Entity, Op, ScriptedClone, ScriptedMaster, parse

# Within this a clone has found another master. The scripted stores beat every half second.
FOUND_AGAIN_S = 15.0

VALUES = [
    wire.none(), wire.boolean(True), count(5), integer(-5), wire.real(1.5), string("text"), string(b"\xff\x00"),
    wire.address("1.2.3.4"), wire.address("::1"), wire.subnet("10.0.0.0/8"), wire.port(80, "tcp"),
    wire.timestamp(5), wire.timespan(-7), wire.enum_value("Some::NAME"), wire.set_of(integer(1), integer(2)),
    wire.table_of((string("a"), integer(1))), wire.vector(integer(3), wire.none()),
]


def attached_clone(scene, endpoint, small=None, peer_dials=True, name="store"):
    """A scripted clone that has attached to our master."""
    clone = scene.adopt_peer(ScriptedClone(name, small=small))
    meet(endpoint, clone, peer_dials)
    return clone.attach()


def attached_master(scene, endpoint, small=None, entries=(), name="store", **intervals):
    """A scripted master and our clone that has attached to it."""
    master = scene.adopt_peer(ScriptedMaster(name, entries, small=small))
    peering = call(scene, endpoint, master)
    master.shake_hands().sync()
    assert peering.result(DEADLINE_S)
    store = endpoint.attach_clone(name, **intervals)
    master.await_clone()
    return master, store


def serve(scripted, result, seconds=DEADLINE_S):
    """What a call in the background returns, while a scripted store goes on."""
    scripted.run(seconds, result.done)
    return result.result()


def holds(store, **entries):
    return store.snapshot() == entries


# --- our master ----------------------------------------------------------------------------------


def test_a_clone_of_an_empty_store(scene, endpoint, tls, small, peer_dials):
    endpoint.shutdown()
    endpoint = scene.endpoint(tls)
    master = endpoint.attach_master("store")
    clone = scene.adopt_peer(ScriptedClone("store", small=small, tls=tls))
    meet(endpoint, clone, peer_dials)
    clone.attach()
    master.put("k", 1)
    clone.await_value("k", 1)
    clone.put("l", 2)
    clone.catch_up()
    assert holds(master, k=1, l=2)
    assert set(clone.entries) == {string("k"), string("l")}


def test_a_clone_gets_what_is_there(scene, endpoint):
    master = endpoint.attach_master("store")
    for number in range(500):
        master.put(number, broker.Count(number))
    clone = attached_clone(scene, endpoint)
    assert clone.entries == {integer(number): count(number) for number in range(500)}


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_values_of_every_type_and_a_second_clone(scene, endpoint, tmp_path, kind):
    master = endpoint.open_master("store") if kind == "memory" else endpoint.open_master(
        "store", broker.Backend.SQLite, {"path": str(tmp_path / "store.sqlite")})
    clone = attached_clone(scene, endpoint)
    for value in VALUES:
        clone.put(value, value)
    clone.catch_up()
    assert clone.entries == {value: value for value in VALUES}
    assert len(master) == len(VALUES)
    assert attached_clone(scene, endpoint, small=True).entries == clone.entries


def test_every_request(scene, endpoint):
    master = endpoint.attach_master("store")
    clone = attached_clone(scene, endpoint)
    clone.add("number", integer(3), Kind.INTEGER)
    clone.subtract("number", integer(1))
    clone.add("text", "ab", Kind.STRING)
    clone.add("text", "c", Kind.STRING)
    clone.add("set", integer(1), Kind.SET)
    clone.add("table", wire.vector(integer(1), integer(2)), Kind.TABLE)
    clone.add("vector", integer(1), Kind.VECTOR)
    clone.add("vector", integer(2), Kind.VECTOR)
    clone.subtract("vector", "vector")
    clone.put("gone", 1)
    clone.erase("gone")
    assert clone.answer(clone.put_unique("unique", 1)) is True
    assert clone.answer(clone.put_unique("unique", 2)) is False
    clone.catch_up()
    assert holds(master, number=2, text="abc", set={1}, table={1: 2}, vector=(1,), unique=1)
    assert clone.entries[string("vector")] == wire.vector(integer(1))
    clone.clear()
    clone.catch_up()
    assert clone.entries == {} and len(master) == 0


def test_results_carry_who_asked(scene, endpoint):
    endpoint.attach_master("store")
    clone, other = attached_clone(scene, endpoint), attached_clone(scene, endpoint)
    clone.put("k", 1)
    assert other.await_command(Op.PUT)["publisher"] == clone.me
    who, request = clone.put_unique("u", 1)
    result = other.await_command(Op.PUT_UNIQUE_RESULT)
    assert (result["who"], result["request"], result["inserted"]) == (who, request, True)


def test_refused_requests_change_nothing(scene, endpoint):
    master = endpoint.attach_master("store")
    clone = attached_clone(scene, endpoint)
    clone.put("number", 1)
    clone.add("number", count(1), Kind.COUNT)
    clone.add("new", count(1), Kind.STRING)
    clone.add("table", integer(1), Kind.TABLE)
    clone.add("nothing", string("x"), Kind.NONE)
    clone.subtract("missing", integer(1))
    clone.erase("missing")
    clone.catch_up()
    assert holds(master, number=1)
    assert clone.entries == {string("number"): integer(1)}


def test_expiry(scene, endpoint):
    master = endpoint.attach_master("store")
    clone = attached_clone(scene, endpoint)
    master.put("ours", 1, 0.2)
    assert clone.await_command(Op.PUT)["expiry"] == 200_000_000
    assert clone.await_command(Op.EXPIRE)["key"] == string("ours")
    clone.put("theirs", 1, expiry=200_000_000)
    clone.await_command(Op.EXPIRE, key=string("theirs"))
    clone.put("negative", 1, expiry=-1)
    clone.await_command(Op.EXPIRE, key=string("negative"))
    clone.put("kept", 1, expiry=100_000_000)
    clone.put("kept", 2)
    clone.run(0.4)
    assert holds(master, kept=2)


def test_put_unique_of_three_clones_and_the_master_has_one_winner(scene, endpoint):
    master = endpoint.attach_master("store")
    clones = [attached_clone(scene, endpoint, small) for small in (True, False, None)]
    tickets = [clone.put_unique("k", number) for number, clone in enumerate(clones)]
    own = master.put_unique("k", 9)
    answers = [clone.answer(ticket) for clone, ticket in zip(clones, tickets)]
    assert (answers + [own]).count(True) == 1
    for clone in clones:
        clone.catch_up()
    assert len({clone.entries[string("k")] for clone in clones} | {integer(master.get("k"))}) == 1


def test_the_masters_own_put_unique_is_told(scene, endpoint):
    master = endpoint.attach_master("store")
    clone = attached_clone(scene, endpoint)
    assert master.put_unique("k", 1) is True
    assert master.put_unique("k", 2) is False
    assert [clone.await_command(Op.PUT_UNIQUE_RESULT)["inserted"] for _ in range(2)] == [True, False]
    assert clone.entries == {string("k"): integer(1)}


@pytest.mark.parametrize("skip, times", [(0, 1), (1, 1), (2, 1), (0, 2), (0, 3)])
def test_lost_changes_are_sent_again(scene, endpoint, skip, times):
    master = endpoint.attach_master("store")
    clone = attached_clone(scene, endpoint)
    fault = clone.lose(Op.PUT, incoming=True, skip=skip, times=times)
    for number in range(3):
        master.put("k%d" % number, number)
    clone.await_value("k2", 2)
    clone.catch_up()
    assert fault.hits == times
    assert clone.entries == {string("k%d" % number): integer(number) for number in range(3)}


def test_a_change_lost_again_is_sent_again(scene, endpoint):
    master = endpoint.attach_master("store")
    clone = attached_clone(scene, endpoint)
    fault = clone.lose(Op.PUT, incoming=True, times=3, where=lambda command: command["key"] == string("a"))
    master.put("a", 1)
    master.put("b", 2)
    clone.await_value("a", 1)
    assert fault.hits == 3


@pytest.mark.parametrize("how", ["double", "hold"])
def test_requests_that_come_twice_or_late(scene, endpoint, how):
    master = endpoint.attach_master("store")
    clone = attached_clone(scene, endpoint)
    getattr(clone, how)(Op.ADD)
    clone.add("n", integer(1), Kind.INTEGER)
    clone.put("n2", 1)
    clone.add("n", integer(2), Kind.INTEGER)
    clone.catch_up()
    assert holds(master, n=3, n2=1)


@pytest.mark.parametrize("skip", [0, 1])
def test_lost_requests_are_asked_for(scene, endpoint, skip):
    master = endpoint.attach_master("store")
    clone = attached_clone(scene, endpoint)
    clone.lose(Op.ADD, skip=skip)
    clone.add("n", integer(1), Kind.INTEGER)
    clone.add("n", integer(2), Kind.INTEGER)
    clone.catch_up()
    assert holds(master, n=3)


def test_a_request_that_is_given_up_is_passed_over(scene, endpoint):
    master = endpoint.attach_master("store")
    clone = attached_clone(scene, endpoint)
    clone.lose(Op.PUT)
    clone.put("lost", 1)
    clone.outgoing.kept.clear()
    clone.put("k", 2)
    clone.await_value("k", 2)
    clone.catch_up()
    assert holds(master, k=2)


def test_silent_acknowledgements(scene, endpoint):
    master = endpoint.attach_master("store")
    clone = attached_clone(scene, endpoint)
    silence = clone.silence(Op.CUMULATIVE_ACK)
    master.put("k", 1)
    clone.await_value("k", 1)
    idle = scene.background(master.await_idle, 0.5)
    assert serve(clone, idle) is False
    silence.cancel()
    assert serve(clone, scene.background(master.await_idle)) is True


@pytest.mark.parametrize("op, incoming", [(Op.ACK_CLONE, True), (Op.ATTACH_WRITER, False), (Op.NACK, False),
                                          (Op.CUMULATIVE_ACK, False)])
def test_handshakes_survive_loss(scene, endpoint, op, incoming):
    master = endpoint.attach_master("store")
    master.put("k", 1)
    clone = scene.adopt_peer(ScriptedClone("store"))
    meet(endpoint, clone)
    clone.lose(op, incoming=incoming)
    clone.attach()
    clone.put("l", 2)
    clone.catch_up()
    assert clone.entries == {string("k"): integer(1), string("l"): integer(2)}


def test_requests_from_before_the_handshake(scene, endpoint):
    master = endpoint.attach_master("store")
    clone = scene.adopt_peer(ScriptedClone("store"))
    meet(endpoint, clone)
    clone.put("k", 1)
    clone.attach().catch_up()
    assert holds(master, k=1)


def test_a_clone_that_begins_anew(scene, endpoint):
    master = endpoint.attach_master("store")
    clone = attached_clone(scene, endpoint)
    clone.put("k", 1)
    clone.catch_up()
    clone.restart()
    clone.attach()
    assert clone.entries == {string("k"): integer(1)}
    clone.put("k", 2)
    clone.catch_up()
    assert holds(master, k=2)
    assert serve(clone, scene.background(master.await_idle)) is True


def test_a_clone_that_comes_back(scene, endpoint):
    master = endpoint.attach_master("store")
    port = listen(endpoint)
    clone = scene.adopt_peer(ScriptedClone("store"))
    clone.dial(port)
    clone.shake_hands().sync()
    clone.attach()
    clone.hang_up()
    wait_until(lambda: not endpoint.peers(), "the peer is gone")
    master.put("meanwhile", 1)
    clone.return_to(port)
    clone.await_value("meanwhile", 1)
    clone.put("back", 2)
    clone.catch_up()
    assert holds(master, meanwhile=1, back=2)


def test_a_clone_that_crashed_disturbs_nobody(scene, endpoint):
    master = endpoint.attach_master("store")
    crashed, other = attached_clone(scene, endpoint), attached_clone(scene, endpoint)
    crashed.hang_up(reset=True)
    master.put("k", 1)
    other.await_value("k", 1)
    other.put("l", 2)
    other.catch_up()
    assert holds(master, k=1, l=2)


def test_changes_never_come_before_the_snapshot(scene, endpoint):
    master = endpoint.attach_master("store")
    present = attached_clone(scene, endpoint)
    clone = scene.adopt_peer(ScriptedClone("store"))
    meet(endpoint, clone)
    clone.search()
    for number in range(50):
        master.increment("n", 1)
    clone.run(DEADLINE_S, lambda: clone.master)
    clone.await_value("n", 50)
    present.await_value("n", 50)


def test_a_peer_that_passes_commands_on_is_no_second_master(scene, endpoint):
    master = endpoint.attach_master("store")
    errors = endpoint.make_status_subscriber()
    relay = scene.adopt_peer(wire.Peer(filter=["store/<$>/data/master"], small=True))
    meet(endpoint, relay)
    master.put("k", 1)
    assert master.put_unique("u", 1) is True
    assert holds(master, k=1, u=1)
    assert [str(event) for event in errors.poll()] == []


def put_command(clone, seq, **header):
    """A put as it would go out next; parts of the header can be others."""
    fields = {"key": string("forged"), "value": integer(1), "expiry": None, "publisher": clone.me}
    return Command(Op.PUT, seq, clone.me, clone.master, fields)._replace(**header)


def test_requests_for_another_master_are_ignored(scene, endpoint):
    master = endpoint.attach_master("store")
    clone = attached_clone(scene, endpoint)
    another = Entity(clone.master.endpoint, clone.master.object + 1)
    clone.transmit(put_command(clone, 2, receiver=another))
    stranger = Entity(clone.id, clone.me.object + 5)
    clone.transmit(put_command(clone, 2, sender=stranger))
    clone.sync()
    assert len(master) == 0
    clone.put("k", 1)
    clone.catch_up()
    assert holds(master, k=1)


def test_a_peer_speaks_for_itself_only(scene, endpoint):
    master = endpoint.attach_master("store")
    clone, liar = attached_clone(scene, endpoint), attached_clone(scene, endpoint)
    liar.put("honest", 1)
    liar.catch_up()
    own = wire.id_octets(endpoint.node_id())
    # Each would attach a clone, and the first one in the place of the one that is there.
    for name in Entity(clone.id, clone.me.object + 1), Entity(own, 99), NONE:
        for receiver in wire.NOBODY, own:
            liar.transmit(Command(Op.NACK, 0, name, NONE, {"missing": [0]}), to=receiver)
            liar.transmit(put_command(clone, 2, sender=name, receiver=liar.master), to=receiver)
    liar.transmit(put_command(clone, 2, receiver=liar.master))
    stranger = Entity(wire.new_id(), 1)
    liar.transmit(Command(Op.NACK, 0, stranger, NONE, {"missing": [0]}), to=own)
    liar.sync()
    assert endpoint.refused_commands() == 14
    master.put("k", 1)
    clone.await_value("k", 1)
    clone.put("l", 2)
    clone.catch_up()
    assert endpoint.refused_commands() == 14
    assert holds(master, honest=1, k=1, l=2)
    assert not [command for command in clone.arrived if command.op == Op.ACK_CLONE and command.receiver != clone.me]
    assert not [command for command in liar.arrived if command.receiver not in (NONE, liar.me)]


def test_commands_of_endpoints_behind_a_peer(scene, endpoint):
    """They may be what a peer in between passes on, so they are believed, and passed on."""
    endpoint.forward("store/")
    reader = scene.adopt_peer(wire.Peer(filter=["store/"], tls=True))
    meet(endpoint, reader)
    relay = scene.adopt_peer(ScriptedClone("store"))
    meet(endpoint, relay)
    far = Entity(wire.new_id(), 1)
    forged = Entity(reader.id, 1)
    for name in forged, far:
        relay.transmit(Command(Op.NACK, 0, name, NONE, {"missing": [0]}))
    while True:
        message = reader.next()
        if message.tag == wire.Tag.COMMAND:
            break
    assert parse(message.payload).sender == far


@pytest.mark.parametrize("spoil", [
    lambda octets: b"", lambda octets: octets[:-1], lambda octets: octets[:30],
    lambda octets: octets[:56] + b"\x0e" + octets[57:], lambda octets: b"\xff" * 200,
    lambda octets: octets[:57] + b"\x0f" + octets[58:],
], ids=["empty", "cut", "header cut", "unknown command", "nonsense", "unknown value"])
def test_malformed_commands_are_dropped(scene, endpoint, spoil):
    master = endpoint.attach_master("store")
    clone = attached_clone(scene, endpoint)
    octets = put_command(clone, 2).encoded()
    clone.send_envelope(wire.Tag.COMMAND, clone.other_topic, spoil(octets))
    clone.sync()
    assert len(master) == 0
    clone.put("k", 1)
    clone.catch_up()
    assert holds(master, k=1)


def test_control_that_makes_no_sense_is_survived(scene, endpoint):
    master = endpoint.attach_master("store")
    clone = attached_clone(scene, endpoint)
    for op, fields in ((Op.CUMULATIVE_ACK, {"seq": 2**63}), (Op.NACK, {"missing": [2**63, 5, 5]}),
                       (Op.NACK, {"missing": []}), (Op.KEEPALIVE, {"seq": 2**64 - 1}),
                       (Op.RETRANSMIT_FAILED, {"seq": 2**64 - 1}), (Op.ATTACH_WRITER, {"offset": 9, "interval": 0}),
                       (Op.ACK_CLONE, {"offset": 1, "interval": 5, "entries": []})):
        clone.transmit(clone.command(op, clone.master, **fields), clone.master.endpoint)
    clone.sync()
    master.put("k", 1)
    again = attached_clone(scene, endpoint)
    again.put("l", 2)
    again.catch_up()
    assert holds(master, k=1, l=2)


# --- our clone -----------------------------------------------------------------------------------


def test_our_clone_of_an_empty_store(scene, tls, small, peer_dials):
    endpoint = scene.endpoint(tls)
    master = scene.adopt_peer(ScriptedMaster("store", small=small, tls=tls))
    if peer_dials:
        meet(endpoint, master)
    else:
        peering = call(scene, endpoint, master)
        master.shake_hands().sync()
        assert peering.result(DEADLINE_S)
    store = endpoint.attach_clone("store")
    master.await_clone()
    master.put("k", 1)
    master.catch_up()
    assert holds(store, k=1)
    store.put("l", 2)
    assert master.await_request(Op.PUT)["key"] == string("l")
    master.catch_up()
    assert holds(store, k=1, l=2)


def test_our_clone_gets_what_is_there(scene, endpoint):
    entries = [(integer(number), count(number)) for number in range(1000)] + [(value, value) for value in VALUES]
    _, store = attached_master(scene, endpoint, entries=entries)
    assert len(store) == len(entries)
    assert store.get(999) == broker.Count(999)
    assert store.get({1, 2}) == {1, 2}


def test_our_clones_requests(scene, endpoint):
    master, store = attached_master(scene, endpoint)
    who = store.put("a", 1, 5)
    assert who is None
    request = master.await_request(Op.PUT)
    assert (request["expiry"], request.receiver) == (5_000_000_000, master.me)
    store.increment("n", datetime_span())
    assert master.await_request(Op.ADD)["init"] == Kind.TIMESTAMP
    store.append("s", "a")
    store.insert_into("set", 1)
    store.insert_into("table", 1, 2)
    store.push("v", 1)
    added = [master.await_request(Op.ADD) for _ in range(4)]
    assert [request["init"] for request in added] == [Kind.STRING, Kind.SET, Kind.TABLE, Kind.VECTOR]
    assert added[2]["value"] == wire.vector(integer(1), integer(2))
    store.decrement("n", 1)
    store.remove_from("set", 1)
    store.pop("v")
    assert [master.await_request(Op.SUBTRACT)["value"] for _ in range(3)] == [integer(1), integer(1), string("v")]
    store.erase("a")
    master.await_request(Op.ERASE)
    store.clear()
    master.await_request(Op.CLEAR)
    master.catch_up()
    assert holds(store)


def datetime_span():
    return broker.Timespan(1_000_000_000)


def test_our_clones_put_unique(scene, endpoint):
    master, store = attached_master(scene, endpoint, entries=[("taken", 1)])
    assert serve(master, scene.background(store.put_unique, "new", 1)) is True
    assert store.get("new") == 1
    assert serve(master, scene.background(store.put_unique, "taken", 2)) is False


def test_answers_to_others_are_not_ours(scene, endpoint):
    master, store = attached_master(scene, endpoint)
    pending = scene.background(store.put_unique, "k", 1)
    fault = master.lose(Op.PUT_UNIQUE_RESULT)
    request = master.await_request(Op.PUT_UNIQUE)
    stranger = Entity(master.id, 77)
    master.broadcast(Op.PUT_UNIQUE_RESULT, inserted=False, who=stranger, request=request["request"])
    master.broadcast(Op.PUT_UNIQUE_RESULT, inserted=False, who=request["who"], request=request["request"] + 1)
    assert serve(master, pending) is True
    assert fault.hits == 1


def test_requests_from_before_the_master(scene, endpoint):
    store = endpoint.attach_clone("store")
    store.put("k", 1)
    pending = scene.background(store.put_unique, "u", 1)
    master = scene.adopt_peer(ScriptedMaster("store"))
    meet(endpoint, master)
    assert serve(master, pending) is True
    master.catch_up()
    assert holds(store, k=1, u=1)


@pytest.mark.parametrize("addressed", [True, False], ids=["keepalives to us", "keepalives to all"])
@pytest.mark.parametrize("skip, times", [(0, 1), (1, 1), (2, 1), (0, 3), (0, 4)])
def test_our_clone_asks_for_lost_changes(scene, endpoint, skip, times, addressed):
    master, store = attached_master(scene, endpoint)
    master.addressed_keepalives = addressed
    master.lose(Op.PUT, skip=skip, times=times)
    for number in range(3):
        master.put("k%d" % number, number)
    master.catch_up()
    assert holds(store, k0=0, k1=1, k2=2)


@pytest.mark.parametrize("how", ["double", "hold"])
def test_changes_that_come_twice_or_late(scene, endpoint, how):
    master, store = attached_master(scene, endpoint)
    getattr(master, how)(Op.PUT)
    master.put("k", 1)
    master.put("k", 2)
    master.catch_up()
    assert holds(store, k=2)


@pytest.mark.parametrize("skip", [0, 1, 2])
def test_our_clone_sends_lost_requests_again(scene, endpoint, skip):
    master, store = attached_master(scene, endpoint)
    master.lose(Op.ADD, incoming=True, skip=skip)
    for _ in range(3):
        store.increment("n", 1)
    master.run(DEADLINE_S, lambda: master.entries.get(string("n")) == integer(3))
    master.catch_up()
    assert holds(store, n=3)


def test_a_silent_master_is_waited_for(scene, endpoint):
    master, store = attached_master(scene, endpoint)
    silences = [master.silence(Op.CUMULATIVE_ACK), master.silence(Op.KEEPALIVE)]
    store.put("k", 1)
    master.run(1.5)
    for silence in silences:
        silence.cancel()
    master.catch_up()
    assert [command.op for command in master.applied] == [Op.PUT]
    assert holds(store, k=1)


@pytest.mark.parametrize("op", [Op.NACK, Op.ATTACH_WRITER, Op.CUMULATIVE_ACK])
def test_our_clones_handshake_survives_loss(scene, endpoint, op):
    master = scene.adopt_peer(ScriptedMaster("store", [("k", 1)]))
    meet(endpoint, master)
    master.lose(op, incoming=True)
    store = endpoint.attach_clone("store")
    master.await_clone()
    store.put("l", 2)
    master.await_request(Op.PUT)
    master.catch_up()
    assert holds(store, k=1, l=2)


def test_a_lost_snapshot_is_asked_for_again(scene, endpoint):
    master = scene.adopt_peer(ScriptedMaster("store", [("k", 1)]))
    meet(endpoint, master)
    master.lose(Op.ACK_CLONE, times=2)
    store = endpoint.attach_clone("store")
    master.await_clone()
    assert holds(store, k=1)


def test_changes_from_before_the_snapshot_are_applied_after_it(scene, endpoint):
    master = scene.adopt_peer(ScriptedMaster("store"))
    master.answers_searches = False
    meet(endpoint, master)
    store = endpoint.attach_clone("store")
    clone = master.await_command(Op.NACK).sender
    master.clones[clone], master._offsets[clone] = 0, 1
    master.put("k", 1)
    master.entries.clear()
    master.snapshot(clone, offset=1)
    master.answers_searches = True
    master.await_clone()
    master.catch_up()
    assert holds(store, k=1)


def test_a_snapshot_with_a_repeated_key_is_refused(scene, endpoint):
    master = scene.adopt_peer(ScriptedMaster("store"))
    master.answers_searches = False
    meet(endpoint, master)
    store = endpoint.attach_clone("store")
    clone = master.await_command(Op.NACK).sender
    twice = [(string("k"), integer(1)), (string("k"), integer(2))]
    command = master.command(Op.ACK_CLONE, clone, offset=1, interval=5, entries=twice)
    master.transmit(command._replace(seq=1), clone.endpoint)
    master.answers_searches = True
    master.await_clone()
    assert holds(store)


def test_a_change_that_is_gone_is_made_up_for(scene, endpoint):
    """retransmit_failed: the clone gets everything anew, and goes on."""
    master, store = attached_master(scene, endpoint)
    master.lose(Op.PUT)
    master.give_up(master.put("k", 1))
    master.put("l", 2)
    master.run(FOUND_AGAIN_S, lambda: holds(store, k=1, l=2))
    store.put("m", 3)
    master.run(DEADLINE_S, lambda: store.get("m") == 3)


def test_another_master_on_the_same_connection(scene, endpoint):
    master, store = attached_master(scene, endpoint)
    master.put("k", 1)
    master.catch_up()
    master.restart()
    master.entries[string("k")] = integer(2)
    master.await_clone(FOUND_AGAIN_S)
    assert holds(store, k=2)
    store.put("l", 3)
    master.await_request(Op.PUT)


def test_another_master_on_another_connection(scene, endpoint):
    first, store = attached_master(scene, endpoint, entries=[("k", 1)])
    first.hang_up()
    second = scene.adopt_peer(ScriptedMaster("store", [("k", 2)]))
    meet(endpoint, second)
    second.await_clone(FOUND_AGAIN_S)
    assert holds(store, k=2)
    assert serve(second, scene.background(store.put_unique, "u", 1)) is True


def test_a_master_that_comes_back(scene, endpoint):
    master = scene.adopt_peer(ScriptedMaster("store"))
    port = listen(endpoint)
    master.dial(port)
    master.shake_hands().sync()
    store = endpoint.attach_clone("store")
    master.await_clone()
    master.hang_up()
    wait_until(lambda: not endpoint.peers(), "the peer is gone")
    store.put("meanwhile", 1)
    master.put("theirs", 2)
    master.return_to(port)
    master.run(DEADLINE_S, lambda: master.entries.get(string("meanwhile")) == integer(1))
    master.catch_up()
    assert holds(store, meanwhile=1, theirs=2)


@pytest.mark.parametrize("connection_ends", [False, True], ids=["connected", "disconnected"])
def test_a_master_that_forgets_its_clone(scene, endpoint, connection_ends):
    """After 50 s without a word of a clone the original drops it, and does not tell."""
    master = scene.adopt_peer(ScriptedMaster("store", [("k", 1)]))
    port = listen(endpoint)
    master.dial(port)
    master.shake_hands().sync()
    store = endpoint.attach_clone("store", resync_interval=1)
    before = master.await_clone()
    master.catch_up()
    if connection_ends:
        master.hang_up()
        wait_until(lambda: not endpoint.peers(), "the peer is gone")
    master.forget(before)
    master.entries[string("k")] = integer(2)
    if connection_ends:
        master.return_to(port)
        # A clone that was cut off is not idle before it knows what it missed.
        assert serve(master, scene.background(store.await_idle), FOUND_AGAIN_S) is True
        assert holds(store, k=2)
    master.run(FOUND_AGAIN_S, lambda: holds(store, k=2))
    assert master.await_clone() != before and before not in master.clones
    store.put("l", 3)
    master.run(DEADLINE_S, lambda: store.get("l") == 3)


def test_what_is_not_from_our_master_or_not_for_us_is_ignored(scene, endpoint):
    master, store = attached_master(scene, endpoint)
    clone = next(iter(master.clones))
    stranger, another = Entity(master.id, master.me.object + 5), Entity(clone.endpoint, clone.object + 1)
    fields = {"key": string("forged"), "value": integer(1), "expiry": None, "publisher": stranger}
    master.transmit(Command(Op.PUT, 2, stranger, NONE, fields))
    for op in (Op.KEEPALIVE, Op.RETRANSMIT_FAILED):
        master.transmit(master.command(op, another, seq=2), clone.endpoint)
    master.put("k", 1)
    master.catch_up()
    assert holds(store, k=1)


def test_actions_that_masters_do_not_send_use_up_a_number(scene, endpoint):
    master, store = attached_master(scene, endpoint)
    master.broadcast(Op.ADD, key=string("x"), value=integer(1), init=Kind.INTEGER, expiry=None)
    master.broadcast(Op.SUBTRACT, key=string("x"), value=integer(1), expiry=None)
    master.put("k", 1)
    master.catch_up()
    assert holds(store, k=1)


def test_malformed_changes_are_dropped(scene, endpoint):
    master, store = attached_master(scene, endpoint)
    good = Command(Op.PUT, 2, master.me, NONE, {"key": string("x"), "value": integer(1), "expiry": None,
                                                "publisher": master.me}).encoded()
    for octets in (b"", good[:-1], good[:20], b"\xff" * 100):
        master.send_envelope(wire.Tag.COMMAND, master.other_topic, octets)
    master.put("k", 1)
    master.catch_up()
    assert holds(store, k=1)


def test_a_second_master_is_not_listened_to(scene, endpoint):
    master, store = attached_master(scene, endpoint)
    second = scene.adopt_peer(ScriptedMaster("store", [("k", 2)]))
    meet(endpoint, second)
    second.outgoing.acknowledged[next(iter(master.clones))] = 0
    second.put("other", 1)
    second.sync()
    store.put("mine", 1)
    master.await_request(Op.PUT)
    master.put("k", 1)
    master.catch_up()
    assert holds(store, k=1, mine=1)
    assert second.applied == []


# --- both ----------------------------------------------------------------------------------------


def test_the_scripted_stores_understand_each_other(scene):
    """They are of no use as judges if they do not."""
    master, clone = scene.adopt_peer(ScriptedMaster("store", [("k", 1)])), scene.adopt_peer(ScriptedClone("store"))
    port = master.listen()
    shaking = scene.background(lambda: master.accept().shake_hands())
    clone.dial(port)
    clone.shake_hands()
    shaking.result(DEADLINE_S)
    over = threading.Event()
    running = scene.background(master.run, DEADLINE_S, over.is_set)
    clone.lose(Op.PUT)
    clone.lose(Op.PUT, incoming=True)
    clone.attach()
    clone.put("l", 2)
    clone.put("m", 3)
    clone.await_value("m", 3)
    clone.catch_up()
    assert clone.entries == {string("k"): integer(1), string("l"): integer(2), string("m"): integer(3)}
    over.set()
    running.result(DEADLINE_S)


def test_a_master_of_ours_leaves_and_a_scripted_one_takes_over(scene, endpoint):
    other = scene.endpoint()
    other.attach_master("store").put("k", 1)
    connect(endpoint, other)
    store = endpoint.attach_clone("store")
    assert store.get("k") == 1
    other.shutdown()
    master = scene.adopt_peer(ScriptedMaster("store", [("k", 2)]))
    meet(endpoint, master)
    master.await_clone(FOUND_AGAIN_S)
    assert holds(store, k=2)
