"""The command line. Each command's work is imported when it is called, so that help comes at once."""

import contextlib
import dataclasses
import io
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import tyro

from halfseen import __version__
from halfseen.errors import UserError, guarded, nearest
from halfseen.grid.where import Where
from halfseen.settings import EITHER, Settings
from halfseen.suggest.look import Look

HELP = """\
halfseen {version}: train an image classifier when a few images are labelled and many are not.
  halfseen demo                     20 labelled digits among 4,000 become a classifier, with a page that shows why
  halfseen train DATA               train on a folder of images, an npz file or a named set
  halfseen label PHOTOS|RUN         label pictures in the browser, on this machine only; --train learns meanwhile
  halfseen suggest PHOTOS|RUN       which ones to label next, into a file to fill in
  halfseen evaluate RUN             score a finished run again, on its own or on other images
  halfseen predict RUN IMAGES       label images, into a csv file
  halfseen export RUN model.onnx    the model as one ONNX file, checked; predict takes it too
  halfseen push RUN user/name       the model to the Hugging Face hub, with a card made of the run
  halfseen embed IMAGES             what a pretrained backbone makes of images, into an npz file
  halfseen compare DATA             a table of several --methods, on the same labels with the same budget
  halfseen reproduce RECIPE         a table of a paper, or of this project's results, made again beside its numbers
  halfseen list                     methods, networks, data sets, views, recipes
  halfseen get NAMES                fetch the files of mnist, fashion-mnist, usps, cifar10, cifar100 or svhn
  halfseen explain METHOD           its equations, its settings with their defaults, its departures from the paper
  halfseen theory dnll|r2d2|ccn     the papers' theorems in numbers, with a plot
  halfseen bench                    how fast a step, the views and the parts of a step are here
  halfseen doctor                   versions, device, extras, and caches with their sizes
  halfseen COMMAND --help           what a command takes; --help-all: every option of train

Your own images: a folder with one subfolder per class and one named `unlabelled`, or any folder with a labels.csv
(path,label; leave the label empty where you do not know it; `halfseen label photos --train` writes it with you):
  halfseen train photos --out runs/photos
  halfseen predict runs/photos new-photos --out predictions.csv
"""


HELP_TRAIN = """\
usage: halfseen train DATA [options]
Train a classifier. DATA is a folder of images, an .npz file, a named set, or hf:NAME.

what      --method NAME            auto, one of `halfseen list`, or FILE.py (default: auto)
          --backbone NAME          lite0, none, ...: start from a pretrained network (default: auto)
          --net NAME               a network of `halfseen list` (default: auto)
          --set KEY=VALUE ...      method.tau=0.9 net.dropout=0.3 (see `halfseen explain METHOD`)
          --config FILE            start from another run's settings; what else is given counts
labels    --num-labels N           or --labels-per-class N: the other images count as unlabelled
          --val auto|none|0.2|N    labelled images held out to choose epoch and network
          --seed N --split-seed N  of training, and of which labels are drawn
          --class-weight balanced  and --logit-adjust 1: some classes have many labels, others few
          --leave-out 0.05         train without pictures of no class, which the pool may hold
images    --size N --channels 1|3  resized to that side, once; grey or colour
          --root DIR               folder of the named sets' files
          --weak, --strong NAME    how images are changed to be learned from
length    --minutes M              or --epochs E, --steps S, --passes P
          --batch N --unlabelled-batch N
machine   --device cpu|cuda        --threads N --precision fp32|bf16 --compile
run       --out DIR                folder of the run (default: a new one under runs/)
          --resume                 go on with the run in --out, exactly as if it had not stopped
          --no-report --quiet      without its page; without the bar

halfseen train --help-all          every option, with its default
"""


