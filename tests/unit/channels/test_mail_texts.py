"""Texts out of HTML and out of softly broken lines."""

import pytest

from channels.mail_flowed import unflowed
from channels.mail_html import text_of_html

HTML = [  # (what is special, the HTML, the text)
    ("blanks and entities", "<p>5&nbsp;cajas   de\n pi&ntilde;a &amp; más</p>", "5 cajas de piña & más"),
    ("line breaks", "a<br>b<br><br>c<br/>", "a\nb\n\nc"),
    ("lines of divs (Gmail)", "<div>a</div><div>b</div><div><br></div><div>c</div>", "a\nb\n\nc"),
    ("paragraphs", "<p>a</p><p>b</p>", "a\n\nb"),
    ("a paragraph of a blank (Outlook)", "<p>a</p><p>&nbsp;</p><p>b</p>", "a\n\nb"),
    ("a list", "<p>Quiero:</p><ol><li>3 cajas</li><li><p>2 panes</p></li></ol>", "Quiero:\n\n* 3 cajas\n* 2 panes"),
    ("a table", "<table><tr><td>PAN</td><td><p>5</p></td></tr><tr><th>SAL</th> <td>2</td></tr></table>", "PAN\t5\nSAL\t2"),
    ("a table for the layout", "<table><tr><td><p>Hola</p><p>5 cajas</p></td></tr></table>", "Hola\n\n5 cajas"),
    ("a quote", "<div>Sí</div><blockquote>¿5?<blockquote>no</blockquote></blockquote>", "Sí\n\n> ¿5?\n>\n> > no"),
    ("a quote by its class", '<p>Sí</p><div class="x yahoo_quoted">¿5?</div>', "Sí\n\n> ¿5?"),
    ("a signature by its class", '<div>Sí</div><div class="gmail_signature">Ana</div>', "Sí\n-- \nAna"),
    ("a rule", "a<hr>b", "a\n" + "_" * 32 + "\nb"),
    ("a link", '<a href="https://a.example/x">aquí</a>', "aquí <https://a.example/x>"),
    ("a link that is its own words", '<a href="https://a.example/">https://a.example</a>', "https://a.example"),
    ("a link to a script", '<a href="javascript:alert(1)">x</a>', "x"),
    ("what is hidden", '<p style="DISPLAY : none">no</p><p hidden>no</p><span style="font-size:0px">no</span>sí', "sí"),
    ("small, yet shown", '<p style="font-size:0.8em">sí</p><p style="max-height:0.5em">sí</p>', "sí\n\nsí"),
    ("what is never text", "<style>a</style><script>b</script><title>c</title><!-- d --><svg><text>e</text></svg>f", "f"),
    ("Outlook's conditional comments", "<!--[if mso]><p>no</p><![endif]-->sí<o:p></o:p>", "sí"),
    ("no HTML at all", "5 < 6 cajas", "5 < 6 cajas"),
    ("nothing", "", ""),
    ("never closed", "<div><b>5 cajas", "5 cajas"),
    ("a preformatted list", "<pre>a\n  b</pre>c", "a\n  b\n\nc"),
]  # fmt: skip


@pytest.mark.parametrize(("html", "text"), [case[1:] for case in HTML], ids=[case[0] for case in HTML])
def test_html_as_a_person_sees_it(html: str, text: str) -> None:
    assert text_of_html(html) == (text, False)


FLOWED = [  # (what is special, delsp, the lines, the text)
    ("a paragraph", False, "3 cajas \nde pan\nfin", "3 cajas de pan\nfin"),
    ("a line that is not broken", False, "a\nb", "a\nb"),
    ("a quote's paragraph", False, "> a \n> b\nc", "> a b\nc"),
    ("another depth ends it", False, "> a \n>> b", "> a \n>> b"),
    ("the signature is a line of its own", False, "a \n-- \nAna", "a \n-- \nAna"),
    ("a stuffed line", False, " >no quote\n  b", ">no quote\n b"),
    ("a script without blanks", True, "漢 \n字", "漢字"),
    ("nothing", False, "", ""),
]


@pytest.mark.parametrize(
    ("delete_space", "lines", "text"), [case[1:] for case in FLOWED], ids=[case[0] for case in FLOWED]
)
def test_soft_line_breaks(delete_space: bool, lines: str, text: str) -> None:
    assert unflowed(lines, delete_space=delete_space) == text
