"""What an operator can choose about the Serve application; same names in `csrm serve` and in the config YAML.

Knows no Ray: `csrm_serve.app` turns the settings into deployments.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from csrm.errors import InputError
from csrm.wire import Level, Precision
from csrm_serve.shared_cache import check_url
from csrm_serve.shares import check_shares


class ServeSettings(BaseModel):
    """Arguments of `csrm_serve.app:build`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bundle: str = Field(default="default", min_length=1, description="Name or folder of the model bundle.")
    base: str | None = Field(
        default=None, description="Hub id or folder of the base weights; the bundle's own base if null."
    )
    knowledge: str | None = Field(
        default=None, min_length=1, description="Folder of a knowledge snapshot; the bundle's own if null."
    )
    also: list[str] = Field(
        default=[],
        description="Names or folders of further bundles, each with scorers of its own; requests name the model.",
    )
    shares: dict[str, float] = Field(
        default={},
        description="By further bundle, its share of the queries that do not ask for a version: 0.1 is a tenth.",
    )
    knowledge_opensearch: str | None = Field(
        default=None,
        description="OpenSearch cluster with published knowledge, without user and password. While it cannot be used, "
        "the snapshot is. Null asks no cluster.",
    )
    knowledge_login: str | None = Field(
        default=None, min_length=1, description="File with user:password for that cluster, on every node."
    )
    precision: Precision = Field(
        default="auto",
        description="Number format of the weights: fp32, bf16 (on x86 from AVX-512 on), int8 (from AVX2 on), or auto, "
        "which measures at start which is fastest, with int8 only for a bundle that was calibrated in it.",
    )
    level: Level | None = Field(
        default=None,
        description="How deep products are judged where a request does not say: fast, balanced or full; "
        "balanced if null, full where nothing in the bundle judges first.",
    )
    threads: int = Field(
        default=2, ge=1, description="Cores of a scorer replica: its num_cpus and its threads."
    )
    gpus: float = Field(
        default=0,
        ge=0,
        allow_inf_nan=False,
        description="GPUs of a scorer replica, its num_gpus: a part of one (0.5 lets two replicas share it) or whole "
        "ones; 0 claims none.",
    )
    cache_mb: int = Field(
        default=64,
        ge=0,
        description="Megabytes a scorer replica keeps for grades it has computed (64 hold 260,000); 0 keeps none.",
    )
    shared_cache: str | None = Field(
        default=None,
        description="Valkey or Redis server whose grades all replicas share, such as valkey://cache:6379/0; none if "
        "null.",
    )
    shared_cache_password_file: str | None = Field(
        default=None, min_length=1, description="File with that server's password, on every node."
    )
    shared_cache_prefix: str = Field(
        default="csrm", min_length=1, description="Begins the name of every entry there."
    )
    shared_cache_ttl_s: int = Field(
        default=604_800, ge=1, description="Seconds that an entry is kept for there."
    )
    shared_cache_timeout_ms: float = Field(
        default=5,
        gt=0,
        description="Milliseconds a look-up there may take before a query is scored without it.",
    )
    min_replicas: int = Field(default=1, ge=1, description="Scorer replicas at rest.")
    max_replicas: int = Field(default=1, ge=1, description="Most scorer replicas under load.")
    target_ongoing_requests: float = Field(
        default=2,
        gt=0,
        allow_inf_nan=False,
        description="Requests under way for each scorer replica, waiting ones too, above which one more replica is "
        "started, up to max_replicas.",
    )
    max_ongoing_requests: int = Field(
        default=8,
        ge=1,
        description="Requests that take turns in a scorer replica, a batch each; others wait at the ingress.",
    )
    max_queued_requests: int = Field(
        default=32, ge=1, description="Requests that may wait for a scorer; one more is answered 503."
    )
    max_body_mb: int = Field(
        default=32, ge=1, description="Megabytes of a request's body; more is answered 413."
    )
    max_bodies_mb: int = Field(
        default=256,
        ge=1,
        description="Megabytes of all bodies that an ingress has under way; a request beyond that is answered 503.",
    )
    default_deadline_ms: float = Field(
        default=30_000,
        gt=0,
        description="Deadline of a request that names none, in milliseconds from its arrival.",
    )
    knowledge_budget_ms: float = Field(
        default=400, gt=0, description="Milliseconds knowledge may take before a query is scored without it."
    )
    api_keys: str | None = Field(
        default=None,
        min_length=1,
        description="File with one API key a line; callers must bring one of them. Null lets everybody ask.",
    )
    max_requests_per_key: int | None = Field(
        default=None,
        ge=1,
        description="Most requests one key may have under way; one more is answered 429. Null sets no limit.",
    )

    @model_validator(mode="after")
    def _limits_a_key(self) -> Self:
        if self.max_requests_per_key is not None and self.api_keys is None:
            raise ValueError(
                "max_requests_per_key needs api_keys: without keys, callers cannot be told apart"
            )
        return self

    @model_validator(mode="after")
    def _a_body_fits(self) -> Self:
        if self.max_bodies_mb < self.max_body_mb:
            raise ValueError(
                f"max_bodies_mb {self.max_bodies_mb} is under max_body_mb {self.max_body_mb}: one body must fit"
            )
        return self

    @model_validator(mode="after")
    def _gpus_can_be_given(self) -> Self:
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(f"gpus: {self.gpus:g} is neither a part of one GPU nor a whole number")
        return self

    @model_validator(mode="after")
    def _shares_a_cache(self) -> Self:
        if self.shared_cache is None:
            if self.shared_cache_password_file is not None:
                raise ValueError("shared_cache_password_file needs shared_cache")
            return self
        check_url(self.shared_cache)
        if not self.cache_mb:
            raise ValueError("shared_cache needs cache_mb: what is found there is remembered in the replica")
        return self

    @model_validator(mode="after")
    def _bundles_and_shares_fit(self) -> Self:
        if twice := [name for name, times in Counter(self.bundles).items() if times > 1]:
            raise ValueError(f"also: {twice[0]} is served twice: name each bundle once")
        try:
            check_shares(self.shares, self.also)
        except InputError as error:
            raise ValueError(str(error)) from None
        return self

    @property
    def bundles(self) -> list[str]:
        """All that are served, the first one first."""
        return [self.bundle, *self.also]

    def of(self, bundle: str) -> ServeSettings:
        """The settings of one bundle's scorers and retriever; ``base`` and ``knowledge`` are the first one's."""
        alone: dict[str, object] = {"bundle": bundle, "also": [], "shares": {}}
        if bundle != self.bundle:
            alone |= {"base": None, "knowledge": None}
        return self.model_copy(update=alone)

    @model_validator(mode="after")
    def _asks_a_cluster(self) -> Self:
        url = self.knowledge_opensearch
        if url is not None and not re.fullmatch(r"https?://[^@/\s]+(/[^@\s]*)?", url):
            raise ValueError(
                "knowledge_opensearch must be like https://host:9200; user and password belong in knowledge_login"
            )
        if self.knowledge_login is not None and self.knowledge_opensearch is None:
            raise ValueError("knowledge_login needs knowledge_opensearch: it is the login of that cluster")
        return self

    @model_validator(mode="after")
    def _replicas_in_order(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(
                f"min_replicas {self.min_replicas} is over max_replicas {self.max_replicas}: raise the latter"
            )
        return self