@dataclass(frozen=True)
class Train:
    """Train a classifier. DATA is a folder of images, a .npz file, a named set (`halfseen list`), or hf:NAME."""

    data: tyro.conf.Positional[Annotated[str | None, tyro.conf.arg(metavar="DATA")]] = None
    settings: Annotated[Settings, tyro.conf.arg(name="")] = Settings()
    source: Annotated[str | None, tyro.conf.arg(metavar="SET")] = None
    """Instead of DATA: labelled images from here ..."""
    target: Annotated[str | None, tyro.conf.arg(metavar="SET")] = None
    """... and unlabelled and test images from here (domain adaptation)."""
    config: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Start from the data and settings of another run, its config.json or folder; what else is given counts instead."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder of the run; it must not exist (default: a new one under runs/)."""
    resume: bool = False
    """Go on with the run in --out, exactly as if it had not stopped."""

    def __call__(self) -> None:
        from halfseen.commands.train import run

        data = pair(self.data, self.source, self.target)
        if data is None and not self.resume:
            raise UserError("say what to train on: a folder of images, a .npz file or a name of `halfseen list`")
        run(data, self.settings, self.out, self.resume)


def pair(data: str | None, source: str | None, target: str | None) -> str | None:
    """DATA, or the two sets of a domain adaptation as one name."""
    if source is None and target is None:
        return data
    if data is not None or source is None or target is None:
        raise UserError("domain adaptation takes --source SET and --target SET, and no DATA beside them")
    return f"{source}->{target}"


@dataclass(frozen=True)
class Evaluate:
    """Score a finished run's model on the test images of its data, or of other data with the same classes."""

    run: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="RUN")]]
    data: Annotated[str | None, tyro.conf.arg(metavar="DATA")] = None
    """Images to score it on (default: the data of the run)."""
    root: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder of the named sets' files."""
    device: str = "cpu"
    json: bool = False
    """Print the scores as JSON, and nothing else."""

    def __call__(self) -> None:
        from halfseen.commands.evaluate import evaluate

        evaluate(self.run, self.data, self.root, self.device, self.json)


@dataclass(frozen=True)
class Predict:
    """Label images with a finished run's model: a csv with path, label and confidence."""

    run: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="RUN")]]
    """Folder of the run, or an .onnx file that `halfseen export` wrote."""
    images: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="IMAGES")]]
    """A folder of images (with those below it), one image, or an .npz file with an array x."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")] = Path("predictions.csv")
    """The csv to write; a file that exists is not replaced."""
    all_probabilities: bool = False
    """Also a column for every class."""
    reject: Annotated[float | None, tyro.conf.arg(metavar="SHARE")] = None
    """Also the columns known and strangeness: what is unlike all labelled images is of no class; of images that are of one,
    this share may be lost, such as 0.05."""
    device: str = "cpu"

    def __call__(self) -> None:
        from halfseen.commands.predict import predict

        predict(self.run, self.images, self.out, self.all_probabilities, self.device, self.reject)


@dataclass(frozen=True)
class Export:
    """Write a finished run's model as one ONNX file: raw images in, probabilities out, how to use it in its metadata.

    The file is left only if onnxruntime gives images of the run's data the run's own labels and probabilities.
    """

    run: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="RUN")]]
    """Folder of a finished run."""
    out: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="MODEL.onnx")]]
    """The file to write; one that exists is not replaced."""
    root: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder of the named sets' files, for the check (default: the run's)."""

    def __call__(self) -> None:
        from halfseen.commands.export import export

        export(self.run, self.out, self.root)


@dataclass(frozen=True)
class Push:
    """Send a finished run's model to the Hugging Face hub, with a card made of the run, for `halfseen.load`."""

    run: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="RUN")]]
    """Folder of a finished run."""
    name: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="USER/NAME")]]
    """Where it goes; the repository is made if it is not there (the token is that of `hf auth login`)."""
    private: bool = False
    """A new repository can be seen by its owner only."""

    def __call__(self) -> None:
        from halfseen.commands.push import push

        push(self.run, self.name, self.private)


