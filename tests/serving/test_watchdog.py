from __future__ import annotations

from serving.watchdog import LOOK_S, Backoff, Watch


def test_silence_is_summed_up_look_by_look() -> None:
    watch = Watch()
    for beats in (1, 1, 1):
        watch.look(beats, 0, 0.25)
    assert watch.silent_s == 0.5
    watch.look(2, 0, 0.25)
    assert watch.silent_s == 0


def test_a_call_counts_while_it_is_the_same() -> None:
    watch = Watch()
    for calls in (1, 1, 1):
        watch.look(0, calls, 0.25)
    assert watch.call_s == 0.5
    watch.look(0, 3, 0.25)  # the next one
    assert watch.call_s == 0
    watch.look(0, 3, 0.25)
    watch.look(0, 4, 0.25)  # none
    assert watch.call_s == 0


def test_a_machine_that_was_stopped_makes_no_worker_silent() -> None:
    watch = Watch()
    watch.look(1, 1, LOOK_S)
    watch.look(1, 1, 3600.0)
    assert not watch.late
    assert not watch.silent


def test_late_is_sooner_than_silent() -> None:
    watch = Watch()
    seen = []
    for _ in range(80):
        seen.append((watch.late, watch.silent))
        watch.look(0, 0, 0.1)
    assert sorted(set(seen), key=seen.index) == [(False, False), (True, False), (True, True)]


def test_a_call_that_takes_long_makes_a_worker_late_but_not_silent() -> None:
    watch = Watch()
    for beats in range(1000):
        watch.look(beats, 1, 0.1)
    assert (watch.late, watch.silent) == (True, False)


def test_pauses_grow_while_workers_live_shortly() -> None:
    backoff = Backoff()
    assert [backoff.pause(served_s=1) for _ in range(8)] == [0, 1, 2, 4, 8, 16, 30, 30]
    assert [backoff.pause(served_s=3600), backoff.pause(served_s=0)] == [0, 1]
