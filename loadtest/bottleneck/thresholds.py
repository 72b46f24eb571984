"""What measurements are held against, each with its source."""

from __future__ import annotations

# Of the schedule, that the driver must have sent in its time: below, the run is invalid.
ACHIEVED_LEAST = 0.99
# By how much a message may leave late: the limit on the schedule error of a valid run, seconds.
LATE_S = 0.005

# A mean latency up to here needs no remedy where no objective says otherwise, seconds: what is answered
# within 0.1 s is felt as instantaneous (Nielsen, Usability Engineering, 1993, 5.5, after Miller, 1968).
QUICK_S = 0.1

# A stage limits a run where it takes so much of the time: by Amdahl's law, a run without it would be at least
# twice as fast. So at most one stage does.
DOMINANT = 0.5

# Of the time that bundles wait for an endpoint, spent throttled: less, and a run without it would be at most
# 1 / (1 - 0.1) = 1.11 times as fast.
THROTTLED = 0.1

# Of an endpoint's answers, that it is full, times the square of the mean calls in flight of a process: with
# additive increase and multiplicative decrease, as the job has it, a limit that goes from W/2 to W and back
# finds the endpoint full once in 3/8 W^2 calls (Mathis et al., 1997), and the mean in flight is 3/4 W:
# 8 / (3 W^2) = 1.5 / mean^2.
REFUSED = 1.5

# Cores of a process whose Python keeps one core busy; the interpreter lock allows no more. Jobs that did
# nothing but decode or compute took 0.90 to 0.98 of one, on two cores that they shared with broker, driver
# and others (tests/integration/test_bottleneck.py); one without a limit, at 100 messages a second, 0.4.
ONE_CORE = 0.85

# Of the processors of workers or of the machine: Dataflow's default for the worker utilisation it aims at
# (worker_utilization_hint). By the formula of the M/M/1 queue, requests wait four times their service there.
BUSY = 0.8

# Of a limit that is made use of, the mean: of calls in flight, where calls of many bundles take turns, and of
# the requests in a batch, of which the last of a bundle is smaller.
LIMIT_FULL = 0.8

# Between the decoding of the last request of a local job's batch and the call of the model, seconds: the
# batch wait of batches of one (0.3 ms at 100 messages a second, 0.4 at 2,800), of which decoding is 0.03
# (batches of 97).
HAND_OVER_S = 0.0004

# Sizes of batches must differ by so much for a law a + b x batch to be fitted.
SPREAD = 2.0

# And so many calls: of 10, on a busy machine, the fit saw 56 % of fixed costs in a model without any.
FEWEST_CALLS = 20
