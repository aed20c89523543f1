"""Ends the interpreter with everything alive, in the way that the argument says."""

import sys
import threading

import broker

one, two = broker.Endpoint(), broker.Endpoint()
sub, safe = one.make_subscriber("/x"), one.make_safe_subscriber("/x")
ss = one.make_status_subscriber(True)
pub = two.make_publisher("/x")
assert two.peer("127.0.0.1", one.listen("127.0.0.1", 0), 0.0)
two.peer_nosync("127.0.0.1", 9, 1.0)
pub.publish({"a": 1})
store = one.attach_master("memory")
in_file = one.attach_master("file", broker.Backend.SQLite, {"path": sys.argv[2]})
clone, lonely = two.attach_clone("memory"), two.attach_clone("nowhere")
events, proxy = store.events(), clone.proxy()
clone.put("k", 1)
proxy.get("k")
for number in range(1000):
    in_file.put(number, number)
cycle = [one]
cycle.append(cycle)


def wait_for_ever():
    waiting.release()
    while True:
        sub.get()


waiting = threading.Semaphore(0)
how = sys.argv[1]
if how != "quiet":
    threading.Thread(target=wait_for_ever, daemon=True).start()
    threading.Thread(target=lonely.get, args=("k",), daemon=True).start()
    waiting.acquire()
print("leaving", flush=True)
if how == "raise":
    raise ValueError("on purpose")
if how == "exit":
    sys.exit(3)
