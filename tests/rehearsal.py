"""The rehearsal that visitors see: a run on the article's lab, kept in docs/.

    rehearsal.zip    its record, as ``runbook records export`` hands it over
    rehearsal.html   its page, as the package draws it today
    rehearsal.png    where that page begins, for README

``make rehearsal`` makes all three of a new run; ``make docs``, which runs this module, draws the
last two anew.
"""

from __future__ import annotations

import hashlib
import json
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

from runbook.records.page.page import page

DOCS = Path(__file__).parents[1] / "docs"
RECORD, PAGE, PICTURE = (DOCS / f"rehearsal.{kind}" for kind in ("zip", "html", "png"))
WIDTH, SCALE = 1072, 0.85  # what the page takes on a desk, and what README has room for
PNG_HEAD = 33  # its signature and the chunk IHDR, which stays the first


def unpack(folder: Path) -> Path:
    """Unpack the kept archive into a folder, and return the run in it."""
    with zipfile.ZipFile(RECORD) as archive:
        archive.extractall(folder)
    (statement,) = folder.glob("*/statement.json")
    return statement.parent


def predicate(run: Path) -> dict[str, Any]:
    """Return what the statement of a run says."""
    said: dict[str, Any] = json.loads((run / "statement.json").read_text(encoding="utf-8"))
    return said["predicate"]


def draw() -> str:
    """Return the page of the kept record as the package draws it now."""
    with tempfile.TemporaryDirectory() as folder:
        run = unpack(Path(folder))
        return page(run, predicate(run))


def mark() -> bytes:
    """Return the chunk by which the picture says of which page it is.

    Source: PNG (Third Edition), 5.3, Chunk layout, and 11.3.3.2, tEXt.
    """
    body = b"tEXtSource\0" + hashlib.sha256(PAGE.read_bytes()).hexdigest().encode()
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))


def photograph() -> bytes:
    """Return a picture of the page from its top to the end of the first diff that is open."""
    from browser.conftest import ARGUMENTS, CHROMIUM
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        desk = {"width": WIDTH, "height": 900}
        view = browser.new_context(offline=True, viewport=desk, device_scale_factor=SCALE)
        seen = view.new_page()
        seen.goto(PAGE.as_uri())
        diff = seen.locator("#plan details[open]").first.bounding_box()
        assert diff is not None
        begin = {"x": 0, "y": 0, "width": WIDTH, "height": diff["y"] + diff["height"]}
        taken = seen.screenshot(clip=begin, full_page=True)
        browser.close()
    return taken[:PNG_HEAD] + mark() + taken[PNG_HEAD:]


if __name__ == "__main__":
    PAGE.write_text(draw(), encoding="utf-8")
    PICTURE.write_bytes(photograph())
