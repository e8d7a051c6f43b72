"""Models, training, Celery tasks and the command line."""
