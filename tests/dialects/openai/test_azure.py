"""Azure's OpenAI service: the deployment is in the path."""

import pytest

from trio_router.dialects import DIALECTS


@pytest.mark.parametrize(
    ("model", "part"),
    [("gpt-4o", "gpt-4o"), ("a/b?c", "a%2Fb%3Fc"), ("\ud800", "%3F"), ("é", "%C3%A9")],
)
def test_whatever_a_deployment_is_called_it_is_one_part_of_the_path(model, part):
    request = DIALECTS["azure"].build_request({"model": model, "messages": []}, ask_usage=False)
    assert request.path == f"/openai/deployments/{part}/chat/completions"
