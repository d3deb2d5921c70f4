"""The meter: what is reserved never passes a ceiling, and nothing is lost between reserving and settling."""

from __future__ import annotations

from dataclasses import astuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.metering import ANSWER_TOKENS, FREE, Ceilings, Meter, Price, Prices, Short, Spent, estimated_tokens, picos

amounts = st.integers(0, 20_000)
maybe = st.none() | amounts
prices = st.sampled_from([None, FREE, Price(0.15, 0.6), Price(1.25, 10), Price(0, 3)])
ceilings = st.builds(Ceilings, st.none() | st.integers(0, 6), maybe, maybe, maybe, st.none() | st.integers(0, 10**11))
actions = st.lists(st.tuples(st.sampled_from(["reserve", "grow", "settle", "release"]), amounts, amounts, prices))


def passes(meter: Meter) -> bool:
    bounds = meter.ceilings
    total = meter.total
    used = (total.calls, total.input_tokens, total.output_tokens, total.tokens, total.picos)
    return any(most is not None and figure > most for figure, most in zip(used, astuple(bounds), strict=True))


@given(ceilings, actions)
def test_no_order_of_calls_that_keep_to_their_reservation_passes_a_ceiling(ceilings, actions):
    meter, held, used = Meter(ceilings), [], Spent()
    for action, one, other, price in actions:
        if action == "reserve":
            got = meter.reserve(one, price, other + 1)
            if not isinstance(got, Short):
                meter, spent = got
                held.append((spent, price))
        elif held:
            spent, agreed = held.pop(one % len(held))
            if action == "grow":
                got = meter.grow(spent, agreed, other)
                if not isinstance(got, Short):
                    meter, spent = got
                held.append((spent, agreed))
            elif action == "settle":
                took = Spent.on(agreed, min(one, spent.input_tokens), min(other, spent.output_tokens))
                meter, used = meter.settle(spent, took), used + took
            else:
                meter = meter.release(spent)
        assert not passes(meter)
        assert meter.spent == used
        assert meter.reserved == sum((spent for spent, _ in held), Spent())


@given(st.integers(1, 20_000), amounts, amounts, prices)
def test_an_answer_gets_as_much_as_there_is_room_for_and_not_a_token_more(most, sent, wanted, price):
    got = Meter(Ceilings(output_tokens=most)).reserve(sent, price, wanted + 1)

    assert got[1].output_tokens == min(most, wanted + 1)
    assert Meter(Ceilings(output_tokens=most)).settle(Spent(), Spent(0, 0, most)).reserve(sent, price) == Short(
        "output_tokens"
    )


def test_an_answer_larger_than_its_reservation_stops_what_comes_after():
    meter, held = Meter(Ceilings(output_tokens=100)).reserve(10, None)
    after = meter.settle(held, Spent(1, 10, 300))

    assert after.spent == Spent(1, 10, 300)
    assert after.reserve(1, None) == Short("output_tokens")


def test_money_bounds_the_answer_and_an_unknown_price_does_not_count_as_nothing():
    meter = Meter(Ceilings(picos=picos(0.01)))

    assert meter.reserve(1_000, Price(1, 10))[1] == Spent(1, 1_000, 900, picos(0.01))
    assert meter.reserve(10_001, Price(1, 10)) == Short("picos")
    assert meter.reserve(10, FREE)[1].output_tokens == ANSWER_TOKENS
    assert (Spent.on(None, 5, 5).money, Spent.on(FREE, 5, 5).money) == (None, 0.0)
    assert (Spent.on(None, 5, 5) + Spent.on(FREE, 5, 5)).money is None


def test_sums_of_prices_are_exact():
    spent = sum((Spent.on(Price(0.15, 0.6), 1, 1) for _ in range(1_000_000 // 100)), Spent())

    assert spent.money == pytest.approx(0.0075, abs=0)


def test_the_exact_name_of_a_model_counts_before_a_glob_and_the_longer_glob_before_the_shorter():
    table = Prices({"*": Price(1, 1), "gpt-5*": Price(2, 2), "gpt-5.6-luna": Price(3, 3), "open/*": Price(4, 4)})

    found = [table.price(name) for name in ("claude", "gpt-5.5", "gpt-5.6-luna", "open/router/x")]
    assert found == [Price(1, 1), Price(2, 2), Price(3, 3), Price(4, 4)]
    assert Prices().price("claude") is None


def test_a_token_is_taken_for_three_characters():
    assert [estimated_tokens(count) for count in (0, 1, 3, 4)] == [0, 1, 1, 2]