@dataclass(frozen=True)
class Embed:
    """What a pretrained backbone makes of images: an .npz file with `features`, and the images' names or labels."""

    data: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="DATA")]]
    """A folder of images, an .npz file or a named set."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE.npz")]
    """The file to write; one that exists is not replaced."""
    backbone: str = "auto"
    """lite0, FILE.py:factory; auto: the best that is installed."""
    size: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Side that images are resized to (default: the backbone's; 96 for pictures of up to 40 pixels)."""
    root: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder of the named sets' files."""

    def __call__(self) -> None:
        from halfseen.commands.embed import embed

        embed(self.data, self.out, self.backbone, self.size, self.root)


LOOK = Look()


@dataclass(frozen=True)
class Suggest:
    """Choose the pictures whose labels would teach most, into a file to fill in: of a folder of pictures before any label,
    the most typical of each kind; of a run, those that its model is least sure of, spread over the others."""

    source: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="PHOTOS|RUN")]]
    """A folder of pictures, or the folder of a run on one."""
    num: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """How many (default: 40 of a folder, 20 of a run)."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")] = Path("to_label.csv")
    """The file to write, in the form of labels.csv, or FILE.json for Label Studio; one that exists is not replaced."""
    strategy: str = "auto"
    """random, typical, least-sure, margin, core-set, disagreement or spread (auto: typical before a run, spread after)."""
    wrong: bool = False
    """Instead: labels that are probably wrong, as FILE.csv and, with their pictures, FILE.html (extra: clean)."""
    seed: int = 0
    look: Annotated[Look, tyro.conf.arg(name="")] = LOOK

    def __call__(self) -> None:
        from halfseen.commands.suggest import suggest, suggest_wrong

        if self.wrong:
            if self.strategy != "auto":
                raise UserError(
                    "--strategy chooses pictures without a label, and --wrong looks at labels: leave one out"
                )
            suggest_wrong(self.source, self.num, self.out, self.seed, self.look)
            return
        suggest(self.source, self.num, self.out, self.strategy, self.seed, self.look)


@dataclass(frozen=True)
class Label:
    """Name pictures in the browser, on this machine only; labels.csv is written after every answer. Ctrl-C ends it.

    A folder's pictures are asked for by what is typical of them, a run's by what its model is unsure of.
    """

    source: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="PHOTOS|RUN")]]
    """A folder of pictures, or the folder of a run on one."""
    train: bool = False
    """Learn from the answers in the background: guesses, a score, and what to ask next."""
    every: int = 5
    """Answers between two trainings."""
    take: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Instead of the page: labels of a filled-in to_label.csv, or of Label Studio's JSON, into labels.csv."""
    port: int = 0
    """Port on this machine (0: any that is free)."""
    open: bool = False
    """Also open the page in the browser."""
    seed: int = 0
    look: Annotated[Look, tyro.conf.arg(name="")] = LOOK

    def __call__(self) -> None:
        from halfseen.commands.label import label, take

        if self.take is not None:
            take(self.source, self.take, self.look)
            return
        label(self.source, self.train, self.every, self.port, self.open, self.seed, self.look)


@dataclass(frozen=True)
class List:
    """Name the methods, networks, data sets and views at hand."""

    def __call__(self) -> None:
        from halfseen.commands.list import list_all

        list_all()


@dataclass(frozen=True)
class Get:
    """Fetch the files of named sets from where they are published, each checked; what is there already stays."""

    names: tyro.conf.Positional[Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")]] = ()
    """mnist, fashion-mnist, usps, cifar10, cifar100 or svhn."""
    root: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder of the named sets' files (default: $HALFSEEN_DATA or ./data)."""

    def __call__(self) -> None:
        from halfseen.commands.get import get

        get(self.names, self.root)


@dataclass(frozen=True)
class Explain:
    """Show a method's equations, its settings with their defaults, and where it departs from its paper."""

    method: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="METHOD")]]

    def __call__(self) -> None:
        from halfseen.commands.explain import explain

        explain(self.method)


