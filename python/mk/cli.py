# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The `mk` command. Only what a command needs is imported, and only when it runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mk.terminal import ask, one_line_warnings, phases, print_pieces

if TYPE_CHECKING:
    from mk.llm import LLM

INTERRUPTED = 130  # what a shell says of a command that Ctrl-C has ended

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
Trace = Annotated[
    Path | None,
    typer.Option(
        help="Write what every worker did in the last steps into this file, for ui.perfetto.dev and mk explain.",
        show_default=False,
    ),
]
TraceSteps = Annotated[int, typer.Option(help="How many of the last steps --trace has.", min=1)]
Target = Annotated[
    str, typer.Option(help="auto: this machine; x86-64-v3, -v4: any such processor. cpu is auto.")
]
Dtype = Annotated[str, typer.Option(help="What weights and KV cache are stored as: bfloat16 or float32.")]
MaxSequences = Annotated[int, typer.Option(help="Sequences that the program holds at a time.", min=1)]
MaxLength = Annotated[int, typer.Option(help="Tokens of a sequence, prompt and answer together.", min=1)]


def _print_version(wanted: bool) -> None:
    if wanted:
        import mk

        typer.echo(f"mk {mk.__version__}")
        raise typer.Exit()


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end."),
    ] = False,
) -> None:
    """Options of no command."""


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
    trace: Trace = None,
    trace_steps: TraceSteps = 4,
) -> None:
    """Continues a text, on standard output as it is made."""
    text = sys.stdin.read() if prompt == "-" else prompt
    with _loaded(model, weights, trace, trace_steps) as llm:
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
        whole = print_pieces(pieces)[1]
    if not whole:
        raise typer.Exit(INTERRUPTED)


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
    trace: Trace = None,
    trace_steps: TraceSteps = 4,
) -> None:
    """Talks with the model.

    An empty line, or Ctrl-D, ends; Ctrl-C ends an answer.
    """
    from mk.errors import InputError
    from mk.runtime.sampling import Sampling

    Sampling(temperature, top_k, top_p, min_p, seed)  # a mistake in an option is none of a line
    start: list[dict[str, str]] = [] if system is None else [{"role": "system", "content": system}]
    messages = list(start)
    with _loaded(model, weights, trace, trace_steps) as llm:
        room = llm.engine.max_length - min(max_tokens, llm.engine.max_length // 4)
        while text := ask():
            asked = [*messages, {"role": "user", "content": text}]
            try:
                while len(asked) > len(start) + 1 and len(llm.encode(asked)) > room:
                    del asked[len(start) : len(start) + 2]  # forget the oldest exchange
                pieces = llm.stream(
                    asked,
                    max_new_tokens=max_tokens,
                    temperature=temperature,
                    top_k=top_k,
                    top_p=top_p,
                    min_p=min_p,
                    seed=seed + len(asked),
                )
            except InputError as error:  # of this line only: the conversation goes on as it was
                print(f"mk: {error}", file=sys.stderr)
                continue
            messages = [*asked, {"role": "assistant", "content": print_pieces(pieces)[0]}]


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
    trace: Annotated[
        bool,
        typer.Option(
            "--trace", help="Code that notes the times of every task, for the other commands' --trace."
        ),
    ] = False,
    to: Annotated[
        str | None,
        typer.Option(help="Stop at this level and print the module: torch, mk, fused, plan, cta or llvm."),
    ] = None,
    locations: Annotated[
        bool, typer.Option("--locations", help="With --to: print the module path of each operation.")
    ] = False,
    dump: Annotated[
        Path | None, typer.Option(help="Write the module after each level into this folder.")
    ] = None,
) -> None:
    """Compiles a model to a package, or shows it on its way there."""
    from mk.build import compile_module
    from mk.errors import InputError

    options: dict[str, Any] = {
        "target": "auto" if target == "cpu" else target,
        "dtype": dtype,
        "max_sequences": max_sequences,
        "max_length": max_length,
    } | ({"trace": True} if trace else {})
    if to is not None:
        from mk.levels import lower_module

        with phases() as progress:
            module = lower_module(model, to=to, dump=dump, progress=progress, **options)
        print(module.text(locations=locations))
        return
    if locations:
        raise InputError("--locations belongs to --to LEVEL; the files of --dump always have them")
    if output is None and dump is None:
        raise InputError("nothing to write: give -o FILE, --dump FOLDER or --to LEVEL")
    with phases() as progress:
        program = compile_module(model, progress=progress, dump=dump, **options)
    if output is not None:
        program.save(output)
        typer.echo(
            f"{output}: {output.stat().st_size / 2**20:.1f} MiB; {_seconds(program.seconds)}", err=True
        )


@app.command()
def explain(
    package: Annotated[
        Path | None, typer.Argument(help="The package (.mkp) to look into.", show_default=False)
    ] = None,
    profile: Annotated[
        Path | None,
        typer.Option(help="Show where the time went in this file, made by --trace.", show_default=False),
    ] = None,
    ceiling: Annotated[
        float | None,
        typer.Option(
            help="GB/s that the machine reads, if not as the file says.", min=1e-3, show_default=False
        ),
    ] = None,
    listing: Annotated[
        bool, typer.Option("--listing", help="Also every instruction of every worker, or every family.")
    ] = False,
) -> None:
    """Shows what is inside a package, or where the time of its steps went.

    Kinds of tasks, bytes, events, and how the work is spread over the workers; with --profile a table of bytes, times,
    waits and the share of what the machine can read, by kind and by layer.
    """
    from mk.errors import InputError
    from mk.explain import explain as print_report
    from mk.explain import explain_times
    from mk.program import load

    if (package is None) == (profile is None):
        raise InputError(
            "nothing to explain: give a package, or --profile FILE for the times of --trace FILE"
        )
    if profile is not None:
        from mk import timeline

        found = timeline.read(profile)
        explain_times(found, found.ceiling if ceiling is None else 1e9 * ceiling, listing)
        return
    assert package is not None
    program = load(package)
    print_report(program)
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
    trace: Trace = None,
    trace_steps: TraceSteps = 4,
) -> None:
    """Measures prompt and generation speed.

    Also the share of this machine's read bandwidth that generation uses.
    """
    import statistics

    from mk.measure import measure

    with _loaded(model, weights, trace, trace_steps) as llm:
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

    one_line_warnings()
    try:
        app()
    except MkError as error:
        print(f"mk: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone
        sys.stderr.close()
        return 0
    except OSError as error:  # such as a full disk behind an output file
        print(f"mk: {error}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def _loaded(model: str, weights: str | None, trace: Path | None, trace_steps: int) -> Iterator[LLM]:
    """The model, and at the end a trace of its last steps."""
    from mk.llm import LLM

    with phases() as progress:
        program: Any = model
        if trace is not None:
            from mk import timeline

            program = timeline.open_traced(model, trace, progress)
        llm = LLM(
            program,
            weights=weights,
            trace_steps=trace_steps,
            progress=progress,
            packing=lambda done, total: progress(f"load weights: {100 * done // max(total, 1)} %"),
        )
    with llm:
        yield llm
        if trace is not None:
            timeline.of(llm.engine).write(trace)


def _seconds(seconds: dict[str, float]) -> str:
    return (
        ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items())
        or f"at {time.strftime('%H:%M')}"
    )


if __name__ == "__main__":
    sys.exit(main())
