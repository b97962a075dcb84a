"""Taking a new configuration while the router runs.

One process reads the file, checks it whole and takes it.  Where there are workers, it then gives the
very same text to each other one in turn and waits until it has taken it, so that all have the same
generation under the same number.  A configuration that is refused changes nothing anywhere.
"""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

import trio

from trio_router.config.file import ConfigError
from trio_router.runtime.accepted import Accepted, AcceptedFile
from trio_router.runtime.certificates import certificate_files, mark_of, marks_of
from trio_router.runtime.changes import changes, needs_restart
from trio_router.runtime.peers import asked
from trio_router.runtime.watch import watch_files
from trio_router.wire.jsoncodec import dumps

if TYPE_CHECKING:
    from pathlib import Path

    from trio_router.config.schema import Config
    from trio_router.runtime.generation import Generation
    from trio_router.runtime.peers import Peers
    from trio_router.runtime.router import Router
    from trio_router.runtime.source import Source

logger = logging.getLogger("trio_router")
_QUIET = 0.05  # s in which a file that has just changed must stay the same before it is read
_MOST_LOOKS = 40  # looks at a file that goes on changing; then it is read as it is
_ANOTHER_LOOK = 0.3  # s until a changed file that is wrong is read once more: it may be half written
_PATIENCE = 10.0  # s that another worker may take
_NO_FILE = "the router was started without a configuration file: there is nothing to read"


class Trigger(Enum):
    """Why the file is read."""

    SIGNAL = "SIGHUP"
    FILE = "the file changed"
    ADMIN = "an operator"


class Result(Enum):
    """What became of a reload."""

    LOADED = "loaded"
    UNCHANGED = "unchanged"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class ReloadReport:
    """What became of one reload.  `at` is Unix time; `generation` is the number in force after it.

    It holds no secret: `changes` names what changed, `complaints` are as `check` prints them.
    """

    result: Result
    trigger: Trigger
    at: float
    generation: int
    changes: tuple[str, ...] = ()
    complaints: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()

    def as_message(self) -> dict[str, Any]:
        return {**asdict(self), "result": self.result.value, "trigger": self.trigger.value}

    @classmethod
    def of_message(cls, message: dict[str, Any]) -> ReloadReport:
        many = {name: tuple(message[name]) for name in ("changes", "complaints", "needs_restart")}
        kinds = {"result": Result(message["result"]), "trigger": Trigger(message["trigger"])}
        return cls(**{**message, **many, **kinds})


