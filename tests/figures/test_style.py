from cnn_ablations.figures.style import COLOURS, LINES, MARKERS, SPLITS, new_figure, png


def test_a_colour_has_its_own_marker_and_line() -> None:
    assert len(set(COLOURS)) == len(set(MARKERS)) == len(set(LINES)) == len(COLOURS)
    assert len(set(SPLITS.values())) == len(SPLITS)


def test_jupyter_shows_a_figure_as_exactly_these_bytes_with_its_alternative_text() -> None:
    figure = new_figure(2, 1, "Accuracy rises from 10 % to 90 %.")
    data, metadata = figure._repr_mimebundle_()  # type: ignore[attr-defined]
    assert data == {"image/png": png(figure), "text/plain": "Accuracy rises from 10 % to 90 %."}
    assert metadata == {"image/png": {"alt": "Accuracy rises from 10 % to 90 %."}}
