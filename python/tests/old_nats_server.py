"""A server of NATS as far as it tells its version: what old ones of it say first."""

import json
import socket
import threading

from nats_server import LOCALHOST


class OldServer:
    """Takes every client in, answers pings and says nothing else."""

    def __init__(self, version):
        info = {"version": version, "headers": True, "jetstream": True, "max_payload": 1 << 20}
        self._info = b"INFO " + json.dumps(info).encode() + b"\r\n"
        self._listener = socket.create_server((LOCALHOST, 0))
        self.port = self._listener.getsockname()[1]
        self._sockets = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        try:
            client.sendall(self._info)
            for line in client.makefile("rb"):
                if line == b"PING\r\n":
                    client.sendall(b"PONG\r\n")
        except OSError:
            pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # A thread in `accept` is not woken by a close alone.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for it in self._sockets:
            it.close()
