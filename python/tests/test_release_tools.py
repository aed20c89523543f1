"""What makes and checks a release: the parts of tools/ that decide something."""

import importlib.util
import json
import sys

import pytest

from recordings import REPOSITORY

TOOLS = REPOSITORY / "tools"


def load(name):
    spec = importlib.util.spec_from_file_location("tools_" + name, TOOLS / (name + ".py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib is there from Python 3.11 on")
def test_manifests_lose_their_development_dependencies_and_nothing_else():
    import tomllib

    dist, lost = load("dist"), 0
    for path in (REPOSITORY / "crates").glob("*/Cargo.toml"):
        before, after = path.read_text(), tomllib.loads(dist.without_development(path.read_text()))
        expected = tomllib.loads(before)
        lost += expected.pop("dev-dependencies", None) is not None
        assert after == expected
    assert lost >= 4
    with_target = '[dependencies]\na = "1"\n\n[target.\'cfg(unix)\'.dev-dependencies]\nb = "1"\n\n[lints]\nworkspace = true\n'
    assert "dev-dependencies" not in dist.without_development(with_target)


def test_unused_files_of_a_crate_leave_its_checksums(tmp_path):
    dist = load("dist")
    (tmp_path / "lib").mkdir()
    for name in ("lib/import.a", "lib.rs"):
        (tmp_path / name).write_text("x")
    listing = tmp_path / ".cargo-checksum.json"
    listing.write_text(json.dumps({"files": {"lib/import.a": "1", "lib.rs": "2"}, "package": "3"}))
    dist.drop_unused(tmp_path)
    assert json.loads(listing.read_text()) == {"files": {"lib.rs": "2"}, "package": "3"}
    assert not (tmp_path / "lib" / "import.a").exists()


@pytest.mark.parametrize("changelog, unreleased, expected", [
    ("## Unreleased\n\n## 0.1.0 - 2027-01-15\n", False, []),
    ("## Unreleased\n", True, []),
    ("## Unreleased\n", False, ["CHANGELOG.md has no heading `0.1.0 - DATE`"]),
    ("## 0.1.0 - soon\n", False, ["CHANGELOG.md: `0.1.0 - soon` has no date"]),
    ("## 0.1.0\n", True, ["CHANGELOG.md has no heading `0.1.0 - DATE`"]),
])
def test_the_changelog_of_a_release(tmp_path, monkeypatch, changelog, unreleased, expected):
    check = load("release_check")
    monkeypatch.setattr(check, "ROOT", tmp_path)
    (tmp_path / "CHANGELOG.md").write_text(changelog)
    assert list(check.check_changelog("0.1.0", unreleased)) == expected


def test_crates_are_published_after_what_they_need(monkeypatch):
    check = load("release_check")
    found = {name: {"publish": None, "dependencies": []} for name in check.CRATES}
    assert list(check.check_order(found)) == []
    found["broker-data"]["dependencies"] = [{"name": "broker", "kind": None}, {"name": "broker-proto", "kind": "dev"}]
    found["bench"] = {"publish": None, "dependencies": []}
    assert list(check.check_order(found)) == [
        "`broker-data` needs `broker`, which is published later",
        "neither in the order of publishing nor `publish = false`: bench"]
