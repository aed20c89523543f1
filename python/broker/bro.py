"""The name of `broker.zeek` before Zeek was called Zeek: the same module."""

import sys

from . import zeek

sys.modules[__name__] = zeek
