"""The text of a mail's HTML, with its quotes as a text mail writes them, so that one reader finds the reply in both."""

import re

from selectolax.lexbor import LexborHTMLParser, LexborNode

# Characters, tags and open elements; what stands behind them is quotes of quotes, and the parser's time grows with tags
# times open elements.
HTML_LIMIT, TAG_LIMIT, DEPTH_LIMIT, UNCLOSED_LIMIT = 2 * 1024 * 1024, 50_000, 500, 4_000
MOST_QUOTES = 10  # marks before a line; who quotes deeper is not read by depth
RULE = "_" * 32  # how Outlook draws the line above a quoted mail in its text
_DROPPED = frozenset(
    "head iframe meta noscript object script select style svg template textarea title".split()  # noqa: SIM905 - read as words
)
_BLOCKS = frozenset(
    "address article aside blockquote center dd div dl dt fieldset figcaption figure footer form h1 h2 h3 h4 h5 h6"  # noqa: SIM905
    " header hr li main nav ol p pre section table tbody tfoot thead tr ul".split()
)
_PARAGRAPHS = frozenset({"p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "table", "blockquote", "pre"})
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9:]{0,20})")
# Elements that are never open, and those that mails leave open since a next one closes them; but one of another kind does
# not, so that they, too, are counted.
_EMPTY = frozenset("area base br col embed hr img input link meta o:p source track wbr".split())  # noqa: SIM905
_OPTIONAL = frozenset({"dd", "dt", "li", "option", "p", "td", "th", "tr"})
_QUOTES = re.compile(r"\b(?:yahoo_quoted|protonmail_quote|tutanota_quote|zmail_extra)\b")
_SIGNATURES = re.compile(r"\b(?:gmail_signature|moz-signature)(?![\w-])")
_SIGNATURE_IDS = frozenset({"Signature", "signature", "ms-outlook-mobile-signature"})
_HIDDEN = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*hidden|mso-hide\s*:\s*all|(?:font-size|max-height)\s*:\s*0(?![.\d])",
    re.IGNORECASE,
)
_BLANKS = re.compile(r"[ \t\r\n\f\xa0\u200b\u200c\u200d\u2060\ufeff\u034f\xad]+")
_BLANK_LINES = re.compile(r"\n{3,}")
_LINK = re.compile(r"https?://[^\s<>\"]{1,500}", re.IGNORECASE)


def text_of_html(html: str) -> tuple[str, bool]:
    """The text as a person sees it, and whether the HTML was over the limits and cut.

    Line breaks, lists and table rows are kept, links stand beside their words, nothing hidden is shown; a quote's lines
    begin with "> ", a ruled line is Outlook's row of underscores. Never raises.
    """
    bounded, is_cut = bounded_html(html)
    root = LexborHTMLParser(bounded).root
    writer = _Writer()
    if root is not None:
        _write(root, writer)
    return writer.text(), is_cut


def bounded_html(html: str) -> tuple[str, bool]:
    """The HTML up to the limits, and whether it was cut."""
    text = html[:HTML_LIMIT]
    nested, unclosed = 0, 0
    for count, tag in enumerate(_TAG.finditer(text)):
        name, change = tag[2].lower(), -1 if tag[1] else 1
        if name in _OPTIONAL:
            unclosed = max(0, unclosed + change)
        elif name not in _EMPTY:
            nested = max(0, nested + change)
        if count >= TAG_LIMIT or nested > DEPTH_LIMIT or unclosed > UNCLOSED_LIMIT:
            return text[: tag.start()], True
    return text, len(html) > HTML_LIMIT


