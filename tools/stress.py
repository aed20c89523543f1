#!/usr/bin/env python3
"""Repeats tests on a machine that is kept busy, and says which of them failed how often.

    stress.py [--runs 20] [--load 2] [--modes plain,one-core,nice,serial,wide] [--only TEXT] [FILE ...]

Without files: the test programs of the workspace, with all features; `--no-default-features` takes those of
`broker` without any. Files may be test programs or files of tests in Python, which run in this interpreter's
environment. `--only` selects tests by a part of their names, as the test programs themselves do.

A test that fails in one of many runs depends on something that it does not say: on how fast the machine is,
on which of two threads is first, on a port, on another process. The output of each run that failed is kept in
`target/stress`. The exit code is 1 if there was any.
"""

import argparse
import collections
import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
KEPT = ROOT / "target" / "stress"

# What stands before a test's command, and how many of a program's tests run at a time.
MODES = {
    "plain": ([], 6),
    # As on the smallest machine: threads that expect each other to run have to be let in.
    "one-core": (["taskset", "-c", "0"], 6),
    # Everything else on the machine goes first, so that pauses come anywhere and are long.
    "nice": (["nice", "-n", "19"], 6),
    "serial": ([], 1),
    "wide": ([], 16),
}

# How a failed test is named: by a test program, by pytest.
FAILED = re.compile(r"^test (?:\S+ - )?(\S+).*\.\.\. FAILED$|^(?:FAILED|ERROR) \S+?::(\S+)", re.MULTILINE)
BUSY = "while True: pass"


@contextlib.contextmanager
def load(count):
    """Processes that do nothing else than use a core."""
    busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def programs(features):
    """The test programs of the workspace, built, each with the folder that its tests expect to run in."""
    command = ["cargo", "test", "--locked", "--no-run", "--message-format=json", *features]
    built = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    for line in built.splitlines():
        message = json.loads(line) if line.startswith("{") else {}
        if message.get("executable") and message.get("profile", {}).get("test"):
            yield message["executable"], os.path.dirname(message["manifest_path"])


def command_of(file, only):
    if file.endswith(".py"):
        return [sys.executable, "-m", "pytest", "-q", "--no-header", file] + (["-k", only] if only else [])
    return [file] + ([only] if only else [])


def run(command, mode, folder, limit_s):
    """The exit code of a run, `None` if it had to be ended, and what it printed."""
    before, threads = MODES[mode]
    process = subprocess.Popen(
        before + command, cwd=folder, env={**os.environ, "RUST_TEST_THREADS": str(threads)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        output = process.communicate(timeout=limit_s)[0]
        code = process.returncode
    except subprocess.TimeoutExpired:
        end(process)
        output = process.communicate()[0]
        code = None
    except KeyboardInterrupt:
        end(process)
        raise
    return code, output.decode(errors="replace")


def end(process):
    """Ends a run with what it started, which shares its output and would keep it open."""
    os.killpg(process.pid, signal.SIGKILL)


def name_of(file):
    return re.sub(r"-[0-9a-f]{16}$", "", pathlib.Path(file).stem)


def stress(files, arguments, failures, runs):
    """Runs every file in every mode, and counts how often each test failed and each file ran."""
    for number in range(1, arguments.runs + 1):
        for file, folder in files:
            for mode in arguments.modes:
                began = time.monotonic()
                code, output = run(command_of(file, arguments.only), mode, folder, arguments.limit)
                runs[name_of(file), mode] += 1
                # 5: the selection leaves nothing of a file of Python.
                if code in (0, 5):
                    continue
                names = sorted({rust or python for rust, python in FAILED.findall(output)})
                names = names or ["(ended after %d s)" % arguments.limit if code is None else "(code %d)" % code]
                kept = KEPT / ("%s-%s-%d-%d.txt" % (name_of(file), mode, number, time.time()))
                kept.write_text(output)
                for test in names:
                    failures[name_of(file), test, mode] += 1
                print("run %d: %s, %s: %s failed after %.0f s; %s" % (
                    number, name_of(file), mode, ", ".join(names), time.monotonic() - began, kept), flush=True)


def report(failures, runs):
    print("%d runs of %d files, %d failures" % (
        sum(runs.values()), len({file for file, _ in runs}), sum(failures.values())))
    for (file, test, mode), count in sorted(failures.items()):
        print("%5d of %-5d %-9s %s: %s" % (count, runs[file, mode], mode, file, test))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*")
    parser.add_argument("--runs", type=int, default=20, help="how often each file runs in each mode")
    parser.add_argument("--load", type=int, default=2, help="how many processes keep the machine busy beside it")
    parser.add_argument("--modes", default="plain,one-core,nice", type=lambda text: text.split(","),
                        help="which of " + ", ".join(MODES))
    parser.add_argument("--only", default="", help="a part of the names of the tests that run")
    parser.add_argument("--no-default-features", action="store_true")
    parser.add_argument("--skip", action="append", default=[], help="a program that is left out")
    parser.add_argument("--limit", type=int, default=1200, help="seconds after which a run counts as stuck")
    arguments = parser.parse_args()
    unknown = [mode for mode in arguments.modes if mode not in MODES]
    if unknown:
        parser.error("there is no mode %s" % ", ".join(unknown))
    if arguments.files:
        files = [(str(pathlib.Path(file).resolve()), None) for file in arguments.files]
    elif arguments.no_default_features:
        files = list(programs(["-p", "broker", "--no-default-features", "--lib", "--tests"]))
    else:
        files = list(programs(["--workspace", "--exclude", "broker-python", "--all-features"]))
    files = [(file, folder) for file, folder in files if name_of(file) not in arguments.skip]
    KEPT.mkdir(parents=True, exist_ok=True)
    # Ended before its time it tells what it knows, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    failures, runs = collections.Counter(), collections.Counter()
    with contextlib.suppress(KeyboardInterrupt), load(arguments.load):
        stress(files, arguments, failures, runs)
    report(failures, runs)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
