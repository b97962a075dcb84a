"""The provider that the router runs itself."""

from __future__ import annotations

from trio_router.config.file import parse_config
from trio_router.runtime.embedded import Embedded, demo_provider, examples

ASKED_FOR = parse_config("server: {demo: true}", {})
OWN = "providers: {demo: {base_url: 'http://own/v1'}}"


def with_provider(*, has_model):
    provider = demo_provider(1, has_model=has_model)
    return ASKED_FOR.model_copy(update={"providers": {"demo": provider}})


async def test_it_runs_once_a_configuration_has_asked_for_it_and_only_once(nursery):
    embedded = Embedded()
    plain = parse_config("", {})
    assert not await embedded.start(plain, nursery)
    assert embedded.added(ASKED_FOR) is ASKED_FOR
    assert await embedded.start(ASKED_FOR, nursery)
    assert not await embedded.start(ASKED_FOR, nursery)
    assert list(embedded.added(ASKED_FOR).providers) == ["demo"]
    assert embedded.added(plain) is plain


async def test_a_provider_of_its_name_in_the_configuration_is_kept(nursery):
    embedded = Embedded()
    config = parse_config(f"server: {{demo: true}}\n{OWN}", {})
    await embedded.start(config, nursery)
    assert embedded.added(config).providers["demo"].base_url == "http://own/v1"


def test_a_newcomer_is_shown_the_models_that_are_there():
    assert [model for model, _ in examples(with_provider(has_model=False))] == ["demo/echo"]
    shown = [model for model, _ in examples(with_provider(has_model=True))]
    assert shown == ["demo/smollm2", "demo/echo"]
    assert examples(ASKED_FOR) == []
