# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The `mk` command. Only what a command needs is imported, and only when it runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from mk.llm import LLM
    from mk.program import Program

app = typer.Typer(
    name="mk",
    help="Compiles a language model into one persistent program, and runs it.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help: rich alone takes as long to import as all the rest
    pretty_exceptions_enable=False,
)

Model = Annotated[
    str,
    typer.Argument(help="A package (.mkp), a Hugging Face folder or id, or a GGUF file.", show_default=False),
]
Temperature = Annotated[
    float, typer.Option(help="0 takes the likeliest token; higher draws more freely.", min=0.0)
]
TopK = Annotated[int, typer.Option(help="Draw among the k likeliest tokens only; 0: all.", min=0)]
TopP = Annotated[float, typer.Option(help="Draw within the smallest set of this probability only; 1: all.")]
MinP = Annotated[
    float, typer.Option(help="Leave out tokens below this share of the likeliest one's probability.")
]
Seed = Annotated[int, typer.Option(help="The same seed draws the same tokens.")]
MaxTokens = Annotated[int, typer.Option("--max-tokens", "-n", help="Most tokens of an answer.", min=1)]
Weights = Annotated[
    str | None,
    typer.Option(help="Folder or file of the weights, if not where the package says.", show_default=False),
]
Target = Annotated[
    str, typer.Option(help="auto: this machine; x86-64-v3, -v4: any such processor. cpu is auto.")
]
Dtype = Annotated[str, typer.Option(help="What weights and KV cache are stored as: bfloat16 or float32.")]
MaxSequences = Annotated[int, typer.Option(help="Sequences that the program holds at a time.", min=1)]
MaxLength = Annotated[int, typer.Option(help="Tokens of a sequence, prompt and answer together.", min=1)]


@app.command()
def run(
    model: Model,
    prompt: Annotated[
        str, typer.Option("--prompt", "-p", help="The text to continue; - reads standard input.")
    ],
    chat: Annotated[
        bool, typer.Option("--chat", help="Send the prompt through the model's chat template.")
    ] = False,
    max_tokens: MaxTokens = 256,
    stop: Annotated[list[str] | None, typer.Option(help="End before this text; may be given again.")] = None,
    temperature: Temperature = 0.0,
    top_k: TopK = 0,
    top_p: TopP = 1.0,
    min_p: MinP = 0.0,
    seed: Seed = 0,
    weights: Weights = None,
) -> None:
    """Continues a text, on standard output as it is made."""
    text = sys.stdin.read() if prompt == "-" else prompt
    with _loaded(model, weights) as llm:
        pieces = llm.stream(
            [{"role": "user", "content": text}] if chat else text,
            max_new_tokens=max_tokens,
            stop=stop or (),
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            seed=seed,
        )
        _print(pieces)


