"""What takes part in a test, and how it is put away."""

import concurrent.futures
import contextlib

import broker

import deadline
import peer as scripted


def listen(endpoint):
    port = endpoint.listen("127.0.0.1", 0)
    assert port != 0
    return port


def connect(dialer, listener):
    """Peers two endpoints of ours; both sides have installed the peering when it returns."""
    port = listen(listener)
    assert dialer.peer("127.0.0.1", port, 0.0)
    assert listener.await_peer(dialer.node_id(), deadline.DEADLINE_S)
    return port


def call(scene, endpoint, peer, retry=0.0):
    """Has the endpoint dial a scripted peer, which takes the call; the result of `peer()` is a future."""
    peering = scene.background(endpoint.peer, scripted.LOCALHOST, peer.listen(), retry)
    peer.accept()
    return peering


def meet(endpoint, peer, peer_dials=True):
    """Connects a scripted peer either way; it is installed at the endpoint when this returns."""
    if peer_dials:
        peer.dial(listen(endpoint))
    else:
        endpoint.peer_nosync(scripted.LOCALHOST, peer.listen(), 0.0)
        peer.accept()
    return peer.shake_hands().sync()


class Scene:
    """What takes part in a test: endpoints and scripted peers, put away in a sensible order."""

    def __init__(self):
        self._endpoints = []
        self._peers = []
        self._resources = contextlib.ExitStack()
        self._threads = concurrent.futures.ThreadPoolExecutor(max_workers=32)

    def endpoint(self, tls=True, forwarding=True):
        options = broker.BrokerOptions()
        options.disable_ssl = not tls
        options.disable_forwarding = not forwarding
        return self.adopt(broker.Endpoint(broker.Configuration(options)))

    def adopt(self, endpoint):
        self._endpoints.append(endpoint)
        return endpoint

    def peer(self, *filter, **settings):
        return self.adopt_peer(scripted.Peer(filter=filter, **settings))

    def adopt_peer(self, peer):
        self._peers.append(peer)
        return peer

    def connected_peer(self, endpoint, *filter, **settings):
        """A scripted peer that dialed the endpoint and is installed there."""
        peer = self.peer(*filter, **settings)
        peer.dial(listen(endpoint))
        return peer.shake_hands().sync()

    def use(self, resource):
        """Closes a resource before the endpoints go."""
        return self._resources.enter_context(resource)

    def background(self, function, *arguments, **keywords):
        """Runs a blocking call in a thread; the result is a future."""
        return self._threads.submit(function, *arguments, **keywords)

    def close(self):
        # Without their peers endpoints have nobody to wait for.
        for peer in self._peers:
            peer.close()
        self._resources.close()
        for endpoint in self._endpoints:
            endpoint.shutdown()
        self._threads.shutdown()
