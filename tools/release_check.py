#!/usr/bin/env python3
"""Checks what has to be true of a release before it is published: `make release-check`.

Versions agree, the changelog has the version with a date, every crate can be packaged and says what the
index asks for, and what `make dist` made passes. With --unreleased the changelog may still say
"Unreleased"; without dist/release its part is skipped and named. Nothing is sent anywhere.
"""

import argparse
import datetime
import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
# In the order in which they are published: each needs those before it.
CRATES = ["broker-data", "broker-zeek", "broker-proto", "broker", "broker-cli"]
# Cargo warns of these and publishes nonetheless: there is no public place yet.
NO_PLACE_YET = "manifest has no documentation, homepage or repository"


def run(*command):
    return subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True)


def packages():
    answer = run("cargo", "metadata", "--offline", "--locked", "--no-deps", "--format-version", "1")
    if answer.returncode:
        raise SystemExit("release_check: %s" % answer.stderr.strip())
    return {package["name"]: package for package in json.loads(answer.stdout)["packages"]}


def check_versions(found, version):
    for name in [*CRATES, "broker-python"]:
        if found[name]["version"] != version:
            yield "crate `%s` has version %s, the workspace %s" % (name, found[name]["version"], version)
    for name in CRATES:
        for dependency in found[name]["dependencies"]:
            if dependency["name"] in CRATES and dependency["req"] not in ("*", "^" + version):
                yield "crate `%s` asks for %s %s" % (name, dependency["name"], dependency["req"])
    lock = (ROOT / "Cargo.lock").read_text()
    for name in CRATES:
        if 'name = "%s"\nversion = "%s"\n' % (name, version) not in lock:
            yield "Cargo.lock has another version of `%s`" % name
    if 'dynamic = ["version"]' not in (ROOT / "python" / "pyproject.toml").read_text():
        yield "python/pyproject.toml no longer takes its version from Cargo.toml"


def check_order(found):
    for number, name in enumerate(CRATES):
        for dependency in found[name]["dependencies"]:
            if dependency["name"] in CRATES[number:] and dependency["kind"] != "dev":
                yield "`%s` needs `%s`, which is published later" % (name, dependency["name"])
    workflow = (ROOT / ".github" / "workflows" / "release.yml").read_text()
    if "for crate in %s;" % " ".join(CRATES) not in workflow:
        yield "the workflow publishes other crates, or in another order"
    unlisted = {name for name, package in found.items() if package["publish"] is None} - set(CRATES)
    if unlisted:
        yield "neither in the order of publishing nor `publish = false`: %s" % ", ".join(sorted(unlisted))


def check_metadata(found):
    for name in CRATES:
        for field in ("description", "license", "rust_version", "keywords"):
            if not found[name][field]:
                yield "crate `%s` has no %s" % (name, field)


def check_changelog(version, unreleased):
    headings = re.findall(r"(?m)^## (.+)$", (ROOT / "CHANGELOG.md").read_text())
    dated = [heading for heading in headings if heading.startswith(version + " - ")]
    if not dated:
        if not (unreleased and headings[:1] == ["Unreleased"]):
            yield "CHANGELOG.md has no heading `%s - DATE`" % version
        return
    try:
        datetime.date.fromisoformat(dated[0][len(version) + 3:])
    except ValueError:
        yield "CHANGELOG.md: `%s` has no date" % dated[0]


def check_packaging():
    """`cargo package` of all at once: what `cargo publish --dry-run` does before it compiles."""
    names = [word for name in CRATES for word in ("-p", name)]
    answer = run("cargo", "package", "--offline", "--locked", "--no-verify", "--allow-dirty",
                 "--target-dir", ROOT / "target" / "dist", *names)
    if answer.returncode:
        yield answer.stderr.strip()
    for line in answer.stderr.splitlines():
        if line.startswith("warning: ") and NO_PLACE_YET not in line:
            yield line


def check_dist():
    if not (ROOT / "dist" / "release").is_dir():
        print("SKIPPED: dist/release is not there; `make dist` makes it")
        return
    answer = run(sys.executable, ROOT / "tools" / "check_dist.py")
    if answer.returncode:
        yield (answer.stdout + answer.stderr).strip()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unreleased", action="store_true", help="the changelog need not have a date yet")
    arguments = parser.parse_args()
    found = packages()
    version = re.search(r'(?m)^version = "(.*)"', (ROOT / "Cargo.toml").read_text()).group(1)
    problems = 0
    for what, check in [("versions agree", check_versions(found, version)), ("order of the crates", check_order(found)),
                        ("metadata of the crates", check_metadata(found)),
                        ("changelog", check_changelog(version, arguments.unreleased)),
                        ("packages of the crates", check_packaging()), ("dist/release", check_dist())]:
        wrong = list(check)
        problems += len(wrong)
        print("%s: %s" % (what, "ok" if not wrong else "WRONG"))
        for problem in wrong:
            print("  " + problem.replace("\n", "\n  "))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
