"""Balancers side by side: means over the folds that reached an epoch, totals and skills apart."""

import numpy as np

from medtop.reporting.balancing_page import balancing_panels, write_balancing_page

HISTORIES = {
    "fixed": [
        {
            "best_epoch": 2,
            "epochs": [
                {"epoch": 1, "total_loss": 2.0, "valid_loss": 1.0},
                {"epoch": 2, "total_loss": 1.0, "valid_loss": 0.5},
            ],
        },
        {"best_epoch": 1, "epochs": [{"epoch": 1, "total_loss": 4.0, "valid_loss": 0.8}]},
    ],
    "gradnorm": [{"best_epoch": 1, "epochs": [{"epoch": 1, "total_loss": 0.1, "valid_loss": 1.2}]}],
}


def test_means_over_folds():
    totals, skills = balancing_panels(HISTORIES)
    assert [series.name for series in totals.series] == ["plain mean", "GradNorm"]
    np.testing.assert_allclose(totals.series[0].y, [3.0, 1.0])
    np.testing.assert_allclose(skills.series[0].y, [0.1, 0.5], atol=1e-12)
    np.testing.assert_allclose(skills.series[1].y, [-0.2], atol=1e-12)


def test_the_page_says_that_totals_are_not_compared(tmp_path):
    entry = {"value": 0.25, "low": 0.2, "high": 0.3}
    held_out = {"fixed": entry | {"difference": {"value": -0.05, "low": -0.1, "high": 0.0}}, "constant": entry}
    write_balancing_page(tmp_path, HISTORIES, held_out)
    page = (tmp_path / "balancing.html").read_text()
    assert "0.250 [0.200, 0.300]" in page and "-0.050 [-0.100, +0.000]" in page and "2, 1" in page
    assert "different quantities" in page and (tmp_path / "balancing.png").stat().st_size > 1000
