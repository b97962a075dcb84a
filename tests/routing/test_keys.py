"""The ring of a provider's keys; times are seconds of a clock that the tests move."""

from __future__ import annotations

from hypothesis import given, strategies as st

from trio_router.routing.keys import KeyRing


def picks(ring: KeyRing, count: int, now: float = 0.0) -> list[int]:
    return [ring.pick(now) for _ in range(count)]


def test_each_key_has_its_turn():
    assert picks(KeyRing("abc"), 7) == [0, 1, 2, 0, 1, 2, 0]


def test_a_refused_key_is_passed_over_for_half_a_minute():
    ring = KeyRing("abc")
    ring.refused(1, 0.0)
    assert picks(ring, 4, 29.0) == [0, 2, 0, 2]
    assert sorted(picks(ring, 3, 30.0)) == [0, 1, 2]


def test_a_key_that_is_refused_again_is_passed_over_for_longer():
    ring = KeyRing("ab")
    ring.refused(1, 0.0)
    ring.refused(1, 30.0)
    assert 1 not in picks(ring, 6, 30.0 + 59.0)
    assert 1 in picks(ring, 2, 30.0 + 61.0)


def test_a_refused_key_that_is_taken_again_is_in_use_at_once():
    ring = KeyRing("ab")
    ring.refused(0, 0.0)
    ring.accepted(0, 1.0, 0.5)
    assert picks(ring, 4, 1.0) == [0, 1, 0, 1]


def test_a_key_that_has_used_up_its_rate_rests_as_long_as_it_was_told_to():
    ring = KeyRing("ab")
    ring.rest(0, 0.0, 5.0)
    assert picks(ring, 3, 4.9) == [1, 1, 1]
    assert set(picks(ring, 2, 5.1)) == {0, 1}


def test_an_answer_to_a_request_from_before_the_rest_does_not_end_it():
    ring = KeyRing("ab")
    ring.rest(0, 10.0, 5.0)
    ring.accepted(0, 11.0, 9.0)
    assert picks(ring, 2, 11.0) == [1, 1]
    ring.accepted(0, 12.0, 11.0)
    assert 0 in picks(ring, 2, 12.0)


def test_with_no_key_ready_the_one_that_will_be_first_is_taken():
    ring = KeyRing("abc")
    for key, seconds in enumerate((9.0, 3.0, 6.0)):
        ring.rest(key, 0.0, seconds)
    assert not ring.has_ready(1.0)
    assert ring.pick(1.0) == 1
    ring.refused(1, 1.0)  # for half a minute: longer than the others' rests
    assert ring.pick(1.0) == 2


def test_a_key_that_waits_is_ready_when_its_time_is_over():
    ring = KeyRing("a")
    ring.rest(0, 0.0, 2.0)
    assert (ring.has_ready(1.9), ring.has_ready(2.0)) == (False, True)


@given(
    st.integers(1, 5),
    st.lists(
        st.tuples(
            st.sampled_from(["pick", "refused", "rest", "accepted"]),
            st.integers(0, 4),
            st.floats(0, 40),
        ),
        max_size=40,
    ),
)
def test_a_key_is_always_given_and_never_one_that_waits_while_another_is_ready(count, deeds):
    ring, now = KeyRing("abcdefgh"[:count]), 0.0
    for what, key, seconds in deeds:
        key %= count
        now += seconds
        match what:
            case "refused":
                ring.refused(key, now)
            case "rest":
                ring.rest(key, now, seconds)
            case "accepted":
                ring.accepted(key, now, now)
            case _:
                was_ready = [ring._is_ready(index, now) for index in range(count)]
                given_one = ring.pick(now)
                assert 0 <= given_one < count
                assert was_ready[given_one] or not any(was_ready)
