"""Elements of a page: what is put into them is text, whatever it holds."""

import re
from xml.etree.ElementTree import Element, tostring

# What a page can't hold, and lone halves of characters, which no file can.
_NOT_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")

__all__ = ["Element", "element", "markup"]


def element(tag: str, *children: "Element | str", **attributes: str) -> Element:
    """An element with its children, in order.

    Args:
        tag: its name.
        children: elements and texts.
        attributes: by name; "_" is "-", and one at the end is left out (class_).
    """
    made = Element(tag)
    for name, value in attributes.items():
        made.set(name.rstrip("_").replace("_", "-"), clean(value))
    last: Element | None = None
    for child in children:
        if isinstance(child, str):
            text = clean(child)
            if last is None:
                made.text = (made.text or "") + text
            else:
                last.tail = (last.tail or "") + text
        else:
            made.append(child)
            last = child
    return made


def clean(text: str) -> str:
    """A text without what no page can hold."""
    return _NOT_TEXT.sub("\ufffd", text)


def markup(root: Element) -> str:
    """An element as HTML; special characters in texts and attributes are escaped."""
    return tostring(root, encoding="unicode", method="html")
