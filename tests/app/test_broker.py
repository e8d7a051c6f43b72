"""Messages: JSON on the filesystem broker, and no retries by Celery itself."""

import base64
import json
from pathlib import Path

from app.broker import TASK_RUN_SHARD, celery_config, make_producer, publish, queue_name
from app.config import Settings


def test_a_message_is_one_json_file_that_names_the_task(settings: Settings) -> None:
    producer = make_producer(settings)
    publish(producer, 7, queue=queue_name("1" * 16, urgent=True))
    producer.close()
    [path] = (settings.broker_dir / "messages").iterdir()
    message = json.loads(path.read_text())
    assert message["headers"]["task"] == TASK_RUN_SHARD == "saetrack.run_shard"
    assert message["content-type"] == "application/json"
    args, _, _ = json.loads(base64.b64decode(message["body"]))
    assert args == [7]


def test_celery_neither_retries_nor_unpickles(settings: Settings) -> None:
    config = celery_config(settings)
    assert config["accept_content"] == ["json"]
    assert config["task_ignore_result"] is True
    assert config["broker_connection_retry"] is False
    assert config["broker_connection_retry_on_startup"] is True
    assert not config["task_retry_on_worker_lost"]
    assert not config["task_reject_on_worker_lost"]
    assert config["worker_proc_alive_timeout"] >= 900


def test_another_broker_gets_its_own_options(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, broker_url="redis://localhost/0")
    assert celery_config(settings)["broker_transport_options"]["visibility_timeout"] == 900
    assert not (tmp_path / "broker").exists()
