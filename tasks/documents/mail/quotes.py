"""Where a mail begins to quote another: the line that says who wrote what follows becomes a heading.

So what is quoted keeps the name of who wrote it, is not cut together with the reply, and has the same text in each mail
of a thread. Nothing is left out. The lines are those of common mail programs, in the languages named below.
"""

import re
from collections.abc import Iterator

from millrace.tasks.documents.formats import MAX_TITLE_CHARACTERS
from millrace.tasks.records import Heading

_FROM = "From|Von|De|Da|Van|Från|Отправитель|发件人|寄件者|寄件人|差出人"
_SENT = "Sent|Date|Gesendet|Datum|Envoyé|Enviado|Fecha|Data|Дата|发送时间|发送日期|日期|寄件日期|傳送時間|送信日時"
_DIVIDERS = (
    "Original (?:Message|Appointment)|(?:Begin )?[Ff]orwarded message|原始邮件|原始郵件|转发的?邮件|"
    "Ursprüngliche Nachricht|Message d'origine|Mensaje original"
)
_MARKS = r"[> \t]{0,20}"
_COLON = "[ \u00a0]?[:\uff1a]"
_ATTRIBUTION = re.compile(
    rf"^{_MARKS}(?P<line>"
    rf"(?:On|Am|Le|El|Il|Op) [^\n]{{5,200}}(?:\n{_MARKS}[^\n]{{0,200}})??"
    rf"(?:wrote|schrieb[^\n:]{{0,200}}|a écrit|escribió|ha scritto|schreef[^\n:]{{0,200}}){_COLON}"
    rf"|[^\n]{{2,200}}(?:写道|寫道){_COLON}"
    rf"|-{{2,20}} ?(?:{_DIVIDERS}) ?-{{2,20}}"
    rf"|\*?(?:{_FROM}){_COLON}\*?[^\n]{{1,300}}(?=\n{{1,2}}{_MARKS}\*?(?:{_SENT}){_COLON})"
    rf"){_MARKS}$",
    re.MULTILINE,
)
_SAME_ATTRIBUTION_CHARACTERS = 4  # "--- Original Message ---" stands right above "From:"


def quoted_sections(text: str) -> Iterator[Heading]:
    """A heading for each line of the text that says who wrote what it quotes, in order."""
    end = -_SAME_ATTRIBUTION_CHARACTERS - 1
    for found in _ATTRIBUTION.finditer(text):
        if found.start() - end > _SAME_ATTRIBUTION_CHARACTERS:
            title = " ".join(found["line"].replace("\n>", "\n").split())
            yield Heading(1, title[:MAX_TITLE_CHARACTERS], found.start())
        end = found.end()
