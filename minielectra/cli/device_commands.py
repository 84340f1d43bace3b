"""Commands for other programs and devices: export, page.

They import what they need when they run, so that `--help` answers at once.
"""

from dataclasses import dataclass

from minielectra.cli.command import Options, command
from minielectra.settings import Settings, setting

SOURCE = "a run, a folder that `finetune` wrote, a model directory in Hugging Face's layout, or mini"


@dataclass(frozen=True)
class ExportOptions(Settings):
    """The options of `export`."""

    source: str = setting(help=SOURCE, metavar="RUN|DIR|mini", positional=True)
    out: str = setting(
        help="folder to write; the models of a run go into OUT/discriminator and OUT/generator",
        metavar="OUT",
        positional=True,
    )
    format: str = setting(
        "huggingface",
        "huggingface: directories that transformers reads; onnx: files for ONNX Runtime, also in a browser",
        choices=("huggingface", "onnx"),
    )
    quantize: str | None = setting(
        None,
        "smaller weights. float16: half the size; int8: a quarter, which in Hugging Face's layout only "
        "minielectra reads",
        choices=("float16", "int8"),
        shown_default="float32, four bytes per weight",
    )


@command(
    Options(ExportOptions),
    examples=(
        "runs/books exported",
        "mini mini-onnx --format onnx",
        "sst sst-int8 --quantize int8",
        "sst sst-onnx --format onnx --quantize int8",
    ),
)
def export(options):
    """Write models in Hugging Face's layout or for ONNX Runtime, with weights of four, two or one byte.

    Prints the folders written. `detect`, `finetune --model`, `train --init` and `predict` read those in
    Hugging Face's layout; transformers does too, unless the weights are int8.
    """
    from minielectra.devices.export_files import export_files
    from minielectra.formats.locks import locked_beside

    with locked_beside(options.out):
        paths = export_files(options.source, options.out, options.format, options.quantize)
    print(*paths, sep="\n")


@dataclass(frozen=True)
class PageOptions(Settings):
    """The options of `page`."""

    source: str = setting(help=SOURCE, metavar="RUN|DIR|mini", positional=True)
    out: str = setting(help="file to write, *.html", metavar="OUT.html", positional=True)


@command(Options(PageOptions), examples=("mini mini.html", "runs/books books.html", "sst reviews.html"))
def page(options):
    """Write a model as one HTML file, which runs it in a browser while one types.

    It needs no server and no network. A run's discriminator, or mini, marks the words that look replaced; a
    fine-tuned model classifies, tags or answers. Prints the file.
    """
    from minielectra.devices.page_contents import page_of
    from minielectra.formats.html_page import check_page_name, write_page

    check_page_name(options.out)  # before the long part
    write_page(options.out, page_of(options.source))
    print(options.out)
