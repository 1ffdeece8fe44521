# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Text in, text out: whole characters, stop strings, chat templates."""

from __future__ import annotations

from typing import Any

import fake_program as fake
import fake_text
import mk
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mk.errors import InputError, PackageError
from mk.runtime.text import StopFilter, Tokenizer

TOKENIZER = Tokenizer(fake_text.files())


@pytest.fixture
def llm():
    with mk.LLM(fake.program(files=fake_text.files())) as llm:
        yield llm


def expected_text(prompt: list[int], count: int) -> str:
    tokens = fake.expected_tokens(prompt, count)
    return TOKENIZER.decode(tokens[: tokens.index(9)] if 9 in tokens else tokens)


# --------------------------------------------------------------------------------------------------------- pieces


@given(st.lists(st.integers(0, 9)))
def test_pieces_join_to_the_whole_text(ids: list[int]):
    assert "".join(TOKENIZER.pieces(iter(ids))) == TOKENIZER.decode(ids)


@given(st.lists(st.integers(0, 9)))
def test_pieces_hold_whole_characters(ids: list[int]):
    pieces = list(TOKENIZER.pieces(iter(ids)))
    assert all(pieces)
    if "\ufffd" not in TOKENIZER.decode(ids):
        assert not any("\ufffd" in piece for piece in pieces)


def test_a_character_of_two_tokens_is_one_piece():
    assert list(TOKENIZER.pieces(iter([0, 2, 3, 1]))) == ["a", "é", "b"]
    assert list(TOKENIZER.pieces(iter([0, 2]))) == ["a", "\ufffd"]


def test_pieces_come_as_soon_as_they_can():
    seen = []

    def tokens():
        for token in (0, 1, 5):
            yield token
            seen.append(token)

    pieces = TOKENIZER.pieces(tokens())
    assert next(pieces) == "a" and seen == []


@given(st.lists(st.text("abc", max_size=4)), st.lists(st.text("abb", min_size=1, max_size=4), max_size=3))
def test_stop_strings_cut_at_the_first(pieces: list[str], stops: list[str]):
    stop, out = StopFilter(stops), ""
    for piece in pieces:
        out += stop.push(piece)
        if stop.found:
            break
    else:
        out += stop.flush()
    whole = "".join(pieces)
    # The first stop string to be complete is the one that ends the text; a longer one may have begun before it.
    ends = [whole.find(s) + len(s) for s in stops if s in whole]
    if not ends:
        assert out == whole and not stop.found
    else:
        assert stop.found and whole.startswith(out) and not any(s in out for s in stops)
        assert any(whole.startswith(s, len(out)) for s in stops)


def test_stop_string_over_several_pieces_is_held_back():
    stop = StopFilter(["abc"])
    assert [stop.push("xa"), stop.push("b"), stop.push("d"), stop.push("ab")] == ["x", "", "abd", ""]
    assert stop.push("c!") == "" and stop.found


# --------------------------------------------------------------------------------------------------------- LLM


def test_generate_continues_the_text(llm: Any):
    assert llm.generate("abb", max_new_tokens=12) == expected_text([0, 1, 1], 12)
    assert "".join(llm.stream("abb", max_new_tokens=12)) == expected_text([0, 1, 1], 12)


def test_stop_string_ends_the_generation(llm: Any):
    whole = expected_text([0, 1, 1], 12)
    stop = whole[2:4]
    assert llm.generate("abb", max_new_tokens=12, stop=["zz", stop]) == whole[: whole.index(stop)]
    assert llm.generate("abb", max_new_tokens=12) == whole  # the engine is free again


def test_end_of_text_ends_the_generation():
    config = fake_text.files()["tokenizer_config.json"].replace(b"</s>", b"<s>")
    program = fake.program(files={**fake_text.files(), "tokenizer_config.json": config})
    with mk.LLM(program) as llm:
        assert llm.stop_ids() == [9, 8]  # of the model's config, and of the tokenizer


def test_answer_is_cut_at_the_last_position(llm: Any):
    assert llm.generate("abb", max_new_tokens=1000) == expected_text([0, 1, 1], fake.SIZES["max_length"] - 2)


