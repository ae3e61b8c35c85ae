"""Prose for tests: sentences that never repeat, the same for the same seed."""

import random

_WORDS = (
    "water mill stone wheel gate river flour grain miller sluice weir race bucket gear shaft beam bell door keeper flood "
    "summer winter morning evening repair measure turn open close lift lower watch write carry grind dress balance"
).split()
_CHARACTERS = "水磨坊石轮闸门河流面粉谷物渠堰斗齿轴梁钟守洪夏冬晨夜修量转开关升降看写运碾"


def english(sentences: int, seed: int = 0) -> str:
    """`sentences` sentences in paragraphs of five."""
    chance = random.Random(seed)
    written = [
        f"{' '.join(chance.choices(_WORDS, k=chance.randint(6, 16))).capitalize()} {seed}-{number}."
        for number in range(sentences)
    ]
    return "\n\n".join(" ".join(written[i : i + 5]) for i in range(0, sentences, 5)) + "\n"


def chinese(sentences: int, seed: int = 0) -> str:
    """`sentences` sentences in paragraphs of five."""
    chance = random.Random(seed)
    written = ["".join(chance.choices(_CHARACTERS, k=chance.randint(8, 30))) + "。" for _ in range(sentences)]
    return "\n\n".join("".join(written[i : i + 5]) for i in range(0, sentences, 5)) + "\n"
