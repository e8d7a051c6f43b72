"""The examples of the API page: one way through the interface, in curl, Python and R.

The steps of a language follow each other in one session, as they stand here; tests run them so
against the application. `SERVER` is where each reads its server's address.
"""

from typing import Final, NamedTuple

SERVER: Final = "http://127.0.0.1:8765"
"""Address in the examples; the page puts its own there."""


class Example(NamedTuple):
    """A step."""

    name: str
    """Its anchor in the page."""
    title: str
    says: str
    """What happens, in a sentence or two."""
    curl: str
    python: str
    r: str


LANGUAGES: Final[dict[str, tuple[str, str]]] = {
    "curl": ("curl", "bash and curl 7.84 or newer, nothing else."),
    "python": (
        "Python",
        "Python 3.11 or newer and one file, saetrack_client.py, which this server hands out. It "
        "imports no package; pandas and pyarrow where tables are wanted as DataFrames.",
    ),
    "r": (
        "R",
        'R 4.1 or newer with install.packages("httr2") (Debian: r-cran-httr2), for submitting. '
        "Tables are read by R alone, and rtracklayer reads the tracks.",
    ),
}
"""Languages: how each is called, and what its examples need."""

EXAMPLES: Final = (
    Example(
        "submit",
        "Submit sequences",
        "FASTA or GenBank, plain or gzip. The answer is 202 and the address of a run, or 200 if "
        "the same was computed before.",
        r"""
SERVER=http://127.0.0.1:8765
RUN=$SERVER$(curl -sS -F file=@my.fa -F taxon=fungi -F title='My first run' \
    -o run.json -w '%header{location}' $SERVER/v1/runs)
echo "$RUN"
""",
        """
# once: curl -O http://127.0.0.1:8765/saetrack_client.py
from saetrack_client import Client

client = Client("http://127.0.0.1:8765")
run = client.submit("my.fa", taxon="fungi", title="My first run")
print(run.url)
""",
        """
library(httr2)

server <- "http://127.0.0.1:8765"
ask <- function(...) {
  request(paste0(...)) |>
    req_error(body = function(answer) resp_body_json(answer, check_type = FALSE)$detail)
}
answer <- ask(server, "/v1/runs") |>
  req_body_multipart(
    file = curl::form_file("my.fa"), taxon = "fungi", title = "My first run"
  ) |>
  req_perform()
run <- paste0(server, resp_header(answer, "Location"))
print(run)
""",
    ),
    Example(
        "wait",
        "Wait for it",
        "A run is COMPLETE when its progress is 1. EXECUTOR_ERROR says what was wrong with the "
        "input, SYSTEM_ERROR what was wrong with the server.",
        r"""
until curl -sS -o run.json "$RUN" &&
    grep -qE '"state": *"(COMPLETE|EXECUTOR_ERROR|SYSTEM_ERROR|CANCELED)"' run.json
do sleep 2; done
grep -oE '"state": *"[A-Z_]+"' run.json
""",
        """
run.wait(3600, lambda view: print(f"{view['progress']:.0%}"))
""",
        """
repeat {
  view <- ask(run) |> req_perform() |> resp_body_json()
  if (view$state %in% c("COMPLETE", "EXECUTOR_ERROR", "SYSTEM_ERROR", "CANCELED")) break
  Sys.sleep(2)
}
print(view$state)
""",
    ),
    Example(
        "tables",
        "Get the tables",
        "Features, peaks, motif matches and gene concepts: whole as .tsv and .parquet, or "
        "filtered and page by page as JSON. Positions are 0-based.",
        r"""
curl -sS --fail-with-body -o features.tsv "$RUN/features.tsv"
curl -sS --fail-with-body -o peaks.parquet "$RUN/peaks.parquet"
curl -sS --fail-with-body "$RUN/features?active=true&sort=max&limit=5"
""",
        """
features = run.features(active=True, sort="max")
peaks = run.peaks()
print(features[["feature", "strand", "density", "max", "label"]].head())
run.download("my-run")  # every table as a file, checked and gone on with if it broke off
""",
        """
read_table <- function(...) read.delim(paste0(...), quote = "")
features <- read_table(run, "/features?active=true&sort=max&format=tsv")
peaks <- read_table(run, "/peaks.tsv")
print(head(features[c("feature", "strand", "density", "max", "label")]))
""",
    ),
    Example(
        "tf",
        "Ask for a transcription factor",
        "Which features match REB1? The run answers where its sequences have the power for the "
        "test, else the atlas of its dictionary; without a run the atlas answers at once.",
        r"""
curl -sS --fail-with-body "$RUN/tfs/REB1/features?max_q=0.01"
curl -sS --fail-with-body -o reb1.tsv "$SERVER/v1/tfs/REB1/features?format=tsv"
""",
        """
found = client.tf_features("REB1", run=run, max_q=0.01)
print(found.attrs["note"])
print(found[["rank", "feature", "strand", "motif_name", "q", "log2_enrichment", "evidence"]])
known = client.tf_features("REB1")
""",
        """
found <- read_table(run, "/tfs/REB1/features?max_q=0.01&format=tsv")
print(found[c("rank", "feature", "strand", "motif_name", "q", "log2_enrichment", "evidence")])
known <- read_table(server, "/v1/tfs/REB1/features?format=tsv")
""",
    ),
    Example(
        "feature",
        "Look at one feature",
        "Its statistics, top peaks and motif tests in this run; 1- is its reading of the minus "
        "strand alone.",
        r"""
curl -sS --fail-with-body "$RUN/features/1-"
""",
        """
feature = run.feature("1-")
for peak in feature["peaks"][:3]:
    print(peak["contig"], peak["position"], peak["strand"], peak["value"])
""",
        """
feature <- ask(run, "/features/1-") |> req_perform() |> resp_body_json()
for (peak in head(feature$peaks, 3)) cat(peak$contig, peak$position, peak$value, "\\n")
""",
    ),
    Example(
        "tracks",
        "Get tracks",
        "Activation at every base as bigWig, peaks as BED and bigBed. A browser of genomes reads "
        "them in place: they answer HEAD and Range requests.",
        r"""
curl -sS --fail-with-body -o f1.bw "$RUN/features/1-/signal.bw"
curl -sS --fail-with-body -o f1.bed "$RUN/features/1-/peaks.bed"
""",
        """
run.save_signal("1-", "f1.bw")
run.save_peaks("1-", "f1.bed")
""",
        """
download.file(paste0(run, "/features/1-/signal.bw"), "f1.bw", mode = "wb", quiet = TRUE)
download.file(paste0(run, "/features/1-/peaks.bed"), "f1.bed", quiet = TRUE)
# signal <- rtracklayer::import("f1.bw")
""",
    ),
    Example(
        "figure",
        "Draw a figure",
        "Features over the genes of a region, as SVG or PNG for a paper; here the whole of the "
        "run's first sequence, and with :1001-2000 behind its name a part of it.",
        r"""
curl -sS --fail-with-body -o contigs.json "$RUN/contigs"
CONTIG=$(grep -oE '"name": *"[^"]+"' contigs.json | sed -nE '1s/.*"([^"]+)"$/\1/p')
curl -sS --fail-with-body -G --data-urlencode "region=$CONTIG" -d width=180mm \
    -o figure.svg "$RUN/figure.svg"
""",
        """
contig = run.contigs()[0]["name"]
run.figure("figure.svg", region=contig, width="180mm")
""",
        """
contig <- (ask(run, "/contigs") |> req_perform() |> resp_body_json())$contigs[[1]]$name
region <- URLencode(contig, reserved = TRUE)
download.file(
  paste0(run, "/figure.svg?region=", region, "&width=180mm"), "figure.svg", quiet = TRUE
)
""",
    ),
    Example(
        "share",
        "Give the tracks away",
        "One unguessable address of a hub.txt for UCSC, igv.js, IGV and JBrowse 2. Whoever has it "
        "sees the tracks of this run, until the link is deleted.",
        r"""
curl -sS --fail-with-body -X POST "$RUN/share-links"
""",
        """
link = run.share(title="for the lab")
print(link["url"])
""",
        """
link <- ask(run, "/share-links") |> req_method("POST") |> req_perform() |> resp_body_json()
print(link$url)
""",
    ),
    Example(
        "genome",
        "Register a genome, then run regions of it",
        "A genome is sent once. Runs then name places in it: regions (a BED), region or gene, each "
        "widened by flank; results are in the genome's coordinates.",
        r"""
curl -sS --fail-with-body -F name=mine -F file=@my.fa $SERVER/v1/genomes
curl -sS --fail-with-body -F genome=mine -F region="$CONTIG:1-12" -F flank=2 $SERVER/v1/runs
""",
        """
client.add_genome("mine", "my.fa")
part = client.submit(genome="mine", region=f"{contig}:1-12", flank=2)
print(part.view["regions"])
""",
        """
genome <- ask(server, "/v1/genomes") |>
  req_body_multipart(name = "mine", file = curl::form_file("my.fa")) |>
  req_perform()
part <- ask(server, "/v1/runs") |>
  req_body_multipart(genome = "mine", region = paste0(contig, ":1-12"), flank = "2") |>
  req_perform() |>
  resp_body_json()
print(part$regions$genome)
""",
    ),
    Example(
        "errors",
        "When something is wrong",
        "Every error is a problem document (RFC 9457): type for programs, detail for people, "
        "errors for the places of the input.",
        r"""
curl -sS "$RUN/features?sort=beauty"
""",
        """
from saetrack_client import ClientError

try:
    run.features(sort="beauty")
except ClientError as error:
    print(error.status, error.type, error)
""",
        """
tryCatch(
  ask(run, "/features?sort=beauty") |> req_perform(),
  error = function(error) cat(conditionMessage(error), "\\n")
)
""",
    ),
    Example(
        "delete",
        "Tidy up",
        "A run that is deleted is gone with its results and links. POST to /cancel stops one that "
        "is still computed.",
        r"""
curl -sS --fail-with-body -X DELETE "$RUN"
""",
        """
run.delete()
""",
        """
ask(run) |> req_method("DELETE") |> req_perform() |> resp_status() |> print()
""",
    ),
)
"""The steps, in order."""


def script(language: str, server: str = SERVER) -> str:
    """All steps of a language as one script.

    Parameters
    ----------
    language : {"curl", "python", "r"}
        Of `LANGUAGES`.
    server : str
        Address of a server, without a slash at its end.
    """
    texts = [str(getattr(example, language)).strip() for example in EXAMPLES]
    return "\n\n".join(texts).replace(SERVER, server) + "\n"
