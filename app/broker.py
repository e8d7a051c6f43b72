"""Messages to workers: task and queue names, and the Celery settings both sides share.

Celery delivers messages and runs tasks, nothing more: the state of the work is in
the database, so messages may be lost or doubled without harm.
"""

from collections.abc import Iterable
from typing import Any

from celery import Celery

from app.config import Settings

TASK_RUN_SHARD = "saetrack.run_shard"
"""Name of the task that runs a shard; its one argument is the shard's id."""

TASK_RUN_ANALYSIS = "saetrack.run_analysis"
"""Name of the task that answers an analysis; its one argument is the analysis' id."""


DEFAULT_QUEUE = "saetrack"
"""Where a message without a queue would go; nothing is sent there."""


def model_queue(model_sha256: str) -> str:
    """Name of a model revision's queue: a worker reads those of the models it has.

    Parameters
    ----------
    model_sha256 : str
        Of the model's weights.
    """
    return model_sha256[:16]


def queue_name(queue: str, *, urgent: bool) -> str:
    """The broker's queue for the small runs and questions of a model, or for its long runs.

    Parameters
    ----------
    queue : str
        As from `model_queue`.
    urgent : bool
        Whether a person waits for it: then it goes before what does not.
    """
    # Redis is asked for the first message in the order of these names
    return f"saetrack.{'fast' if urgent else 'long'}.{queue}"


def broker_queues(queues: Iterable[str]) -> list[str]:
    """All queues of the broker that a worker reads.

    Parameters
    ----------
    queues : iterable of str
        As from `model_queue`.
    """
    return [queue_name(queue, urgent=urgent) for urgent in (True, False) for queue in queues]


def celery_config(settings: Settings) -> dict[str, Any]:
    """Celery settings of producer and worker.

    Parameters
    ----------
    settings : Settings
        Says where the broker is. The folders of a filesystem broker are made here.

    Returns
    -------
    config : dict
        For ``Celery.conf.update``.
    """
    return {
        "broker_url": settings.broker_url,
        "broker_transport_options": _transport_options(settings),
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # a worker that reconnects in the midst of a task may read no message any more (Celery
        # 5.7 with Redis): it ends, and whoever tends it starts it again
        "broker_connection_retry": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "task_default_queue": DEFAULT_QUEUE,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_ignore_result": True,
        "task_store_errors_even_if_ignored": False,
        # the database counts attempts: Celery must neither retry nor requeue by itself
        "task_acks_late": True,
        "task_reject_on_worker_lost": False,
        "task_retry_on_worker_lost": False,
        "worker_prefetch_multiplier": 1,
        # a replacement child that loads a model for longer than 4 s is killed otherwise
        "worker_proc_alive_timeout": 900,
        "worker_soft_shutdown_timeout": 30,
        "worker_hijack_root_logger": False,
        "worker_enable_remote_control": False,
        "worker_send_task_events": False,
        "enable_utc": True,
    }


def _transport_options(settings: Settings) -> dict[str, Any]:
    """Options of the broker's transport."""
    if settings.broker_url.startswith("filesystem:"):
        folders = {
            name: settings.broker_dir / name for name in ("messages", "processed", "control")
        }
        for folder in folders.values():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return {
            "data_folder_in": str(folders["messages"]),
            "data_folder_out": str(folders["messages"]),
            "processed_folder": str(folders["processed"]),
            "control_folder": str(folders["control"]),
            "store_processed": False,
            "polling_interval": 0.1,
        }
    # redis: a message comes back only long after the lease of its shard has ended
    return {
        "visibility_timeout": 900,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        "queue_order_strategy": "sorted",
        # a broker that went away is noticed, and the web process is not held up by it
        "socket_timeout": 30,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 10,
    }


def make_producer(settings: Settings) -> Celery:
    """A Celery application that only sends; it knows tasks by name.

    Parameters
    ----------
    settings : Settings
        Says where the broker is.
    """
    producer = Celery("saetrack", set_as_current=False)
    producer.conf.update(celery_config(settings))
    return producer


def publish(producer: Celery, shard_id: int, *, queue: str) -> None:
    """Send the message that a shard is to be run.

    Parameters
    ----------
    producer : Celery
        As from `make_producer`, or the worker's own application.
    shard_id : int
        Id of the shard.
    queue : str
        As from `queue_name`.
    """
    producer.send_task(TASK_RUN_SHARD, args=[shard_id], queue=queue, ignore_result=True)


def publish_analysis(producer: Celery, analysis_id: str, *, queue: str) -> None:
    """Send the message that an analysis is to be answered; parameters as in `publish`."""
    producer.send_task(TASK_RUN_ANALYSIS, args=[analysis_id], queue=queue, ignore_result=True)
