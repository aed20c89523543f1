#!/usr/bin/env python3
"""Checks what `make dist` has made: `make dist-check`; with --sdist also builds the source distribution.

Every wheel is for the old glibc (`auditwheel show`) and not too large, the abi3 wheel works in every CPython
at hand, the list of components names what is compiled in, the checksums are right, and the metadata is as
the index wants it (`twine check`). The source distribution is built and installed without network.
"""

import argparse
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile

from dist import GLIBC, RELEASE, SHELLS

HERE = pathlib.Path(__file__).resolve().parent
# With the command inside. A larger wheel is a mistake of the build, or a decision to be made.
WHEEL_MIB_MAX = 9
GLIBC_MINOR_MAX = int(GLIBC.rpartition("_")[2])
# What a list of components has to name, whatever else it names.
COMPILED_IN = {"openssl-src", "libsqlite3-sys", "pyo3", "tokio"}


def require(fact, text):
    if not fact:
        raise SystemExit("check_dist: %s" % text)


def run(*command, **settings):
    print("+ %s" % " ".join(map(str, command)), flush=True)
    return subprocess.run(list(map(str, command)), check=True, **settings)


def one(pattern):
    found = list(RELEASE.glob(pattern))
    require(len(found) == 1, "%d files %s in %s; `make dist` makes one" % (len(found), pattern, RELEASE))
    return found[0]


def check_checksums():
    listed = dict(reversed(line.split()) for line in one("SHA256SUMS").read_text().splitlines())
    present = {path.name: hashlib.sha256(path.read_bytes()).hexdigest()
               for path in RELEASE.iterdir() if path.name != "SHA256SUMS"}
    require(listed == present, "SHA256SUMS is not of these files")


def check_wheels():
    one("*-abi3-*.whl")
    for wheel in RELEASE.glob("*.whl"):
        mib = wheel.stat().st_size / 2**20
        print("%s: %.1f MiB" % (wheel.name, mib))
        require(mib <= WHEEL_MIB_MAX, "%s has %.1f MiB, at most %d are allowed" % (wheel.name, mib, WHEEL_MIB_MAX))
        if sys.platform == "linux":
            require(GLIBC in wheel.name, "%s does not say %s" % (wheel.name, GLIBC))
            shown = run(sys.executable, "-m", "auditwheel", "show", wheel, stdout=subprocess.PIPE, text=True).stdout
            print(shown)
            # By its symbols, whatever the file is called.
            found = re.search(r'following platform tag:\s+"manylinux_2_(\d+)_', shown)
            require(found and int(found.group(1)) <= GLIBC_MINOR_MAX,
                    "auditwheel finds symbols that are newer than %s" % GLIBC)


def check_components():
    listed = json.loads(one("sbom.cyclonedx.json").read_text())
    require(listed["bomFormat"] == "CycloneDX", "not a list of CycloneDX")
    missing = COMPILED_IN - {component["name"] for component in listed["components"]}
    require(not missing, "the list of components lacks %s" % ", ".join(sorted(missing)))
    texts = one("THIRD-PARTY-LICENSES.txt").read_text()
    missing = [name for name in COMPILED_IN if "\n%s-" % name not in texts]
    require(not missing, "the licences lack %s" % ", ".join(missing))


def check_extras():
    with tarfile.open(one("*-extras.tar.gz")) as packed:
        names = {pathlib.PurePath(name).relative_to(pathlib.PurePath(name).parts[0]).as_posix()
                 for name in packed.getnames()}
    expected = {"packaging/broker-node.service", "packaging/broker-node.socket", "monitoring/grafana.json",
                "monitoring/alerts.yml", "man/broker.1", *("completions/" + file for file in SHELLS.values())}
    require(expected <= names, "the extras lack %s" % ", ".join(sorted(expected - names)))


def check_crates(archive):
    """All crates are inside and found there: an empty home of cargo has none, and nothing may be fetched."""
    with tempfile.TemporaryDirectory() as directory:
        with tarfile.open(archive) as packed:
            packed.extractall(directory)
        [folder] = pathlib.Path(directory).iterdir()
        home = pathlib.Path(directory) / "home"
        home.mkdir()
        settings = {**os.environ, "CARGO_HOME": str(home), "RUSTUP_HOME": rustup_home()}
        found = run("cargo", "metadata", "--locked", "--offline", "--format-version", "1", cwd=folder, env=settings,
                    stdout=subprocess.PIPE, text=True).stdout
    names = {package["name"] for package in json.loads(found)["packages"]}
    require(COMPILED_IN <= names, "the source distribution lacks %s" % ", ".join(COMPILED_IN - names))
    print("the source distribution has its %d crates inside" % len(names))


def rustup_home():
    return os.environ.get("RUSTUP_HOME", str(pathlib.Path.home() / ".rustup"))


def check_source_distribution():
    """Builds and installs it in an empty environment, with only the build tool, and without network.

    Without optimisation: whether everything is there is the question, and the answer comes sooner.
    """
    with tempfile.TemporaryDirectory() as directory:
        environment = pathlib.Path(directory) / "environment"
        python = environment / "bin" / "python"
        run(sys.executable, "-m", "venv", environment)
        # The build tool is a program; what it needs comes from here and not from an index.
        requirement = next(line for line in (HERE / "requirements-dist.txt").read_text().splitlines()
                           if line.startswith("maturin"))
        run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", requirement)
        home = pathlib.Path(directory) / "cargo"
        home.mkdir()
        path = os.pathsep.join([str(environment / "bin"), os.environ["PATH"]])
        # No crates of the machine either: they would hide that one is missing.
        settings = {**os.environ, "PATH": path, "CARGO_HOME": str(home), "CARGO_NET_OFFLINE": "true", "PIP_NO_INDEX": "1",
                    "CARGO_TARGET_DIR": str(pathlib.Path(directory) / "target"),
                    "RUSTUP_HOME": rustup_home()}
        # Where we may, the network is taken away; elsewhere it is only forbidden.
        alone = shutil.which("unshare") is not None and subprocess.run(["unshare", "-rn", "true"]).returncode == 0
        if not alone:
            print("NOTE: the network cannot be cut off here; pip and cargo are told not to use it")
        run(*(["unshare", "-rn"] if alone else []), python, "-m", "pip", "install", "--disable-pip-version-check",
            "--no-build-isolation", "--no-deps", "--config-settings", "build-args=--locked --offline --profile dev",
            one("zeek_broker-*.tar.gz"), env=settings)
        run(python, HERE / "smoke.py", cwd=directory)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sdist", action="store_true", help="also build the source distribution, which takes minutes")
    parser.add_argument("--crates", type=pathlib.Path, metavar="FOLDER",
                        help="only whether the source distribution there has all crates inside")
    arguments = parser.parse_args()
    if arguments.crates:
        [archive] = arguments.crates.glob("*.tar.gz")
        return check_crates(archive)
    check_checksums()
    check_wheels()
    check_components()
    check_extras()
    check_crates(one("zeek_broker-*.tar.gz"))
    run(sys.executable, "-m", "twine", "check", "--strict", *RELEASE.glob("*.whl"), one("zeek_broker-*.tar.gz"))
    run(sys.executable, HERE / "try_abi3.py", one("*-abi3-*.whl"))
    if arguments.sdist:
        check_source_distribution()
    print("dist/release is as it should be")


if __name__ == "__main__":
    main()
