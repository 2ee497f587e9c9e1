"""Curves of a training: every loss, weight, norm and cosine is in one panel, where the log has it."""

import numpy as np
import pytest

from medtop.reporting import svg
from medtop.reporting.page import write_training_page
from medtop.reporting.training_curves import training_panels


def log_of(tasks, steps):
    """Rows as the trainers write them; each value tells its name's place and its step."""
    rows = []
    for step in range(1, steps + 1):
        row = {"step": step, "loss": step / 100, "seconds": 3.0, "learning_rate": 0.1}
        for place, task in enumerate(tasks):
            row |= {f"{task}_loss": place + step / 100, f"{task}_weight": place + 0.5, f"{task}_accuracy": 0.5}
            if step % 2:
                row[f"{task}_gradient_norm"] = 10.0 * place + step
                row |= {
                    f"{task}_{other}_gradient_cosine": (place - tasks.index(other)) / 100
                    for other in tasks[place + 1 :]
                }
        rows.append(row)
    return rows


def by_title(panels):
    assert len({panel.title for panel in panels}) == len(panels)
    return {panel.title: {one.name: (list(one.x), list(one.y)) for one in panel.series} for panel in panels}


def test_three_tasks():
    rows = [*log_of(["masked_lm", "long_stay", "long"], 4), {"step": 4, "valid_loss": 0.9, "valid_long_roc_auc": 0.7}]
    found = by_title(training_panels(rows))
    assert found.keys() == {
        "loss",
        "masked_lm_loss",
        "long_stay_loss",
        "long_loss",
        "long_roc_auc",
        "weight of the loss",
        "gradient norm, shared layer",
        "cosines between gradients",
    }
    assert found["loss"] == {"training": ([1, 2, 3, 4], [0.01, 0.02, 0.03, 0.04]), "validation": ([4], [0.9])}
    assert found["long_roc_auc"] == {"validation": ([4], [0.7])}
    assert found["long_stay_loss"] == {"training": ([1, 2, 3, 4], [1.01, 1.02, 1.03, 1.04])}
    assert found["weight of the loss"] == {
        "masked_lm": ([1, 2, 3, 4], [0.5] * 4),
        "long_stay": ([1, 2, 3, 4], [1.5] * 4),
        "long": ([1, 2, 3, 4], [2.5] * 4),
    }
    assert found["gradient norm, shared layer"]["long_stay"] == ([1, 3], [11, 13])
    assert found["cosines between gradients"] == {
        "masked_lm, long_stay": ([1, 3], [-0.01, -0.01]),
        "masked_lm, long": ([1, 3], [-0.02, -0.02]),
        "long_stay, long": ([1, 3], [-0.01, -0.01]),
    }


def test_ten_targets_are_all_drawn_and_differ(tmp_path):
    """As many as the hemodialysis schema has: 45 pairs, each in the panels of both its tasks."""
    tasks = [f"target{place}" for place in range(10)]
    panels = training_panels(log_of(tasks, 6), "epoch")
    found = by_title(panels)
    assert found["weight of the loss"].keys() == {*tasks}
    for place, task in enumerate(tasks):
        assert f"{task}_loss" in found
        cosines = found[f"cosines with {task}'s gradient"]
        assert {name: y[0] for name, (_, y) in cosines.items()} == {
            other: pytest.approx(-abs(place - number) / 100) for number, other in enumerate(tasks) if other != task
        }
    assert {panel.axes["x_label"] for panel in panels} == {"epoch"}
    looks = {
        (one.style % 6, svg._dash(one.style))
        for panel in panels
        for one in panel.series
        if panel.title == "weight of the loss"
    }
    assert len(looks) == 10
    write_training_page(tmp_path / "page.html", "ten", log_of(tasks, 6), "epoch")
    page = (tmp_path / "page.html").read_text()
    assert page.count('<svg viewBox="0 0 330') == len(panels) and "more charts" not in page


def test_a_pair_whose_cosine_is_never_a_number_has_no_curve():
    tasks = ["a", "b", "c", "d", "e"]
    rows = [row | {"a_b_gradient_cosine": None} for row in log_of(tasks, 3)]
    found = by_title(training_panels(rows))
    assert found["cosines with a's gradient"].keys() == {"c", "d", "e"} == found["cosines with b's gradient"].keys()
    assert found["cosines with e's gradient"].keys() == {"a", "b", "c", "d"}


def test_what_is_no_number_is_left_out():
    rows = [{"step": 1, "loss": None, "a_loss": float("nan"), "b_loss": "high", "c_loss": True, "d_loss": 1.0}]
    assert by_title(training_panels(rows)) == {"d_loss": {"training": ([1], [1.0])}}
    assert training_panels([]) == [] == training_panels([{"step": 3, "seconds": 1.0}])


def test_many_steps_become_means_over_windows():
    rows = [{"step": step, "loss": step % 2} for step in range(1, 2001)]
    (panel,) = training_panels(rows)
    x, y = panel.series[0].x, panel.series[0].y
    assert len(x) == 200
    np.testing.assert_allclose(y, 0.5)
    np.testing.assert_allclose(np.diff(x), 10)


def test_rows_without_steps_are_counted():
    (panel,) = training_panels([{"loss": 3.0}, {"loss": 2.0}])
    assert [list(panel.series[0].x), list(panel.series[0].y)] == [[0, 1], [3.0, 2.0]]
