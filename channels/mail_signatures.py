"""The end of a mail that says nothing: signatures, what telephones add, disclaimers. Spanish, English, Portuguese.

A line that may be of an order is never taken for a signature: a lost case of milk is worse than a kept telephone number.
"""

import re
from collections.abc import Sequence

_DELIMITER = "-- "  # RFC 3676 section 4.3
_DEVICES = (
    r"iphone|ipad|ios|android|samsung|galaxy|huawei|xiaomi|redmi|motorola|oppo|outlook|yahoo|correo|mail|e-?mail|gmail"
    r"|proton|blackberry|smartphone|m[óo]vil|celular|tel[ée]fono|telefone|telemóvel|phone|dispositivo|device|tablet|windows"
)
_MOBILE = re.compile(
    rf"[\s*_]{{0,5}}(?:(?:enviad[oa]|sent|envoyé|inviato|gesendet|verzonden)\b[^\n]{{1,40}}\b(?:{_DEVICES})\b[^\n]{{0,80}}"
    r"|(?:get|obtener|obtenha|obter|obtén|descargar|baixe)(?: o)? outlook (?:for|para)\b[^\n]{0,80})",
    re.IGNORECASE,
)
_CLOSING = re.compile(
    r"[\s*_]{0,5}(?:(?:muchas |mil )?gracias(?: y saludos)?|(?:un |muchos )?(?:cordial(?:es)? )?saludos?(?: cordial(?:es)?)?"
    r"|atentamente|atte\.?|cordialmente|quedo (?:atent[oa]|al pendiente)|(?:un )?abrazo"
    r"|(?:best|kind|warm|many)? ?(?:regards|wishes|thanks)|thank you|cheers|sincerely|yours (?:truly|faithfully)"
    r"|atenciosamente|att\.?|cumprimentos|(?:muito )?obrigad[oa]|abraços?|grat[oa])[\s,.!*_]{0,5}",
    re.IGNORECASE,
)
_WORDS, _SMALL_WORD = re.compile(r"[^\W\d_]+"), 4
_CLOSING_LINES, _CLOSING_WIDTH = 10, 90  # of a signature under a closing
# An amount at the line's beginning, before a unit, or at its end.
_OF_AN_ORDER = re.compile(
    r"^[\W_]{0,6}\d{1,4}(?:[.,]\d{1,2})?\s{0,2}(?:x|[^\W\d_]{2,})|^[\W_]{0,6}p\.?[ds]\.?\b"
    r"|\d\s{0,2}(?:x|kg|kgs|kilos?|g|gr|l|lts?|litros?|ml|cajas?|caixas?|cases?|box(?:es)?|pza?s?|piezas?|peças?|paquetes?|pacotes?"
    r"|packs?|fardos?|bolsas?|bags?|botes?|latas?|cans?|botellas?|garrafas?|bottles?|unidades?|units?|docenas?|dúzias?|dozens?"
    r"|costal(?:es)?|sacos?|cart[oóõ](?:n|nes|ns|es)|cartons?|charolas?|rejas?|bultos?|garraf[oó]n(?:es)?|tarimas?|pallets?)\b"
    r"|[\t:x=-]\s?\d{1,3}\s*$",
    re.IGNORECASE,
)
_STREET = re.compile(  # "12 de Octubre 345"
    r"[\W_]{0,6}\d{1,2} de (?:enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|octubre|noviembre|diciembre"
    r"|janeiro|fevereiro|março|maio|junho|julho|setembro|outubro|novembro|dezembro) [\W_]{0,3}\d",
    re.IGNORECASE,
)
_DISCLAIMER = re.compile(
    r"[\W_]{0,10}(?:aviso (?:de |legal|importante)|advertencia|confidencialidad|confidentiality|disclaimer|legal notice"
    r"|est[ea] (?:mensaje|correo|e-?mail|comunicación|mensagem)|la información contenida|as informações contidas"
    r"|this (?:e-?mail|message|communication)|the information (?:contained )?in this"
    r"|antes de imprimir|por favor,? (?:considere|piense)|please consider|pense (?:no|antes)"
    r"|caution:|external e?-?mail|\[external\]|precaución:|correo externo|cuidado:)",
    re.IGNORECASE,
)
_LEGAL = re.compile(
    r"confiden[ct]ia|privileg|destinatari|intended|recipient|imprimir|print|environment|medio ambiente|meio ambiente"
    r"|originat|outside|fuera de (?:la|su) organización|fora da organização",
    re.IGNORECASE,
)
_DISCLAIMER_LOOK = 1000  # characters of a paragraph that are looked at
_MARKER = re.compile(r"\s*\[ref:[0-9a-f]{32}\]\s*", re.ASCII)


def without_signature(lines: Sequence[str]) -> list[str]:
    """The lines up to a signature, without telephones' lines, disclaimers and our own marks."""
    kept = [line for line in lines if not _MOBILE.fullmatch(line[:200]) and not _MARKER.fullmatch(line)]
    kept = _without_disclaimers(kept)
    kept = _before_delimiter(kept)
    return _before_closing(kept)


def _without_disclaimers(lines: Sequence[str]) -> list[str]:
    kept: list[str] = []
    paragraph: list[str] = []
    for line in (*lines, ""):
        if line.strip():
            paragraph.append(line)
            continue
        if not _is_disclaimer(paragraph):
            kept += paragraph
        paragraph = []
        kept.append(line)
    return kept


def _is_disclaimer(paragraph: Sequence[str]) -> bool:
    if not paragraph or not _DISCLAIMER.match(paragraph[0]):
        return False
    return bool(_LEGAL.search(" ".join(paragraph)[:_DISCLAIMER_LOOK]))


def _before_delimiter(lines: list[str]) -> list[str]:
    for index, line in enumerate(lines):
        is_ruled = line == _DELIMITER or (
            line.rstrip() in {"--", "—", "__"} and not _has_order(lines[index:])
        )
        if is_ruled and any(above.strip() for above in lines[:index]):
            return lines[:index]
    return lines


def _before_closing(lines: list[str]) -> list[str]:
    for index, line in enumerate(lines):
        if not _CLOSING.fullmatch(line[:80]) or not any(above.strip() for above in lines[:index]):
            continue
        below = [text for text in lines[index + 1 :] if text.strip()]
        is_signature = len(below) <= _CLOSING_LINES and all(map(_may_be_signature, below))
        if is_signature and (not below or _may_be_name(below[0])):
            return lines[:index]
    return lines


def _has_order(lines: Sequence[str]) -> bool:
    return not all(map(_may_be_signature, lines))


def _may_be_signature(line: str) -> bool:
    if len(line) > _CLOSING_WIDTH or line.rstrip().endswith("?"):
        return False
    return not _OF_AN_ORDER.search(line) or bool(_STREET.match(line))


def _may_be_name(line: str) -> bool:
    """Of a person or a firm: every word that is not small begins with a capital."""
    return all(len(word) < _SMALL_WORD or word[0].isupper() for word in _WORDS.findall(line))