def test_prompt_longer_than_the_program_is_refused(llm: Any):
    with pytest.raises(
        InputError, match=r"the prompt has 33 tokens, more than the program's max_length of 32"
    ):
        llm.stream("a" * 33)


def test_empty_prompt_begins_with_the_begin_token(llm: Any):
    assert llm.generate("", max_new_tokens=5) == expected_text([1], 5)


def test_chat_renders_the_template(llm: Any):
    messages = [{"role": "user", "content": "cab"}]
    assert llm.tokenizer.render(messages) == "<s>cab</s>a"
    assert llm.chat(messages, max_new_tokens=8) == expected_text([8, 5, 0, 1, 9, 0], 8)


@pytest.mark.parametrize(
    "messages", [[], {"role": "user"}, ["hello"], [{"role": "user"}], [{"content": "x"}], 5]
)
def test_bad_messages_are_refused(llm: Any, messages: Any):
    with pytest.raises(InputError, match="messages"):
        llm.chat(messages)


def test_template_may_refuse(llm: Any):
    with pytest.raises(InputError, match="the chat template refuses these messages: no such role"):
        llm.chat([{"role": "bad", "content": ""}])


def test_template_cannot_reach_outside():
    files = {**fake_text.files(), "chat_template.jinja": b"{{ messages.__class__.__mro__ }}"}
    with pytest.raises(InputError, match="the chat template refuses"):
        Tokenizer(files).render([{"role": "user", "content": ""}])


def test_template_of_the_config_is_found():
    files = fake_text.files(template=False)
    config = files["tokenizer_config.json"][:-1]
    one = Tokenizer({**files, "tokenizer_config.json": config + b', "chat_template": "one"}'})
    named = b', "chat_template": [{"name": "tool", "template": "x"}, {"name": "default", "template": "two"}]}'
    assert one.render([{"role": "user", "content": ""}]) == "one"
    assert Tokenizer({**files, "tokenizer_config.json": config + named}).template == "two"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer.json", b"{}"),
        ("tokenizer_config.json", b"[]"),
        ("tokenizer_config.json", b'{"eos_token": {}}'),
        ("tokenizer_config.json", b'{"chat_template": [1]}'),
        ("chat_template.jinja", b"\xff"),
    ],
)
def test_damaged_tokenizer_files_are_refused(name: str, content: bytes):
    files = fake_text.files(template=False) | {name: content}
    with pytest.raises(PackageError, match="the tokenizer files cannot be read"):
        mk.LLM(fake.program(files=files))


def test_model_without_template_says_so():
    with mk.LLM(fake.program(files=fake_text.files(template=False))) as llm:
        with pytest.raises(InputError, match="no chat template"):
            llm.chat([{"role": "user", "content": "a"}])
        assert llm.generate("a", max_new_tokens=2) == expected_text([0], 2)


@pytest.mark.parametrize("stop", ["text", [""], [1]])
def test_bad_stop_strings_are_refused(llm: Any, stop: Any):
    with pytest.raises(InputError, match="stop must be a list of non-empty strings"):
        llm.stream("a", stop=stop)


def test_program_without_tokenizer_says_so():
    with pytest.raises(PackageError, match="this program has no tokenizer"):
        mk.LLM(fake.program())
    with pytest.raises(PackageError, match="the tokenizer files cannot be read"):
        mk.LLM(fake.program(files={"tokenizer.json": b"{}"}))


def test_options_beside_a_program_are_refused():
    with pytest.raises(InputError, match="dtype: the program is compiled already"):
        mk.LLM(fake.program(files=fake_text.files()), dtype="float32")


def test_package_answers_without_torch(tmp_path: Any):
    import subprocess
    import sys

    fake.program(files=fake_text.files()).save(tmp_path / "fake.mkp")
    script = (
        "import sys; sys.path.insert(0, sys.argv[2]); import mk, fake_program\n"
        "print(mk.LLM(sys.argv[1], weights=fake_program.weights()).generate('abb', max_new_tokens=12))\n"
        "assert not {'torch', 'transformers', 'mk.compiler.driver', 'rich'} & set(sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "fake.mkp"), str(fake.HERE)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == expected_text([0, 1, 1], 12) + "\n"
