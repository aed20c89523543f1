"""The name of `broker.zeek` before Zeek was called Zeek: the same module."""

from .zeek import *

def __dir__() -> list[str]: ...
