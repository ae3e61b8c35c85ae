"""A hook of mkdocs: links from a page to a file outside docs/ lead to that file in the repository.

On disk and on a code host such a link is relative (`../README.md`), and mkdocs only knows the files below docs/.
"""

import posixpath
import re
from typing import Any

_LINK = re.compile(r"\]\(((?:\.\./)+[^)\s]*)\)")


def on_page_markdown(markdown: str, /, *, page: Any, config: Any, **_: Any) -> str:
    """The page's Markdown, with links that leave docs/ made absolute."""
    folder = posixpath.dirname(f"docs/{page.file.src_uri}")

    def absolute(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, link[1]))
        return link[0] if target.startswith("docs/") else f"]({config.repo_url}/blob/main/{target})"

    return _LINK.sub(absolute, markdown)
