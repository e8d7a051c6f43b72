"""Pages for people: submit, watch, browse, ask; server-rendered, with nothing from elsewhere.

    words.py        numbers, times and states as people read them      policy.py   what a page may do
    submit_pages.py submit, list of runs     run_pages.py     progress, results, events
    tf_pages.py     transcription factors    feature_pages.py one feature, methods

Pages ask the same functions as the REST interface; what they show beside is in `app.web` alone.
"""
