"""A bundle's model as a replica serves it: loaded, and replaced when another bundle lies in the folder.

The next model is loaded beside the one that answers and takes its place between two batches, so that a new bundle
costs no request. Knows folders, models and the scoring queue; knows no Ray. Whoever calls `refresh` decides how often
it looks.
"""

from __future__ import annotations

import logging
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from csrm_serve.errors import StartError
from csrm_serve.memory import available_bytes
from csrm_serve.scoring_queue import ScoringQueue
from csrm_serve.settings import ServeSettings

if TYPE_CHECKING:
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

    Raises:
        CsrmError: the bundle or its base cannot be used.
    """

    def __init__(
        self,
        settings: ServeSettings,
        threads: int,
        *,
        observe: Callable[[str, float], None] = lambda stage, ms: None,
    ) -> None:
        from csrm.bundle import load_bundle

        self._settings = settings
        self._threads = threads
        self._folder = load_bundle(settings.bundle).path
        self._taken = self._seen = _look(self._folder)
        self._needed_bytes = 0
        self.fault: str | None = None
        self.model = self._load(settings.precision)
        self.queue = ScoringQueue(self.model, level=settings.level, observe=observe)
        # What loading took this time, it takes again: the peak of this process, in kB on Linux.
        self._needed_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def refresh(self) -> bool:
        """Take up what is in the folder now, if it is something else and lay still since the last look.

        Returns:
            Whether another model answers from now on. Where it should and cannot, the old one stays, `fault` says
            why, and nothing is tried until the folder changes again.
        """
        looks = _look(self._folder)
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
            model = self._load(self.model.precision)  # measured at the start, when nothing else ran
            self.queue.replace(model)
        except Exception as error:  # whatever it is, the old model goes on
            self.fault = f"The bundle in {self._folder} is not taken up: {error}"
            log.exception("%s goes on: the bundle in %s cannot be used", self.model.name, self._folder)
            return False
        self.fault = None
        log.info("%s takes the place of %s.", model.name, self.model.name)
        self.model = model
        return True

    def _load(self, precision: str) -> RelevanceModel:
        from csrm.model import RelevanceModel

        model = RelevanceModel.load(
            self._folder,
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
        return model


def _look(folder: Path) -> Looks:
    """How the files look that make a model; nothing where they cannot be read, as while a folder is renamed."""
    try:
        return tuple(
            (path.name, (state := path.stat()).st_size, state.st_mtime_ns) for path in _files(folder)
        )
    except OSError:
        return ()


def _files(folder: Path) -> Iterator[Path]:
    """The files that decide grades, and the manifest; knowledge is watched by the retriever."""
    yield folder / "bundle.json"
    yield from sorted([*folder.glob("adapter/*"), *folder.glob("exit.safetensors")])
