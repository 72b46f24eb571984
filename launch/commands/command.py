"""What one command of launch.sh is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from launch.cloud.shell import Shell
from launch.rules.rule import Rule, problems
from launch.settings.common import Settings
from launch.settings.help import help_text
from launch.settings.setting import SettingsError

S = TypeVar("S", bound=Settings)


@dataclass(frozen=True)
class Command(Generic[S]):
    """One command of launch.sh.

    Attributes:
        name: One word or two.
        summary: One sentence, for --help.
        settings: The dataclass whose fields declare the settings.
        run: What it does; called by `execute`.
        rules: Which settings do not go together.
    """

    name: str
    summary: str
    settings: type[S]
    run: Callable[[S, Shell], None]
    rules: Sequence[Rule[S]] = ()

    @property
    def help(self) -> str:
        """What `./launch.sh COMMAND --help` prints."""
        return help_text(self.name, self.summary, self.settings)

    def execute(self, settings: S, shell: Shell) -> None:
        """Check the settings against the rules, then run the command.

        Raises:
            SettingsError: The settings do not go together, or not with what is running or deployed.
            CommandError: Something was refused.
        """
        if found := problems(self.rules, settings):
            raise SettingsError("\n".join(found))
        self.run(settings, shell)
