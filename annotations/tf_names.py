"""Names by which people know transcription factors but JASPAR does not.

A curated table of well known alternative names, not a nomenclature: HGNC, UniProt, SGD and FlyBase
hold the full lists. The accession behind each line is the UniProt entry that carries the name.
Keys are in the form that `loose_name` gives, so "c-Myc", "C-MYC" and "cmyc" are one entry. Several
symbols mean that the name is ambiguous or names a complex: the reader must choose.
"""

import re
from typing import Final, Literal

MatchType = Literal[
    "matrix_id",
    "uniprot",
    "other_accession",
    "name",
    "dimer",
    "alias",
    "former_name",
    "family",
]
"""What of a motif a query named, in the order in which they are tried."""

_GREEK: Final = {
    "\u03b1": "a", "\u03b2": "b", "\u03b3": "g", "\u03b4": "d", "\u03b5": "e", "\u03ba": "k",
    "alpha": "a", "beta": "b", "gamma": "g", "delta": "d", "epsilon": "e", "kappa": "k",
}  # fmt: skip
_GREEK_PATTERN: Final = re.compile("|".join(sorted(_GREEK, key=len, reverse=True)))


def loose_name(text: str) -> str:
    """A name without case and the punctuation of names, Greek letters as one Latin letter.

    Examples
    --------
    >>> loose_name("C/EBPalpha"), loose_name("NF-kappaB"), loose_name("Nkx2.5")
    ('cebpa', 'nfkb', 'nkx25')
    """
    latin = _GREEK_PATTERN.sub(lambda match: _GREEK[match.group()], text.casefold())
    return re.sub(r"[-_.,/()\s]", "", latin)


