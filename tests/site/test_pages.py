import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page

from cnn_ablations.config.params import load_params
from cnn_ablations.figures.style import COLOURS
from cnn_ablations.paths import Paths
from cnn_ablations.site.build import build_site, front_page, render, templates
from cnn_ablations.site.content import (
    claims_of,
    figures,
    rates,
    study_pages,
    trained,
    variant_rows,
)
from cnn_ablations.site.notebook import read_notebook

Open = Callable[..., Page]
ROOT = Path(__file__).parents[2]
PAGES = [
    "index.html",
    "studies/quickstart-notebook.html",
    "studies/r2-regularisation.html",
    "studies/r1-cifar10-stride.html",  # not run yet
    "variants/quickstart-none.html",
    "datasets/digits.html",
    "convolution.html",
    "methods.html",
]
SHOWN = "#all tbody tr:not([hidden])"
LIMIT = 1_500_000
"""Bytes."""


def names(page: Page) -> list[str]:
    return page.locator(f"{SHOWN} > th > a").all_inner_texts()


def choose(page: Page, key: str, value: str) -> None:
    page.locator(f"select[name={key}]").select_option(value)


def dots(page: Page) -> Locator:
    return page.locator("[data-kind=cost] svg .dot path")


@pytest.mark.parametrize("place", PAGES)
def test_axe_finds_nothing_serious_and_the_page_fits_a_phone(place: str, open_page: Open) -> None:
    page = open_page(place)
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert serious(page) == []
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 390, "height": 800})
    assert serious(page, runOnly=["color-contrast", "scrollable-region-focusable"]) == []
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate("[...document.images].every(i => i.getBoundingClientRect().right <= 390)")


def serious(page: Page, **options: object) -> list[tuple[str, str]]:
    """Which of axe's rules are broken, each with one of the places."""
    options = {"resultTypes": ["violations"], "preload": False, **options}
    found = Axe().run(page, options=options).response["violations"]
    return [
        (violation["id"], violation["nodes"][0]["html"][:200])
        for violation in found
        if violation["impact"] in ("serious", "critical")
    ]


def test_search_finds_a_variant_and_the_chart_follows(open_page: Open) -> None:
    page = open_page("index.html")
    everything = dots(page).count()
    page.locator("input[name=search]").fill("batch_norm QUICKSTART")
    assert names(page) == ["quickstart-batchnorm"]
    assert page.locator("#shown").inner_text().startswith("1 of ")
    assert 1 == dots(page).count() < everything
    choose(page, "verdicts", "contradicted")  # which holds beside the search
    assert names(page) == []
    page.get_by_role("button", name="Show all").click()
    page.wait_for_function(
        "n => document.querySelectorAll('[data-kind=cost] .dot path').length == n", arg=everything
    )


@pytest.mark.parametrize(
    ("key", "value", "column"),
    [
        ("studies", "r4-l1", 8),
        ("dataset", "digits", 7),
        ("factors", "l2", 3),
        ("verdicts", "contradicted", 9),
    ],
)
def test_a_filter_leaves_the_rows_that_have_the_value(
    key: str, value: str, column: int, open_page: Open
) -> None:
    page = open_page("index.html")
    before = len(names(page))
    choose(page, key, value)
    assert 0 < len(names(page)) < before
    cells = page.locator(f"{SHOWN} > :nth-child({column})").all_inner_texts()
    assert all(value in cell for cell in cells)


def test_a_head_sorts_the_greatest_first_and_what_is_unknown_last(open_page: Open) -> None:
    page = open_page("index.html")
    head = page.get_by_role("button", name="test accuracy, %")
    column = page.locator(f"{SHOWN} > td:nth-of-type(1)")

    def shown() -> list[float | None]:
        texts = [text.split()[0] for text in column.all_inner_texts()]
        return [None if text == "–" else float(text) for text in texts]

    for descending, order in ((True, "descending"), (False, "ascending")):
        head.press("Enter")
        known = [value for value in shown() if value is not None]
        assert known == sorted(known, reverse=descending)
        assert shown()[: len(known)] == known
        assert page.locator(f"th[aria-sort={order}]").inner_text().startswith("test accuracy")
    page.get_by_role("button", name="variant", exact=True).click()
    assert names(page) == sorted(names(page))  # texts go by the alphabet


