"""What several dialects read alike of a chat request."""

from __future__ import annotations

import pytest

from trio_router.dialects.base import Unsupported
from trio_router.dialects.chat_fields import format_of, role_of
from trio_router.errors import InvalidRequest

SCHEMA = {"type": "object"}


class TestTheFormat:
    @pytest.mark.parametrize(
        ("wanted", "told"),
        [
            (None, ("text", None)),
            ({"type": "text"}, ("text", None)),
            ({"type": "json_object"}, ("json_object", None)),
            (
                {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}},
                ("json_schema", SCHEMA),
            ),
        ],
    )
    def test_is_one_of_three_and_the_schema(self, wanted, told):
        assert format_of(wanted, "It") == told

    @pytest.mark.parametrize(
        "wanted",
        [
            "json_object",
            {},
            {"type": "xml"},
            {"type": ["text"]},
            {"type": "json_schema"},
            {"type": "json_schema", "json_schema": SCHEMA},
            {"type": "json_schema", "json_schema": {"schema": "object"}},
        ],
        ids=str,
    )
    def test_that_is_none_is_refused_by_the_name_of_who_reads_it(self, wanted):
        with pytest.raises(InvalidRequest, match="none that Cohere knows") as refused:
            format_of(wanted, "Cohere")
        assert refused.value.param == "response_format"


class TestTheRole:
    @pytest.mark.parametrize("role", ["system", "developer", "user", "assistant", "tool"])
    def test_is_one_of_the_hubs(self, role):
        assert role_of({"role": role}, "messages[0]", Unsupported("It", drop=False)) == role

    @pytest.mark.parametrize("message", [{}, {"role": None}, {"role": "function"}, {"role": ["user"]}])
    def test_that_is_none_of_them_is_refused_with_its_place(self, message):
        with pytest.raises(InvalidRequest) as refused:
            role_of(message, "messages[3]", Unsupported("It", drop=True))
        assert refused.value.param == "messages[3].role"

    @pytest.mark.parametrize("message", [None, "hello", [{"role": "user"}]])
    def test_needs_a_message(self, message):
        with pytest.raises(InvalidRequest, match="must be an object"):
            role_of(message, "messages[3]", Unsupported("It", drop=True))

    def test_has_no_name_but_a_tools(self):
        strict = Unsupported("It", drop=False)
        assert role_of({"role": "tool", "name": "f"}, "messages[0]", strict) == "tool"
        with pytest.raises(InvalidRequest) as refused:
            role_of({"role": "user", "name": "ann"}, "messages[0]", strict)
        assert refused.value.param == "messages[0].name"
        assert role_of({"role": "user", "name": "ann"}, "m", Unsupported("It", drop=True)) == "user"
