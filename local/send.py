"""`./launch.sh send`: a few requests by hand, and the answer of each."""

from __future__ import annotations

import argparse
import itertools
import json
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import DefaultCredentialsError
from rich.console import Console

from loadtest.driver.errors import RunError
from loadtest.driver.pubsub import PubsubError
from loadtest.interrupt import Stop, stop_on_signals
from loadtest.records import RecordsError, read_records
from loadtest.terminal import complain, make_console, say
from local.children import ChildError
from local.exchange import Answer, Exchange, own_subscriptions
from local.job_flags import JobFlags
from local.made_requests import made_requests
from local.processes import Processes, running
from local.run import EXAMPLE
from local.topics import Topics
from pipeline.options import values
from pipeline.options.spelling import unknown_flags, with_underscores
from pipeline.process.output import until_output_closes
from pipeline.pubsub.emulator import emulator_problems

NO_ANSWER = 3
MAX_COUNT = 100_000
_TOPICS = ("input_topic", "output_topic", "dead_letter_topic")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the flags; all values are text."""
    parser = argparse.ArgumentParser(
        prog="./launch.sh send",
        description="Send a request, and show its result or dead letter. Without topics, a broker and a job "
        "are started for it, and stopped afterwards; what follows -- goes to that job, as with local. With "
        "the three topics of a job that runs, it goes there: at PUBSUB_EMULATOR_HOST where that is set, else "
        "on Google Cloud; subscriptions for the answers are made and deleted, and what follows -- says what "
        "--random needs of the job's flags.",
        epilog="Exit code: 0 all have a result; 1 one is a dead letter, or something failed; 2 a wrong flag; "
        "3 one was not answered in time.",
        allow_abbrev=False,
    )
    parser.add_argument("body", nargs="*", help="a request as it is sent, such as '{\"features\": [1, 2]}'")
    parser.add_argument("--random", action="store_true", help="instead: random numbers of the input's shape")
    parser.add_argument("--input", help="instead: a JSON Lines file of requests")
    parser.add_argument("--count", help="how many to send (default: each once; with --random, 1)")
    parser.add_argument("--input_topic", help="that the job reads: projects/PROJECT/topics/NAME")
    parser.add_argument("--output_topic", help="that it writes results to")
    parser.add_argument("--dead_letter_topic", help="that it writes dead letters to")
    parser.add_argument("--timeout", default="60", help="seconds to wait for answers (default: %(default)s)")
    return parser


def send_command(arguments: Sequence[str]) -> int:
    """Send what the flags say, show the answers, and return the exit code."""
    cut = list(arguments).index("--") if "--" in arguments else len(arguments)
    flags = JobFlags(arguments[cut + 1 :], default_model=str(EXAMPLE / "model.pt2"))
    if flags.asks_for_help:
        print(flags.help_text())
        return 0
    given, unknown = make_parser().parse_known_args(with_underscores(arguments[:cut], _TOPICS))
    topics = Topics.fresh(secrets.token_hex(4))
    problems = unknown_flags(unknown, list(vars(given)), "see --help; flags of the job come after --")
    problems += _topic_problems(given) + emulator_problems()
    if given.input_topic is None:
        problems += flags.problems(topics.job_arguments(), ())
    bodies = _bodies(given, flags, problems)
    timeout_s = _seconds(given.timeout, problems)
    if problems:
        print("\n".join(dict.fromkeys(problems)), file=sys.stderr)
        return 2
    told = Console(stderr=True)
    try:
        with stop_on_signals() as stop, _exchange(given, topics, flags, stop, told) as (exchange, processes):
            watch = _watch(stop, processes, told)
            return _show(exchange.send(bodies, timeout_s, watch), len(bodies))
    except ChildError as error:
        complain(f"send: {error}")
        return 2 if error.exit_code == 2 else 1
    except (GoogleAPICallError, DefaultCredentialsError, PubsubError, RunError) as error:
        complain(f"send: {error}")
        return 1
    except KeyboardInterrupt:
        return 130


def _topic_problems(given: argparse.Namespace) -> list[str]:
    named = {name: getattr(given, name) for name in _TOPICS}
    if not any(named.values()):
        return []
    found = [f"--{name}: missing: give all three topics of the job" for name in _TOPICS if not named[name]]
    for name, text in named.items():
        try:
            values.resource("topic")(text or "projects/project/topics/name")
        except ValueError as error:
            found.append(f"--{name}: {error}")
    return found


def _bodies(given: argparse.Namespace, flags: JobFlags, problems: list[str]) -> list[bytes]:
    """Return what is to be sent; what is wrong with it is added to `problems`."""
    if sum((bool(given.body), given.random, given.input is not None)) != 1:
        problems.append("what to send? Give one of: a request, --random, --input=FILE; see --help")
        return []
    if given.random and flags.has_decode_hook:
        problems.append("--random: with --decode_hook, you alone know what a request looks like")
        return []
    try:
        count = None if given.count is None else values.integer(1, MAX_COUNT)(given.count)
    except ValueError as error:
        problems.append(f"--count: {error}")
        count = None
    try:
        if given.random:
            return made_requests(flags.input_spec(), count or 1).bodies
        once = [body.encode() for body in given.body] or read_records(Path(given.input)).bodies
    except RecordsError as error:
        problems += [f"--input: {problem}" for problem in error.problems]
        return []
    except ValueError as error:
        problems.append(f"--input_shape: {error}")
        return []
    return once if count is None else list(itertools.islice(itertools.cycle(once), count))


def _seconds(text: str, problems: list[str]) -> float:
    try:
        return values.seconds(text)
    except ValueError as error:
        problems.append(f"--timeout: {error}")
        return 1.0


@contextmanager
def _exchange(
    given: argparse.Namespace, topics: Topics, flags: JobFlags, stop: Stop, told: Console
) -> Iterator[tuple[Exchange, Processes | None]]:
    """Yield the conversation with the job that is named, or with one that is started here and now."""
    if given.input_topic is not None:
        with own_subscriptions([given.output_topic, given.dead_letter_topic]) as subscriptions:
            yield Exchange(given.input_topic, *subscriptions), None
        return
    folder = Path(tempfile.mkdtemp(prefix="send-"))
    keep = False
    try:
        say(told, "starting a job; the first request waits for its model")
        with running(topics, flags, folder, stop, told) as processes:
            subscriptions = [topics.output_subscription, topics.dead_letter_subscription]
            yield Exchange(topics.input_topic, *subscriptions), processes
    except ChildError:
        keep = True  # its message names a log there
        raise
    finally:
        if not keep:
            shutil.rmtree(folder)


def _watch(stop: Stop, processes: Processes | None, told: Console) -> Callable[[], None]:
    """Return what is called while answers are missing: it tells of the job's trouble, and ends the waiting.

    It raises ChildError where a process has ended, RunError after an interrupt.
    """
    last = ""

    def look() -> None:
        nonlocal last
        if processes and processes.failure:
            raise processes.failure
        if stop.is_set():
            raise RunError(stop.reason)
        note = processes.note.text() if processes else ""
        if note != last:
            last = note
            say(told, note)

    return look


def _show(answers: Iterator[Answer], count: int) -> int:
    """Print each answer as it comes, as JSON on one line, and return the exit code."""
    console = make_console()
    results = dead_letters = 0
    for answer in answers:
        results += answer.is_result
        dead_letters += not answer.is_result
        text = answer.data.decode(errors="backslashreplace") if answer.is_result else _dead_letter(answer)
        say(console, text, whole=True)
    if results + dead_letters < count:
        missing = count - results - dead_letters
        complain(f"send: {missing:,} of {count:,} not answered in time; see --timeout")
        return NO_ANSWER
    return 1 if dead_letters else 0


def _dead_letter(answer: Answer) -> str:
    told = {name: answer.attributes.get(name) for name in ("error_stage", "error_type", "error_message")}
    return json.dumps(
        {"dead_letter": told | {"data": answer.data.decode(errors="backslashreplace")}}, ensure_ascii=False
    )


if __name__ == "__main__":
    sys.exit(until_output_closes(lambda: send_command(sys.argv[1:])))
