"""The targets of the benchmarks: what counts as reached, and that a gap is told with its reason."""

import json
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench"))

import comparison
import run
from targets import Figures, NotMeasured, Target, markdown, ratio, table, targets, value


def figures(**rates):
    found = Figures()
    for program, rounds in rates.items():
        found.add("group", program, "rate", rounds)
    return found


def test_the_median_of_the_ratios_decides():
    # One disturbed round, in which both programs were slow, changes nothing.
    found = figures(ours=[200, 20, 210], theirs=[100, 10, 100])
    row = Target("t", ratio("group", "ours", "theirs"), least=2).judge(found)
    assert (row["median"], row["min"], row["max"], row["verdict"]) == (2, 2, 2.1, "reached")
    row = Target("t", ratio("group", "ours", "theirs"), least=2.05).judge(found)
    assert row["verdict"] == "NOT reached"


@pytest.mark.parametrize("limit, verdict", [(9, "NOT reached"), (10, "reached")])
def test_a_limit_that_must_not_be_exceeded(limit, verdict):
    row = Target("t", value("group", "ours", "rate"), most=limit).judge(figures(ours=[10]))
    assert row["verdict"] == verdict


def test_without_a_limit_a_figure_is_only_told():
    row = Target("t", value("group", "ours", "rate")).judge(figures(ours=[10]))
    assert (row["limit"], row["verdict"], row["median"]) == ("none", "told", 10)


def test_rounds_that_do_not_match_are_compared_by_their_medians():
    found = figures(ours=[30], theirs=[10, 20, 10])
    assert ratio("group", "ours", "theirs")(found) == [3]


def test_what_was_not_measured_says_why():
    found = figures(ours=[1])
    found.miss("group", "failed: a message is missing", "theirs")
    found.miss("other", "left out by --only")
    with pytest.raises(NotMeasured, match="a message is missing"):
        found("group", "theirs", "rate")
    row = Target("t", value("other", "ours", "rate"), least=1).judge(found)
    assert row["verdict"] == "not measured: left out by --only"
    assert "median" not in row


def test_what_is_too_small_to_see_is_not_measured():
    found = Figures()
    found.add("group", "ours", "cpu_us", [0.0, 0.0])
    row = Target("t", value("group", "ours", "cpu_us"), most=2).judge(found)
    assert row["verdict"].startswith("not measured: cpu_us of group, ours is too small")
    row = Target("t", ratio("group", "ours", "theirs"), most=2).judge(figures(ours=[1], theirs=[0.0]))
    assert row["verdict"].startswith("not measured: rate of group, theirs is too small")


def test_the_table_has_a_row_for_every_target():
    rows, text = table(Figures())
    assert len(rows) == len(targets())
    assert all(row["verdict"].startswith("not measured") for row in rows)
    assert text.endswith("%d targets: 0 reached, 0 not reached, %d not measured" % (len(rows), len(rows)))


def test_a_file_of_figures_becomes_a_table():
    row = Target("ours", value("group", "ours", "rate"), least=1500).judge(figures(ours=[2000, 3000, 1000]))
    lines = [json.dumps({"group": "group", "what": "ours"}), json.dumps(row)]
    assert markdown(lines).splitlines()[2:] == ["| ours | >= 1,500 | 2,000 | 1,000 .. 3,000 | reached |"]


def test_targets_ask_for_what_the_runner_measures():
    asked = set()

    class Recorder(Figures):
        def __call__(self, group, program, figure):
            asked.add((group, program))
            return [1.0]

    for target in targets():
        target.judge(Recorder())
    measured = {(group, program) for group, _, programs, _ in run.measurements(1) for program in programs}
    # What one run splits into several programs, and what the runner adds at its end.
    asked = {(group, program) for group, program in asked if group not in run.SPLIT and group != "clean build"}
    assert asked - measured == set()


# --- The comparison with other libraries ----------------------------------------------------------


@pytest.mark.parametrize("program, between", [("with_broker.py", None), ("with_broker_loop.py", None),
                                              ("with_zeekpy.py", "websocket")])
def test_the_programs_of_the_comparison_work(program, between, monkeypatch):
    if "zeekpy" in program:
        pytest.importorskip("zeekpy", reason="no zeekpy: see tools/requirements-dev.txt")
        monkeypatch.setenv("NO_PROXY", "*")
    result = comparison.measure(program, between, 100, 3)
    assert result["rate"] > 0 and 0 < result["median_us"] <= result["p99_us"]
    assert 30 < comparison.lines_of_code(comparison.HERE / program) < 60
