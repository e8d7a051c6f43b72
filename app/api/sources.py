"""What a question of the REST interface is put to: an atlas, or a run of whoever asks."""

from annotations.errors import OptionError, UnknownNameError
from annotations.jaspar import RELEASES
from app.answers import Source
from app.api import open_result, services
from app.atlases import find_atlas, open_atlas


def source_of(dictionary: str | None, run: str | None) -> Source:
    """The source that a request names, or the default atlas.

    Parameters
    ----------
    dictionary : str, optional
        Id of a dictionary that has an atlas.
    run : str, optional
        Id of a complete run.

    Raises
    ------
    UnknownNameError
        If there is no such dictionary, atlas or run.
    OptionError
        If both are named.
    RunStateError
        If the run is not complete.
    """
    if run is not None:
        if dictionary is not None:
            raise OptionError("give dictionary or run, not both: a run has one dictionary")
        return Source.of_result(open_result(run))
    here = services()
    found = find_atlas(here.cards(), dictionary, bundled=here.settings.bundled_models)
    atlas = open_atlas(found.folder, found.card.sha256)
    return Source(
        dictionary=found.card.id,
        n_features=found.card.d_sae,
        atlas=atlas,
        cards=here.cards(),
    )


def dictionary_id(name: str) -> str:
    """The id of a dictionary that may be named by its model, as `Cards.dictionary` takes it.

    A name that is not of this installation comes back as it is: a run of it may be here still.
    """
    try:
        return services().cards().dictionary(name).id
    except UnknownNameError:
        return name


def motifs_of(taxon: str | None, release: str | None) -> tuple[str, str]:
    """Taxon and release of a question, those of the default atlas where none are named.

    Raises
    ------
    UnknownNameError
        If no taxon is named and there is no default atlas.
    """
    if taxon is not None:
        return taxon, release or RELEASES[0]
    here = services()
    found = find_atlas(here.cards(), None, bundled=here.settings.bundled_models)
    known = open_atlas(found.folder, found.card.sha256).atlas
    return known.taxon, release or known.release
