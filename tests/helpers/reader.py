"""A page as its reader uses it: words that show, and clicks and typing on what bears them, each waited for."""

from __future__ import annotations

import json
import time
from typing import Any

from tests.helpers.browser import Tab

WAIT_S = 60.0
# Where the middle of an element is, once it is in the window and nothing covers it; null until then.
_PLACE = """(element => {
    if (!element) return null;
    element.scrollIntoView({block: 'center', behavior: 'instant'});
    const box = element.getBoundingClientRect(), x = box.x + box.width / 2, y = box.y + box.height / 2;
    const there = document.elementFromPoint(x, y);
    return there && (element.contains(there) || there.contains(element)) ? [x, y] : null;
})"""


def wait_for(tab: Tab, script: str, what: str, seconds: float = WAIT_S) -> Any:
    """The first true value of a JavaScript expression; raises AssertionError with what the page shows instead."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := tab.run(script):
            return found
        time.sleep(0.2)
    raise AssertionError(f"waited {seconds:.0f} s for {what}; the page shows:\n{words(tab)}")


def words(tab: Tab) -> str:
    """What the page says, as it would be copied from it."""
    return str(tab.run("document.body?.innerText ?? ''"))


def see(tab: Tab, *texts: str, seconds: float = WAIT_S) -> None:
    """Wait until the page shows every one of `texts`."""
    for text in texts:
        wait_for(tab, f"document.body?.innerText.includes({json.dumps(text)})", repr(text), seconds)


def thing(text: str, kinds: str = "button, a, .p-tab", within: str = "document") -> str:
    """The expression of the last element of some kind (a CSS selector) that shows exactly `text`."""
    return f"""[...({within})?.querySelectorAll({json.dumps(kinds)}) ?? []]
        .filter(each => each.checkVisibility() && each.innerText.trim() === {json.dumps(text)}).at(-1)"""


def field(label: str, kinds: str) -> str:
    """The expression of what is filled in under the `label` of a form: its first element of some kind."""
    return f"""[...document.querySelectorAll('.p-label')]
        .find(each => each.querySelector('.p-label__label').innerText.replace(' (Optional)', '').trim() ===
              {json.dumps(label)})?.querySelector({json.dumps(kinds)})"""


def click(tab: Tab, element: str) -> None:
    """Click on the middle of an element, given as an expression, as soon as it can be clicked."""
    place = None
    while place != (found := wait_for(tab, f"{_PLACE}({element})", f"something to click: {element}")):
        place = found
        time.sleep(0.2)  # a page that still scrolls or grows closes again what a click opens
    tab.click(*place)


def write(tab: Tab, element: str, text: str) -> None:
    """Click on a field and replace what is in it by `text`."""
    click(tab, element)
    tab.run("document.activeElement.select?.()")
    tab.call("Input.insertText", text=text)


def choose(tab: Tab, label: str, choice: str) -> list[str]:
    """Open a drop-down of a form by its arrow and take one choice; returns all of them as they stand there."""
    click(tab, field(label, ".p-select-button__icon"))
    choices = wait_for(tab, "[...document.querySelectorAll('.p-select-option')].map(each => each.innerText)", label)
    click(tab, thing(choice, ".p-select-option"))
    return choices
