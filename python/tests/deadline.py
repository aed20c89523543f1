"""Waiting for conditions: until they hold or a deadline has passed, never for a fixed time."""

import time

# Only a failure waits this long: more than anything takes on a machine that is busy with something else.
DEADLINE_S = 60.0
# What a call is given that must end for another reason; longer than any test may take.
FOR_EVER_S = 3600.0
# How often a condition is looked at that cannot be waited for.
INTERVAL_S = 0.005


def wait_until(condition, what, timeout=DEADLINE_S):
    """Returns the first true result of the condition."""
    deadline = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError("not within %g s: %s" % (timeout, what))
        time.sleep(INTERVAL_S)


def take(subscriber, count, timeout=DEADLINE_S):
    """Exactly this many messages or events of a subscriber, in order."""
    received = []
    deadline = time.monotonic() + timeout
    while len(received) < count:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise AssertionError("%d of %d within %g s: %r" % (len(received), count, timeout, received[-3:]))
        received += subscriber.get(count - len(received), remaining)
    return received


def take_one(subscriber, timeout=DEADLINE_S):
    return take(subscriber, 1, timeout)[0]


def quick(limit, attempt, attempts=5):
    """One of several attempts takes less than the limit, in seconds; each returns what it took.

    On a busy machine any one of them may be slow. What waits for a time that it need not wait for is slow in all.
    """
    taken = []
    while len(taken) < attempts:
        taken.append(attempt())
        if taken[-1] < limit:
            return
    raise AssertionError("not once within %g s: %s" % (limit, ", ".join("%.2f s" % took for took in taken)))


class Stopwatch:
    """Measures a block of code: `with Stopwatch() as took: ...; took.seconds`."""

    def __enter__(self):
        self.started = time.monotonic()
        self.seconds = None
        return self

    def __exit__(self, *exception):
        self.seconds = time.monotonic() - self.started
