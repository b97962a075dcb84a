"""Asking a running router to read its configuration again, from the terminal."""

from __future__ import annotations

from typing import Any

from trio_router.cli.asking import AdminClient, object_of


def ask_to_reload(url: str, key: str | None) -> tuple[list[str], bool]:
    """The lines that tell what became of it, and whether it was refused.  Raises AskFailed."""
    client = AdminClient(url, key)
    response = client.answer("POST", "config/reload")  # the workers take it one after the other
    answer = object_of(response)
    if answer is None or "result" not in answer:
        raise client.refusal(response)
    return [*_lines(answer)], answer["result"] == "refused"


def _lines(report: dict[str, Any]) -> list[str]:
    if report["result"] == "refused":
        return ["The configuration was refused:", *(f"  {line}" for line in report["complaints"])]
    lines = [f"{report['result']}: generation {report['generation']}"]
    lines += [f"  {line}" for line in report["changes"]]
    lines += [f"  {name} needs a restart" for name in report["needs_restart"]]
    return lines + [f"  {line}" for line in report["complaints"]]