_VERTEBRATES: Final[dict[str, tuple[str, ...]]] = {
    # HGNC alias and previous symbols, UniProt alternative names.
    "pu1": ("SPI1",),  # UniProt P17947
    "sfpi1": ("SPI1",),  # MGI previous symbol; UniProt P17433
    "oct1": ("POU2F1",),  # UniProt P14859
    "oct2": ("POU2F2",),  # UniProt P09086
    "oct3": ("POU5F1",),  # UniProt Q01860
    "oct34": ("POU5F1",),  # UniProt Q01860, written Oct-3/4
    "oct4": ("POU5F1",),  # UniProt Q01860
    "brn2": ("POU3F2",),  # UniProt P20265
    "brn3a": ("POU4F1",),  # UniProt Q01851
    "pit1": ("POU1F1",),  # UniProt P28069
    "p53": ("TP53",),  # UniProt P04637
    "p63": ("TP63",),  # UniProt Q9H3D4
    "p73": ("TP73",),  # UniProt O15350
    "cmyc": ("MYC",),  # UniProt P01106
    "nmyc": ("MYCN",),  # UniProt P04198
    "cjun": ("JUN",),  # UniProt P05412
    "cfos": ("FOS",),  # UniProt P01100
    "fra1": ("FOSL1",),  # UniProt P15407
    "fra2": ("FOSL2",),  # UniProt P15408
    "cmyb": ("MYB",),  # UniProt P10242
    "cmaf": ("MAF",),  # UniProt O75444
    "crel": ("REL",),  # UniProt Q04864
    "p65": ("RELA",),  # UniProt Q04206
    "p50": ("NFKB1",),  # UniProt P19838
    "p52": ("NFKB2",),  # UniProt Q00653
    "nfkb": ("NFKB1", "NFKB2", "REL", "RELA", "RELB"),  # the complex
    "ap1": ("FOS::JUN", "FOSL1::JUN", "FOSL2::JUN", "JUN", "FOS"),  # the complex
    "ap2": ("TFAP2A", "TFAP2B", "TFAP2C", "TFAP2E"),  # the family
    "ap2a": ("TFAP2A",),  # UniProt P05549
    "ap2g": ("TFAP2C",),  # UniProt Q92754
    "nfy": ("NFYA", "NFYB", "NFYC"),  # the complex
    "nf1": ("NFIA", "NFIB", "NFIC", "NFIX"),  # the family; HGNC NF1 is neurofibromin
    "nrf2": ("NFE2L2", "GABPA"),  # UniProt Q16236; Q06546, nuclear respiratory factor 2 alpha
    "nrf1": ("NFE2L1",),  # UniProt Q14494; HGNC NRF1 is nuclear respiratory factor 1
    "bmal1": ("ARNTL",),  # UniProt O00327; HGNC renamed ARNTL to BMAL1, JASPAR has not
    "hif1": ("ARNT::HIF1A",),  # UniProt Q16665 with P27540
    "hif2a": ("EPAS1",),  # UniProt Q99814
    "gr": ("NR3C1",),  # UniProt P04150
    "mr": ("NR3C2",),  # UniProt P08235
    "er": ("ESR1", "ESR2"),  # the pair of receptors
    "era": ("ESR1",),  # UniProt P03372
    "erb": ("ESR2",),  # UniProt Q92731
    "pr": ("PGR",),  # UniProt P06401
    "erra": ("ESRRA",),  # UniProt P11474
    "tra": ("THRA",),  # UniProt P10827
    "trb": ("THRB",),  # UniProt P10828
    "lxra": ("NR1H3",),  # UniProt Q13133
    "lxrb": ("NR1H2",),  # UniProt P55055
    "fxr": ("NR1H4",),  # UniProt Q96RI1
    "pxr": ("NR1I2",),  # UniProt O75469
    "reverba": ("NR1D1",),  # UniProt P20393
    "rorgt": ("RORC",),  # UniProt P51449, isoform 2
    "couptf1": ("NR2F1",),  # UniProt P10589
    "couptfi": ("NR2F1",),  # UniProt P10589
    "couptf2": ("NR2F2",),  # UniProt P24468
    "couptfii": ("NR2F2",),  # UniProt P24468
    "sf1": ("NR5A1",),  # UniProt Q13285
    "lrh1": ("NR5A2",),  # UniProt O00482
    "nur77": ("NR4A1",),  # UniProt P22736
    "nurr1": ("NR4A2",),  # UniProt P43354
    "brachyury": ("TBXT",),  # UniProt O15178
    "t": ("TBXT",),  # HGNC previous symbol; UniProt O15178
    "tbet": ("TBX21",),  # UniProt Q9UL17
    "nrsf": ("REST",),  # UniProt Q13127
    "hnf3a": ("FOXA1",),  # UniProt P55317
    "hnf3b": ("FOXA2",),  # UniProt Q9Y261
    "hnf3g": ("FOXA3",),  # UniProt P55318
    "hnf4": ("HNF4A", "HNF4G"),  # the pair of receptors
    "hnf6": ("ONECUT1",),  # UniProt Q9UBC0
    "tcf1": ("TCF7", "HNF1A"),  # TCF7 is UniProt P36402; TCF1 is HNF1A's previous symbol
    "e2a": ("TCF3",),  # UniProt P15923
    "e47": ("TCF3",),  # UniProt P15923, isoform
    "e22": ("TCF4",),  # UniProt P15884, written E2-2
    "tcf4": ("TCF7L2",),  # UniProt Q9NQB0; HGNC TCF4 is E2-2
    "heb": ("TCF12",),  # UniProt Q99081
    "scl": ("TAL1",),  # UniProt P17542
    "snail": ("SNAI1",),  # UniProt O95863
    "twist": ("TWIST1", "TWIST2"),  # the pair
    "slug": ("SNAI2",),  # UniProt O43623
    "krox20": ("EGR2",),  # UniProt P11161
    "krox24": ("EGR1",),  # UniProt P18146
    "zif268": ("EGR1",),  # UniProt P18146
    "eklf": ("KLF1",),  # UniProt Q13351
    "gklf": ("KLF4",),  # UniProt O43474
    "ikaros": ("IKZF1",),  # UniProt Q13422
    "helios": ("IKZF2",),  # UniProt Q9UKS7
    "aiolos": ("IKZF3",),  # UniProt Q9UKT9
    "blimp1": ("PRDM1",),  # UniProt O75626
    "aml1": ("RUNX1",),  # UniProt Q01196
    "cbfa1": ("RUNX2",),  # UniProt Q13950
    "mash1": ("ASCL1",),  # UniProt P50553
    "myod": ("MYOD1",),  # UniProt P15172
    "myogenin": ("MYOG",),  # UniProt P15173
    "mrf4": ("MYF6",),  # UniProt P23409
    "srebp1": ("SREBF1",),  # UniProt P36956
    "srebp2": ("SREBF2",),  # UniProt Q12772
    "creb": ("CREB1",),  # UniProt P16220
    "chop": ("DDIT3",),  # UniProt P35638
    "tef1": ("TEAD1",),  # UniProt P28347
    "cbf1": ("RBPJ",),  # UniProt Q06330
    "csl": ("RBPJ",),  # UniProt Q06330
}

