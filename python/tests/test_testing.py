"""`broker.testing`: an endpoint in Zeek's place."""

import asyncio
import subprocess
import sys

import pytest

import broker
import broker.sync
from broker import aio, zeek
from broker.testing import FakeZeek, settle
from deadline import DEADLINE_S


def test_it_records_and_answers(fake_zeek):
    fake_zeek.on("ping", lambda event: [zeek.Event("pong", 1), zeek.Event("pong", 2)])
    fake_zeek.on("hello", zeek.Event("welcome"))
    with broker.sync.connect(fake_zeek.address, subscribe=["/t"]) as b:
        b.publish("/t", "no event")
        b.publish("/t", zeek.Event("ping"))
        b.publish("/t", zeek.Event("hello"))
        b.publish("/t", zeek.Event("nothing"))
        settle(b, fake_zeek)
        answers = [b.receive(0).event.name() for _ in range(3)]
    assert answers == ["pong", "pong", "welcome"]
    assert [message.topic for message in fake_zeek.received] == ["/t"] * 4
    assert [event.name() for event in fake_zeek.events()] == ["ping", "hello", "nothing"]


def test_it_plays_what_a_test_wrote_down(fake_zeek):
    with broker.sync.connect(fake_zeek.address, subscribe=["/t"]) as b:
        assert fake_zeek.play([("/t", number) for number in range(3)]) == 3
        assert [b.receive(DEADLINE_S).value for _ in range(3)] == [0, 1, 2]


def test_it_plays_what_an_endpoint_recorded(fake_zeek, tmp_path):
    program = ("import broker\n"
               "with broker.Endpoint() as one, broker.Endpoint() as other:\n"
               "    with other.make_subscriber('/t') as messages:\n"
               "        one.peer('127.0.0.1', other.listen('127.0.0.1', 0))\n"
               "        for number in range(3):\n"
               "            one.publish('/t', number)\n"
               "        assert len(messages.get(3, 60.0)) == 3\n")
    subprocess.run([sys.executable, "-c", program], check=True, timeout=DEADLINE_S,
                   env={"BROKER_RECORDING_DIRECTORY": str(tmp_path)})
    recording = max(tmp_path.glob("*.rec"), key=lambda path: path.stat().st_size)
    with broker.sync.connect(fake_zeek.address, subscribe=["/t"]) as b:
        assert fake_zeek.play(recording) == 3
        assert [b.receive(DEADLINE_S).value for _ in range(3)] == [0, 1, 2]
    (tmp_path / "text").write_text("no recording")
    with pytest.raises(ValueError, match="recording"):
        fake_zeek.play(tmp_path / "text")


def test_it_waits_for_who_subscribes(fake_zeek):
    with pytest.raises(TimeoutError):
        fake_zeek.publish("/t", 1, timeout=0.01)
    with broker.sync.connect(fake_zeek.address, subscribe=["/t"]) as b:
        fake_zeek.publish("/t", 1)
        assert b.receive(DEADLINE_S).value == 1


def test_it_waits_for_who_subscribes_by_websocket(fake_zeek):
    with broker.sync.connect(fake_zeek.web_socket_address, subscribe=["/t"]) as b:
        fake_zeek.publish("/t", 1)
        assert b.receive(DEADLINE_S).value == 1
    with pytest.raises(TimeoutError):
        fake_zeek.publish("/elsewhere", 1, timeout=0.05)


def test_it_says_what_came_instead(fake_zeek):
    with broker.sync.connect(fake_zeek.address) as b:
        b.publish("/t", zeek.Event("other"))
        settle(b, fake_zeek)
        with pytest.raises(TimeoutError, match="0 of 1 events `ping` came within 0.01 s.*other"):
            fake_zeek.wait_for("ping", timeout=0.01)


def test_what_a_function_raises_fails_the_test():
    def fail(event):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        with FakeZeek() as fake:
            fake.on("ping", fail)
            with broker.sync.connect(fake.address) as b:
                b.publish("/t", zeek.Event("ping"))
                settle(b, fake)


def test_answers_to_answers_are_settled(fake_zeek):
    fake_zeek.on("count", lambda event: zeek.Event("count", event.args()[0] + 1))
    with FakeZeek() as other:
        other.on("count", lambda event: zeek.Event("count", event.args()[0] + 1) if event.args()[0] < 20 else None)
        other.endpoint.peer(fake_zeek.address)
        other.endpoint.publish("/t", zeek.Event("count", 0))
        settle(fake_zeek, other)
        counts = sorted(event.args()[0] for fake in (fake_zeek, other) for event in fake.events())
    assert counts == list(range(22))


def test_a_program_on_a_loop_is_tested_the_same_way(fake_zeek):
    fake_zeek.on("ping", zeek.Event("pong"))

    async def program():
        async with aio.connect(fake_zeek.address, subscribe=["/t"]) as b:
            await b.publish("/t", zeek.Event("ping"))
            async for event in b.events("pong"):
                return event.name()

    assert asyncio.run(program()) == "pong"
    assert len(fake_zeek.wait_for("ping")) == 1


def test_pytest_finds_the_fixture_by_itself(tmp_path):
    (tmp_path / "test_it.py").write_text("def test_it(fake_zeek):\n    assert fake_zeek.received == []\n")
    run = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
                         cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE_S)
    assert run.returncode == 0, run.stdout
