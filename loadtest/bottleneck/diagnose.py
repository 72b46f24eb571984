"""From evidence to the one limit of a run."""

from __future__ import annotations

from loadtest.bottleneck.diagnosis import Diagnosis
from loadtest.bottleneck.evidence import Evidence
from loadtest.bottleneck.remedies import REMEDIES
from loadtest.bottleneck.rules import RULES


def diagnose(evidence: Evidence) -> Diagnosis:
    """Return what limits a run: what the first rule that holds names.

    Args:
        evidence: Of the run; what is not known holds no rule.
    """
    limit, facts = next((rule.limit, found) for rule in RULES if (found := rule.facts(evidence)))
    change, expected = REMEDIES[limit](evidence)
    return Diagnosis(limit, facts, change, expected)
