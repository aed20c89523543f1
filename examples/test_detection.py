"""Tests detection.py without Zeek: `pytest test_detection.py`. The fixture comes with the package."""

import ipaddress
import threading
from collections.abc import Iterator

import pytest

import broker.sync as broker
from broker.testing import FakeZeek
from detection import Refused, Scanner, detect

SCANNER, OTHER = ipaddress.IPv4Address("192.0.2.66"), ipaddress.IPv4Address("192.0.2.7")


def target(number: int) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address("198.51.100.0") + number


@pytest.fixture
def zeek(fake_zeek: FakeZeek) -> Iterator[FakeZeek]:
    """A Zeek with the detection running beside it."""
    with broker.connect(fake_zeek.address, subscribe=["/site/refused"]) as connection:
        running = threading.Thread(target=detect, args=(connection, 3))
        running.start()
        yield fake_zeek
        connection.close()
        running.join()


def test_a_scanner_is_told_once(zeek: FakeZeek) -> None:
    for number in (1, 2, 3, 4):
        zeek.publish("/site/refused", Refused(SCANNER, target(number)))
        zeek.publish("/site/refused", Refused(OTHER, target(1)))    # The same target again is no scan.
    # Another host at the end: when it is told everything before it was looked at.
    for number in (1, 2, 3):
        zeek.publish("/site/refused", Refused(target(9), target(number)))
    told = [broker.unpack(event, Scanner) for event in zeek.wait_for("Site::scanner", 2)]
    assert told == [Scanner(SCANNER, broker.Count(3)), Scanner(target(9), broker.Count(3))]


def test_what_does_not_fit_ends_nothing(zeek: FakeZeek) -> None:
    zeek.publish("/site/refused", broker.Event("Site::refused", "no address"))
    for number in (1, 2, 3):
        zeek.publish("/site/refused", Refused(SCANNER, target(number)))
    zeek.wait_for("Site::scanner")
