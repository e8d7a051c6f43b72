"""Pages for people: submit, watch, browse, ask; server-rendered, with nothing from elsewhere.

    words.py         numbers, times, states in words    policy.py     what a page may do
    submit_pages.py  submit, list of runs               asked.py      what an address asks for
    run_pages.py     progress, results, links           tracks.py     what igv.js is told
    tf_pages.py      transcription factors              in_run.py     examples of a feature in a run
    feature_pages.py one feature, methods               pages.py      all of them together
    feature_parts.py its pictures, colours, states
    vendored.py      igv.js as we ship it
    api_pages.py     the API: examples, reference    examples.py   in curl, Python and R
    compare_pages.py features over a region            strips.py     their figures in a page
    list_pages.py    lists kept in an address          search_pages.py a short sequence

Pages ask the same functions as the REST interface; what they show beside is in `app.web` alone.
"""
