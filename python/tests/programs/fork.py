"""Forks while an endpoint lives: the child gets clear errors, the parent goes on."""

import multiprocessing
import os
import subprocess
import sys

import broker


def refused(name, call):
    try:
        call()
    except RuntimeError as error:
        print(name, "refused:", error, flush=True)
        return
    print(name, "NOT refused", flush=True)


def work():
    print("work done", flush=True)


with broker.Endpoint() as one, broker.Endpoint() as two, one.make_subscriber("/x") as sub, \
        one.make_status_subscriber() as ss, two.make_publisher("/x") as pub:
    assert two.peer("127.0.0.1", one.listen("127.0.0.1", 0), 0.0)

    store, clone = one.attach_master("store"), two.attach_clone("store")
    events, proxy = store.events(), store.proxy()
    assert clone.await_idle()

    child = os.fork()
    if child == 0:
        refused("publish", lambda: two.publish("/x", 1))
        refused("publisher", lambda: pub.publish(1))
        refused("get", lambda: sub.get(0.1))
        refused("poll", lambda: sub.poll())
        refused("status", lambda: ss.get(1, 0.1))
        refused("peers", lambda: one.peers())
        refused("listen", lambda: one.listen("127.0.0.1", 0))
        refused("peer", lambda: one.peer("127.0.0.1", 9, 0.0))
        refused("make_subscriber", lambda: one.make_subscriber("/x"))
        refused("put", lambda: store.put(1, 1))
        refused("put_unique", lambda: clone.put_unique(1, 1))
        refused("store get", lambda: clone.get(1))
        refused("exists", lambda: store.exists(1))
        refused("await_idle", lambda: store.await_idle(0.1))
        refused("events", lambda: events.poll())
        refused("proxy", lambda: proxy.get(1))
        refused("attach_master", lambda: one.attach_master("other"))
        # Values need no endpoint.
        print("values", broker.Data.to_py(broker.Data([1, broker.Count(2)])), flush=True)
        os._exit(7)
    _, status = os.waitpid(child, 0)
    print("child ended with", os.WEXITSTATUS(status), flush=True)

    # A child that ends like any Python program, destructors included.
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(20)
    print("process ended with", process.exitcode, flush=True)

    subprocess.run([sys.executable, "-c", "print('program ran', flush=True)"], check=True)

    # The connection was not disturbed by any of this.
    for n in range(100):
        two.publish("/x", n)
    print("parent got", [data for _, data in sub.get(100)] == list(range(100)), flush=True)
    print("peers", len(one.peers()), len(two.peers()), flush=True)
    clone.put("k", 1)
    print("idle", clone.await_idle(), store.get("k"), flush=True)
