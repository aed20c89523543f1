"""Ports that have to be known before anything listens at them."""

import pathlib
import random
import socket

LOCALHOST = "127.0.0.1"
# Where ports are looked for: above those of well-known services.
FIRST = 20_000
# What the system chooses from where it is asked for any port begins here, unless it says otherwise.
CHOSEN = 32_768


def _is_taken(port):
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((LOCALHOST, port)) == 0


def reserved_port():
    """A port at which nothing listens, and at which nothing will but what this test has listen there.

    A port that the system chose and that was given back is soon chosen for another process, so this one is from
    the ports that it does not choose from. The UDP port of the same number stands for it among tests: it is kept
    until the process ends.
    """
    try:
        first = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:
        first = CHOSEN
    count = (first if first > FIRST else CHOSEN) - FIRST
    for _ in range(10 * count):
        port = FIRST + random.randrange(count)
        kept = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            kept.bind((LOCALHOST, port))
        except OSError:
            kept.close()
            continue
        if _is_taken(port):
            kept.close()
            continue
        # The descriptor alone, which nothing closes before the end.
        kept.detach()
        return port
    raise AssertionError("not one of %d ports is free" % count)