@dataclass(frozen=True)
class Theory:
    """A paper's theorems in numbers, with a plot: dnll (3.1, 3.2), r2d2 (1, 2), ccn (decision regions of two spirals)."""

    name: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="dnll|r2d2|ccn")]]
    out: Path = Path(".")
    """Folder of the page."""

    def __call__(self) -> None:
        from halfseen.commands.theory import theory

        theory(self.name, self.out)


@dataclass(frozen=True)
class Bench:
    """Measure speed here: steps against the passes they cannot avoid and against a plain loop, views, parts of a step."""

    quick: bool = False
    """Under a minute, with fewer repeats and smaller steps."""
    device: str = "cpu"
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write the figures as JSON."""
    methods: tuple[str, ...] = ()
    """Only this: what a step of each costs, over the first; settings follow a colon, "mean_teacher:heads=2,weight=100"."""
    net: str | None = None
    """With --methods: their network; default wrn-28-2."""
    batch: tuple[int, int] | None = None
    """With --methods: labelled and unlabelled rows of a step; default 64 448, with --quick 8 56."""
    only: Literal["all", "bank"] = "all"
    """bank: a bank of views alone, some minutes in place of half an hour."""

    def __call__(self) -> None:
        from halfseen.commands.bench import bench

        bench(self.quick, self.device, self.out, None, self.methods, self.net, self.batch, self.only)


@dataclass(frozen=True)
class Doctor:
    """Say what is installed and at hand: versions, device, extras, caches and their sizes. What a bug report needs."""

    json: bool = False
    """Print it as JSON, and nothing else."""

    def __call__(self) -> None:
        from halfseen.commands.doctor import doctor

        doctor(self.json)


@dataclass(frozen=True)
class Demo:
    """Train on 20 labelled digits among 4,000: the labels alone, scikit-learn's LabelSpreading, and the best method."""

    out: Path = Path("demo")
    """Folder of the runs and of report.html; a finished demo in it is shown again, not run again."""
    seed: int = 0

    def __call__(self) -> None:
        from halfseen.commands.demo import demo

        demo(self.out, self.seed)


CHOSEN_BY_COMPARE = ("method", "num_labels", "labels_per_class", "seed", "split_seed")
Common = dataclasses.make_dataclass(  # the options of `train` that all runs of a comparison share
    "Common",
    [
        (f.name, get_type_hints(Settings, include_extras=True)[f.name], f.default)
        for f in dataclasses.fields(Settings)
        if f.name not in CHOSEN_BY_COMPARE
    ],
    frozen=True,
)
SHARED = Common()
HERE = Where()


@dataclass(frozen=True)
class Compare:
    """Train several methods on the same labels with the same budget: mean ± std, and the gain over the labels alone.

    The other options are those of `halfseen train`, for all runs alike. The same command again skips what is finished.
    """

    methods: Annotated[tuple[str, ...], tyro.conf.arg(metavar="METHOD ...")]
    """Names, or with settings of their own: fixmatch "fixmatch:tau=0.9,lambda_u=2"; all: every method that runs here."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder of the runs and of results.json."""
    data: tyro.conf.Positional[Annotated[str | None, tyro.conf.arg(metavar="DATA")]] = None
    num_labels: Annotated[tuple[int, ...], tyro.conf.arg(metavar="N ...")] = ()
    """Labels to keep; a part of the table for each number (default: all that the data give)."""
    seeds: int = 3
    """Label draws, each with its own seed: 0, 1, 2, ..."""
    where: Annotated[Where, tyro.conf.arg(name="")] = HERE
    source: Annotated[str | None, tyro.conf.arg(metavar="SET")] = None
    target: Annotated[str | None, tyro.conf.arg(metavar="SET")] = None
    """Instead of DATA: labels from one set, the task on another."""
    common: Annotated[Common, tyro.conf.arg(name="")] = SHARED  # type: ignore[valid-type]  # made above

    def __call__(self) -> None:
        from halfseen.commands.compare import compare

        data = pair(self.data, self.source, self.target)
        if data is None:
            raise UserError("say what to compare on: DATA, or --source and --target")
        shared = Settings(**dataclasses.asdict(self.common))
        compare(data, self.methods, self.num_labels, self.seeds, shared, self.out, self.where)


