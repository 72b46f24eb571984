"""The words that the model knows. A word's token id is its place in VOCABULARY."""

from __future__ import annotations

PRAISE = [
    "excellent", "wonderful", "great", "good", "lovely", "superb", "brilliant", "delightful",
    "friendly", "fresh", "perfect", "charming", "pleasant", "fantastic", "tasty", "cosy", "helpful",
    "clean", "quick", "generous",
]  # fmt: skip
BLAME = [
    "awful", "terrible", "bad", "poor", "dreadful", "horrible", "rude", "stale", "dirty", "slow",
    "noisy", "boring", "bland", "cold", "disappointing", "broken", "greasy", "unfriendly", "ugly",
    "overpriced",
]  # fmt: skip
NOUNS = [
    "food", "service", "room", "staff", "hotel", "breakfast", "coffee", "soup", "bread", "view",
    "bed", "film", "story", "acting", "music", "wine", "waiter", "kitchen", "garden", "price",
    "table", "menu", "location", "evening",
]  # fmt: skip
OTHERS = [
    "the", "was", "and", "a", "really", "very", "quite", "rather", "we", "found", "it", "i",
    "thought", "with", "our",
]  # fmt: skip

PADDING, UNKNOWN = 0, 1
VOCABULARY = ["", "?", *PRAISE, *BLAME, *NOUNS, *OTHERS]