_INSECTS: Final[dict[str, tuple[str, ...]]] = {
    # FlyBase full names.
    "bicoid": ("bcd",),  # UniProt P09081
    "hunchback": ("hb",),  # UniProt P05084
    "kruppel": ("Kr",),  # UniProt P07247
    "krueppel": ("Kr",),  # UniProt P07247
    "knirps": ("kni",),  # UniProt P10734
    "giant": ("gt",),  # UniProt P39572
    "evenskipped": ("eve",),  # UniProt P06602
    "twist": ("twi",),  # UniProt P10627
    "snail": ("sna",),  # UniProt P08044
    "dorsal": ("dl",),  # UniProt P15330
    "gagafactor": ("Trl",),  # UniProt Q08605
    "gaf": ("Trl",),  # UniProt Q08605
}

_PLANTS: Final[dict[str, tuple[str, ...]]] = {
    # TAIR full names.
    "leafy": ("LFY",),  # UniProt Q00958
    "agamous": ("AG",),  # UniProt P17839
    "apetala1": ("AP1",),  # UniProt P35631
    "sepallata3": ("SEP3",),  # UniProt O22456
}

_FUNGI: Final[dict[str, tuple[str, ...]]] = {
    # SGD aliases of Saccharomyces cerevisiae genes.
    "baf1": ("ABF1",),  # UniProt P14164
    "obf1": ("ABF1",),  # UniProt P14164
    "cep1": ("CBF1",),  # UniProt P17106
    "cpf1": ("CBF1",),  # UniProt P17106
    "cp1": ("CBF1",),  # UniProt P17106
    "grf1": ("RAP1",),  # UniProt P11938
    "tuf1": ("RAP1",),  # UniProt P11938
    "grf2": ("REB1",),  # UniProt P21538
    "grf10": ("PHO2",),  # UniProt P07269
    "bas2": ("PHO2",),  # UniProt P07269
    "tbp": ("SPT15",),  # UniProt P13393
    "ap1": ("YAP1",),  # UniProt P19880
    "yap2": ("CAD1",),  # UniProt P24813
    "yap4": ("CIN5",),  # UniProt P40917
    "ace1": ("CUP2",),  # UniProt P15315
    "rcs1": ("AFT1",),  # UniProt P22149
    "tcn1": ("CRZ1",),  # UniProt P53968
    "nil1": ("GAT1",),  # UniProt P43574
    "uga43": ("DAL80",),  # UniProt P26343
}

ALIASES: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "vertebrates": _VERTEBRATES,
    "insects": _INSECTS,
    "plants": _PLANTS,
    "fungi": _FUNGI,
}
"""Taxonomic group -> loose name -> symbols it may stand for; one symbol means one factor.

A symbol in its own right comes first: NRF1 is the gene NRF1, and that NFE2L1 is also called so is
told. Kept apart by group: ABF1 is a yeast factor and an unrelated plant one. Symbols that a release
does not hold are passed over."""


ACCESSIONS: Final[dict[str, dict[str, str]]] = {
    "vertebrates": {
        # UniProt accessions of human factors whose only CORE matrix was measured in another
        # species, and whose human accession no release carries.
        "P35869": "AHR",
        "P35638": "DDIT3",
        "Q03112": "MECOM",
        "Q9H6I2": "SOX17",
        "P35711": "SOX5",
        "Q9Y5Q3": "MAFB",
        "Q9UBR4": "LHX3",
        "P17010": "ZFX",
        "Q9Y5X4": "NR2E3",
        "O43186": "CRX",
        "Q5VTD9": "GFI1B",
        "Q13133": "NR1H3",
        "O00482": "NR5A2",
        "P41225": "SOX3",
        "P35712": "SOX6",
        "Q14765": "STAT4",
        "P42229": "STAT5A",
        "P51692": "STAT5B",
        "P42226": "STAT6",
        "O00327": "ARNTL",
        "P18846": "ATF1",
        "O94916": "NFAT5",
        "O95644": "NFATC1",
        "Q99743": "NPAS2",
        "O95343": "SIX3",
        "Q8WVJ9": "TWIST2",
        "P62508": "ESRRG",
        "Q13485": "SMAD4",
        "P19544": "WT1",
        "P08151": "GLI1",
        "Q9UKT9": "IKZF3",
        "P43699": "NKX2-1",
        "Q14526": "HIC1",
        "P61371": "ISL1",
        "P58012": "FOXL2",
        "Q12946": "FOXF1",
        "P35716": "SOX11",
        "O00570": "SOX1",
        "Q96QS3": "ARX",
        "O60479": "DLX3",
        "Q07687": "DLX2",
        "Q9Y5R6": "DMRT1",
        "Q7RTS3": "PTF1A",
        "O95409": "ZIC2",
        "O15353": "FOXN1",
        "Q99929": "ASCL2",
    },
}
"""Taxonomic group -> UniProt accession -> symbol, where JASPAR's matrix carries another one."""