class _Writer:
    """Collects lines; knows the depth of quotes and what is due before the next word."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._line: list[str] = []
        self._quotes = 0
        self._blank_due = False
        self._blank_quotes = 0
        self._bullet = ""

    def word(self, text: str) -> None:
        blank_ahead = not self._line or self._line[-1].endswith((" ", "\t"))
        shown = _BLANKS.sub(" ", text)
        shown = shown.lstrip(" ") if blank_ahead else shown
        if shown:
            self._line.append(shown)

    def end_cell(self) -> None:
        """A tab between the cells of a row; a cell that ended in a line of its own needs none."""
        if self._line:
            self._line.append("\t")

    def signature(self) -> None:
        """A mail program's own signature, as a text mail marks it."""
        self.end_line()
        self._lines.append(self._prefix(self._quotes) + "-- ")

    def preformatted(self, text: str) -> None:
        first, *others = text.split("\n")
        self._line.append(first)
        for line in others:
            self.end_line(keep_empty=True)
            self._line.append(line)

    def bullet(self) -> None:
        """A list's item begins: its first line has the sign, whatever block it stands in."""
        self.end_line()
        self._bullet = "* "

    def end_line(self, *, keep_empty: bool = False) -> None:
        line = "".join(self._line).rstrip()
        self._line = []
        if not line and not keep_empty:
            return
        if self._blank_due and line:
            if self._lines and self._lines[-1].strip("> "):
                self._lines.append(self._prefix(self._blank_quotes).rstrip())
            self._blank_due = False
        self._lines.append((self._prefix(self._quotes) + self._bullet + line).rstrip())
        self._bullet = ""

    def paragraph(self) -> None:
        """A blank line is due, of the lower of the depths of quotes that it parts."""
        self.end_line()
        if not self._bullet:
            self._blank_quotes = min(self._quotes, self._blank_quotes) if self._blank_due else self._quotes
            self._blank_due = True

    def quote(self, change: int) -> None:
        self.paragraph()
        self._quotes += change
        self.paragraph()

    def text(self) -> str:
        self.end_line()
        return _BLANK_LINES.sub("\n\n", "\n".join(self._lines)).strip("\n")

    @staticmethod
    def _prefix(depth: int) -> str:
        return "> " * min(depth, MOST_QUOTES)


def _write(root: LexborNode, writer: _Writer) -> None:
    """Walks the tree without recursion: a mail may nest as it likes."""
    due = [(root, False)]
    while due:
        node, is_left = due.pop()
        if is_left:
            _leave(node, str(node.tag), writer)
        elif _is_shown(node):
            _enter(node, str(node.tag), writer)
            due.append((node, True))
            due.extend((child, False) for child in reversed(list(node.iter(include_text=True))))


def _enter(node: LexborNode, tag: str, writer: _Writer) -> None:
    if tag == "-text":
        _write_text(node, writer)
        return
    _break(node, tag, writer, +1)
    if _attribute(node, "id") in _SIGNATURE_IDS or _SIGNATURES.search(_attribute(node, "class")):
        writer.signature()
    if tag == "li":
        writer.bullet()
    elif tag == "hr":
        writer.word(RULE)


def _leave(node: LexborNode, tag: str, writer: _Writer) -> None:
    if tag == "-text":
        return
    if tag in {"td", "th"}:
        writer.end_cell()
    elif tag == "br":
        writer.end_line(keep_empty=True)
    elif tag == "a":
        writer.word(_target(node))
    _break(node, tag, writer, -1)


def _write_text(node: LexborNode, writer: _Writer) -> None:
    content = node.text_content or ""
    if node.parent is not None and node.parent.tag == "pre":
        writer.preformatted(content)
    else:
        writer.word(content)


def _break(node: LexborNode, tag: str, writer: _Writer, quotes: int) -> None:
    """The line ends around a block; ``quotes`` is what a quote adds to the depth."""
    if tag == "blockquote" or _QUOTES.search(_attribute(node, "class")):
        writer.quote(quotes)
    elif tag in {"p", "div"} and _is_alone_in_cell(node):
        return
    elif tag in _PARAGRAPHS and not _is_inner_list(node, tag):
        writer.paragraph()
    elif tag in _BLOCKS:
        writer.end_line()


def _is_inner_list(node: LexborNode, tag: str) -> bool:
    return tag in {"ul", "ol"} and node.parent is not None and node.parent.tag == "li"


def _is_alone_in_cell(node: LexborNode) -> bool:
    """Whether it is all that a table's cell holds: the row is one line then (Outlook)."""
    beside = (node.prev, node.next)
    is_blank = all(
        other is None or (other.tag == "-text" and not (other.text_content or "").strip()) for other in beside
    )
    return is_blank and node.parent is not None and node.parent.tag in {"td", "th"}


def _target(node: LexborNode) -> str:
    """The address of a link whose words do not show it."""
    target = _attribute(node, "href").strip()
    words = node.text(deep=True).strip()
    bare = target.removeprefix("mailto:").removeprefix("tel:")
    if not _LINK.fullmatch(target) or not words or bare.rstrip("/") in words or words in target:
        return ""
    return f" <{target}>"


def _is_shown(node: LexborNode) -> bool:
    tag = str(node.tag)
    if tag == "-text":
        return True
    if tag in _DROPPED or tag[:1] in {"-", "!", ""}:
        return False
    return "hidden" not in node.attributes and not _HIDDEN.search(_attribute(node, "style"))


def _attribute(node: LexborNode, name: str) -> str:
    return node.attributes.get(name) or ""
