"""Navigation: the parts of a page that lead to other pages, and say nothing about its subject."""

import re
from typing import TYPE_CHECKING

from millrace.tasks.documents.html.elements import bounded_text

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

BOILERPLATE_ROLES = frozenset(["navigation", "banner", "contentinfo", "search", "menu", "menubar"])

_CONTAINERS = frozenset(["div", "ul", "ol", "p", "table", "td", "th", "span", "section", "aside", "dl"])
_NAVIGATION_NAMES = re.compile(
    r"(?:^|[\s_-])(?:nav|navbar|navbox|navheader|navfooter|navigation|navlinks|sidenav|topnav|breadcrumbs?|pagination|pager|"
    r"prev-?next|skip-?links?|skip-?to-?(?:main|content)|toolbar|share-?buttons|social-?links)(?:$|[\s_-])",
    re.IGNORECASE,
)
_MIN_LINKED_SHARE = 0.6
_MAX_NAVIGATION_CHARACTERS = 2_000
_MAX_LABEL_CHARACTERS = 60
_DIRECTIONS = frozenset(["prev", "previous", "next", "up"])
_LABEL_ENDS = " \t\n\r\f\xa0«»<>←→↑↓⟨⟩‹›|:·•.…▲▼◀▶⏮⏭"
_DIRECTION_LABELS = frozenset(
    [
        "prev", "previous", "previous page", "previous chapter", "next", "next page", "next chapter", "up", "home",
        "back to top", "to top", "go to top", "return to top", "back to home", "skip to content",
        "skip to main content", "skip to navigation", "skip navigation", "zurück", "weiter", "nach oben", "startseite",
        "précédent", "suivant", "haut de page", "anterior", "siguiente",
        "上一页", "下一页", "上一章", "下一章", "上一篇", "下一篇", "首页", "返回首页", "返回顶部", "回到顶部",
        "前へ", "次へ", "トップへ戻る", "ページの先頭へ",
    ]
)  # fmt: skip
_ACTION_LABELS = frozenset(
    [
        "download", "download pdf", "download as pdf", "print this page", "print page", "edit this page",
        "edit on github", "edit on gitlab", "view source", "view on github", "view page source", "show source",
        "report a bug", "report an issue", "copy link", "herunterladen", "télécharger", "descargar", "下载",
        "ダウンロード",
    ]
)  # fmt: skip
_LIST_ITEMS = frozenset(["li", "dt", "dd"])


def is_page_frame(node: "LexborNode", tag: str, *, in_section: bool) -> bool:
    """Whether a `header` or `footer` is the page's own; a header that holds an `h1` is content."""
    return tag in {"header", "footer"} and not in_section and (tag == "footer" or node.css_first("h1") is None)


def is_navigation_link(node: "LexborNode", attributes: dict[str, str | None]) -> bool:
    """Whether a link stands alone and leads through the site or does something to the page, as "Prev" or "Download"."""
    label = (bounded_text(node, _MAX_LABEL_CHARACTERS) or "").strip(_LABEL_ENDS).casefold()
    leads = label in _DIRECTION_LABELS or bool(_DIRECTIONS & set((attributes.get("rel") or "").lower().split()))
    in_list = node.parent is not None and node.parent.tag in _LIST_ITEMS  # may name one thing of several
    return (leads or (label in _ACTION_LABELS and not in_list)) and not _is_within_text(node)


def is_named_navigation(tag: str, attributes: dict[str, str | None]) -> bool:
    """Whether an element's class or id names it as navigation."""
    return tag in _CONTAINERS and any(
        value is not None and _NAVIGATION_NAMES.search(value) is not None
        for value in (attributes.get("class"), attributes.get("id"))
    )


def consists_of_links(node: "LexborNode") -> bool:
    """Whether an element holds little besides links, and no heading."""
    text = len("".join((node.text() or "").split()))
    if text > _MAX_NAVIGATION_CHARACTERS or node.css_first("h1,h2,h3,h4") is not None:
        return False
    linked = sum(len("".join((link.text() or "").split())) for link in node.css("a"))
    return linked >= _MIN_LINKED_SHARE * text


def _is_within_text(node: "LexborNode") -> bool:
    """Whether words stand beside the element, in its own line."""
    for beside in (node.prev, node.next):
        if beside is not None and beside.tag == "-text" and any(c.isalnum() for c in beside.text_content or ""):
            return True
    return False
