"""`saetrack models`: what can be run, and how other weights get there."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from workers.commands import measuring

if TYPE_CHECKING:
    from workers.install import Installed

_INTO = click.option(
    "--into",
    type=click.Path(path_type=Path, file_okay=False),
    help="Models folder to write to.  [default: the last that is looked into, as a rule "
    "saetrack-data/models]",
)
_DEVICE = click.option("--device", default="cpu", show_default=True, help="Where the canary runs.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")


@click.group(invoke_without_command=True)
@_JSON
@click.pass_context
def models(context: click.Context, as_json: bool) -> None:
    """What can be run: list it, show it, check it, and add official or own weights.

    Folders are the bundled one, saetrack-data/models, or those in SAETRACK_MODELS_DIRS
    (separated by a colon). Nothing is downloaded: fetch the weights, then convert them.

    \b
    Example:
      saetrack models show evo2_7b_262k
      saetrack models convert evo2_7b_262k.pt
      saetrack models convert sae-layer26-mixed-expansion_8-k_64.pt \\
          --model evo2_7b_262k --id evo2-7b-layer26 --reference genome.fa
    """
    if context.invoked_subcommand is None:
        _list(as_json=as_json)


@models.command("list")
@click.option("--known", is_flag=True, help="Also official weights that can be fetched.")
@_JSON
def list_models(known: bool, as_json: bool) -> None:
    """List the installed dictionaries and the models they read.

    \b
    Example:
      saetrack models list --known
    """
    _list(known=known, as_json=as_json)


@models.command()
@click.argument("name")
@_JSON
def show(name: str, as_json: bool) -> None:
    """Show the card of a model or dictionary, or how to fetch official weights.

    \b
    Example:
      saetrack models show evo2_7b_262k
    """
    from annotations.cards import find_cards
    from annotations.errors import UnknownNameError
    from workers.known_models import known_release

    cards = find_cards(_roots())
    card = cards.models.get(name) or cards.dictionaries.get(name)
    release = known_release(name)
    if card is None and release is None:
        raise UnknownNameError(
            f"there is no model or dictionary {name!r}, neither installed nor known; installed are "
            f"{', '.join((*cards.models, *cards.dictionaries)) or 'none'}, and `saetrack models "
            "list --known` lists official weights"
        )
    if as_json:
        found = {"installed": asdict(card) if card else None}
        found["official"] = asdict(release) if release else None
        click.echo(json.dumps(found, indent=2))
        return
    if card is not None:
        click.echo(f"{name}, installed in {cards.folder(card)}")
        _say({key: value for key, value in asdict(card).items() if key not in _LONG})
    if release is not None:
        click.echo(f"{release.name}, official weights:")
        _say({key: value for key, value in asdict(release).items() if key != "name"})


@models.command()
@click.argument("name")
@_DEVICE
def verify(name: str, device: str) -> None:
    """Check the sha256 of a model or dictionary, load it and run its canary.

    \b
    Example:
      saetrack models verify yeast-tree-l2
    """
    from annotations.cards import find_cards
    from annotations.errors import UnknownNameError
    from workers.device import choose_device
    from workers.known_models import known_release
    from workers.verification import verify_dictionary, verify_model

    roots = _roots()
    cards = find_cards(roots)
    where = choose_device(device)
    if name not in cards.models.keys() | cards.dictionaries.keys() and known_release(name):
        raise UnknownNameError(
            f"{name} is known but not installed here; `saetrack models show {name}` says what to "
            "fetch and what to type"
        )
    if name in cards.models:
        notes = verify_model(cards.models[name], cards.folder(cards.models[name]), where)
    else:
        notes = verify_dictionary(cards.dictionary(name), roots, where)
    for note in notes:
        click.echo(note)
    click.echo(f"{name} is as its card says")


@models.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--id", "model_id", metavar="ID", help="Its id here.  [default: the folder's name]")
@click.option(
    "--tokens",
    type=click.Choice(["base", "kmer", "overlapping_kmer", "bpe"]),
    help="How it cuts DNA.  [default: told from its vocabulary]",
)
@click.option("--licence", help="Of the weights.")
@click.option("--source", help="Where they come from.")
@_INTO
@_DEVICE
def add(
    folder: Path,
    model_id: str | None,
    tokens: str | None,
    licence: str | None,
    source: str | None,
    into: Path | None,
    device: str,
) -> None:
    """Register a local folder: of transformers, of HyenaDNA, or one made by saetrack.

    A folder with a model.json is copied as it is, its dictionaries with it, and verified.

    \b
    Example:
      saetrack models add nucleotide-transformer-500m-human-ref --tokens kmer
    """
    from annotations.cards import MODEL_FILE
    from workers.convert import convert_hyenadna
    from workers.device import choose_device
    from workers.sae_lens import read_config
    from workers.stock_folder import add_stock_folder
    from workers.verification import add_card_folder

    where, target = choose_device(device), _target(into)
    if (folder / MODEL_FILE).is_file():
        _report(add_card_folder(folder, target, where))
    elif read_config(folder / "config.json").get("model_type") == "hyenadna":
        _report(
            [convert_hyenadna(folder, target, model_id=model_id, device=where, on_progress=_tell)]
        )
    else:
        done = add_stock_folder(
            folder,
            target,
            model_id=model_id,
            tokens=tokens,
            licence=licence,
            source=source,
            device=where,
            on_progress=_tell,
        )
        _report([done])


@models.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--id", "new_id", metavar="ID", help="Its id here.  [default: its own name]")
@click.option("--release", help="Official name of an Evo 2.  [default: the file's name]")
@click.option("--model", "model_id", metavar="ID", help="For a dictionary: the model it reads.")
@click.option(
    "--after-block",
    type=click.IntRange(0),
    help="For a dictionary: the block it reads after, from 0.  [default: what its files say]",
)
@click.option("--k", type=click.IntRange(1), help="Latents of a base, where the files say none.")
@click.option(
    "--gate",
    type=click.Choice(["topk", "batch_topk"]),
    help="Gate instead of its own; batch_topk, the notebook's, depends on windows: parity alone.",
)
@click.option(
    "--reference",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Sequence to calibrate a threshold on.",
)
@click.option(
    "--windows", type=click.IntRange(1), default=64, show_default=True, help="Of the reference."
)
@click.option("--stride", type=click.IntRange(1), help="Bases a window owns.")
@click.option("--context", type=click.IntRange(0), help="Bases of left context.")
@click.option("--licence", default="not stated", help="Of the dictionary.")
@click.option("--source", help="Where it comes from.")
@click.option("--same-model", is_flag=True, help="Its files name the model otherwise.")
@click.option("--no-canary", is_flag=True, help="Do not load what was written.")
@_INTO
@_DEVICE
def convert(
    paths: tuple[Path, ...],
    new_id: str | None,
    release: str | None,
    model_id: str | None,
    after_block: int | None,
    k: int | None,
    gate: str | None,
    reference: Path | None,
    windows: int,
    stride: int | None,
    context: int | None,
    licence: str,
    source: str | None,
    same_model: bool,
    no_canary: bool,
    into: Path | None,
    device: str,
) -> None:
    """Convert official weights: an Evo 2 .pt (or its parts), HyenaDNA, or a dictionary.

    With --model it is a dictionary: Goodfire's .pt, or a folder of sae-lens,
    dictionary-learning or sparsify. No code in a checkpoint is run, nothing is fetched.

    \b
    Example:
      saetrack models convert evo2_7b_262k.pt
      saetrack models convert evo2_40b.pt.part0 evo2_40b.pt.part1
      saetrack models convert hyenadna-small-32k-seqlen-hf
      saetrack models convert sae-layer26-mixed-expansion_8-k_64.pt \\
          --model evo2_7b_262k --id evo2-7b-layer26 --reference genome.fa
    """
    from workers.convert import convert_evo2, convert_hyenadna
    from workers.convert_sae import SaeRequest, convert_sae
    from workers.device import choose_device

    where, target = choose_device(device), _target(into)
    if model_id is not None:
        if len(paths) != 1:
            raise click.UsageError("a dictionary is one file or one folder")
        request = SaeRequest(
            model_id=model_id,
            dictionary_id=new_id or f"{model_id}-{paths[0].stem}",
            block=after_block,
            k=k,
            gate=gate,
            reference=reference,
            windows=windows,
            stride=stride,
            context=context,
            licence=licence,
            source=source,
            same_model=same_model,
        )
        done = convert_sae(
            paths[0],
            target,
            _roots(),
            request,
            device=where,
            canary=not no_canary,
            on_progress=_tell,
        )
    elif paths[0].is_dir():
        if len(paths) != 1:
            raise click.UsageError("a folder is converted by itself")
        done = convert_hyenadna(paths[0], target, model_id=new_id, device=where, on_progress=_tell)
    else:
        done = convert_evo2(
            paths,
            target,
            release=release,
            model_id=new_id,
            device=where,
            canary=not no_canary,
            on_progress=_tell,
        )
    _report([done])


@models.command()
@click.argument("dictionary")
@click.option("--id", "new_id", metavar="ID", required=True, help="Id of the calibrated copy.")
@click.option(
    "--reference",
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Sequence to calibrate on: FASTA or GenBank.",
)
@click.option("--k", type=click.IntRange(1), help="Latents of a base.  [default: the card's]")
@click.option(
    "--windows", type=click.IntRange(1), default=64, show_default=True, help="Windows to read."
)
@_INTO
@_DEVICE
def calibrate(
    dictionary: str,
    new_id: str,
    reference: Path,
    k: int | None,
    windows: int,
    into: Path | None,
    device: str,
) -> None:
    """Copy a dictionary with one threshold, at which k latents of a base are active on average.

    \b
    Example:
      saetrack models calibrate evo2-7b-layer26 --id evo2-7b-layer26-human --reference chr20.fa
    """
    from annotations.cards import find_cards
    from workers.convert_sae import calibrate_installed
    from workers.device import choose_device

    roots = _roots()
    done = calibrate_installed(
        find_cards(roots).dictionary(dictionary),
        _target(into),
        roots,
        dictionary_id=new_id,
        reference=reference,
        k=k,
        windows=windows,
        device=choose_device(device),
        on_progress=_tell,
    )
    _report([done])


for command in (measuring.fidelity, measuring.grids):
    models.add_command(command)

_LONG = ("config", "canary", "figures", "training", "files")
"""Parts of a card that are told in JSON alone."""


def _roots() -> tuple[Path, ...]:
    from workers.commands.places import settings_from_environment

    return settings_from_environment().model_roots


def _target(into: Path | None) -> Path:
    """The models folder to write to: the last of those that are looked into."""
    from workers.commands.places import settings_from_environment

    return into or settings_from_environment().models_dirs[-1]


def _list(*, known: bool = False, as_json: bool = False) -> None:
    from annotations.cards import find_cards
    from workers.known_models import known_releases

    cards = find_cards(_roots())
    rows = [
        {
            "id": card.id,
            "title": card.title,
            "model": card.model_id,
            "layer": card.layer,
            "tap": card.tap,
            "features": card.d_sae,
            "context": card.context,
            "gate": card.gate,
            "tokenization": card.tokenization,
            "nt_per_token": card.nt_per_token,
            "sha256": card.sha256,
            "licence": card.licence,
            "random_weights": card.random_weights,
            "bases_per_second": card.bases_per_second,
            "atlas": cards.atlas(card) is not None,
        }
        for card in cards.dictionaries.values()
    ]
    read = {card.model_id for card in cards.dictionaries.values()}
    bare = [card for card in cards.models.values() if card.id not in read]
    if as_json:
        found: dict[str, Any] = {"dictionaries": rows}
        found["models_without_dictionary"] = [card.id for card in bare]
        if known:
            found["known"] = [asdict(release) for release in known_releases()]
        click.echo(json.dumps(found, indent=2))
        return
    if not rows:
        click.echo("no dictionary is installed; train one with `saetrack train`")
    for row in rows:
        note = ", random weights" if row["random_weights"] else ""
        note += f", a value for each {row['nt_per_token']:g} bases" * (row["nt_per_token"] != 1)
        note += ", with an atlas" if row["atlas"] else ""
        click.echo(f"{row['id']}: {row['features']} features of {row['model']}{note}")
        click.echo(f"    {row['title']}")
    for card in bare:
        click.echo(f"{card.id}: a model without a dictionary; {card.title}")
    for release in known_releases() if known else ():
        state = "" if release.runs else ", not runnable here"
        click.echo(f"{release.name}: to be fetched from {release.repository}{state}")
        click.echo(f"    {release.title}; `saetrack models show {release.name}` says how")


def _say(values: dict[str, Any]) -> None:
    for key, value in values.items():
        if value in (None, "", (), [], {}):
            continue
        if isinstance(value, bool):
            value = "yes" if value else "no"
        if isinstance(value, dict):
            value = ", ".join(f"{name}: {part}" for name, part in value.items())
        elif isinstance(value, (list, tuple)):
            value = ", ".join(map(str, value))
        click.echo(f"    {key.replace('_', ' ')}: {value}")


def _tell(what: str) -> None:
    """One line of progress on standard error, over the last one, where a person looks on."""
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K{what[:100]}", nl=False, err=True)


def _report(done: "list[Installed]") -> None:
    if sys.stderr.isatty():
        click.echo("\r\x1b[K", nl=False, err=True)
    for installed in done:
        for note in installed.notes:
            click.echo(note)
        click.echo(f"installed {installed.card.id} in {installed.folder}")
