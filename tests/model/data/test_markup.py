"""HTML and Markdown become the words that a reader sees."""

import pytest

from model.data.markup import plain_html, plain_markdown


@pytest.mark.parametrize(
    ("raw", "plain"),
    [
        ("<p>A <code>Role</code>.</p> <p>Two</p>", "A Role.\nTwo"),
        ("<ul> <li> <p>x</p> </li> <li>y</li></ul>", "x\ny"),
        ('see <a href="http://a.b/c?d>e"> <b>Limits</b> </a>, now', "see Limits, now"),
        ("arn:aws:<region>:x &lt;bucket&gt; &amp; more", "arn:aws:<region>:x <bucket> & more"),
        ("&lt;p&gt;escaped&lt;/p&gt;", "escaped"),
        ("line\n   broken &#150; here", "line broken – here"),
        ("<p/>", ""),
    ],
)
def test_html(raw: str, plain: str) -> None:
    assert plain_html(raw) == plain


def test_markdown() -> None:
    raw = "See [the guide](https://a.b/c) for\n`name` and **bold**.\n\n* one\n* two\n  more"
    assert plain_markdown(raw) == "See the guide for name and bold.\none\ntwo more"
