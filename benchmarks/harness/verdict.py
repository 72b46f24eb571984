"""How a figure stands to its goal."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """A figure of ours and its goal. `above`: the goal is a least value, else a highest one."""

    name: str
    value: float
    goal: float
    above: bool
    unit: str = ""

    @property
    def met(self) -> bool:
        return self.value >= self.goal if self.above else self.value <= self.goal

    def __str__(self) -> str:
        bound = "at least" if self.above else "at most"
        met = "met" if self.met else "not met"
        return f"{self.name}: {self.value:.3g}{self.unit} (goal: {bound} {self.goal:.3g}{self.unit}): {met}"
