"""The one implementation behind `broker.aio` and `broker.sync`: coroutines that wait only through a `Waiter`.

`broker.aio` gives them a waiter for the library that runs the program; `broker.sync` one that blocks
its thread, so that a coroutine runs from its beginning to its end in one call. Decisions about peers,
messages and stores are native code; here is who waits for what.

Map: `waiter` says what waiting needs, `on_asyncio`, `on_trio` and `blocking` are the ways to wait;
`completions` what one connection waits for, behind one descriptor; `deadline` how long; `stream` what
is received, in batches; `events` events among messages; `replies` answers to requests; `store` data
stores; `connection` what everything begins with.
"""
