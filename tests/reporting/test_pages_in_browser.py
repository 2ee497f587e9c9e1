"""Each page in a real browser: no script error, nothing beyond the page, on screens and on paper, folded and open."""

import base64
import os

import pytest
from browser import browser
from pages import every_page

BEYOND = """
[...document.querySelectorAll('body *')].filter(element => {
  const box = element.getBoundingClientRect();
  if (!box.width || !box.height || element.closest('svg svg')) return false;
  for (let parent = element.parentElement; parent && SCROLLS; parent = parent.parentElement)
    if (parent.classList.contains('scroll')) return false;
  return box.right > document.documentElement.clientWidth + 1 || box.left < -1;
}).slice(0, 3).map(element => element.outerHTML.slice(0, 120))
"""
CUT = """
[...document.querySelectorAll('.scroll')].filter(element => element.scrollWidth > element.clientWidth + 1)
  .slice(0, 3).map(element => element.innerText.slice(0, 120))
"""
TEXT_BEYOND = """
[...document.querySelectorAll('svg text')].filter(text => {
  const box = text.getBoundingClientRect(), frame = text.ownerSVGElement.getBoundingClientRect();
  return box.width && (box.right > frame.right + 2 || box.left < frame.left - 2);
}).slice(0, 3).map(text => text.textContent)
"""
SCREEN, PAPER = 1200, 703  # an A4 page between the margins of the style, at 96 pixels an inch


@pytest.fixture(scope="module")
def pages(tmp_path_factory, run_script):
    return every_page(tmp_path_factory.mktemp("pages"), run_script)


def resize(page, width):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    page.call("Emulation.setDeviceMetricsOverride", session=True, **size)


def looks_right(page, where, scrolls):
    """Nothing beyond the page; with `scrolls` wide tables may scroll, else none is cut off."""
    assert page.run(BEYOND.replace("SCROLLS", "true" if scrolls else "false")) == [], where
    assert page.run("document.documentElement.scrollWidth <= document.documentElement.clientWidth + 1"), where
    assert scrolls or page.run(CUT) == [], where
    assert page.run(TEXT_BEYOND) == [], where


def keep(page, path):
    """A picture of the page for people to look at, in the folder that MEDTOP_SCREENSHOTS names."""
    folder = os.environ.get("MEDTOP_SCREENSHOTS")
    if folder:
        height = page.run("Math.min(document.documentElement.scrollHeight, 5000)")
        clip = {"x": 0, "y": 0, "width": page.run("innerWidth"), "height": height, "scale": 1}
        shot = page.call("Page.captureScreenshot", session=True, captureBeyondViewport=True, clip=clip)
        with open(os.path.join(folder, f"{path}.png"), "wb") as file:
            file.write(base64.b64decode(shot["data"]))


@pytest.mark.slow
def test_every_page(pages, tmp_path):
    with browser(tmp_path / "profile") as page:
        for path in pages:
            page.events.clear()
            resize(page, SCREEN)
            page.open(path.as_uri())
            keep(page, path.stem)
            looks_right(page, f"{path.name}, {SCREEN} pixels", scrolls=False)
            page.run("document.querySelectorAll('summary').forEach(summary => summary.click())")
            assert page.run("document.querySelectorAll('details:not([open])').length") == 0
            looks_right(page, f"{path.name}, all open", scrolls=False)
            for place in range(page.run("document.querySelectorAll('nav a').length")):
                page.run(f"document.querySelectorAll('nav a')[{place}].click()")
                target = page.run("document.getElementById(location.hash.slice(1)) !== null")
                assert target, (path.name, page.run("location.hash"))
            for number in range(page.run("document.querySelectorAll('button').length")):
                page.run(f"[...document.querySelectorAll('button')][{number}]?.click()")
            resize(page, 600)
            looks_right(page, f"{path.name}, 600 pixels", scrolls=True)
            assert page.run("document.querySelectorAll('img, b b').length") == 0, "names are never markup"
            resize(page, PAPER)
            page.call("Emulation.setEmulatedMedia", session=True, media="print")
            if path.stem != "entities":
                keep(page, f"{path.stem}-paper")
                looks_right(page, f"{path.name}, on paper", scrolls=False)
            page.call("Emulation.setEmulatedMedia", session=True, media="")
            assert page.complaints == [], path.name


@pytest.mark.slow
def test_dark_is_for_screens_only(pages, tmp_path):
    """On paper the page is white and charts have no ground, whatever the screen's colours."""
    ground = "getComputedStyle(document.body).backgroundColor"
    with browser(tmp_path / "profile") as page:
        features = [{"name": "prefers-color-scheme", "value": "dark"}]
        page.call("Emulation.setEmulatedMedia", session=True, features=features)
        page.open(pages[0].as_uri())
        assert page.run(ground) == "rgb(20, 24, 28)"
        page.call("Emulation.setEmulatedMedia", session=True, media="print", features=features)
        assert page.run(ground) == "rgb(255, 255, 255)"
        assert page.run("getComputedStyle(document.querySelector('.plots svg')).backgroundColor") == "rgba(0, 0, 0, 0)"
        assert page.run("getComputedStyle(document.querySelector('nav')).display") == "none"


@pytest.mark.slow
def test_the_checks_see_what_is_wrong(tmp_path):
    """A page that is too wide, one that is cut off, and one whose script fails are found."""
    bad = "<body style='margin:0'><div style='width:3000px'>wide</div><script>throw Error('no')</script></body>"
    cut = (
        "<body style='margin:0'><div class='scroll' style='overflow:auto'><p style='width:3000px'>cut</p></div></body>"
    )
    (tmp_path / "bad.html").write_text(f"<!DOCTYPE html><html>{bad}</html>")
    (tmp_path / "cut.html").write_text(f"<!DOCTYPE html><html>{cut}</html>")
    with browser(tmp_path / "profile") as page:
        resize(page, SCREEN)
        page.open((tmp_path / "bad.html").as_uri())
        assert page.run(BEYOND.replace("SCROLLS", "true")) and page.complaints
        page.events.clear()
        page.open((tmp_path / "cut.html").as_uri())
        assert page.run(CUT) == ["cut"] and not page.run(BEYOND.replace("SCROLLS", "true")) and not page.complaints