def test_the_pointer_names_a_variant_with_its_figures_and_a_click_opens_it(open_page: Open) -> None:
    page = open_page("index.html", scheme="dark")
    page.locator("input[name=search]").fill("quickstart-l2")
    dots(page).first.scroll_into_view_if_needed()
    dots(page).first.hover()
    tip = page.locator("[data-kind=cost] svg [aria-label=tip]")
    raised = "rgb(32, 36, 42)"  # of the dark page, as its words are light
    assert tip.locator("path").evaluate("path => getComputedStyle(path).fill") == raised
    text = tip.text_content() or ""
    for part in ("quickstart-l2", "test accuracy 88.89 % (86.26 % to ", "38,282 parameters"):
        assert part in text
    dots(page).first.click()
    page.wait_for_url("**/variants/quickstart-l2.html")


def test_a_row_leads_to_the_notebooks_of_its_variant(open_page: Open) -> None:
    page = open_page("index.html")
    page.get_by_role("link", name="quickstart-l2", exact=True).click()
    page.wait_for_url("**/variants/quickstart-l2.html")
    code = page.locator(".code").first
    assert page.locator("#train h3").count() > 1
    assert code.is_hidden()
    page.get_by_label("Show the code").check()
    assert code.is_visible()


def test_a_table_is_copied_as_it_is_shown(open_page: Open) -> None:
    page = open_page("studies/quickstart.html")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy as Markdown").first.click()
    page.get_by_role("button", name="copied").wait_for()
    lines = page.evaluate("navigator.clipboard.readText()").splitlines()
    assert lines[0].startswith("| variant | test accuracy, % | differs in |")
    assert lines[1] == "| :-- | --: | :-- | --: | --: | --: | :-- |"
    assert lines[3].startswith("| L2 0.01 quickstart-l2 | 88.89 86.26 to 92.26 | l2: 0.01 |")
    page.get_by_role("button", name="Copy as CSV").first.click()
    page.wait_for_function(
        "document.querySelectorAll('.tools button:nth-child(2)')[0].textContent == 'copied ✓'"
    )
    assert (
        page.evaluate("navigator.clipboard.readText()")
        .splitlines()[2]
        .startswith('L2 0.01 quickstart-l2,88.89 86.26 to 92.26,l2: 0.01,"38,282"')
    )


def test_every_figure_of_a_study_is_there_as_svg_with_its_description(site: Path) -> None:
    page = Links(site / "studies" / "r3-mnist.html")
    files = {site / "studies" / target for target in page.targets if target.endswith(".svg")}
    cells = read_notebook(Paths(ROOT).notebook("studies", "r3-mnist"))
    shown = [
        output["alt"] for cell in cells for output in cell.get("outputs", ()) if "alt" in output
    ]
    titles = [ElementTree.parse(f).findtext("{http://www.w3.org/2000/svg}title") for f in files]
    assert sorted(filter(None, titles)) == sorted(shown)


