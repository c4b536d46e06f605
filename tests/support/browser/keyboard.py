"""Going through a page by its keys alone."""

from __future__ import annotations

from playwright.sync_api import Page

_MOST_STOPS = 80
# What a screen reader calls it, as near as the page itself says, and whether its focus is seen.
_FOCUSED = """() => {
  const at = document.activeElement;
  const label = at.labels?.length ? at.labels[0].textContent : "";
  const name = at.getAttribute("aria-label") || label || at.textContent || at.value || "";
  const style = getComputedStyle(at);
  const ring = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
  return [name.trim().replace(/\\s+/g, " "), ring || at === document.body];
}"""


class Keyboard:
    """One page's."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def to(self, name: str) -> None:
        """Press Tab until the control of this name has the focus; it is seen at each stop."""
        met = []
        for _ in range(_MOST_STOPS):
            self.page.keyboard.press("Tab")
            found, seen = self.page.evaluate(_FOCUSED)
            assert seen, f"nobody sees that {found!r} has the focus"
            if found == name or (name.endswith("*") and found.startswith(name[:-1])):
                return
            met.append(found)
        raise AssertionError(f"Tab does not come to {name!r}, but to {met}")

    def press(self, name: str, key: str = "Enter") -> None:
        """Go to a control and use it."""
        self.to(name)
        self.page.keyboard.press(key)

    def type(self, name: str, text: str) -> None:
        """Go to a field and fill it anew."""
        self.to(name)
        self.page.keyboard.press("Control+A")
        self.page.keyboard.type(text)
