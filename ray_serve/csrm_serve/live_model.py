"""A bundle's model as a replica serves it: loaded, and replaced when another bundle lies in the folder.

The next model is loaded beside the one that answers and takes its place between two batches, so that a new bundle
costs no request. Knows folders, models and the scoring queue; knows no Ray. Whoever calls `refresh` decides how often
it looks.
"""

from __future__ import annotations

import hashlib
import logging
import resource
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from csrm.bundle import load_bundle
from csrm.prompt import PROMPT_FORMAT
from csrm.scoring.freed import give_back
from csrm_serve.errors import StartError
from csrm_serve.memory import available_bytes
from csrm_serve.messages import Scored, ScoringJob
from csrm_serve.scoring_queue import ScoringQueue
from csrm_serve.settings import ServeSettings
from csrm_serve.shared_cache import SharedCache

if TYPE_CHECKING:
    from csrm.bundle import Bundle
    from csrm.model import RelevanceModel

Looks = tuple[tuple[str, int, int], ...]
"""Name, size and time of change of each file that a model is made of."""

log = logging.getLogger("ray.serve.csrm")


class LiveModel:
    """The model of one bundle, in its queue. `refresh` is for one thread at a time, beside the queue's own.

    Args:
        settings: of one bundle.
        threads: of a judgment.
        observe: see `ScoringQueue`.
        shared: cache of grades beyond this replica.

    Attributes:
        start_s: seconds that the first model took, by what was done in them.

    Raises:
        CsrmError: the bundle or its base cannot be used.
    """

    def __init__(
        self,
        settings: ServeSettings,
        threads: int,
        *,
        observe: Callable[[str, float], None] = lambda stage, ms: None,
        shared: SharedCache | None = None,
    ) -> None:
        self._settings = settings
        self._threads = threads
        self._observe = observe
        self._shared = shared
        self._bundle = load_bundle(settings.bundle)
        self._taken = self._seen = _look(self._bundle)
        self._needed_bytes = 0
        self.fault: str | None = None
        began = time.perf_counter()
        import csrm.scoring.load  # noqa: F401  (torch and transformers, which take as long as all the rest)

        imported = time.perf_counter()
        self.model = self._load(settings.precision)
        loaded = time.perf_counter()
        self.queue = ScoringQueue(self.model, level=settings.level, observe=observe)
        self.start_s = {
            "imports": imported - began,
            "model": loaded - imported,
            "first query": time.perf_counter() - loaded,
        }
        log.info("Start: %s.", ", ".join(f"{what} {spent:.1f} s" for what, spent in self.start_s.items()))
        self._rested_after = 0
        # What loading took this time, it takes again: the peak of this process, in kB on Linux.
        self._needed_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    async def judge(self, job: ScoringJob) -> Scored:
        """`ScoringQueue.run`; what the shared cache has of the job is looked up first."""
        if self._shared is not None:
            model, began = self.model, time.perf_counter()
            questions = model.questions(
                job.query,
                locale=job.locale,
                knowledge=job.knowledge,
                level=job.level or self._settings.level,
                partial=job.partial,
            )
            await self._shared.fill(model.cache, self._identity(model), questions, job.products)
            self._observe("shared_cache", (time.perf_counter() - began) * 1000)
        return await self.queue.run(job)

    def rest(self) -> None:
        """Give memory back that the last queries took, once there is nothing to do. Called now and then."""
        if self.queue.done != self._rested_after and self.queue.idle():
            self._rested_after = self.queue.done
            give_back()

    def refresh(self) -> bool:
        """Take up what is in the folder now, if it is something else and lay still since the last look.

        Returns:
            Whether another model answers from now on. Where it should and cannot, the old one stays, `fault` says
            why, and nothing is tried until the folder changes again.
        """
        looks = _look(self._bundle)
        still, self._seen = looks == self._seen, looks
        if looks == self._taken or not still or not looks:
            return False
        self._taken = looks
        try:
            if (free := available_bytes()) < self._needed_bytes:
                raise StartError(
                    f"Loading another bundle needs {self._needed_bytes / 2**30:.1f} GB of memory and"
                    f" {free / 2**30:.1f} GB are free: restart the replica instead."
                )
            model = self._load(self._precision_for(load_bundle(self._bundle.path)))
            self.queue.replace(model)
        except Exception as error:  # whatever it is, the old model goes on
            self.fault = f"The bundle in {self._bundle.path} is not taken up: {error}"
            log.exception("%s goes on: the bundle in %s cannot be used", self.model.name, self._bundle.path)
            return False
        self.fault = None
        log.info("%s takes the place of %s.", model.name, self.model.name)
        self.model = model
        return True

    def _precision_for(self, bundle: Bundle) -> str:
        """That of the model that answers, measured when nothing else ran, where both bundles allow the same."""
        same = (bundle.manifest.calibrated_in == "int8") == (
            self.model.bundle.manifest.calibrated_in == "int8"
        )
        return self.model.precision if same else self._settings.precision

    def _load(self, precision: str) -> RelevanceModel:
        from csrm.model import RelevanceModel

        model = RelevanceModel.load(
            self._bundle.path,
            base=self._settings.base,
            precision=precision,
            threads=self._threads,
            cache_mb=self._settings.cache_mb,
        )
        log.info(
            "%s scores with %s in %s on %d threads.",
            model.name,
            model.engine_name,
            model.precision,
            self._threads,
        )
        if model.warning:
            log.warning(model.warning)
        calibrated_in = model.bundle.manifest.calibrated_in
        if calibrated_in not in (None, model.precision):
            log.info(
                "Its thresholds were fitted in %s: in %s their promise was not measured.",
                calibrated_in,
                model.precision,
            )
        give_back()  # all that was read for the check alone
        if self._shared is not None:
            model.cache.told = partial(self._shared.keep, self._identity(model))
        return model

    def _identity(self, model: RelevanceModel) -> str:
        """What decides grades beside the question and the product."""
        parts = "\n".join(
            (
                f"prompt {PROMPT_FORMAT}",
                model.name,
                model.digest,
                model.base_digest,
                model.precision,
                model.engine_name,
            )
        )
        return hashlib.blake2b(parts.encode(), digest_size=12).hexdigest()


def _look(bundle: Bundle) -> Looks:
    """How the files look that make a model; nothing where they cannot be read, as while a folder is renamed."""
    try:
        return tuple(
            (file.name, (state := file.stat()).st_size, state.st_mtime_ns) for file in bundle.files()
        )
    except OSError:
        return ()
