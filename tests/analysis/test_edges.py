import pandas as pd
import pytest

from cnn_ablations.analysis.edges import edges_claim


def measured(k1: tuple[float, float], k2: tuple[float, float]) -> pd.DataFrame:
    """How many times as bright the steepest parts of each of two photographs are."""
    return pd.DataFrame(
        [
            {"photograph": photograph, "kernel": kernel, "flattest": 10.0, "steepest": 10.0 * times}
            for kernel, both in (("K1", k1), ("K2", k2))
            for photograph, times in zip("ab", both, strict=True)
        ]
    )


@pytest.mark.parametrize(
    ("k2", "verdict"),
    [((2.0, 9.0), "supported"), ((1.9, 9.0), "contradicted"), ((0.5, 1.0), "contradicted")],
)
def test_each_kernel_must_bring_out_the_edges_of_each_photograph(
    k2: tuple[float, float], verdict: str
) -> None:
    (row,) = edges_claim(measured((20.0, 30.0), k2)).to_dict("records")
    assert row["claim_verdict"] == verdict
    assert row["claim_sentence"] == (
        "With K1, the steepest parts of two photographs are 20.0 and 30.0 times as bright as the "
        f"flattest. With K2, the steepest parts of two photographs are {k2[0]:.1f} and {k2[1]:.1f} "
        "times as bright as the flattest."
    )


def test_without_measurements_the_claim_is_not_tested_yet() -> None:
    assert list(edges_claim(None)["claim_verdict"]) == ["not run yet"]
