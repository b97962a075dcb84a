"""What is there to deploy: Prometheus's rules and Grafana's board speak of metrics that exist."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest

from tests.observe.deployed import CONFIG, PROMETHEUS
from trio_router.observe.metrics import Metrics

NAME = re.compile(r"\btrio_router_[a-z_]+")
GRAFANA = CONFIG / "grafana" / "trio-router.json"


def existing() -> set[str]:
    found = set()
    for family in Metrics().registry.collect():
        endings = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
        found |= {family.name + ending for ending in endings.get(family.type, [""])}
    return found


def promtool(*words: str) -> None:
    command = shutil.which("promtool")
    if command is None:
        pytest.skip("promtool is not installed")
    done = subprocess.run(
        [command, *words], cwd=PROMETHEUS, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", [PROMETHEUS / "alerts.yml", GRAFANA], ids=["alerts", "board"])
def test_every_metric_that_is_asked_for_exists(path):
    asked = set(NAME.findall(path.read_text()))
    assert asked
    assert asked <= existing()


def test_the_board_shows_every_metric():
    shown = {re.sub("_bucket$|_sum$|_count$", "", name) for name in NAME.findall(GRAFANA.read_text())}
    assert shown == {re.sub("_bucket$|_sum$|_count$", "", name) for name in existing()}


def test_every_alert_has_a_runbook_and_a_test():
    rules = (PROMETHEUS / "alerts.yml").read_text()
    alerts = re.findall(r"- alert: (\w+)", rules)
    assert len(alerts) == len(re.findall(r"^ +runbook: .{40,}$", rules, re.M))
    tested = (PROMETHEUS / "alerts_test.yml").read_text()
    for alert in alerts:
        assert f"alertname: {alert}}}" in tested, "it is never seen silent"
        assert re.search(rf'alertname=~?"[^"]*{alert}[^"]*",alertstate="firing"', tested), "nor firing"


def test_the_board_has_no_panel_upon_another():
    taken = set()
    for panel in json.loads(GRAFANA.read_text())["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken
        taken |= cells


def test_prometheus_takes_the_configuration():
    promtool("check", "config", "prometheus.yml")


def test_prometheus_takes_the_rules():
    promtool("check", "rules", "alerts.yml")


def test_every_alert_fires_on_its_fault_alone():
    promtool("test", "rules", "alerts_test.yml")
