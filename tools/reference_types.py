"""Gives the reference the types of the stubs: an extension of griffe.

The native module has docstrings and signatures without types; the stubs have types without docstrings.
"""

from typing import Any

import griffe


class Types(griffe.Extension):
    """Copies annotations of the stubs to what was found in the built package."""

    def __init__(self) -> None:
        super().__init__()
        self._is_loading_stubs = False

    def on_package(self, *, pkg: griffe.Module, loader: griffe.GriffeLoader, **_rest: Any) -> None:
        if self._is_loading_stubs:
            return
        stubs = griffe.GriffeLoader(allow_inspection=False, search_paths=loader.finder.search_paths)
        package = stubs.load(pkg.name, try_relative_path=False)
        stubs.resolve_aliases(implicit=True)
        _annotate(pkg, package, set())


def _annotate(found: Any, stub: Any, seen: set[int]) -> None:
    if id(found) in seen:
        return
    seen.add(id(found))
    for name, member in list(found.members.items()):
        try:
            typed = stub.all_members.get(name) if stub.is_class else stub.members.get(name)
            if typed is None:
                continue
            typed = typed.final_target if typed.is_alias else typed
            member = member.final_target if member.is_alias else member
        except (griffe.AliasResolutionError, griffe.CyclicAliasError):
            continue
        if member.is_function and typed.is_function:
            _annotate_function(member, typed)
        elif member.is_attribute and (typed.is_attribute or typed.is_function):
            member.annotation = member.annotation or (typed.returns if typed.is_function else typed.annotation)
        elif member.is_class or member.is_module:
            _annotate(member, typed, seen)


def _annotate_function(function: griffe.Function, typed: griffe.Function) -> None:
    if typed.overloads:
        function.overloads = function.overloads or typed.overloads
        return
    function.returns = function.returns or typed.returns
    for parameter in function.parameters:
        if parameter.name in typed.parameters:
            parameter.annotation = parameter.annotation or typed.parameters[parameter.name].annotation
