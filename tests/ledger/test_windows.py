from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, strategies as st

from trio_router.ledger.windows import day_of, window_at, zone_of


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("per", "zone", "now", "name", "ends"),
    [
        ("day", "UTC", "2026-11-25T23:59:59", "2026-11-25 UTC", "2026-11-26T00:00:00"),
        ("day", "Europe/Berlin", "2026-11-25T23:00", "2026-11-26 Europe/Berlin", "2026-11-26T23:00"),
        ("week", "UTC", "2027-01-03T12:00", "2026-W53 UTC", "2027-01-04T00:00"),
        ("month", "UTC", "2026-12-31T12:00", "2026-12 UTC", "2027-01-01T00:00"),
        (
            "month",
            "America/New_York",
            "2026-02-01T03:00",
            "2026-01 America/New_York",
            "2026-02-01T05:00",
        ),
        ("day", "Europe/Berlin", "2026-03-29T12:00", "2026-03-29 Europe/Berlin", "2026-03-29T22:00"),
    ],
)
def test_a_window_has_a_name_and_an_end_in_its_time_zone(per, zone, now, name, ends):
    window = window_at(per, zone, at(now))
    assert (window.name, window.ends) == (name, at(ends))


def test_the_window_total_never_ends():
    assert window_at("total", "UTC", 0).ends is None


def test_an_unknown_time_zone_is_refused():
    for name in ("Europe/Atlantis", "../etc/passwd", "", "/UTC"):
        with pytest.raises(ValueError, match="no time zone"):
            zone_of(name)


times = st.floats(0, 4e9)
zones = st.sampled_from(["UTC", "Europe/Berlin", "America/Sao_Paulo", "Asia/Kathmandu", "Pacific/Apia"])


@given(st.sampled_from(["day", "week", "month"]), zones, times)
def test_every_moment_is_in_one_window(per, zone, now):
    window = window_at(per, zone, now)
    assert window.begins <= now < window.ends
    assert window_at(per, zone, window.begins) == window
    assert window_at(per, zone, window.ends).begins == window.ends
    assert window_at(per, zone, window.ends).name != window.name


def test_a_day_is_told_in_utc():
    assert day_of(at("2026-11-25T23:59")) == "2026-11-25"
