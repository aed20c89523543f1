"""Addresses of peers as `connect` takes them."""

from __future__ import annotations


def url_of(address: str) -> str:
    """The URL of an address: `broker://` and `host:port` mean the native protocol.

    >>> url_of("10.0.0.5:9999"), url_of("[::1]:9999"), url_of("broker://sensor:9999")
    ('zeek://10.0.0.5:9999', 'zeek://[::1]:9999', 'zeek://sensor:9999')
    >>> url_of("wss://sensor:27759")
    'wss://sensor:27759'
    """
    scheme, mark, rest = address.partition("://")
    if not mark:
        return "zeek://" + address
    return "zeek://" + rest if scheme.lower() == "broker" else address


def host_and_port(url: str) -> str:
    """What an URL has behind its scheme, as events name it.

    >>> host_and_port("zeek://10.0.0.5:9999")
    '10.0.0.5:9999'
    """
    return url.partition("://")[2].rstrip("/")
