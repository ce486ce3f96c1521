"""The page of a record as a browser shows it: it does nothing, and it can be read everywhere."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from .conftest import Visitor, redrawn, rewrite

DESKTOP = {"viewport": {"width": 1280, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True}
A4_BETWEEN_MARGINS = {"viewport": {"width": 688, "height": 1000}}  # 182 mm at 96 dots an inch
HOSTILE = [
    "<script>window.ran = true</script>",
    '<img src="x" onerror="window.ran = true">',
    '<svg onload="window.ran = true"></svg>',
]
LEAST_CONTRAST = 4.5  # Web Content Accessibility Guidelines 2.2, 1.4.3

UNFOLD = "() => document.querySelectorAll('details').forEach(each => each.open = true)"
FOLDED_AWAY = """() => [...document.querySelectorAll('details > :not(summary)')].filter(
    each => !each.checkVisibility() || !each.getBoundingClientRect().height).length"""
TOO_WIDE = """() => {
    const page = document.scrollingElement;
    return page.scrollWidth <= page.clientWidth ? [] : [...document.querySelectorAll('body *')]
        .filter(each => each.getBoundingClientRect().right > page.clientWidth)
        .map(each => `${each.tagName}.${each.className}`);
}"""
# Source: WCAG 2.2, definitions of relative luminance and contrast ratio.
CONTRASTS = """() => {
    const parsed = text => [...text.match(/[\\d.]+/g).map(Number), 1].slice(0, 4);
    const over = ([r, g, b, opacity], under) =>
        [r, g, b].map((c, i) => c * opacity + under[i] * (1 - opacity)).concat(1);
    const behind = each => {
        if (!each) return [255, 255, 255, 1];
        const own = parsed(getComputedStyle(each).backgroundColor);
        return own[3] == 1 ? own : over(own, behind(each.parentElement));
    };
    const luminance = colour => [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => {
        const c = colour[i] / 255;
        return sum + weight * (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    }, 0);
    const found = [], texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const text = texts.currentNode.data.trim(), each = texts.currentNode.parentElement;
        if (!text || !each.checkVisibility()) continue;
        const ground = behind(each), ink = over(parsed(getComputedStyle(each).color), ground);
        const [dark, light] = [luminance(ground), luminance(ink)].sort((a, b) => a - b);
        found.push([(light + 0.05) / (dark + 0.05), `${each.tagName}.${each.className} ${text}`]);
    }
    return found;
}"""


class TestInert:
    """The page runs nothing and asks for nothing."""

    def test_asks_for_nothing(self, visit: Visitor, report: Path) -> None:
        """With the network off, it is read from its file, and the browser has no complaint."""
        seen = visit(report)
        seen.page.evaluate(UNFOLD)

        assert seen.page.title().endswith(report_id(report))
        assert seen.requests == [report.as_uri()]
        assert not seen.complaints

    def test_hostile_outputs(self, visit: Visitor, record_page: Path, tmp_path: Path) -> None:
        """What a notebook's output would run does not run, and is not even there to be stopped."""
        shutil.copytree(record_page.parent, folder := tmp_path / "record")
        for path in folder.glob("*.ipynb"):
            notebook = json.loads(path.read_text(encoding="utf-8"))
            cell = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")
            cell["outputs"].append(output({"text/html": f"<p>here</p>{''.join(HOSTILE)}"}))
            rewrite(path, json.dumps(notebook))
        seen = visit(redrawn(folder))
        seen.page.evaluate(UNFOLD)

        assert seen.page.get_by_text("here", exact=True).first.is_visible()
        assert seen.page.evaluate("() => window.ran === undefined")
        assert seen.requests == [(folder / "report.html").as_uri()]
        assert not seen.complaints

    @pytest.mark.parametrize("hostile", HOSTILE, ids=["script", "onerror", "onload"])
    def test_policy(self, visit: Visitor, record_page: Path, tmp_path: Path, hostile: str) -> None:
        """The page's policy stops what got past everything else; without it, it would run."""
        text = record_page.read_text(encoding="utf-8").replace("<footer>", f"{hostile}<footer>")
        without = re.sub('<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
        (tmp_path / "with.html").write_text(text, encoding="utf-8")
        (tmp_path / "without.html").write_text(without, encoding="utf-8")
        stopped, ran = (visit(tmp_path / f"{name}.html") for name in ("with", "without"))

        assert stopped.page.evaluate("() => window.ran === undefined")
        assert any("Content Security Policy" in complaint for complaint in stopped.complaints)
        assert ran.page.evaluate("() => window.ran")


class TestReading:
    """It can be read on a desk and on a phone, by day and by night."""

    def test_first_screen(self, visit: Visitor, report: Path) -> None:
        """Outcome, who, from where, when, why, approval and signature need no scrolling."""
        page = visit(report, **DESKTOP).page
        places = [page.locator("h1 .chip")] + [
            page.locator(".facts > div", has=page.get_by_text(name, exact=True)).locator("dd")
            for name in ("Who", "From", "When", "Why", "Approval", "Signature")
        ]

        for place in places:
            box = place.bounding_box()
            assert place.inner_text().strip()
            assert box is not None
            assert box["y"] + box["height"] <= 900
            assert box["x"] + box["width"] <= 1280

    @pytest.mark.parametrize("screen", [DESKTOP, PHONE], ids=["desktop", "phone"])
    def test_no_sideways_scrolling(
        self, visit: Visitor, report: Path, screen: dict[str, Any]
    ) -> None:
        """Folded or unfolded, nothing is wider than the screen."""
        page = visit(report, **screen).page

        assert page.evaluate(TOO_WIDE) == []
        page.evaluate(UNFOLD)
        assert page.evaluate(TOO_WIDE) == []

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_contrast(self, visit: Visitor, report: Path, scheme: str) -> None:
        """Every text stands out from its ground, in either colour scheme."""
        page = visit(report, color_scheme=scheme).page
        page.evaluate(UNFOLD)
        found = page.evaluate(CONTRASTS)

        assert len(found) > 500
        assert [text for contrast, text in found if contrast < LEAST_CONTRAST] == []

    def test_headings(self, visit: Visitor, report: Path) -> None:
        """One heading is the page's, and none is more than one level below the one before it."""
        headings = visit(report).page.locator("h1, h2, h3, h4, h5, h6")
        levels = [int(name[1]) for name in headings.evaluate_all("all => all.map(h => h.tagName)")]

        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(low - high <= 1 for high, low in pairwise(levels))


class TestPaper:
    """Paper cannot be unfolded or scrolled."""

    def test_nothing_is_folded(self, visit: Visitor, report: Path) -> None:
        """What is folded on a screen is printed, all within the width of the paper."""
        page = visit(report, **A4_BETWEEN_MARGINS).page

        assert page.evaluate(FOLDED_AWAY) > 0
        page.emulate_media(media="print")
        assert page.evaluate(FOLDED_AWAY) == 0
        assert page.evaluate(TOO_WIDE) == []

    def test_pdf(self, visit: Visitor, report: Path) -> None:
        """A printed copy has sheets, and on them the outcome and every notebook's headings."""
        page = visit(report, color_scheme="dark").page
        printed = page.pdf(format="A4", tagged=True, outline=True)
        outline = " ".join(titles(printed))
        missing = [
            heading
            for heading in page.locator("h1, h2, h3, h4").all_text_contents()
            if "".join(heading.split()) not in outline
        ]

        assert len(re.findall(rb"/Type /Page\b", printed)) > 0
        assert "".join(page.locator("h1").inner_text().split()) in outline
        assert missing == []


def output(data: dict[str, str]) -> dict[str, Any]:
    """Return an output of a notebook."""
    return {"output_type": "display_data", "data": data, "metadata": {}}


def report_id(report: Path) -> str:
    """Return the run that a page is of, from the results beside it."""
    results = json.loads((report.parent / "results.json").read_text(encoding="utf-8"))
    run_id: str = results["run_id"]
    return run_id


def titles(pdf: bytes) -> Iterator[str]:
    """Yield the headings of a PDF's outline without spaces, of which Chromium drops some.

    Source: ISO 32000-1, 7.9.2.2: a text string is UTF-16BE behind a mark, else PDFDocEncoding.
    """
    for title in re.findall(rb"/Title (\(.*?\)|<.*?>)", pdf):
        if title.startswith(b"<FEFF"):
            text = bytes.fromhex(title[5:-1].decode()).decode("utf-16-be")
        else:
            text = title[1:-1].decode("latin-1").replace("\\", "")
        yield "".join(text.split())
