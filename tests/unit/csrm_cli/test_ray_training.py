"""What is told of a worker that failed; no cluster is started here."""

from __future__ import annotations

import traceback

from ray.exceptions import ActorDiedError
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback
from ray.train.v2.api.exceptions import WorkerGroupError

from csrm.errors import InputError
from csrm_cli.ray_training import own_words


def failure(error: Exception) -> Exception:
    """As Ray brings it from a worker."""
    try:
        raise error
    except Exception as raised:
        return UserExceptionWithTraceback(raised, traceback.format_exc())


def test_a_worker_is_heard_in_its_own_words_before_those_it_left_alone() -> None:
    lost, said = failure(RuntimeError("Connection closed by peer")), failure(InputError("dev: 2 rows leak."))
    assert own_words(WorkerGroupError("two failed", {0: lost, 1: said})) == "dev: 2 rows leak."
    assert own_words(WorkerGroupError("one failed", {0: lost})) == "RuntimeError: Connection closed by peer"
    died = ActorDiedError()
    assert own_words(WorkerGroupError("two failed", {0: lost, 1: died})).startswith("number 1 ended without")
    assert own_words(WorkerGroupError("two failed", {0: died, 1: said})) == "dev: 2 rows leak."
    assert own_words(ValueError("no room for the workers")) == "no room for the workers"
    assert own_words(ValueError()) == "ValueError"