@app.command()
def chat(
    model: Model,
    system: Annotated[
        str | None, typer.Option(help="What the model is told first.", show_default=False)
    ] = None,
    max_tokens: MaxTokens = 512,
    temperature: Temperature = 0.7,
    top_k: TopK = 0,
    top_p: TopP = 0.95,
    min_p: MinP = 0.0,
    seed: Seed = 0,
    weights: Weights = None,
) -> None:
    """Talks with the model.

    An empty line, or Ctrl-D, ends; Ctrl-C ends an answer.
    """
    start: list[dict[str, str]] = [] if system is None else [{"role": "system", "content": system}]
    messages = list(start)
    with _loaded(model, weights) as llm:
        while text := _ask():
            messages.append({"role": "user", "content": text})
            room = llm.engine.max_length - min(max_tokens, llm.engine.max_length // 4)
            while len(messages) > len(start) + 1 and len(llm.encode(messages)) > room:
                del messages[len(start) : len(start) + 2]  # forget the oldest exchange
            pieces = llm.stream(
                messages,
                max_new_tokens=max_tokens,
                temperature=temperature,
                top_k=top_k,
                top_p=top_p,
                min_p=min_p,
                seed=seed + len(messages),
            )
            messages.append({"role": "assistant", "content": _print(pieces)})


@app.command("compile")
def compile_command(
    model: Annotated[
        str, typer.Argument(help="A Hugging Face folder or id, or a GGUF file.", show_default=False)
    ],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The package to write.")] = None,
    target: Target = "auto",
    dtype: Dtype = "bfloat16",
    max_sequences: MaxSequences = 8,
    max_length: MaxLength = 2048,
    to: Annotated[
        str | None,
        typer.Option(help="Stop at this level and print the module: torch, mk, fused, plan, cta or llvm."),
    ] = None,
    dump: Annotated[
        Path | None, typer.Option(help="Write the module after each level into this folder.")
    ] = None,
) -> None:
    """Compiles a model to a package, or shows it on its way there."""
    from mk.build import compile_module, lower_module
    from mk.errors import InputError

    options: dict[str, Any] = {
        "target": "auto" if target == "cpu" else target,
        "dtype": dtype,
        "max_sequences": max_sequences,
        "max_length": max_length,
    }
    if to is not None:
        with _phases() as progress:
            module = lower_module(model, to=to, dump=dump, progress=progress, **options)
        print(module)
        return
    if output is None and dump is None:
        raise InputError("nothing to write: give -o FILE, --dump FOLDER or --to LEVEL")
    with _phases() as progress:
        program = compile_module(model, progress=progress, dump=dump, **options)
    if output is not None:
        program.save(output)
        typer.echo(
            f"{output}: {output.stat().st_size / 2**20:.1f} MiB; {_seconds(program.seconds)}", err=True
        )


@app.command()
def explain(
    package: Annotated[Path, typer.Argument(help="The package (.mkp) to look into.", show_default=False)],
    listing: Annotated[
        bool, typer.Option("--listing", help="Also print every instruction of every worker.")
    ] = False,
) -> None:
    """Shows what is inside a package.

    Kinds of tasks, bytes, events, and how the work is spread over the workers.
    """
    from mk.program import load

    program = load(package)
    _explain(program)
    if listing:
        from mk.compiler.table import table_text

        print(table_text(program.manifest, program.arrays["table"], program.arrays["counts"]))


@app.command()
def bench(
    model: Model,
    tokens: Annotated[int, typer.Option(help="Tokens to generate in each run.", min=2)] = 128,
    prompt_tokens: Annotated[int, typer.Option(help="Tokens of the prompt.", min=1)] = 512,
    runs: Annotated[int, typer.Option(help="Runs; the median is shown.", min=1)] = 5,
    weights: Weights = None,
) -> None:
    """Measures prompt and generation speed.

    Also the share of this machine's read bandwidth that generation uses.
    """
    import statistics

    from mk.measure import measure

    with _loaded(model, weights) as llm:
        found = [measure(llm.engine, prompt_tokens, tokens) for _ in range(runs)]
    typer.echo(f"prompt      {statistics.median(m.prompt_rate for m in found):9.1f} tokens/s")
    typer.echo(f"generation  {statistics.median(m.rate for m in found):9.1f} tokens/s")
    share, bandwidth = (
        statistics.median(m.share for m in found),
        statistics.median(m.bandwidth for m in found),
    )
    typer.echo(f"bandwidth   {100 * share:9.1f} % of {bandwidth / 1e9:.1f} GB/s")


def main() -> int:
    """Runs the command line; returns the exit status. An error of mk's is one line on standard error and status 1."""
    from mk.errors import MkError

    try:
        app()
    except MkError as error:
        print(f"mk: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output has gone
        sys.stderr.close()
        return 0
    except OSError as error:  # such as a full disk behind an output file
        print(f"mk: {error}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def _loaded(model: str, weights: str | None) -> Iterator[LLM]:
    from mk.llm import LLM

    with _phases() as progress:
        llm = LLM(model, weights=weights, progress=progress)
    with llm:
        yield llm


@contextmanager
def _phases() -> Iterator[Callable[[str], None]]:
    """Shows the phase at work on a terminal's standard error, and takes it away at the end."""
    if not sys.stderr.isatty():
        yield lambda phase: None
        return
    from rich.console import Console

    with Console(stderr=True).status("") as status:
        yield lambda phase: status.update(phase)


def _print(pieces: Iterator[str]) -> str:
    """Writes the pieces as they come; Ctrl-C ends them. Returns the text."""
    text = ""
    try:
        for piece in pieces:
            text += piece
            sys.stdout.write(piece)
            sys.stdout.flush()
    except KeyboardInterrupt:
        pass
    finally:
        if isinstance(pieces, Iterator) and hasattr(pieces, "close"):
            pieces.close()
    print()
    return text


def _ask() -> str:
    try:
        return input("> " if sys.stdin.isatty() else "").strip()
    except EOFError:
        return ""


def _explain(program: Program) -> None:
    from mk.report import kv_bytes, report

    manifest, found, mib = program.manifest, report(program), 2.0**20
    sizes, target, arenas = manifest["sizes"], manifest["target"], manifest["arenas"]
    name = program.facts.name or "model"
    print(f"{name} for {target['kind']} {target['cpu']}, made by mk {manifest['version']}")
    print(f"features    {', '.join(target['features']) or 'none'}")
    print(f"sizes       {', '.join(f'{name} {value}' for name, value in sizes.items())}")
    print(f"code        {len(program.code) / mib:.2f} MiB, {len(manifest['kinds'])} kinds")
    print(
        f"weights     {arenas['stream'] / mib:.1f} MiB streamed in a step, {arenas['params'] / mib:.1f} MiB looked up"
    )
    print(
        f"memory      {arenas['activations'] / mib:.1f} MiB of activations, {kv_bytes(manifest) / 2**10:.1f} KiB of KV "
        "cache for each position"
    )
    print(f"events      {len(manifest['events'])}")
    print("\nkinds")
    _table(
        ("name", "class", "families", "tasks", "units", "weights MiB"),
        [
            (k.name, k.kind_class, len(k.families), k.tasks, k.units, f"{k.weight_bytes / mib:.2f}")
            for k in found.kinds
        ],
    )
    print(f"\nworkers, balance {100 * found.balance:.1f} %")
    _table(
        ("worker", "tasks", "waits", "signals", "weights MiB"),
        [
            (n, w.tasks, w.waits, w.signals, f"{w.weight_bytes / mib:.2f}")
            for n, w in enumerate(found.workers)
        ],
    )


def _table(head: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    """Prints aligned columns, the first to the left."""
    texts = [head, *(tuple(str(value) for value in row) for row in rows)]
    widths = [max(len(row[column]) for row in texts) for column in range(len(head))]
    for row in texts:
        print(
            row[0].ljust(widths[0]),
            *(text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True)),
            sep="  ",
        )


def _seconds(seconds: dict[str, float]) -> str:
    return (
        ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items())
        or f"at {time.strftime('%H:%M')}"
    )


if __name__ == "__main__":
    sys.exit(main())
