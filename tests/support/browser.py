"""Airflow's pages in a real browser, as one person sees them.

with chromium() as browser:
    page = logged_in(browser, settings, "operator")        through Keycloak's own page
    shot(page, "form", folder)                             a picture for people: into the folder, or SCREENSHOTS

Chromium comes from the system: Playwright is told where it is, and downloads none.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from contracts.settings import Settings
from sightline.stack import logins
from sightline.stack.home import Home
from tests.support.airflow import airflow_url

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS: Final = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
PAGE_SECONDS: Final = 90
_SIZE: Final = {"width": 1400, "height": 1000}


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's, without a window."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.fail(
            f"Airflow's pages are looked at in Chromium, and none of {', '.join(NAMES)} is on PATH: install it "
            "(Debian: apt-get install chromium)",
            pytrace=False,
        )
    expect.set_options(timeout=PAGE_SECONDS * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


def logged_in(browser: Browser, settings: Settings, person: str) -> Page:
    """A window of its own, at Airflow's first page."""
    url = airflow_url(settings)
    page = browser.new_context(viewport=_SIZE).new_page()  # type: ignore[arg-type]
    page.set_default_timeout(PAGE_SECONDS * 1000)
    page.goto(url)
    page.locator("#username").fill(person)
    page.locator("#password").fill(logins.read(Home(settings.stack.home)).people[person])
    page.locator("#kc-login").click()
    page.wait_for_url(re.compile(f"^{re.escape(url)}/(?!auth).*"))
    return page


def shot(page: Page, name: str, folder: Path) -> None:
    """Of all there is on the page."""
    folder = Path(os.environ.get("SCREENSHOTS") or folder)
    folder.mkdir(parents=True, exist_ok=True)
    page.wait_for_load_state("networkidle")
    page.screenshot(path=folder / f"{name}.png", full_page=True)
