"""moto's S3 server on a port, answering 503 while a file `refusing` is in its working folder."""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any


def main(port: int, bucket: str) -> None:
    """Serve until killed."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import run_simple

    inner = DomainDispatcherApplication(create_backend_app)

    def gate(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if Path("refusing").exists():
            start("503 Slow Down", [("Content-Type", "text/plain")])
            return [b"refused"]
        return inner(environ, start)  # type: ignore[no-any-return]

    from moto.s3.models import s3_backends

    s3_backends["123456789012"]["aws"].create_bucket(bucket, "us-east-1")
    run_simple("127.0.0.1", port, gate, threaded=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
