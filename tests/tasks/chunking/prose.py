"""Made-up prose: the same for the same seed, long enough to edit."""

import random

_SYLLABLES = ["ka", "lo", "mir", "ten", "os", "va", "qui", "ster", "bel", "ou"]
_HAN = "的一是不了人我在有他这为之大来以个中上们到说国和地也子时道出而要于就下得可你年生"


def english_prose(paragraphs: int, *, seed: int) -> str:
    """Made-up prose in wrapped lines, a blank line between paragraphs."""
    chance = random.Random(seed)
    vocabulary = ["".join(chance.choices(_SYLLABLES, k=chance.randint(1, 3))) for _ in range(2_000)]

    def paragraph() -> str:
        sentences = [
            " ".join(chance.choices(vocabulary, k=chance.randint(5, 25))).capitalize() + chance.choice(".....?!")
            for _ in range(chance.randint(2, 7))
        ]
        words, lines, line = " ".join(sentences).split(" "), [], ""
        for word in words:
            if len(line) + len(word) > 78:
                lines.append(line.rstrip())
                line = ""
            line += word + " "
        return "\n".join([*lines, line.rstrip()])

    return "\n\n".join(paragraph() for _ in range(paragraphs)) + "\n"


def chinese_novel(paragraphs: int, *, seed: int) -> str:
    """Made-up Chinese prose, one paragraph a line, indented as in novels."""
    chance = random.Random(seed)

    def sentence() -> str:
        clauses = ["".join(chance.choices(_HAN, k=chance.randint(4, 14))) for _ in range(chance.randint(1, 4))]
        return "，".join(clauses) + chance.choice("。。。。！？")

    return "".join(
        "\u3000\u3000" + "".join(sentence() for _ in range(chance.randint(1, 6))) + "\n" for _ in range(paragraphs)
    )
