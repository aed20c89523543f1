"""Hands what endpoints say to Python's `logging`.

It begins by itself: whoever makes an `Endpoint` while `logging` has a handler for the logger
`broker` (one of the root logger, as `logging.basicConfig()` makes it, will do) gets its records. A
handler that is added later is found when the next endpoint is made, or by `install()`.

The loggers are `broker`, `broker.peer`, `broker.store`, `broker.websocket`, `broker.http` and
`broker.app`; their levels are those of `logging`, at any time, and `TRACE` is below `DEBUG`. Records
have two attributes more: `event`, the stable name of what happened, and `fields`, a dict.

No thread of an endpoint runs Python code: records wait in a queue, and one thread takes them out. It
exists only while a handler does. What finds the queue full is counted, and a record says how many.
"""

import logging
import os
import sys
import threading
import time
import traceback

from ._broker import _LogReader

__all__ = ["TRACE", "flush", "install", "uninstall"]

#: The level of what is said about single messages.
TRACE = 5

# How often the thread looks whether there still is a handler, when nothing is said.
_IDLE_S = 5.0

# How long a fork waits for the handler that runs just then.
_FORK_S = 1.0

# How long the exit of the interpreter waits for handlers to take what is left.
_EXIT_S = 5.0

_loggers = {name: logging.getLogger("broker" if name == "core" else "broker." + name)
            for name in _LogReader.components()}
_bridge = None
_is_installed = False
_lock = threading.Lock()
# Held while a handler has a record. A fork in the middle of that would leave the child with a lock of
# the handler's stream that no thread is there to release.
_handing_over = threading.RLock()


class _Bridge:
    def __init__(self):
        self.reader = _LogReader()
        self.thread = threading.Thread(target=self.run, name="broker-logging", daemon=True)
        self.follow()
        self.thread.start()

    def follow(self):
        """Takes over the levels of the loggers."""
        disabled = logging.root.manager.disable
        self.reader.set_levels([max(logger.getEffectiveLevel(), disabled + 1)
                                for logger in _loggers.values()])

    def run(self):
        while True:
            records = self.reader.wait(_IDLE_S)
            if records is None:
                return
            for record in records:
                try:
                    with _handing_over:
                        _hand_over(*record)
                except Exception:
                    # A filter or handler of the program failed; the others still get theirs.
                    traceback.print_exc()
            self.follow()
            if not records and not _is_installed and not _has_handlers():
                _leave(self)

    def close(self):
        self.reader.close()


def _hand_over(time_ns, level, component, event, fields, text):
    logger = _loggers[component]
    if not logger.isEnabledFor(level):
        return
    record = logger.makeRecord(logger.name, level, "(broker)", 0, text, (), None, None,
                               {"event": event, "fields": fields})
    late_s = time.time() - time_ns / 1e9
    record.created = time_ns / 1e9
    record.msecs = time_ns // 1_000_000 % 1000 + 0.0
    record.relativeCreated -= late_s * 1000
    logger.handle(record)


class _Cache(dict):
    """What a logger knows about its levels. `logging` empties it whenever some level changes."""

    def clear(self):
        super().clear()
        bridge = _bridge
        if bridge is not None:
            bridge.follow()


for _logger in _loggers.values():
    # Without this attribute levels are looked at with every record and every few seconds.
    if type(getattr(_logger, "_cache", None)) is dict:
        _logger._cache = _Cache()


def _has_handlers():
    return any(logger.hasHandlers() for logger in _loggers.values())


def _begin():
    global _bridge
    with _lock:
        if _bridge is None:
            _bridge = _Bridge()


def _leave(bridge):
    global _bridge
    with _lock:
        if _bridge is bridge:
            _bridge = None
    bridge.close()


def _notice():
    # Called when an endpoint is made.
    if _bridge is None and (_is_installed or _has_handlers()):
        try:
            _begin()
        except RuntimeError as error:
            # Too late for a thread: the interpreter is exiting.
            if not sys.is_finalizing() and "shutdown" not in str(error):
                raise


def install():
    """Hands records to `logging` from now on, also while there is no handler."""
    global _is_installed
    _is_installed = True
    _begin()


def uninstall():
    """Hands over what was said so far, and nothing any more until the next `install()`, or until an
    endpoint is made while there is a handler."""
    global _is_installed
    _is_installed = False
    _stop()


def flush(timeout=10.0):
    """Waits until handlers have got what was said before; False when that takes longer than
    `timeout` seconds."""
    bridge = _bridge
    if bridge is None or bridge.thread is threading.current_thread():
        return True
    return bridge.reader.flush(timeout)


def _stop():
    bridge = _bridge
    if bridge is not None:
        _leave(bridge)
        if bridge.thread is not threading.current_thread():
            bridge.thread.join(_EXIT_S)


def _before_fork():
    _handing_over.acquire(timeout=_FORK_S)


def _after_fork_in_parent():
    try:
        _handing_over.release()
    except RuntimeError:
        pass  # The handler took longer, and the fork did not wait for it.


def _after_fork_in_child():
    # The thread is the parent's, and so may be the locks.
    global _bridge, _lock, _handing_over
    _bridge = None
    _lock = threading.Lock()
    _handing_over = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent,
                        after_in_child=_after_fork_in_child)
