"""The words of a text that can name a product."""

import pytest

from handlers.ai.text import content_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ""),
        ("quiero 3 kg de tomates por favor", "tomato"),
        ("TOMATE", "tomato"),
        ("dos docenas de huevos", "egg"),
        ("harina de trigo", "flour"),
        ("2 cases of zorblat, please", "zorblat"),
        ("quita el jamón y agrega queso", "ham cheese"),
        ("queria 3 caixas de leite", "milk"),
        ("buenos días, gracias", ""),
        ("1e9 $20 5% 3.5 a v", ""),
        ("lo de siempre", ""),
    ],
)
def test_content_words(text: str, words: str) -> None:
    """Numbers, units, cues and words of grammar and politeness name nothing; names meet in their concept."""
    assert content_words(text) == set(words.split())
