"""What others have written, as pages show it."""

from __future__ import annotations

import pytest

from gearman_manager.dashboard import texts, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<b>&\"'", "&lt;b&gt;&amp;&#34;&#39;"),
        ("a\x1b[31m", 'a<span class="odd">⟨ESC⟩</span>[31m'),
        ("a\u202eb", 'a<span class="odd">⟨U+202E⟩</span>b'),
        (
            "a\x00\x7f\x85",
            '<span class="odd">⟨NUL⟩</span><span class="odd">⟨DEL⟩</span><span class="odd">⟨U+0085⟩</span>',
        ),
        ("\ud800", '<span class="odd">⟨U+D800⟩</span>'),
        ("one\ntwo", 'one<span class="odd">⟨LF⟩</span>two'),
        ("Grüße, 世界 ❤️", "Grüße, 世界 ❤️"),
    ],
)
def test_a_text_is_escaped_and_what_does_not_show_is_made_visible(text: str, expected: str) -> None:
    assert expected in texts.shown(text)
    assert texts.shown(text).startswith("<bdi>")


def test_a_name_is_cut() -> None:
    assert texts.shown("x" * 101) == f"<bdi>{'x' * 100}…</bdi>"
    assert texts.shown(7) == "<bdi>7</bdi>"


def test_of_a_long_line_the_rest_can_be_unfolded() -> None:
    assert texts.line("short") == "<bdi>short</bdi>"
    for long in ("y" * 300, "first\nsecond"):
        made = texts.line(long)
        assert made.startswith('<details class="long"><summary><bdi>')
        assert f'<pre tabindex="0">{long}</pre>' in made


def test_a_block_keeps_its_lines_and_has_a_bound() -> None:
    assert texts.block("a\n\tb\r") == '<pre tabindex="0">a\n\tb<span class="odd">⟨CR⟩</span></pre>'
    huge = texts.block("<" * (texts.MOST_CHARACTERS + 5))
    assert "Show 100,000 of them" in huge
    assert "… 5 more characters are not shown" in huge
    assert huge.count("&lt;") == texts.MOST_CHARACTERS + texts.BLOCK_CHARACTERS
    assert "all of its 4,001 characters" in texts.block("z" * 4001)


def test_a_text_for_an_attribute_has_no_element() -> None:
    assert texts.plain("a\u2066<b", 10) == "a⟨U+2066⟩<b"  # the template escapes it
    assert texts.plain("x" * 9, 5) == "xxxxx…"


def test_numbers_are_in_words() -> None:
    assert [words.size(count) for count in (None, 512, 3_100_000, 2e9)] == ["\u2013", "512 B", "3.1 MB", "2 GB"]
    assert [words.size(count) for count in (999_400, 999_700, 999.7e9)] == ["999 kB", "1 MB", "1,000 GB"]
    assert [words.duration(s) for s in (0.3, 12, 300, 10800, 2e5)] == ["0.3 s", "12 s", "5 min", "3 h", "2 d"]
    assert (words.counted(1, "job"), words.counted(2000, "job")) == ("1 job", "2,000 jobs")
    assert words.moment(0, "for") == '<time datetime="1970-01-01T00:00:00Z" data-for>1970-01-01 00:00:00 UTC</time>'
    assert words.moment(1e20) == "100000000000000000000 (Unix seconds)"
