"""The pages of this checkout's results, opened in a real browser."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from cnn_ablations.config.params import load_params
from cnn_ablations.paths import Paths
from cnn_ablations.site.build import build_site

ROOT = Path(__file__).parents[2]
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    paths = Paths(ROOT)
    return build_site(load_params(paths.params), paths, tmp_path_factory.mktemp("site")).parent


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.fail("no Chromium is installed, which tests the pages: `apt-get install chromium`")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found)
        yield browser
        browser.close()


@pytest.fixture
def open_page(site: Path, browser: Browser) -> Iterator[Open]:
    """Opens a page by its place in the site. In the end it asserts that nothing went wrong: no
    message in the console, no request that leaves the machine.
    """
    wrong: list[str] = []
    contexts = []

    def open_page(place: str, *, width: int = 1280, scheme: str = "light") -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900})
        contexts.append(context)
        context.set_default_timeout(300_000)  # milliseconds, for a machine at work
        page = context.new_page()
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: wrong.append(request.url) if left(request.url) else None)
        page.on("requestfailed", lambda request: wrong.append(request.url))
        page.goto((site / place).as_uri())
        page.wait_for_function("[...document.querySelectorAll('.drawing')].every(d => d.innerHTML)")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


def left(url: str) -> bool:
    return not url.startswith(("file:", "data:", "blob:"))
