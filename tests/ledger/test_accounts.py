from __future__ import annotations

import pytest

from trio_router.ledger.accounts import Key, hash_of, matches, new_secret

NOW = 1_800_000_000.0
KEY = Key(id="web", hash=hash_of("tr-1"))


def test_a_new_key_has_256_bits_behind_its_prefix():
    secret = new_secret(bytes(range(32)))
    assert secret == "tr-AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
    with pytest.raises(ValueError, match="32"):
        new_secret(b"short")


def test_a_hash_is_found_for_any_text():
    assert hash_of("tr-x") == hash_of("tr-x") != hash_of("tr-y")
    assert len(hash_of("\udcff")) == 64


class TestFault:
    def test_a_key_is_valid_until_it_expires(self):
        key = Key(id="web", hash="h", expires_at=NOW)
        assert key.fault("h", NOW - 1) is None
        assert "expired" in key.fault("h", NOW)

    def test_a_revoked_key_stays_revoked_since_the_first_time(self):
        key = KEY.revoked(NOW)
        assert "revoked" in key.fault(KEY.hash, NOW)
        assert key.fault(KEY.hash, NOW - 1) is None
        assert key.revoked(NOW + 5) == key

    def test_the_key_before_a_rotation_is_valid_for_the_overlap(self):
        key = KEY.rotated(hash_of("tr-2"), NOW, 60)
        assert key.fault(hash_of("tr-2"), NOW) is None
        assert key.fault(hash_of("tr-1"), NOW + 59) is None
        assert "rotated" in key.fault(hash_of("tr-1"), NOW + 60)

    def test_a_rotation_without_overlap_ends_the_old_key_at_once(self):
        assert "rotated" in KEY.rotated("new", NOW, 0).fault(KEY.hash, NOW)


class TestModels:
    @pytest.mark.parametrize(
        ("pattern", "name", "is_match"),
        [
            ("deepseek/*", "deepseek/chat", True),
            ("deepseek/*", "deepseek/", True),
            ("deepseek/*", "deepseek", False),
            ("fast", "fast", True),
            ("fast", "faster", False),
            ("*", "anything/at/all", True),
            ("*/gpt-*-mini", "openai/gpt-4o-mini", True),
            ("*/gpt-*-mini", "openai/gpt-mini", False),
            ("a*a", "a", False),
            ("*b*b*", "abcb", True),
            ("*b*b*", "ab", False),
            ("a.c", "abc", False),
        ],
    )
    def test_a_star_stands_for_any_text(self, pattern, name, is_match):
        assert matches([pattern], name) is is_match

    def test_without_patterns_every_model_may_be_asked(self):
        assert KEY.may_ask("any/thing")
        assert not Key(id="k", hash="h", models=("a/*", "b")).may_ask("c")
        assert Key(id="k", hash="h", models=("a/*", "b")).may_ask("b")
