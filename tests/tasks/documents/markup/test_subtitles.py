"""Subtitles are read as what is said."""

from collections.abc import Callable

import pytest

from millrace.tasks.records import Document, Reject


def test_subrip_is_read_without_numbers_times_and_styles(document: Callable[..., Document]) -> None:
    content = (
        "1\r\n00:00:01,000 --> 00:00:03,500 X1:100\r\n<i>The weir</i>\r\nholds.\r\n\r\n"
        '2\r\n00:00:04,000 --> 00:00:06,000\r\n{\\an8}2025 was <font color="red">dry</font>.\r\n\r\n\r\n'
        "3\r\n0:00:07,000 --> 0:00:08,000\r\n\r\n4\r\n00:00:09,000 --> 00:00:10,000\r\n水位很高。\r\n"
    )
    assert document("a.srt", content).text == "The weir\nholds.\n2025 was dry.\n水位很高。"


def test_webvtt_is_read_with_speakers_and_without_notes_and_repeated_lines(document: Callable[..., Document]) -> None:
    content = (
        "WEBVTT - Levels\nKind: captions\n\nNOTE\nNot to be seen\n\nSTYLE\n::cue { color: red }\n\n"
        "intro\n00:01.000 --> 00:04.000 align:start\n<v.loud Ann Weir>Do &lt;we&gt; open?</v>\n\n"
        "00:00:04.000 --> 00:00:06.000\nthe <00:00:05.000><c>sluice</c>\n\n"
        "00:00:06.000 --> 00:00:08.000\nthe sluice\nis shut\n"
    )
    assert document("a.vtt", content).text == "Ann Weir: Do <we> open?\nthe sluice\nis shut"


@pytest.mark.parametrize("name", ["a.srt", "a.vtt"])
def test_a_file_without_cues_is_a_reject(reject: Callable[..., Reject], name: str) -> None:
    assert reject(name, "WEBVTT\n\nNOTE nothing\n").reason == "no_text"


def test_chinese_in_gbk_is_read(document: Callable[..., Document]) -> None:
    content = "1\n00:00:01,000 --> 00:00:02,000\n今天我们来看水坝的情况。\n".encode("gbk")
    assert document("a.srt", content).text == "今天我们来看水坝的情况。"
