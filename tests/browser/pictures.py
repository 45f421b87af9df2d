"""The README's screenshots, taken by the browser tests."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image
from playwright.sync_api import FloatRect, Page

COLOURS = 256
MARGIN = 16
"""Pixels around the graph."""

_EXTENT = """nodes => {
  const boxes = nodes.map(node => node.getBoundingClientRect());
  return [Math.min(...boxes.map(box => box.left)), Math.min(...boxes.map(box => box.top)),
          Math.max(...boxes.map(box => box.right)), Math.max(...boxes.map(box => box.bottom))];
}"""


class Pictures:
    """Saves screenshots to a folder, or does nothing without one."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def keep(self, name: str, page: Page, clip: FloatRect | None = None) -> None:
        """Save a screenshot of the window, or of the part given by `clip`."""
        if self._folder is None:
            return
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(1_000)  # until animations have ended
        picture = Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB")
        picture.quantize(COLOURS, kmeans=1).save(self._folder / name, optimize=True)

    def keep_graph(self, page: Page) -> None:
        """Save a screenshot of the graph's nodes only, as large as the window allows."""
        if self._folder is None:
            return
        page.get_by_text("Hide navigation").click()
        page.get_by_placeholder("Jump to").locator("xpath=following::button[1]").click()
        page.reload()
        page.get_by_text("Materialized", exact=True).last.wait_for()
        page.wait_for_timeout(1_000)
        left, top, right, bottom = page.locator("foreignObject").evaluate_all(_EXTENT)
        clip: FloatRect = {
            "x": left - MARGIN,
            "y": top - MARGIN,
            "width": right - left + 2 * MARGIN,
            "height": bottom - top + 2 * MARGIN,
        }
        self.keep("graph.png", page, clip)
        page.evaluate("localStorage.clear()")
