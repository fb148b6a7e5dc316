"""Report R4's claim about two kernels, judged by what notebooks/convolution.ipynb measured."""

import pandas as pd

from cnn_ablations.analysis.claims import CONTRADICTED, NOT_RUN, SUPPORTED

SOURCE = "report R4"
QUESTION = "Do the two kernels that are applied to a photograph both bring out its edges?"
CLAIM = {
    "claim": "both-kernels-bring-out-edges",
    "source": "",
    "statement": "Both kernels, K1 and K2, bring out edges, and differ in how strongly.",
    "remark": "A picture brings out edges if it is at least twice as bright where the photograph "
    "is steepest as where it is flattest (a tenth of the pixels each), on both photographs.",
}
TIMES = 2.0


def edges_claim(measured: pd.DataFrame | None) -> pd.DataFrame:
    """The claim as `claims_markdown` takes it, in one row.

    Args:
        measured: one row a photograph and kernel: `photograph`, `kernel`, and the mean brightness
            of the picture that the kernel makes where the photograph is `flattest` and where it
            is `steepest`; None where the notebook was not executed yet.
    """
    verdict, sentence = NOT_RUN, "The notebook has not been executed yet."
    if measured is not None:
        times = (measured["steepest"] / measured["flattest"]).groupby(measured["kernel"])
        verdict = SUPPORTED if times.min().min() >= TIMES else CONTRADICTED
        sentence = " ".join(
            f"With {kernel}, the steepest parts of two photographs are {low:.1f} and {high:.1f} "
            "times as bright as the flattest."
            for kernel, low, high in zip(times.min().index, times.min(), times.max(), strict=True)
        )
    return pd.DataFrame(
        [
            {
                **CLAIM,
                "source": "",
                "claim_verdict": verdict,
                "claim_summary": sentence,
                "claim_sentence": sentence,
            }
        ]
    )
