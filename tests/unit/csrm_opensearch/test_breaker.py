"""The circuit breaker, with a clock that the test turns."""

from __future__ import annotations

from csrm_opensearch.breaker import CircuitBreaker


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock) -> CircuitBreaker:
    breaker = CircuitBreaker(failures=3, cooldown=5, clock=clock)
    for _ in range(3):
        assert breaker.allow()
        breaker.failure()
    return breaker


def test_opens_after_failures_in_a_row() -> None:
    breaker = CircuitBreaker(failures=3, cooldown=5, clock=Clock())
    for _ in range(5):
        breaker.failure()
        breaker.failure()
        breaker.success()
    assert breaker.state == "closed"
    assert opened(Clock()).state == "open"


def test_one_probe_after_the_cooldown_closes_it() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now = 4.9
    assert not breaker.allow()
    clock.now = 5.0
    assert breaker.allow()
    assert breaker.state == "probing"
    assert not breaker.allow()
    breaker.success()
    assert breaker.state == "closed"
    assert breaker.allow()


def test_a_failed_probe_waits_again() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now = 6.0
    assert breaker.allow()
    breaker.failure()
    clock.now = 10.9
    assert not breaker.allow()
    clock.now = 11.0
    assert breaker.allow()


def test_an_abandoned_probe_is_made_again() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now = 6.0
    assert breaker.allow()
    breaker.abandoned()
    assert breaker.allow()


def test_late_failures_of_earlier_attempts_do_not_put_off_the_probe() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now = 4.0
    breaker.failure()
    clock.now = 5.0
    assert breaker.allow()
