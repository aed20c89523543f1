"""Which release of the original this stands in for."""

MAJOR: int
MINOR: int
PATCH: int
PROTOCOL: int
suffix: str

def string() -> str: ...
def compatible(version: int, /) -> bool: ...
