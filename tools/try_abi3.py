#!/usr/bin/env python3
"""Installs an abi3 wheel into an empty environment of every CPython that is found, and peers once in each.

    try_abi3.py WHEEL [--require-others]

Looked for are python3.9 to python3.14 on PATH and below ~/.pyenv/versions. Versions that are not on the
machine are named and skipped; with --require-others at least one beside this interpreter has to be there.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

MINORS = range(9, 15)
SMOKE = pathlib.Path(__file__).resolve().parent / "smoke.py"
ASK = "import sys, sysconfig; print(sys.implementation.name, sys.version_info[1], " \
      "sysconfig.get_config_var('Py_GIL_DISABLED') or 0)"
# No interpreter takes more than a few seconds; only one that hangs waits this long.
DEADLINE_S = 300


def candidates(minor):
    found = shutil.which("python3.%d" % minor)
    if found:
        yield found
    root = pathlib.Path(os.environ.get("PYENV_ROOT", pathlib.Path.home() / ".pyenv"))
    yield from map(str, sorted(root.glob("versions/3.%d.*/bin/python3" % minor), reverse=True))


def interpreter(minor):
    """The first interpreter of this version that runs; a free-threaded one has another ABI and does not count."""
    for path in candidates(minor):
        answer = subprocess.run([path, "-c", ASK], capture_output=True, text=True, timeout=DEADLINE_S)
        if answer.returncode == 0 and answer.stdout.split() == ["cpython", str(minor), "0"]:
            return path
    return None


def attempt(path, wheel):
    with tempfile.TemporaryDirectory() as directory:
        # This interpreter's pip installs into environments of others, which then need none.
        subprocess.run([path, "-m", "venv", "--without-pip", directory], check=True, timeout=DEADLINE_S)
        python = str(pathlib.Path(directory) / "bin" / "python")
        subprocess.run([sys.executable, "-m", "pip", "--python", python, "install", "--quiet",
                        "--disable-pip-version-check", "--no-index", "--no-deps", wheel], check=True, timeout=DEADLINE_S)
        subprocess.run([python, str(SMOKE)], check=True, cwd=directory, timeout=DEADLINE_S, stdout=subprocess.DEVNULL)
        subprocess.run([str(pathlib.Path(directory) / "bin" / "broker"), "version"], check=True,
                       timeout=DEADLINE_S, stdout=subprocess.DEVNULL)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=lambda text: str(pathlib.Path(text).resolve()))
    parser.add_argument("--require-others", action="store_true")
    arguments = parser.parse_args()
    passed, failed, missing = [], [], []
    for minor in MINORS:
        path = interpreter(minor)
        if path is None:
            print("SKIPPED: CPython 3.%d is not on this machine" % minor, flush=True)
            missing.append(minor)
            continue
        try:
            attempt(path, arguments.wheel)
        except (subprocess.SubprocessError, OSError) as problem:
            print("FAILED: CPython 3.%d, %s: %s" % (minor, path, problem), flush=True)
            failed.append(minor)
        else:
            print("works: CPython 3.%d" % minor, flush=True)
            passed.append(minor)
    print("abi3 wheel: %d passed, %d failed, %d skipped" % (len(passed), len(failed), len(missing)))
    if arguments.require_others and not set(passed) - {sys.version_info[1]}:
        print("no other CPython was found", file=sys.stderr)
        return 1
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
