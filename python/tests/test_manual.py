"""The programs of the manual: the same calls in the same order, as processes of their own."""

import pathlib
import socket

import recordings
from deadline import wait_until
from ports import reserved_port
from process import Program


def manual_script(name):
    """One of the manual's own scripts, to run it as it is. They are not part of this repository."""
    return recordings.outside("manual", name).read_text(encoding="utf-8")


def test_ping():
    with Program("pong.py") as pong, Program("ping.py", pong.line()) as ping:
        for n in range(5):
            ping.expect("received pong[%d]" % n)
        ping.finish()
        pong.finish()


def test_communication():
    with Program("listen.py") as listener:
        port, node = listener.line(), listener.line()
        with Program("talk.py", port, node) as talker:
            talker.expect("True")
            listener.expect("/test ('ping',)")
            listener.expect("/test/2 (1, 2, 3)")
            listener.expect("/test/3 (42, 'foo', {'a': 'A', 'b': IPv4Address('1.2.3.4')})")
            listener.expect("0 [] int")
            listener.expect("changed")
            talker.tell("go on")
            listener.expect("/more last")
            listener.finish()
            talker.finish()


def test_status_messages():
    with Program("watch.py") as one, Program("watch.py", one.line()) as two:
        two.expect("True")
        two.expect("True")
        one.expect("True")
        two.tell("leave")
        two.expect("[<SC.PeerRemoved: 2>, <SC.EndpointUnreachable: 5>]")
        one.tell("leave")
        one.line()
        two.finish()
        one.finish()


def test_error_messages():
    with Program("nobody.py", reserved_port()) as program:
        program.expect("False")
        program.expect("True True")
        program.finish()


def test_data_stores():
    with Program("stores.py") as program:
        program.expect("value")
        for line in ("e 1", "key 'value'", "set {3}", "str 'ar'", "table {3: 'D'}", "vec (3,)"):
            program.expect(line)
        program.finish()


def test_a_store_in_a_file_outlives_both_programs(tmp_path):
    for start in (0, 5):
        with Program("store_keep.py", tmp_path / "mystore.sqlite") as keeper:
            with Program("store_count.py", keeper.line(), 5) as counter:
                for number in range(5):
                    counter.expect(str(start + number + 1))
                counter.finish()
            lines = [keeper.line(), keeper.line(), keeper.line()]
        assert lines[0].startswith("SC.PeerAdded ")
        assert lines[2] == "SC.EndpointUnreachable %d" % (start + 5)


def test_where_the_package_is():
    with Program(code="import broker; print(broker.__file__)") as program:
        assert program.line().endswith("broker/__init__.py")
        program.finish()


def test_the_ping_script_as_it_is():
    """The script has the port 9999 in it."""
    script = manual_script("ping.py")
    pong = (pathlib.Path(__file__).parent / "programs" / "pong.py").read_text()
    with Program(code=pong.replace('"127.0.0.1", 0', '"127.0.0.1", 9999')) as listener:
        listener.expect("9999")
        with Program(code=script) as ping:
            for n in range(5):
                ping.expect("received pong[%d]" % n)
            ping.finish()
            listener.finish()


class Listening:
    """Waits at its beginning until a port takes connections: the program that listens does not say when."""

    def __init__(self, port):
        self.port = port

    def __enter__(self):
        wait_until(self._is_open, "port %d is open" % self.port)

    def _is_open(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def __exit__(self, *exception):
        pass


def test_the_store_scripts_as_they_are(tmp_path):
    """They have the port 9999 in them and never end."""
    listen, connect = (manual_script(name) for name in ("sqlite-listen.py", "sqlite-connect.py"))
    last = 0
    for _ in range(2):
        numbers = []
        with Program(code=listen, cwd=tmp_path), Listening(9999), Program(code=connect, cwd=tmp_path) as counter:
            while not numbers or numbers[-1] < last + 3:
                line = counter.line()
                # The first read may come before the first copy, any read before the change made just then.
                numbers.append(last if line == "None" else int(line))
        assert numbers == sorted(numbers)
        assert all(last <= number <= last + made + 1 for made, number in enumerate(numbers, 1)), (last, numbers)
        last = numbers[-1]
