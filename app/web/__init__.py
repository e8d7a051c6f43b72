"""Pages for people: submit, watch, browse, ask; server-rendered, with nothing from elsewhere.

    words.py         numbers, times, states in words    policy.py     what a page may do
    submit_pages.py  submit, list of runs               asked.py      what an address asks for
    run_pages.py     progress, results, links           tracks.py     what igv.js is told
    tf_pages.py      transcription factors              in_run.py     examples of a feature in a run
    feature_pages.py one feature, methods               pages.py      all of them together
    vendored.py      igv.js as we ship it
    api_pages.py     the API: examples, reference    examples.py   in curl, Python and R

Pages ask the same functions as the REST interface; what they show beside is in `app.web` alone.
"""
