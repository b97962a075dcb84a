"""What a configuration says: frozen, validated values.  Reading the file is `config_file`'s work."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    FilePath,
    SecretStr,
    field_validator,
    model_validator,
)

from trio_router.config.accounts import (
    NO_LIMITS,
    BearerKey,
    BudgetConfig,
    ClientKey,
    LimitsConfig,
    StoreConfig,
    TeamConfig,
)
from trio_router.config.clouds import (
    AwsConfig,
    Cloud,
    EntraConfig,
    Region,
    VertexConfig,
    cloud_complaint,
    cloud_of,
    with_base_url,
)
from trio_router.config.kinds import Kind, embedded_in, kind_at, kind_called
from trio_router.config.prices import PriceConfig  # noqa: TC001 - pydantic reads it
from trio_router.config.routes import RouteConfig  # noqa: TC001 - pydantic reads it
from trio_router.config.section import Seconds, Section
from trio_router.dialects import DIALECTS
from trio_router.wire.names import name_complaint

Bytes = Annotated[int, Field(gt=0)]
if TYPE_CHECKING:
    DialectName = str
else:  # which there are is told in `dialects`
    DialectName = Literal[tuple(DIALECTS)]


def _is_name(name: str) -> str:
    if complaint := name_complaint(name):
        raise ValueError(f"the name {name!r} {complaint}")
    return name


def _can_be_printed(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"{text!r} holds a character that cannot be printed")
    return text


Name = Annotated[str, Field(min_length=1, pattern=r"^[^\s/]+$"), AfterValidator(_is_name)]


_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://(\[[0-9a-f:.]+\]|[^\s/?#@\[\]:*]+)(?::([0-9]{1,5}))?")
_DEFAULT_PORTS = {"http": "80", "https": "443"}


class CorsConfig(Section):
    """Web pages that may ask from a browser.  `origins` are as browsers send them, `*` means all."""

    origins: Annotated[tuple[str, ...], Field(min_length=1)]
    max_age: Annotated[int, Field(ge=0, le=86400)] = 600  # s that a browser remembers the permission

    @field_validator("origins")
    @classmethod
    def _are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        if "*" in origins and len(origins) > 1:
            raise ValueError("* is every origin: it stands alone")
        return tuple(_origin(origin) for origin in origins)


def _origin(text: str) -> str:
    """An origin as browsers write it.  Raises ValueError."""
    if text in ("*", "null"):
        return text
    found = _ORIGIN.fullmatch(text.lower())
    if found is None or not found[2].isascii():
        raise ValueError(
            f"{text!r} is no origin: it is a scheme, a host and perhaps a port, "
            "such as https://app.example, or * alone"
        )
    scheme, host, port = found.groups()
    return f"{scheme}://{host}" + (f":{port}" if port and _DEFAULT_PORTS.get(scheme) != port else "")


class MetricsConfig(Section):
    """Who is shown `/metrics`, and where: with a `port` on a listener of its own, there alone."""

    auth: Literal["none", "admin"] = "none"
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] | None = None

    @model_validator(mode="after")
    def _host_needs_a_port(self) -> MetricsConfig:
        if self.port is None and "host" in self.model_fields_set:
            raise ValueError("host is of no use without port")
        return self


class ServerConfig(Section):
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8777
    workers: Annotated[int, Field(ge=1)] = 1
    graceful_timeout: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 30
    max_body: Bytes = 33554432
    max_upload: Bytes = 536870912  # of a form that passes through (audio, images, files)
    max_streams: Annotated[int, Field(ge=1)] | None = None  # requests to models at once
    max_queue: Annotated[int, Field(ge=0)] = 1000  # more wait, for `timeouts.pool`; the rest is refused
    max_connections: Annotated[int, Field(ge=1)] | None = None  # None: from the descriptors there are
    websocket: bool = True  # serve the Responses API over WebSocket too
    reload: bool = True  # watch the configuration's file, and take it when it changes
    demo: bool = False  # serve the embedded `demo` provider too
    cors: CorsConfig | None = None
    metrics: MetricsConfig = Field(default_factory=MetricsConfig)

    certfile: FilePath | None = None  # PEM: clients are served over TLS
    keyfile: FilePath | None = None  # PEM; absent: the key is in certfile

    @property
    def embedded(self) -> list[str]:
        """The providers that the router runs itself."""
        return embedded_in(dict(self))

    @model_validator(mode="after")
    def _key_needs_a_certificate(self) -> ServerConfig:
        if self.keyfile is not None and self.certfile is None:
            raise ValueError("keyfile is of no use without certfile")
        return self


_ADMIN_KEY = 16  # characters: it is typed into a form that anyone can reach


def _key_from_string(value: Any) -> Any:
    return {"key": value} if isinstance(value, str) else value


class AuthConfig(Section):
    keys: tuple[Annotated[ClientKey, BeforeValidator(_key_from_string)], ...] = ()
    admin_keys: tuple[Annotated[BearerKey, BeforeValidator(_key_from_string)], ...] = ()

    @field_validator("admin_keys")
    @classmethod
    def _are_long(cls, keys: tuple[BearerKey, ...]) -> tuple[BearerKey, ...]:
        for number, key in enumerate(keys, 1):
            if len(key.key.get_secret_value()) < _ADMIN_KEY:
                raise ValueError(f"key {number} is shorter than {_ADMIN_KEY} characters")
        return keys

    @model_validator(mode="after")
    def _admins_are_no_clients(self) -> AuthConfig:
        clients = {key.key.get_secret_value() for key in self.keys}
        for number, key in enumerate(self.admin_keys, 1):
            if key.key.get_secret_value() in clients:
                raise ValueError(f"admin key {number} is a client's key too: give it one of its own")
        return self


class Timeouts(Section):
    """Limits in seconds; None means never."""

    connect: Seconds | None = 10
    write: Seconds | None = 10
    pool: Seconds | None = 10
    first_event: Seconds | None = 60
    read: Seconds | None = 30
    progress: Seconds | None = 300
    response: Seconds | None = 60
    total: Seconds | None = None
    stall: Seconds | None = 30
    keepalive: Seconds | None = 15
    early_commit: Seconds | None = None

    def with_overrides(self, *overrides: Timeouts) -> Timeouts:
        """These limits, with what each of `overrides` sets explicitly put over them."""
        values = self.model_dump()
        for override in overrides:
            values |= override.model_dump(include=override.model_fields_set)
        return Timeouts(**values)


class StreamConfig(Section):
    buffer: Annotated[int, Field(ge=1, le=10000)] = 10
    max_event: Bytes = 8388608
    invalid_utf8: Literal["replace", "error"] = "replace"
    malformed_event: Literal["error", "skip"] = "error"


class LogConfig(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"  # the least that is logged


class ModelConfig(Section):
    # None: the name that the client uses
    upstream_model: Annotated[str, AfterValidator(_can_be_printed)] | None = None
    defaults: dict[str, Any] = Field(default_factory=dict)
    options: dict[str, Any] = Field(default_factory=dict)
    timeouts: Timeouts = Field(default_factory=Timeouts)
    limits: LimitsConfig = Field(default_factory=LimitsConfig)
    budgets: tuple[BudgetConfig, ...] = ()


def _no_empty_key(value: Any) -> Any:
    if isinstance(value, str) and not value.strip():
        raise ValueError("the key is empty; leave api_key out if there is none")
    return value


class ProviderConfig(Section):
    dialect: DialectName = "openai"
    base_url: str
    region: Region | None = None  # of AWS
    aws: AwsConfig | None = None
    vertex: VertexConfig | None = None
    entra: EntraConfig | None = None
    api_key: Annotated[SecretStr | None, BeforeValidator(_no_empty_key)] = None
    api_keys: tuple[Annotated[SecretStr, BeforeValidator(_no_empty_key)], ...] = ()  # more, in turn
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    max_in_flight: Annotated[int, Field(ge=1)] | None = None
    max_queue: Annotated[int, Field(ge=0)] = 1000  # more wait, for `timeouts.pool`; the rest is refused
    ask_usage: bool = True
    lenient_end: bool = False
    drop_unsupported: bool = False  # leave out what the provider cannot do, instead of refusing it
    responses: bool | None = None  # it has OpenAI's /responses; None: as its kind
    completions: bool | None = None  # it has OpenAI's /completions; None: as its kind
    tokenize: bool | None = None  # it has vLLM's and llama.cpp's /tokenize; None: it may have it
    betas: tuple[str, ...] | None = None  # of `anthropic-beta`, that it takes; None: as its kind
    query: dict[str, str] = Field(default_factory=dict)  # of each request's URL (Azure's api-version)
    timeouts: Timeouts = Field(default_factory=Timeouts)
    models: dict[Annotated[str, AfterValidator(_is_name)], ModelConfig] | None = None
    pass_through: bool = False  # take other model names too, although some are listed
    limits: LimitsConfig = Field(default_factory=LimitsConfig)  # of all requests to it together
    budgets: tuple[BudgetConfig, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """Every key, each once.  Secret."""
        given = [*([self.api_key] if self.api_key else []), *self.api_keys]
        return tuple(dict.fromkeys(key.get_secret_value() for key in given))

    @property
    def takes_any_model(self) -> bool:
        return self.models is None or self.pass_through

    @property
    def kind(self) -> Kind:
        """What is known of providers at this base URL; it says what the settings leave open."""
        found = kind_at(self.base_url)
        return kind_called(self.place) if not found.name and self.place else found

    @property
    def place(self) -> str:
        """The cloud's service that it is, as its settings say; empty if they say none."""
        if self.vertex is not None:
            return "vertex"
        return "bedrock" if self.dialect == "bedrock" else ""

    @property
    def cloud(self) -> Cloud:
        """Whose changing credentials it is asked with."""
        return cloud_of(self)

    @property
    def has_responses(self) -> bool:
        return self.kind.has_responses if self.responses is None else self.responses

    @property
    def has_completions(self) -> bool:
        return self.kind.has_completions if self.completions is None else self.completions

    @property
    def can_tokenize(self) -> bool:
        """A server of no known kind may be the user's own vLLM or llama.cpp."""
        return not self.kind.name if self.tokenize is None else self.tokenize

    @property
    def known_betas(self) -> frozenset[str] | None:
        return self.kind.betas if self.betas is None else frozenset(self.betas)

    @property
    def asks_usage(self) -> bool:
        return self.ask_usage if "ask_usage" in self.model_fields_set else self.kind.ask_usage

    @property
    def is_lenient(self) -> bool:
        return self.lenient_end if "lenient_end" in self.model_fields_set else self.kind.lenient_end

    @model_validator(mode="before")
    @classmethod
    def _base_url_follows(cls, values: Any) -> Any:
        return with_base_url(values) if isinstance(values, dict) else values

    @field_validator("base_url")
    @classmethod
    def _is_http_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be an http:// or https:// URL with a host")
        if parts.username or parts.password:
            raise ValueError("must not hold a user name or password: use api_key or headers")
        if parts.query or parts.fragment:
            raise ValueError("must not have a query or a fragment")
        _can_be_printed(url)
        _ = parts.port  # raises ValueError if it is out of range
        return url.rstrip("/")

    @model_validator(mode="after")
    def _base_url_fits_the_dialect(self) -> ProviderConfig:
        if complaint := DIALECTS[self.dialect].base_url_complaint(self.base_url):
            raise ValueError(complaint)
        if complaint := cloud_complaint(self):
            raise ValueError(complaint)
        return self

    @field_validator("headers")
    @classmethod
    def _are_headers(cls, headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, value in headers.items():
            if not name or not name.isascii() or any(c in name for c in " \t\r\n:"):
                raise ValueError(f"{name!r} is no header name")
            if any(c in value.get_secret_value() for c in "\r\n\0"):
                raise ValueError(f"the value of {name!r} holds a line end")
        return headers

    @field_validator("models", mode="before")
    @classmethod
    def _empty_models(cls, models: Any) -> Any:
        # `chat:` with nothing under it is a model with nothing to say about it
        if isinstance(models, dict):
            return {k: {} if v is None else v for k, v in models.items()}
        return models


class Config(Section):
    server: ServerConfig = Field(default_factory=ServerConfig)
    log: LogConfig = Field(default_factory=LogConfig)
    auth: AuthConfig = Field(default_factory=AuthConfig)
    timeouts: Timeouts = Field(default_factory=Timeouts)
    stream: StreamConfig = Field(default_factory=StreamConfig)
    providers: dict[Name, ProviderConfig] = Field(default_factory=dict)
    routes: dict[Name, RouteConfig] = Field(default_factory=dict)
    prices: dict[str, PriceConfig] = Field(default_factory=dict)  # of provider/model or provider/*
    teams: dict[Name, TeamConfig] = Field(default_factory=dict)
    store: StoreConfig | None = None  # None: in a file, if anything has to be counted

    @property
    def is_counted(self) -> bool:
        """Whether anything has a limit or a budget."""
        providers = self.providers.values()
        models = [model for provider in providers for model in (provider.models or {}).values()]
        counted = [one.is_counted for one in (*self.auth.keys, *self.teams.values())]
        sold = [(one.limits, one.budgets) for one in providers]
        sold += [(one.limits, one.budgets) for one in models]
        return any(counted) or any(budgets or limits != NO_LIMITS for limits, budgets in sold)

    @property
    def stored(self) -> StoreConfig | None:
        """Where counters, rows and run-time keys are kept; None if nothing needs that."""
        return self.store or (StoreConfig() if self.is_counted else None)

    @model_validator(mode="before")
    @classmethod
    def _empty_sections(cls, value: Any) -> Any:
        """A section with nothing under it (`auth:`) is a section left out."""
        if isinstance(value, dict):
            return {k: v for k, v in value.items() if v is not None}
        return value