@dataclass(frozen=True)
class Reproduce:
    """Make a table again: its rows, draws of the labels and settings are fixed in halfseen/recipes/.

    The same command again skips what is finished.
    """

    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder of the runs and of results.json; with --queue, of a folder of runs for each table."""
    recipe: tyro.conf.Positional[Annotated[str | None, tyro.conf.arg(metavar="RECIPE")]] = None
    """A name of `halfseen list`."""
    queue: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Instead of RECIPE: parts of recipes in order of value, a .toml or .json file (docs/reproduce.md has its format)."""
    keep: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("results")
    """With --queue: folder in which every finished run's metrics and every table are kept, small enough to commit."""
    estimate: bool = False
    """With --queue: say what is left to do and how long it may take, and run nothing."""
    root: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder of the named sets' files (default: $HALFSEEN_DATA or ./data)."""
    rows: Annotated[tuple[str, ...], tyro.conf.arg(metavar="ROW ...")] = ()
    """Some of its rows only, by the names in the table."""
    num_labels: Annotated[tuple[int, ...], tyro.conf.arg(metavar="N ...")] = ()
    """Some of its numbers of labels only."""
    draws: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """The first draws of the labels only, in rows that have more."""
    share: float = 1.0
    """Length of training as a share of the recipe's: 0.01 is a hundredth."""
    where: Annotated[Where, tyro.conf.arg(name="")] = HERE
    device: str = "auto"

    def __call__(self) -> None:
        from halfseen.commands.reproduce import reproduce, run_queue

        if (self.recipe is None) == (self.queue is None):
            raise UserError("say what to reproduce: a RECIPE of `halfseen list`, or --queue FILE, and not both")
        if self.queue is not None:
            if self.rows or self.num_labels or self.draws is not None or self.share != 1:
                raise UserError(
                    "--rows, --num-labels, --draws and --share stand in the file of the queue, for each part"
                )
            more = {"root": self.root, "where": self.where, "device": self.device}
            run_queue(self.queue, self.out, self.keep, only_estimate=self.estimate, **more)  # type: ignore[arg-type]
            return
        assert self.recipe is not None
        reproduce(
            self.recipe,
            self.out,
            root=self.root,
            rows=self.rows,
            labels=self.num_labels,
            draws=self.draws,
            share=self.share,
            where=self.where,
            device=self.device,
        )


