"""Finds recordings and scripts that are not in the repository, for the demonstration and the tests.

tools/outside-files.json says where they are, and when a missing one is a failure instead of a gap.
"""

import json
import os
import pathlib

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
_RULES = json.loads((REPOSITORY / "tools" / "outside-files.json").read_text(encoding="utf-8"))


class MissingFile(Exception):
    """A file is not there, and this machine has to have it."""


def folder(kind):
    """The folder with the files of that kind, whether it exists or not."""
    rule = _RULES["folders"][kind]
    return pathlib.Path(os.environ.get(rule["variable"]) or REPOSITORY.parent / rule["beside"])


def find(kind, name):
    """The path of a file, or None if it is not there and need not be; raises MissingFile if it has to be."""
    rule = _RULES["folders"][kind]
    if name not in rule["files"]:
        raise ValueError("tools/outside-files.json does not list %r" % name)
    path = folder(kind) / name
    if path.is_file():
        return path
    if os.environ.get(_RULES["required_when_set"]):
        raise MissingFile("there is no %s, but %s is set, so it has to be there; %s can name another folder"
                          % (path, _RULES["required_when_set"], rule["variable"]))
    return None


def missing(kind):
    """Says what is not tested without a file, and how to change that."""
    return "NOT TESTED: no file in %s; %s can name another folder" % (folder(kind), _RULES["folders"][kind]["variable"])
