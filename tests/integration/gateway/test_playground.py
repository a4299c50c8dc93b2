"""The playground in a real browser: two pages side by side, the threshold, keyboard, phone, dark mode, faults."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from csrm_opensearch.testing import OpenSearchNode
from tests.integration.gateway.conftest import FOREIGN, SHOP, settings
from tests.integration.gateway.running import call, running_gateway
from tests.integration.gateway.word_service import WordService

PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium or another one on the PATH."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next((found for name in names if (found := shutil.which(name))), None)
    assert path, "these tests need a browser: install chromium (Debian, Ubuntu: apt install chromium)"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def _gateway(opensearch: OpenSearchNode, shop: str, _service: WordService) -> Iterator[str]:
    told = settings(opensearch.url, _service.url, playground_fields=["title^2"])
    with running_gateway(told.model_copy(update={"dashboard_url": "http://127.0.0.1:8265"})) as url:
        yield url


@pytest.fixture
def playground(_gateway: str, service: WordService) -> str:
    return f"{_gateway}/_csrm/"


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page on which nothing of its own goes wrong, and that loads from nowhere but the gateway."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(10_000)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda said: problems.append(said.text) if "Security Policy" in said.text else None)
    page.on(
        "request",
        lambda request: (
            problems.append(request.url)
            if not request.url.startswith(("http://127.0.0.1:", "data:"))
            else None
        ),
    )
    yield page
    page.close()
    assert problems == []


def ask(page: Page, query: str, index: str = SHOP) -> None:
    page.get_by_label("Index").select_option(index)
    page.get_by_role("searchbox").fill(query)
    page.keyboard.press("Enter")


def test_two_pages_side_by_side(page: Page, playground: str) -> None:
    page.goto(playground)
    ask(page, "phone case")
    expect(page.get_by_role("status")).to_contain_text("100 judged by words@1")
    own, filtered = page.locator("#own > li"), page.locator("#filtered > li")
    expect(own).to_have_count(10)
    expect(filtered).to_have_count(10)
    direct = call(playground.partition("/_csrm")[0], "POST", f"/{SHOP}/_search", {"query": {"match_all": {}}})
    assert direct.status == 200
    gone = page.locator("#own > li.gone")
    assert 0 < gone.count() < 10
    for text in gone.locator(".text").all_inner_texts():
        assert "junk" in text
    assert not any("junk" in text for text in filtered.locator(".text").all_inner_texts())
    expect(page.get_by_text(re.compile(r"^Removed \(3\d\)$"))).to_be_visible()
    expect(page.locator("#removed > li").first).to_contain_text("irrelevance 0.900 > 0.500")
    box, other = page.locator("#own").bounding_box(), page.locator("#filtered").bounding_box()
    assert box and other and box["x"] + box["width"] < other["x"], "side by side"
    page.get_by_text("Knowledge used").click()
    expect(page.locator("#knowledge")).to_contain_text("case = cover (term, 0.90)")
    page.get_by_text("Timings").click()
    expect(page.locator("#timings")).to_contain_text("products")
    expect(page.get_by_role("link", name="Ray dashboard")).to_have_attribute("href", "http://127.0.0.1:8265")


def test_the_page_is_the_one_that_the_gateway_gives(page: Page, playground: str) -> None:
    page.goto(playground)
    ask(page, "phone case")
    expect(page.locator("#filtered > li")).to_have_count(10)
    body = {"query": {"multi_match": {"query": "phone case", "fields": ["title^2"]}}}
    hits = call(playground.partition("/_csrm")[0], "POST", f"/{SHOP}/_search", body).json["hits"]["hits"]
    shown = page.locator("#filtered > li .text").all_inner_texts()
    assert [text.partition(" ")[2] for text in shown] == [
        " ".join(hit["_source"]["title"].split()) for hit in hits
    ]


def test_the_threshold_cuts_at_once_and_like_the_gateway(
    page: Page, playground: str, service: WordService
) -> None:
    page.goto(playground)
    ask(page, "phone case")
    expect(page.get_by_text("Removed (3")).to_be_visible()
    searches = len(service.asked)
    slider = page.get_by_label("Threshold")
    slider.fill("0.95")
    expect(page.get_by_text("Removed (0)")).to_be_visible()
    expect(page.locator("#own > li.gone")).to_have_count(0)
    slider.fill("0.05")
    expect(page.locator("#cut-said")).to_contain_text("above 0.050 go: 99 of 100")
    expect(page.locator("#filtered > li")).to_have_count(1)
    assert len(service.asked) == searches, "nothing was asked again"
    page.get_by_role("button", name="Reset").click()
    expect(page.get_by_text(re.compile(r"^Removed \(3"))).to_be_visible()
    expect(page.get_by_role("button", name="Reset")).to_be_disabled()


def test_by_keyboard_alone(page: Page, playground: str) -> None:
    page.goto(playground)
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("phone case")
    page.keyboard.press("Enter")
    expect(page.locator("#filtered > li")).to_have_count(10)
    page.get_by_label("Threshold").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#threshold-value")).to_have_text("0.505")
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()


def test_every_control_has_a_name(page: Page, playground: str) -> None:
    page.goto(playground)
    ask(page, "phone case")
    expect(page.locator("#filtered > li")).to_have_count(10)
    for role in ("button", "searchbox", "combobox", "slider", "link"):
        for control in page.get_by_role(role).all():  # type: ignore[arg-type]
            assert control.evaluate("e => (e.labels?.[0]?.innerText ?? e.ariaLabel ?? e.innerText).trim()")
    bar = page.locator("#filtered .bar").first
    assert re.match(r"exact \d+ %, substitute \d+ %, ", bar.get_attribute("aria-label") or "")


def test_on_a_phone_and_in_the_dark(browser: Browser, playground: str, tmp_path: Path) -> None:
    page = browser.new_page(viewport=PHONE, color_scheme="dark", has_touch=True)  # type: ignore[arg-type]
    page.goto(f"{playground}?q=phone+case&index={SHOP}")
    expect(page.locator("#filtered > li")).to_have_count(10)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], "nothing is cut off"
    ground, ink = (
        page.evaluate(f"getComputedStyle(document.body).{name}") for name in ("backgroundColor", "color")
    )
    assert _lightness(ground) < 60 < 180 < _lightness(ink)
    page.close()


def test_a_link_brings_the_search_back(page: Page, playground: str) -> None:
    page.goto(playground)
    ask(page, "phone <b>case</b>")
    expect(page.locator("#filtered > li")).to_have_count(10)
    page.reload()
    expect(page.get_by_role("searchbox")).to_have_value("phone <b>case</b>")
    expect(page.locator("#filtered > li")).to_have_count(10)


def test_faults_are_said_in_words(page: Page, playground: str, service: WordService) -> None:
    page.goto(playground)
    service.how = "down"
    ask(page, "phone case fault")
    expect(page.get_by_role("status")).to_have_text("Not filtered: the relevance service does not answer.")
    expect(page.locator("#own > li")).to_have_count(10)
    assert page.locator("#filtered .text").all_inner_texts() == page.locator("#own .text").all_inner_texts()
    expect(page.get_by_label("Threshold")).to_be_hidden()
    ask(page, "nothinghasthis")
    expect(page.get_by_role("status")).to_have_text("Not filtered: OpenSearch found nothing.")
    expect(page.locator("#result")).to_be_hidden()


def test_only_the_profiles_indices_are_offered(page: Page, playground: str) -> None:
    page.goto(playground)
    expect(page.get_by_label("Index")).to_have_value(SHOP)
    assert FOREIGN not in page.locator("#index option").all_inner_texts()


def _lightness(colour: str) -> float:
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("", "text/html"),
        ("playground.js", "text/javascript"),
        ("list.js", "text/javascript"),
        ("playground.css", "text/css"),
    ],
)
def test_the_files_are_served_safely(playground: str, path: str, kind: str) -> None:
    answer = call(playground.partition("/_csrm")[0], "GET", f"/_csrm/{path}")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith(kind)
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_other_paths_and_methods_are_refused_in_opensearchs_shape(playground: str) -> None:
    url = playground.partition("/_csrm")[0]
    assert call(url, "GET", "/_csrm").headers["location"] == "/_csrm/"
    for method, path, status in (("GET", "/_csrm/nothing", 404), ("POST", "/_csrm/", 405)):
        answer = call(url, method, path)
        assert (answer.status, answer.json["status"]) == (status, status)
        assert answer.json["error"]["reason"]
