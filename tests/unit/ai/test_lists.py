"""Whatever a list looks like: every amount counts its own product, or its words stay open."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.ai.corner import told

GOODS = (
    ("COC", "coca", "cajas"),
    ("COC", "coca 600", "cajas"),
    ("COCZ", "coca zero", "cajas"),
    ("SPR", "sprite", "cajas"),
    ("AZU1", "azúcar", "bolsas"),
    ("AZU1", "azúcar 1 kg", "bolsas"),
    ("AZU25", "azúcar", "costales"),
    ("ARR", "arroz", "bolsas"),
    ("GARR", "agua", "garrafones"),
    ("SAB", "sabritas", "bolsas"),
    ("LECD", "leche deslactosada", "cajas"),
    ("JAM", "jamón", "kilos"),
)
OTHERS = ("zorblat", "xulas", "latas", "cajas", "barriles")
FORMS = ("{n} {unit} de {name}", "{name}: {n} {unit}", "{name} {n} {unit}")
wanted = st.tuples(st.sampled_from(GOODS), st.integers(2, 9), st.sampled_from(FORMS))
unknown = st.tuples(
    st.sampled_from(OTHERS), st.integers(2, 9), st.sampled_from(("{n} {name}", "{name}: {n}"))
)


@settings(max_examples=300, deadline=None)
@given(
    goods=st.lists(wanted, min_size=1, max_size=4, unique_by=lambda one: one[0][0]),
    others=st.lists(unknown, max_size=2),
    joint=st.sampled_from(("\n", ", ", " // ")),
    order=st.randoms(use_true_random=False),
)
def test_no_amount_leaks(goods, others, joint, order) -> None:
    """A line of the order has the amount that was written for it; what names no product is left open."""
    clauses = [form.format(n=n, name=name, unit=unit) for (_, name, unit), n, form in goods]
    clauses += [form.format(n=n, name=name) for name, n, form in others]
    order.shuffle(clauses)

    extraction = told(*joint.join(clauses).split(" // "))

    asked = Counter({sku: n for (sku, _, _), n, _ in goods})
    got = {operation.sku: operation.quantity for operation in extraction.operations}
    assert all(quantity == asked[sku] for sku, quantity in got.items())
    assert set(got) == set(asked) or extraction.unmatched
    assert bool(extraction.unmatched) or not others
