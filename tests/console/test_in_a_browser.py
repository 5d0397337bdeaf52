"""The console in a real Chromium: how it looks, behaves and is read by people who do not see it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chromium import Chromium, Tab, chromium_path
from console_fleet import ESCALATED, ConsoleFleet, calm_night, hostile

from fleet.console.access import Access
from fleet.console.app import application
from fleet.console.pages import NAVIGATION
from fleet.web import served_on

TOKEN = "an-operator's-token"
PAGES = [*(path for path, _ in NAVIGATION), f"/jobs/acme/{ESCALATED}", "/login"]
HERE = Path(__file__).parent
SIZES = {
    "desktop": (1280, 900, False),
    "phone": (390, 844, False),
    "dark": (1280, 900, True),
    "dark phone": (390, 844, True),
}

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
CHECK = f"""axe.run(document, {{runOnly: {RULES}}})
    .then(found => found.violations.map(each => each.id + ': ' + each.nodes.map(node => node.html).join(' | ')))"""

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        chromium_path() is None and not os.environ.get("CI"), reason="no Chromium: apt-get install chromium"
    ),
]

Visit = Callable[..., Any]


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The accessibility checker, as npm has it."""
    folder = tmp_path_factory.mktemp("axe")
    shutil.copy(HERE / "axe" / "package.json", folder)
    npm = str(Path(sys.executable).with_name("npm"))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"]
    done = subprocess.run(command, cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text()


@pytest.fixture
async def browser() -> AsyncIterator[Chromium]:
    async with Chromium.running() as running:
        yield running


@asynccontextmanager
async def console(fleet: ConsoleFleet) -> AsyncIterator[str]:
    async with served_on(application(Access(TOKEN), nullcontext(fleet.sources())), "127.0.0.1", 0) as port:
        yield f"http://127.0.0.1:{port}"


async def enter(tab: Tab, url: str) -> None:
    """Log in by the link that `fleet up` prints."""
    await tab.open(f"{url}/login#{TOKEN}")
    await tab.until("location.pathname === '/'")
    tab.requests.clear()
    tab.problems.clear()


async def test_every_page_is_clean_in_every_size_and_scheme(browser: Chromium, night: ConsoleFleet, axe: str) -> None:
    async with console(night) as url:
        for name, (width, height, dark) in SIZES.items():
            async with browser.tab(width, height, dark=dark) as tab:
                await enter(tab, url)
                for path in PAGES:
                    await tab.open(url + path)
                    assert await tab.evaluate("document.scrollingElement.scrollWidth - innerWidth") <= 0, (name, path)
                    await tab.evaluate(axe)
                    found = await tab.evaluate(CHECK)
                    assert found == [], (name, path)
                assert tab.problems == []
                assert [each for each in tab.requests if not each.startswith(url)] == []


async def test_a_page_is_one_request_and_one_stream_beside_files_that_stay(
    browser: Chromium, night: ConsoleFleet
) -> None:
    async with console(night) as url, browser.tab() as tab:
        await enter(tab, url)
        await tab.open(url + "/jobs")
        await tab.until("document.querySelector('[data-pulse]').hidden === false")
        asked = [each.removeprefix(url) for each in tab.requests if "/static/" not in each]
        assert asked == ["/jobs", "/live/jobs"]


async def test_a_page_follows_the_fleet_and_leaves_the_reader_alone(browser: Chromium, night: ConsoleFleet) -> None:
    fleet = replace(night)
    async with console(fleet) as url, browser.tab() as tab:
        await enter(tab, url)
        await tab.evaluate("document.querySelector('#live a[href*=acme]').focus(); scrollTo(0, 300)")
        streams = {**fleet.seen.status.streams, "JOBS": 77_777}
        fleet.seen = replace(fleet.seen, status=replace(fleet.seen.status, streams=streams))
        await tab.until("document.body.innerText.includes('77,777')")
        assert await tab.evaluate("document.activeElement.textContent") == "acme"
        assert await tab.evaluate("scrollY") == 300
        assert await tab.evaluate("document.querySelector('[data-state]').textContent") == "live"


async def test_a_paused_page_stays_as_it_is_until_it_is_resumed(browser: Chromium, night: ConsoleFleet) -> None:
    fleet = replace(night)

    def hold(jobs: int) -> None:
        streams = {**fleet.seen.status.streams, "JOBS": jobs}
        fleet.seen = replace(fleet.seen, status=replace(fleet.seen.status, streams=streams))

    async with console(fleet) as url, browser.tab() as tab:
        await enter(tab, url)
        hold(55_555)
        await tab.until("document.body.innerText.includes('55,555')")  # the page is live before it is paused
        await tab.evaluate(
            "window.seen = 0; document.body.addEventListener('htmx:sse:before:message', () => seen++, true)"
        )
        await tab.evaluate("document.querySelector('[data-pause]').click()")
        for jobs in (66_666, 77_777):
            before = await tab.evaluate("seen")
            hold(jobs)
            await tab.until(f"seen > {before}")
        assert "77,777" not in await tab.evaluate("document.body.innerText")
        assert await tab.evaluate("document.querySelector('[data-state]').textContent") == "paused"
        await tab.evaluate("document.querySelector('[data-pause]').click()")
        await tab.until("document.body.innerText.includes('77,777')")


async def test_without_javascript_every_page_is_there_and_the_token_lets_in(
    browser: Chromium, night: ConsoleFleet
) -> None:
    async with console(night) as url, browser.tab(scripts=False) as tab:
        await tab.open(url + "/jobs")
        await tab.send("Page.bringToFront")
        await tab.until("document.hasFocus() && document.activeElement.id === 'token'")  # focused a frame after loading
        await tab.send("Input.insertText", text=TOKEN)
        tab.loaded.clear()
        await tab.press("Enter", 13)
        await tab.wait_for_load()
        for path in PAGES[:-1]:
            await tab.open(url + path)
            tree = await tab.send("Accessibility.getFullAXTree")
            names = [each.get("name", {}).get("value", "") for each in tree["nodes"]]
            assert "Pages" in names and "Operator's token" not in names, path
            assert "Pause" not in names


async def test_a_keyboard_reaches_the_content_first_and_everything_in_order(
    browser: Chromium, night: ConsoleFleet
) -> None:
    async with console(night) as url, browser.tab() as tab:
        await enter(tab, url)
        await tab.open(url + "/jobs")
        await tab.press("Tab", 9)
        assert await tab.evaluate("document.activeElement.textContent") == "Skip to the content"
        assert await tab.evaluate("document.activeElement.getBoundingClientRect().left >= 0")
        await tab.press("Enter", 13)
        await tab.until("document.activeElement.id === 'main'")
        reached = []
        for _ in range(12):
            await tab.press("Tab", 9)
            reached.append(
                await tab.evaluate("document.activeElement.name || document.activeElement.textContent.trim()")
            )
            assert await tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", reached[-1]
        assert reached[:8] == ["Pause", "status", "target", "reason", "lane", "tenant", "id", "Show"]
        assert reached[8].startswith("job-")


async def test_what_outsiders_write_runs_in_no_browser(browser: Chromium, tmp_path: Path) -> None:
    text = "</script><img src=x onerror=alert(1)><svg onload=alert(2)>\"'><script>alert(3)</script>\u202e"
    async with console(hostile(tmp_path, text)) as url, browser.tab(390, 844) as tab:
        await enter(tab, url)
        for path in PAGES[:-2]:
            await tab.open(url + path)
            assert await tab.evaluate("document.scrollingElement.scrollWidth - innerWidth") <= 0, path
            assert await tab.evaluate("document.querySelectorAll('img, iframe, script:not([src])').length") == 0, path
        assert tab.dialogs == [] and tab.problems == []
        assert [each for each in tab.requests if not each.startswith(url)] == []


async def test_a_link_from_another_site_finds_who_is_logged_in_already(browser: Chromium, night: ConsoleFleet) -> None:
    async def chat(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
        await send({"type": "http.response.body", "body": f'<a href="{url}/alerts">runbook</a>'.encode()})

    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(console(night))
        elsewhere = await stack.enter_async_context(served_on(chat, "127.0.0.1", 0))
        tab = await stack.enter_async_context(browser.tab())
        await enter(tab, url)
        await tab.open(f"http://localhost:{elsewhere}/")
        await tab.evaluate("document.querySelector('a').click()")
        await tab.until("document.title === 'Alerts · Fleet'")


async def test_a_fleet_in_which_nothing_has_happened_is_shown_in_words(
    browser: Chromium, tmp_path: Path, axe: str
) -> None:
    async with console(calm_night(tmp_path)) as url, browser.tab(390, 844) as tab:
        await enter(tab, url)
        for path in PAGES[:-2]:
            await tab.open(url + path)
            assert await tab.evaluate("document.scrollingElement.scrollWidth - innerWidth") <= 0, path
        assert tab.problems == []


async def test_the_money_of_each_day_is_drawn_and_its_figures_are_a_click_away(
    browser: Chromium, night: ConsoleFleet
) -> None:
    async with console(night) as url, browser.tab() as tab:
        await enter(tab, url)
        await tab.open(url + "/money?days=30")
        await tab.until("document.querySelector('.chart canvas') !== null")
        assert await tab.evaluate("document.querySelector('details').open") is False
        await tab.evaluate("document.querySelector('summary').click()")
        assert await tab.evaluate("document.querySelector('#table-daily').checkVisibility()")