COMMANDS: dict[str, type[Any]] = {
    c.__name__.lower(): c
    for c in (
        *(Demo, Suggest, Label, Train, Evaluate, Predict, Export, Push, Embed, Compare, Reproduce),
        *(List, Get, Explain, Theory, Bench, Doctor),
    )
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command; a mistake of the user's ends in one sentence and exit code 2."""
    guarded(lambda: dispatch(list(sys.argv[1:] if argv is None else argv)))
    if "WORLD_SIZE" in os.environ and "torch" in sys.modules:
        from halfseen.machine import distributed

        distributed.leave()


def dispatch(args: list[str]) -> None:
    if not args or args[0] in ("-h", "--help", "help"):
        print(HELP.format(version=__version__), end="")
        return
    if args[0] in ("-V", "--version"):
        print(f"halfseen {__version__}")
        return
    if args[0] not in COMMANDS:
        raise UserError(f"there is no command {args[0]!r}; {nearest(args[0], COMMANDS)}; see halfseen --help")
    if args[0] == "train" and {"-h", "--help"} & set(args[1:]):
        print(HELP_TRAIN, end="")
        return
    command = parse(args[0], ["--help" if arg == "--help-all" else arg for arg in args[1:]])
    say_at_once(args[0], command)
    command()


def say_at_once(name: str, command: Any) -> None:
    """A line before torch is loaded, which takes seconds: on stderr, so that what a command prints is its own."""
    settings = getattr(command, "settings", None)
    if "torch" in sys.modules or getattr(settings, "quiet", False) or os.environ.get("RANK", "0") != "0":
        return
    print(f"halfseen {name}: loading torch", file=sys.stderr, flush=True)


def parse(command: str, args: list[str]) -> Any:
    """The command with its options; what tyro has to say about a mistake becomes a sentence."""
    markers = (tyro.conf.OmitArgPrefixes,)
    args = gather_set(args)
    more: Any = {"default": begun_from(args)} if command == "train" and named_config(args) else {}
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(
                COMMANDS[command],
                args=args,
                prog=f"halfseen {command}",
                use_underscores=False,
                config=markers,
                **more,
            )
    except SystemExit as e:
        if not e.code:
            raise
    raise UserError(sentence(complaint.getvalue(), command))


def named_config(args: list[str]) -> str:
    """What --config names; "" where it is not given, or without a value, which the parser answers."""
    for i, arg in enumerate(args):
        if arg.startswith("--config="):
            return arg.partition("=")[2]
        if arg == "--config":
            return "".join(args[i + 1 : i + 2])
    return ""


def begun_from(args: list[str]) -> Train:
    """What `train --config FILE` starts from. What else is in `args` counts instead; its --set values come before theirs."""
    data, settings = Settings.from_config(Path(named_config(args)))
    given = {arg.partition("=")[0].removeprefix("--").replace("-", "_") for arg in args if arg.startswith("--")}
    for names in EITHER:
        if given & set(names):
            nothing: dict[str, Any] = dict.fromkeys(names)
            settings = dataclasses.replace(settings, **nothing)
    if "set" in given:
        at = args.index("--set") + 1
        args[at:at] = settings.overrides
    return Train(data=None if given & {"source", "target"} else data, settings=settings)


def gather_set(args: list[str]) -> list[str]:
    """`--set a=1 --set b=2` and `--set a=1 b=2` say the same."""
    rest: list[str] = []
    values: list[str] = []
    collecting = first = False
    for arg in args:
        if arg == "--set":
            collecting = first = True
            continue
        if collecting and not arg.startswith("--") and (first or "=" in arg):
            values.append(arg)
        else:
            collecting = False
            rest.append(arg)
        first = False
    return [*rest, "--set", *values] if values else rest


def sentence(box: str, command: str) -> str:
    """tyro's framed message in one line."""
    rows = [line.strip("│| ") for line in box.splitlines() if not line.startswith(("╭", "╰", "+"))]
    text = " ".join(row for row in rows if row.strip("─-"))  # without the rules between the parts
    end = f"see halfseen {command} --help"
    if match := re.search(r"Unrecognized options: (\S+?),? ", text + " "):
        known = re.findall(r"(--[a-z-]+)", text.partition("Perhaps you meant")[2])
        hint = f"did you mean {known[0]}?" if known and known[0] != "--help" else end
        return f"{command} does not know {match[1]!r}; {hint}"
    if match := re.search(r"Error parsing (\S+):.*?(?:from \[(.*?)\]|base 10: (\S+))", text):
        return f"{match[1]} cannot be {match[2] or match[3]}; {end}"
    if match := re.search(r"invalid choice (\S+) for argument '(\S+)'\. Expected one of \((.*?)\)", text):
        return f"{match[2]} cannot be {match[1]}; it is one of {match[3]}"
    if match := re.search(r"Missing value for argument '(\S+?)'", text):
        return f"{match[1]} wants a value; {end}"
    if match := re.search(r"Missing from halfseen \w+: (\S+)", text):
        return f"{command} wants {match[1]}; {end}"
    return f"{text.partition('For full helptext')[0].strip().rstrip('.')}; {end}"
