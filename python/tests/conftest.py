"""Fixtures: endpoints and scripted peers that end with their test."""

import signal

import pytest

from recordings import outside_files
from scene import Scene, connect

# A shell starts what runs in the background with interrupts ignored. Programs inherit that, Python
# leaves it as it is, and then Ctrl-C, which many tests are about, does nothing.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header():
    folder = outside_files.folder("zeek")
    if folder.is_dir():
        return "log streams recorded with a real Zeek: %s" % folder
    return "*** log streams recorded with a real Zeek: %s ***" % outside_files.missing("zeek")


@pytest.fixture
def scene():
    scene = Scene()
    try:
        yield scene
    finally:
        scene.close()


@pytest.fixture
def endpoint(scene):
    return scene.endpoint()


@pytest.fixture
def pair(scene):
    """Two peered endpoints: the one that dialed and the one that listens."""
    dialer, listener = scene.endpoint(), scene.endpoint()
    connect(dialer, listener)
    return dialer, listener


@pytest.fixture(params=[True, False], ids=["tls", "plain"])
def tls(request):
    return request.param


@pytest.fixture(params=[True, False], ids=["peer-leads", "we-lead"])
def small(request):
    """Whether the scripted peer has the smaller id and so leads the handshake."""
    return request.param


@pytest.fixture(params=[True, False], ids=["peer-dials", "we-dial"])
def peer_dials(request):
    return request.param
