"""HTML of outputs, as the page of a record shows it."""

from __future__ import annotations

import pytest

from runbook.notebook.tables import diff_html
from runbook.records.page.sanitise import sanitise

PNG = "iVBORw0KGgo="


class TestSanitise:
    """HTML of outputs."""

    @pytest.mark.parametrize(
        "source",
        [
            "<p><strong>a</strong></p>",
            '<table><thead><tr><th colspan="2">a</th></tr></thead></table>',
            '<table><tbody><tr><td rowspan="2">a</td></tr></tbody></table>',
            '<details open=""><summary>a</summary><pre>b\n c</pre></details>',
            "a &lt;script&gt; &amp; b<br>c",
            f'<img src="data:image/png;base64,{PNG}" alt="p">',
        ],
    )
    def test_tables_and_diffs_stay(self, source: str) -> None:
        """What the runbook's own tables are made of is kept as it is."""
        assert sanitise(source) == source

    @pytest.mark.parametrize(
        ("source", "result"),
        [
            ("a<script>alert(1)</script>b", "ab"),
            ("<SCRIPT/x>alert(1)</SCRIPT >b", "b"),
            ("<script>alert(1)", ""),
            ("<scr<script>ipt>alert(1)</script>b", "ipt&gt;alert(1)b"),
            ("<style>*{}</style><b onclick=x style='a:b' class=c>b</b>", "<b>b</b>"),
            ("<svg><script>x</script><a xlink:href=x>y</a></svg>b", "b"),
            ("<math><mtext><img src=x onerror=y></mtext></math>b", "b"),
            ("<iframe src=x>y</iframe><object data=x>y</object>b", "b"),
            ("<img src=x onerror=y alt='p'><img src=javascript:x>", '<img alt="p"><img>'),
            ("<img src='data:text/html,x'><img srcset=x>", "<img><img>"),
            ("<img src=' data:image/png;base64,x'><img src=//data:image/png>", "<img><img>"),
            ("<a href='javascript:x'>y</a><form action=x><input value=z>w</form>", "yw"),
            (
                "<template><img src=x></template><noscript><p title='</noscript><img>'>",
                "<img>'&gt;",
            ),
            ("<!-- <b> --><!DOCTYPE x><?php y ?>b", "b"),
            ("</div></details><b>a", "<b>a</b>"),
            ("<div><b>a</div>c", "<div><b>a</b></div><b>c</b>"),
            ("<div/>a", "<div>a</div>"),
            ('<td colspan="1&quot; onx=&quot;">', ""),
            ('<li scope="1&quot; onx=&quot;">', '<li scope="1&quot; onx=&quot;"></li>'),
            ("<svg></p><style><img src=x onerror=y></style></svg>b", "<p></p>b"),
            ("<math><mi><xmp><p title='</xmp><img src=x onerror=y>'></xmp></mi></math>b", "b"),
            (
                "<p class='ins out'><span class='ins shown'>a</span>",
                '<p><span class="ins">a</span></p>',
            ),
            ("a < b & c", "a &lt; b &amp; c"),
        ],
    )
    def test_the_rest_goes(self, source: str, result: str) -> None:
        """Nothing that runs, fetches or reaches out of its place is left."""
        assert sanitise(source) == result

    def test_lines_of_a_diff(self) -> None:
        """They have the page's own colours, which fit both themes, in place of the notebook's."""
        assert sanitise(diff_html("--- f\n@@\n+a\n-b")) == (
            '<pre><span class="hunk">--- f</span>\n<span class="hunk">@@</span>\n'
            '<span class="ins">+a</span>\n<span class="del">-b</span></pre>'
        )

    def test_cells_that_would_not_fit(self) -> None:
        """A long word may break, a mark stays with its word, and a copy of it is the word."""
        word = "traefik_traefik.03dpqra169nw31so5o9372mvh"
        parted = f"{word[:32]}<wbr>{word[32:]}"
        begin, end = "<table><tbody><tr><td>", "</td></tr></tbody></table>"

        assert sanitise(f"{begin}{word} ✓ a & b<br>{word}{end}") == (
            f"{begin}{parted} ✓&nbsp;a &amp; b<br>{parted}{end}"
        )
        assert (
            sanitise(f"{begin}{'&' * 40}{end}") == f"{begin}{'&amp;' * 32}<wbr>{'&amp;' * 8}{end}"
        )
        assert sanitise(f"{begin}✗ {'f' * 39}{end}") == f"{begin}✗&nbsp;{'f' * 39}{end}"
        assert sanitise(f"<p>{word} ✓ a</p>") == f"<p>{word} ✓ a</p>"

    def test_what_looks_like_text_in_an_attribute(self) -> None:
        """A place to break is put into texts; in an attribute it could not end that either."""
        long = "a" * 31 + "&quot;" + "a" * 9
        shown = sanitise(f'<table><tr><td><img alt="x>{long}<y" src=x>{long}</td></table>')

        assert shown == (
            f'<table><tbody><tr><td><img alt="x&gt;{long}&lt;y">{"a" * 31}"<wbr>{"a" * 9}'
            "</td></tr></tbody></table>"
        )