class Reloader:
    """Reads `source` again for `router`; without a source there is nothing to read.

    `peers` are the other workers.  A reloader is made before the router runs.  `started` is the
    configuration that the process was started with, if `router` has another: a worker that replaces
    one that died has the configuration that was accepted last.
    """

    def __init__(
        self,
        router: Router,
        source: Source | None = None,
        peers: Peers | None = None,
        started: Config | None = None,
    ) -> None:
        self.source = source
        self.last: ReloadReport | None = None
        self.loaded_at = router.clock.wall()
        self._router = router
        self._peers = peers
        self._file = None if peers is None else AcceptedFile(peers.folder)
        self._config = router.generation.config  # as the file has it, without the embedded provider
        self._started = self._config if started is None else started
        self._text = "" if source is None else source.text
        self._certificate = router.generation.certificate  # that all workers are to have
        if source is not None and source.certificate is not None:
            self._certificate = source.certificate
        self._latest = router.generation.number  # that any worker is known to have
        self._is_watching = self._config.server.reload
        self._watched: list[Path] = []
        self._seen: tuple[str, ...] = ()
        self._saw(self._text, self._config)
        self._turn = trio.Lock()  # one reload at a time
        self._taking = trio.Lock()  # one configuration at a time: another worker may bring one
        self._switched = trio.Event()
        if peers is not None:
            peers.on("reload", self._answer_peer)
        router.on_change.append(self._note)

    @property
    def refusal(self) -> ReloadReport | None:
        """The last reload, if it was refused."""
        return self.last if self.last and self.last.result is Result.REFUSED else None

    async def run(self) -> None:
        """Catches up with the other workers, then watches the file if that is wanted; until cancelled.

        Of several workers the first one watches.
        """
        await self._catch_up()
        if self.source is None or (self._peers is not None and self._peers.mine):
            return
        while True:
            async with trio.open_nursery() as watching:
                if self._is_watching:
                    watching.start_soon(watch_files, lambda: self._watched, self._look)
                await self._switched.wait()
                self._switched = trio.Event()
                watching.cancel_scope.cancel()

    async def reload(self, trigger: Trigger) -> ReloadReport:
        """Reads the file and takes it, here and in all workers.  The report tells what was wrong.

        It is not cut short: a caller that is cancelled while the reload runs is cancelled after it.
        """
        async with AsyncExitStack() as turns:
            await turns.enter_async_context(self._turn)
            if self._file is not None:
                await turns.enter_async_context(self._file.turn())
            with trio.CancelScope(shield=True):
                await self._catch_up()
                report = await self._reloaded(trigger)
                report = await self._share(report)
                self.last = report
                self._router.metrics.reloads.labels(report.result.value).inc()
                self._log(report)
        return report

    # -- one reload

    async def _reloaded(self, trigger: Trigger) -> ReloadReport:
        try:
            return await self._read_and_take(trigger)
        except ConfigError as fault:
            complaints = fault.complaints
        except Exception:
            logger.exception("a configuration could not be taken")
            complaints = ["internal error: the log has the details"]
        return self._report(Result.REFUSED, trigger, complaints=tuple(complaints))

    async def _read_and_take(self, trigger: Trigger) -> ReloadReport:
        if self.source is None:
            raise ConfigError([_NO_FILE])
        if trigger is not Trigger.FILE:
            return await self._look_once(trigger)
        await self._settle()
        try:
            return await self._look_once(trigger)
        except ConfigError:
            await trio.sleep(_ANOTHER_LOOK)
            return await self._look_once(trigger)

    async def _look_once(self, trigger: Trigger) -> ReloadReport:
        text, config, certificate = await self._router.in_thread(self._read)
        if config == self._config and certificate == self._certificate:
            self._text = text  # comments may have changed
            return self._report(Result.UNCHANGED, trigger, needs_restart=self._waiting(config))
        lines = changes(self._config, config)
        before = self._config.server, self._certificate
        await self._take(text, config, self._latest + 1)
        after = config.server, self._certificate
        if certificate_files(before[0]) == certificate_files(after[0]) and before[1] != after[1]:
            lines.append("~ certificate: renewed")
        return self._report(
            Result.LOADED,
            trigger,
            changes=tuple(lines),
            needs_restart=self._waiting(config),
        )

    def _read(self) -> tuple[str, Config, tuple[str, ...]]:
        """The file's text, what it says, and its certificate's marks; runs in a thread.

        Raises ConfigError.
        """
        assert self.source is not None
        # Before the file is read: what changes meanwhile is then seen as a change.
        seen = self._seen = marks_of(self._watched)
        text = self.source.read()
        config = self._parsed(text)
        files = certificate_files(config.server)
        certificate = marks_of(files)
        self._watched, self._seen = [self.source.path, *files], (seen[0], *certificate)
        return text, config, certificate

    def _parsed(self, text: str) -> Config:
        assert self.source is not None
        host = self._started.server.host if self.source.host is None else self.source.host
        return self.source.parse(text, host)

    async def _settle(self) -> None:
        """Waits until the file stays the same for a moment."""
        seen: tuple[str, ...] = ()
        for _ in range(_MOST_LOOKS):
            now = await self._router.in_thread(marks_of, self._watched)
            if now == seen:
                return
            seen = now
            await trio.sleep(_QUIET)

    async def _take(self, text: str, config: Config, number: int) -> None:
        """Raises ConfigError, and nothing is changed then."""
        async with self._taking:
            await self._router.use(config, number)
            self._text, self._config = text, config
            self._certificate = self._router.generation.certificate
            self._latest = max(self._latest, number)
            self.loaded_at = self._router.clock.wall()

    def _waiting(self, config: Config) -> tuple[str, ...]:
        """The settings of `config` that wait for a restart."""
        fixed = () if self.source is None else self.source.fixed
        return tuple(needs_restart(self._started, config, fixed))

    def _report(self, result: Result, trigger: Trigger, **more: tuple[str, ...]) -> ReloadReport:
        at, number = self._router.clock.wall(), self._router.generation.number
        return ReloadReport(result, trigger, at, number, **more)

    # -- the other workers

    async def _share(self, report: ReloadReport) -> ReloadReport:
        """Gives all workers what is in force here; the report tells which of them did not take it."""
        if self._peers is None or self._file is None:
            return report
        grace = self._router.generation.config.server.graceful_timeout
        accepted = Accepted(
            report.generation, self._text, self._certificate, grace, report.as_message()
        )
        question = {"do": "reload", **accepted.as_message()}
        faults = []
        try:
            # Before they are asked: a worker that starts meanwhile finds it.
            await self._router.in_thread(self._file.write, accepted)
        except OSError as fault:
            faults.append(f"it cannot be kept for workers that start later: {fault.strerror}")
        for worker in self._peers.others:
            answer = await asked(self._peers, worker, question, _PATIENCE)
            faults += [f"worker {worker}: {fault}" for fault in answer.get("complaints", ())]
            if not answer:
                fields = {"worker": worker, "generation": report.generation}
                logger.warning("a worker did not answer", extra={"fields": fields})
        return replace(report, complaints=(*report.complaints, *faults)) if faults else report

    async def _answer_peer(self, question: dict[str, Any], stream: trio.SocketStream) -> None:
        complaints: list[str] = []
        try:
            await self._follow(Accepted.of_message(question))
        except ConfigError as fault:
            complaints = fault.complaints
        answer = {"generation": self._router.generation.number, "complaints": complaints}
        await stream.send_all(dumps(answer) + b"\n")

    async def _catch_up(self) -> None:
        """Takes what the others have, where it is newer."""
        if self._file is None or (accepted := await self._router.in_thread(self._file.read)) is None:
            return
        try:
            await self._follow(accepted)
        except ConfigError as fault:
            fields = {"complaints": fault.complaints}
            logger.error("the other workers' configuration was refused", extra={"fields": fields})

    async def _follow(self, accepted: Accepted) -> None:
        """Takes what another worker has taken, unless it is no newer.  Raises ConfigError."""
        self.last = ReloadReport.of_message(accepted.report)
        self._latest = max(self._latest, accepted.number)
        if self.source is None or accepted.number <= self._router.generation.number:
            return
        config = await self._router.in_thread(self._parsed, accepted.text)
        await self._take(accepted.text, config, accepted.number)
        self._certificate = accepted.certificate
        self._saw(accepted.text, config)

    # -- watching

    async def _look(self) -> None:
        async with self._turn:  # a reload that is under way may be reading it
            has_changed = await self._router.in_thread(marks_of, self._watched) != self._seen
        if has_changed:
            await self.reload(Trigger.FILE)

    def _saw(self, text: str, config: Config) -> None:
        """All have `text` and `config`'s certificate: what differs from them is a change."""
        if self.source is not None:
            self._watched = [self.source.path, *certificate_files(config.server)]
        self._seen = mark_of(text.encode()), *self._certificate

    def _note(self, generation: Generation) -> None:
        if self._is_watching != generation.config.server.reload:
            self._is_watching = generation.config.server.reload
            self._switched.set()

    # -- telling

    def _log(self, report: ReloadReport) -> None:
        fields = {"trigger": report.trigger.value, "generation": report.generation}
        is_refused = report.result is Result.REFUSED
        level = logging.ERROR if is_refused else logging.INFO
        logger.log(level, "configuration %s", report.result.value, extra={"fields": fields})
        for line in report.changes:
            logger.info("configuration changed", extra={"fields": {"change": line}})
        for name in report.needs_restart:
            logger.warning("needs a restart", extra={"fields": {"setting": name}})
        for complaint in report.complaints:
            logger.error("configuration is wrong", extra={"fields": {"complaint": complaint}})
