"""Plain prose from the HTML of botocore and the wrapped Markdown of Google's API descriptions."""

import html
import re

_BLOCK = "p|li|ul|ol|dl|dt|dd|note|important|caution|tip|br|pre|h[1-6]|div|table|tr|para|fullname"
_INLINE = (
    "a|i|b|u|em|code|strong|link|replaceable|span|td|th|tbody|thead|sub|sup|text|zonbook|xhtml"
    "|small|img|s|tt|kbd|var"
)
_ATTRIBUTES = r"""(?:\s(?:"[^"<]*"|'[^'<]*'|[^<>"'])*)?"""
_BLOCK_TAG = re.compile(rf"</?(?:{_BLOCK}){_ATTRIBUTES}\"?/?>", re.IGNORECASE)
_INLINE_TAG = re.compile(rf"</?(?:{_INLINE}){_ATTRIBUTES}\"?/?>", re.IGNORECASE)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_SPACES = re.compile(r"\s+")
_SPACE_BEFORE_STOP = re.compile(r" ([.,;:!?)])(?= |$)", re.MULTILINE)
# Control characters, C1 codes (left by broken conversions), line separators, soft hyphens.
_CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\xad]")
_LINK = re.compile(r"\[([^\]\n]+)\]\((?:[^()\s]|\([^()\s]*\))*\)")
_EMPHASIS = re.compile(r"(?<!\w)\*{1,2}([^\s*](?:[^*\n]*[^\s*])?)\*{1,2}(?!\w)")
_BULLET = re.compile(r"^(?:[*+-]|\d+[.)])\s+")


def plain_html(text: str) -> str:
    """The words of an HTML fragment, a line for each paragraph or list item.

    Only tags of HTML and DocBook are removed: `<region>` in "arn:aws:<region>" is prose.
    """
    plain = _SPACES.sub(" ", _COMMENT.sub("", text))
    for _ in range(2):  # twice: tags may themselves be escaped
        plain = html.unescape(_INLINE_TAG.sub("", _BLOCK_TAG.sub("\n", plain)))
    lines = (" ".join(line.split()) for line in _CONTROL.sub(" ", plain).split("\n"))
    return _SPACE_BEFORE_STOP.sub(r"\1", "\n".join(line for line in lines if line))


def plain_markdown(text: str) -> str:
    """The words of hard-wrapped Markdown: links, emphasis and code marks gone, lines rejoined."""
    paragraphs: list[str] = []
    joining = False
    for raw in text.split("\n"):
        line = raw.strip().lstrip("#>").strip()
        if not line or line.startswith("```"):
            joining = False
            continue
        bullet = _BULLET.match(line)
        if joining and not bullet:
            paragraphs[-1] += " " + line
        else:
            paragraphs.append(line[bullet.end() :] if bullet else line)
        joining = True
    text = _EMPHASIS.sub(r"\1", _LINK.sub(r"\1", "\n".join(paragraphs)))
    return plain_html(text.replace("`", "").replace("\n", "<br>"))
