"""Configurations are replaced while streams run; machines die, and others answer."""

from __future__ import annotations

import copy

import pytest

from tests.simulation.worlds import answer, check, route, take, world
from trio_router.simulation.generate import generate
from trio_router.simulation.plan import Ask, Deed, Fault, Provider, Style, Take

SLOW = Take(answer(), Style(piece=6, gap=0.3))  # eight pieces in two seconds
PROVIDERS = [Provider("p0", "openai"), Provider("p1", "openai")]


def ask(number, model="p0/m", to=("p0", "p1"), how=SLOW, **fields):
    return Ask(number, "chat", model, is_stream=True, takes=dict.fromkeys(to, (how,)), **fields)


def at(plan, *starts):
    for caller, start in zip(plan.callers, starts, strict=True):
        caller.start = start
    return plan


def without(config, name):
    new = copy.deepcopy(config)
    del new["providers"][name]
    return new


def reloading(plan, *configs, when=1.0):
    """Each is written into the file at its time, a second after the one before."""
    plan.configs = list(configs)
    plan.deeds = [Deed(when + n, "write", argument=n) for n in range(len(configs))]
    return plan


class TestReload:
    def test_a_stream_ends_on_the_provider_that_the_new_configuration_does_not_have(self):
        plan = at(world(PROVIDERS, ask(0), ask(1)), 0.0, 1.5)
        ran = check(reloading(plan, without(plan.config, "p0")))
        assert [got.parser.status for got in ran.got] == [200, 404]
        assert ran.got[0].ended_at - ran.got[0].begun_at > 2
        assert ran.machines[0].router.generation.number == 2
        assert set(ran.machines[0].router.generation.upstreams.clients) == {"p1"}

    def test_a_route_leads_elsewhere_for_those_that_begin_later(self):
        plan = at(world(PROVIDERS, ask(0, "r"), ask(1, "r"), routes=route("p0")), 0.0, 1.5)
        ran = check(reloading(plan, {**plan.config, "routes": route("p1")}))
        assert [told.ask for told in ran.outlets["p0"].told] == [0]
        assert [told.ask for told in ran.outlets["p1"].told] == [1]

    @pytest.mark.parametrize("bad", ["", '{"server": {"grace', '{"server": {"colour": "red"}}', "[]"])
    def test_a_bad_configuration_changes_nothing(self, bad):
        plan = at(world(PROVIDERS, ask(0), ask(1)), 0.0, 2.0)
        ran = check(reloading(plan, bad))
        machine = ran.machines[0]
        assert [got.parser.status for got in ran.got] == [200, 200]
        assert machine.router.generation is machine.generations[0]
        assert [str(one.report.result) for one in machine.reloads] == ["Result.REFUSED"]

    def test_a_file_that_is_half_written_is_read_again(self):
        plan = at(world(PROVIDERS, ask(0)), 0.0)
        new = without(plan.config, "p1")
        plan = reloading(plan, '{"server": {', new)
        plan.deeds = [Deed(1.0, "write", argument=0), Deed(1.2, "write", argument=1)]
        reports = [one.report for one in check(plan).machines[0].reloads]
        assert [(str(r.result), r.generation) for r in reports] == [("Result.LOADED", 2)]

    def test_who_does_not_watch_the_file_reads_it_at_the_signal(self):
        plan = at(world(PROVIDERS, ask(0), server={"reload": False}), 0.0)
        plan = reloading(plan, without(plan.config, "p1"))
        assert check(plan).machines[0].reloads == []
        plan.deeds.append(Deed(1.0, "hangup"))
        plan.deeds.append(Deed(1.5, "hangup"))
        reports = [str(one.report.result) for one in check(plan).machines[0].reloads]
        assert reports == ["Result.LOADED", "Result.UNCHANGED"]

    def test_there_and_back_leaves_one_generation(self):
        plan = at(world(PROVIDERS, ask(0), ask(1), ask(2)), 0.0, 1.1, 2.1)
        less = without(plan.config, "p1")
        machine = check(reloading(plan, less, plan.config, less)).machines[0]
        assert [g.number for g in machine.generations] == [1, 2, 3, 4]
        assert machine.began == {"r0": 1, "r1": 2, "r2": 3}


class TestMachines:
    def plan(self, *asks, deeds=()):
        plan = world(PROVIDERS, *asks)
        plan.machines, plan.deeds = 2, list(deeds)
        for caller in plan.callers:
            caller.machine = caller.id
        return plan

    def test_each_answers_its_own_clients(self):
        ran = check(self.plan(ask(0), ask(1)))
        assert sorted(told.machine for told in ran.outlets["p0"].told) == ["router0", "router1"]
        assert all("[DONE]" in got.parser.body.decode() for got in ran.got)

    def test_one_dies_and_the_other_answers_whoever_comes(self):
        plan = self.plan(ask(0), ask(1), ask(2), deeds=[Deed(1.0, "die")])
        at(plan, 0.0, 0.0, 2.0)
        plan.callers[2].machine = 0
        ran = check(plan)
        assert [got.end for got in ran.got] == ["torn", "whole", "whole"]
        assert ran.outlets["p0"].told[-1].machine == "router1"
        # Nothing was written down of what the dead one had begun.
        logged = [line.fields["request_id"] for line in ran.log if line.event == "request"]
        assert sorted(logged) == ["r1", "r2"]

    def test_it_comes_back(self):
        deeds = [Deed(0.5, "die"), Deed(1.0, "start")]
        plan = at(self.plan(ask(0), ask(1), deeds=deeds), 0.0, 1.5)
        plan.callers[1].machine = 0
        ran = check(plan)
        assert [got.end for got in ran.got] == ["torn", "whole"]
        assert ran.outlets["p0"].told[-1].machine == "router0+"

    def test_where_none_is_left_connections_are_refused(self):
        plan = at(self.plan(ask(0), ask(1), deeds=[Deed(0.5, "die"), Deed(0.5, "drain", 1)]), 0.0, 9.0)
        assert [got.end for got in check(plan).got] == ["torn", "refused"]

    def test_what_one_knows_of_a_provider_the_other_does_not(self):
        """They share nothing yet: each one learns by itself that a provider wants to rest."""
        plan = self.plan(ask(0, "r"), ask(1, "r"))
        plan.config["routes"] = route("p0", "p1")
        from_p0 = take(fault=Fault("status", status=429, retry_after="60"))
        for caller in plan.callers:
            caller.asks[0].takes["p0"] = (from_p0,)
        at(plan, 0.0, 5.0)
        ran = check(plan)
        assert [told.machine for told in ran.outlets["p0"].told] == ["router0", "router1"]


def test_seeds_have_operators_who_reload_and_machines_that_die():
    plans = [generate(seed) for seed in range(400)]
    deeds = {deed.do for plan in plans for deed in plan.deeds}
    assert deeds == {"drain", "stop", "write", "hangup", "die", "start"}
    assert sum(plan.machines > 1 for plan in plans) > 10
    kinds = {type(config) for plan in plans for config in plan.configs}
    assert kinds == {str, dict}
