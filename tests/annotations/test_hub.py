"""Descriptions of tracks: the grammar of each browser, and what it is told."""

import json
from xml.etree import ElementTree

import pytest

from annotations.errors import FormatError, OptionError
from annotations.hub import (
    Genome,
    Hub,
    Track,
    hub_text,
    igv_link,
    igv_session,
    igvjs_config,
    jbrowse_config,
    track_name,
    ucsc_link,
)

OWN = Genome("asm1", "My contigs", "seq.fa", "seq.fa.fai", "seq.2bit", "chrom.sizes")
SIGNAL = Track("f374_minus", "signal", "signal/f374.bw", "374-", "Feature 374 on -", most=4.25)
PEAKS = Track("peaks", "peaks", "peaks.bb", "Peaks", "Top peaks", shown=False, search=True)
HUB = Hub("run1", "Run 1", "A run\nof two lines", "me@lab.org", OWN, [SIGNAL, PEAKS], "c1:1-90")


def stanzas(text: str) -> list[dict[str, str]]:
    """A hub file as UCSC reads it: stanzas of lines of a key, a space and a value."""
    return [
        dict(line.split(" ", 1) for line in stanza.splitlines())
        for stanza in text.strip().split("\n\n")
    ]


def test_an_assembly_hub_in_one_file() -> None:
    hub, genome, signals, signal, peaks = stanzas(hub_text(HUB))
    assert hub == {
        "hub": "run1",
        "shortLabel": "Run 1",
        "longLabel": "A run of two lines",
        "useOneFile": "on",
        "email": "me@lab.org",
    }
    assert genome["genome"] == "asm1"
    assert (genome["twoBitPath"], genome["chromSizes"]) == ("seq.2bit", "chrom.sizes")
    assert genome["defaultPos"] == "c1:1-90"
    assert signals["compositeTrack"] == "on"
    assert signal["parent"] == f"{signals['track']} on"
    assert (signal["type"], signal["viewLimits"]) == ("bigWig 0 4.25", "0:5")
    # what is not shown stands alone: igv.js shows every member of a composite
    assert "parent" not in peaks
    assert (peaks["type"], peaks["itemRgb"], peaks["searchIndex"]) == ("bigBed 9 +", "on", "name")
    # a color of the track would hide those of its items
    assert "color" in signal
    assert "color" not in peaks
    assert (signal.get("visibility"), peaks["visibility"]) == (None, "hide")
    names = [stanza["track"] for stanza in (signals, signal, peaks)]
    assert len(set(names)) == 3


def test_values_of_peaks_are_a_bigwig_in_a_group_of_their_own() -> None:
    heights = SIGNAL._replace(name="f374_heights", kind="heights", url="f374/peaks.bw")
    hub = HUB._replace(tracks=[SIGNAL, heights, PEAKS])
    found = stanzas(hub_text(hub))
    assert [stanza["track"] for stanza in found if "compositeTrack" in stanza] == [
        "run1_signal",
        "run1_heights",
    ]
    (own,) = (stanza for stanza in found if stanza.get("track") == "f374_heights")
    assert (own["parent"], own["type"]) == ("run1_heights on", "bigWig 0 4.25")
    assert igvjs_config(hub)["tracks"][1]["format"] == "bigwig"
    assert jbrowse_config(hub)["tracks"][1]["adapter"]["type"] == "BigWigAdapter"
    assert 'path="f374/peaks.bw" type="bw"' in igv_session(hub)


@pytest.mark.parametrize(
    ("most", "limits"),
    [(None, None), (0.8, None), (1.0, "0:1"), (4.25, "0:5"), (12.0, "0:12")],
)
def test_limits_are_whole_numbers(most: float | None, limits: str | None) -> None:
    hub = HUB._replace(tracks=[SIGNAL._replace(most=most)])
    signal = stanzas(hub_text(hub))[-1]
    assert (signal.get("viewLimits"), "autoScale" in signal) == (limits, limits is None)


def test_a_hub_on_a_known_genome_carries_no_sequence() -> None:
    known = HUB._replace(genome=Genome("sacCer3", "S. cerevisiae R64"))
    assert stanzas(hub_text(known))[1] == {"genome": "sacCer3"}
    assert igvjs_config(known)["genome"] == "sacCer3"
    with pytest.raises(OptionError, match="does not carry it"):
        jbrowse_config(known)


def test_igvjs_asks_no_one_else() -> None:
    config = json.loads(json.dumps(igvjs_config(HUB)))
    assert config["loadDefaultGenomes"] is False
    assert config["search"] is False
    assert config["reference"]["fastaURL"] == "seq.fa"
    # the peaks are not shown
    (track,) = config["tracks"]
    assert (track["type"], track["url"], track["max"]) == ("wig", "signal/f374.bw", 4.25)


def test_an_igv_session_is_xml_with_a_resource_for_each_track() -> None:
    hub = HUB._replace(tracks=[SIGNAL._replace(short_label='<a> & "b"'), PEAKS])
    session = ElementTree.fromstring(igv_session(hub).encode())  # noqa: S314 - our own text
    assert session.attrib == {"genome": "seq.fa", "locus": "c1:1-90", "version": "8"}
    assert [r.get("path") for r in session.iter("Resource")] == ["signal/f374.bw"]
    track = session.find("Panel/Track")
    assert track is not None
    assert (track.get("name"), track.get("color")) == ('<a> & "b"', "0,90,160")
    scale = track.find("DataRange")
    assert scale is not None
    assert scale.get("maximum") == "4.25"


def test_jbrowse_knows_the_assembly_of_each_track() -> None:
    config = jbrowse_config(HUB)
    (assembly,) = config["assemblies"]
    assert [track["assemblyNames"] for track in config["tracks"]] == [[assembly["name"]]] * 2
    assert [track["adapter"]["type"] for track in config["tracks"]] == [
        "BigWigAdapter",
        "BigBedAdapter",
    ]


def test_links_are_quoted() -> None:
    hub = "https://lab.org/t/a b/hub.txt?x=1&y"
    quoted = "https%3A%2F%2Flab.org%2Ft%2Fa%20b%2Fhub.txt%3Fx%3D1%26y"
    assert ucsc_link(Genome("hg38", "human"), hub, locus="chr1:1-9").endswith(
        f"hgTracks?db=hg38&hubUrl={quoted}&position=chr1%3A1-9"
    )
    assert f"hgGateway?genome=asm1&hubUrl={quoted}" in ucsc_link(OWN, hub)
    assert igv_link(hub) == f"http://localhost:60151/load?hubURL={quoted}"


def test_what_cannot_be_described() -> None:
    with pytest.raises(OptionError, match="needs a track"):
        hub_text(HUB._replace(tracks=[]))
    with pytest.raises(FormatError, match=r"got 'f\.1'"):
        hub_text(HUB._replace(tracks=[SIGNAL._replace(name="f.1")]))
    with pytest.raises(FormatError, match="same name"):
        igvjs_config(HUB._replace(tracks=[SIGNAL, SIGNAL]))


@pytest.mark.parametrize(
    ("parts", "name"),
    [(("f374", "plus"), "f374_plus"), (("1.2 x", "b"), "t_1_2_x_b"), (("\u00e9t\u00e9",), "t")],
)
def test_track_names(parts: tuple[str, ...], name: str) -> None:
    assert track_name(*parts) == name