class Links(HTMLParser):
    def __init__(self, file: Path) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.ids: set[str] = set()
        self.feed(file.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for key, value in attrs:
            if value and key in ("href", "src"):
                self.targets.append(value)
            if value and key == "id":
                self.ids.add(value)


def test_all_links_resolve(site: Path) -> None:
    pages = {file.resolve(): Links(file) for file in site.rglob("*.html")}
    broken = []
    for file, links in pages.items():
        for target in links.targets:
            if target.startswith(("data:", "https:")):
                continue
            place, _, fragment = target.partition("#")
            there = (file.parent / unquote(place)).resolve() if place else file
            if not there.is_file() or (fragment and fragment not in pages[there].ids):
                broken.append(f"{file.relative_to(site.resolve())}: {target}")
    assert len(pages) > 80
    assert broken == []


def test_every_trained_variant_has_a_page_with_both_notebooks(site: Path) -> None:
    params, paths = load_params(ROOT / "params.yaml"), Paths(ROOT)
    trained = [v for v in params.variants.values() if paths.metrics(v.group, v.name).is_file()]
    for variant in trained:
        assert {"inspect", "train"} <= Links(site / "variants" / f"{variant.name}.html").ids


def test_where_classes_are_very_unequal_the_balanced_accuracy_comes_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    params, paths = load_params(ROOT / "params.yaml"), Paths(ROOT)
    studies = {"quickstart": study_pages(params, paths)["quickstart"]}
    own = replace(
        params, variants={name: params.variant(name) for name in studies["quickstart"].study.labels}
    )
    monkeypatch.setattr("cnn_ablations.analysis.results.accuracy_misleads", lambda counts: True)
    rows = variant_rows(own, studies, trained(own, paths))
    assert {row.metric for row in rows} == {"balanced test accuracy"}
    front = front_page(templates(), studies, rows, []).decode()
    assert "<figcaption>balanced test accuracy 8" in front
    assert "<figcaption>Balanced test accuracy (median" in front
    assert f"<small>balanced</small> {100 * (rows[0].accuracy or 0):.2f}" in front
    (cost,) = figures(paths.figures("r4-depth"), rows[0].metric)[2:3]
    assert cost["caption"].startswith("Median balanced test accuracy against arithmetic")


def test_own_questions_come_before_those_of_a_source() -> None:
    pages = study_pages(load_params(ROOT / "params.yaml"), Paths(ROOT)).values()
    sources = [page.study.source for page in pages if page.tables.was_run]
    assert sources == sorted(sources, key=bool)
    assert "" in sources
    assert sources[-1]


@pytest.mark.parametrize(("times", "seconds"), [(1, 1.0), (16, 2.0)])
def test_the_front_page_is_soon_there(
    times: int, seconds: float, site: Path, open_page: Open
) -> None:
    params, paths = load_params(ROOT / "params.yaml"), Paths(ROOT)
    studies = study_pages(params, paths)
    rows = variant_rows(params, studies, trained(params, paths)) * times
    (site / "many.html").write_bytes(front_page(templates(), studies, rows, []))
    page = open_page("many.html")
    session = page.context.new_cdp_session(page)
    # Of the page's thread: processor time, so that a machine at work changes no verdict.
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.reload()
    page.wait_for_function("document.querySelector('#shown').textContent")
    page.evaluate("new Promise(requestAnimationFrame)")
    metrics = session.send("Performance.getMetrics")["metrics"]
    (taken,) = [metric["value"] for metric in metrics if metric["name"] == "ThreadTime"]
    (site / "many.html").unlink()
    assert len(names(page)) == len(rows) > 60 * times
    assert 0 < taken < seconds


def test_what_the_front_page_loads_is_small(site: Path) -> None:
    files = [site / "index.html", *(site / "static").iterdir()]
    assert sum(file.stat().st_size for file in files) < LIMIT


def test_the_colours_are_those_of_the_figures(site: Path) -> None:
    css = (site / "static" / "site.css").read_text()
    light = re.findall(r"--c\d: light-dark\((#\w{6}),", css)
    assert light == list(COLOURS)


def test_built_again_only_what_changed_is_written_and_what_is_gone_is_removed(site: Path) -> None:
    changed, gone, kept = (site / name for name in ("methods.html", "old/page.html", "index.html"))
    changed.write_text("changed")
    gone.parent.mkdir()
    gone.write_text("gone")
    before = kept.stat().st_mtime_ns
    paths = Paths(ROOT)
    assert build_site(load_params(paths.params), paths, site) == kept
    assert changed.read_text() != "changed"
    assert not gone.exists()
    assert kept.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("verdict", "says_so"), [("supported", False), ("supported on this seed", True)]
)
def test_a_verdict_about_a_single_seed_says_so(verdict: str, says_so: bool) -> None:
    row = {"statement": "A claim.", "claim_verdict": verdict, "claim_summary": "Found."}
    (claim,) = claims_of([row])
    assert claim.verdict == "supported"
    macros: Any = templates().get_template("macros.html.j2").module
    assert ("on this seed" in macros.claims([claim])) == says_so


def test_rates_of_simulated_studies_have_their_own_interval() -> None:
    columns = {"decision": "accuracies", "situation": "3 seeds", "measure": "found"}
    (rate,) = rates(pd.DataFrame([columns | {"studies": 100, "happened": 5}]))
    assert (rate["rate"], rate["low"], rate["high"]) == (0.05, 0.01643, 0.11283)


@pytest.mark.parametrize(("classes", "end"), [(40, "c38, c39."), (200, "c38, c39, …")])
def test_of_many_classes_the_page_of_a_data_set_names_the_first(classes: int, end: str) -> None:
    dataset = load_params(ROOT / "params.yaml").dataset("digits")
    named = dataset.model_copy(update={"classes": [f"c{number}" for number in range(classes)]})
    content: dict[str, Any] = {"name": "own", "dataset": named, "cells": [], "rows": []}
    page = render(templates(), "dataset", "datasets/own.html", **content).decode()
    assert f"{classes} classes: c0, " in page
    assert f"{end}</p>" in page
