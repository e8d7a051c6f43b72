"""Run the steps of docker/Dockerfile in a clean chroot, where no container engine is at hand.

    sudo debootstrap --variant=minbase --include=python3-venv,python3-pip,ca-certificates \\
        bookworm ROOT
    sudo python docker/chroot_build.py ROOT            # runs the steps
    sudo python docker/chroot_build.py ROOT --run CMD  # runs a command as the image would

ROOT stands in for python:3.11-slim-bookworm: Debian 12, whose Python is 3.11. `--run` is the
image's user on a read-only root, with /data and /tmp to write to. It is no container: it shares
the network and the processes of the machine.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
IGNORED = {"FROM", "VOLUME", "EXPOSE", "HEALTHCHECK", "SHELL"}
KEPT = "saetrack-image.json"
"""Where in ROOT the environment, user and entry point are kept for `--run`."""


def instructions(text: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile: word and the rest, lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    found = []
    for line in joined.splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            found.append((word.upper(), rest.strip()))
    return found


def build(root: Path, arguments: dict[str, str]) -> None:
    """Run the steps, all as root until USER."""
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
    known: dict[str, str] = {}
    image = {"user": "0", "workdir": "/", "entrypoint": [], "cmd": []}
    stand_in(root)
    for word, rest in instructions((PROJECT / "docker" / "Dockerfile").read_text()):
        print(f"--> {word} {rest[:100]}", flush=True)
        if word in IGNORED:
            continue
        if word == "ARG":
            name, _, default = rest.partition("=")
            known[name] = arguments.get(name, default)
        elif word == "ENV":
            environment |= dict(part.split("=", 1) for part in shlex.split(rest))
        elif word == "COPY":
            *sources, target = rest.split()
            for source in sources:
                copy(PROJECT / source, root / target.lstrip("/"), into=target.endswith("/"))
        elif word == "RUN":
            chroot(root, ["/bin/bash", "-o", "pipefail", "-c", rest], environment | known)
        elif word == "USER":
            image["user"] = rest
        elif word == "WORKDIR":
            image["workdir"] = rest
        elif word in {"ENTRYPOINT", "CMD"}:
            image[word.lower()] = json.loads(rest)
        else:
            raise SystemExit(f"this script does not know {word}")
    (root / KEPT).write_text(json.dumps(image | {"environment": environment}))


def stand_in(root: Path) -> None:
    """Make Debian's Python look like the one of the official image: `python` and a free `pip`."""
    for name, target in (("python", "python3"), ("pip", "pip3")):
        link = root / "usr/local/bin" / name
        link.unlink(missing_ok=True)
        link.symlink_to(f"/usr/bin/{target}")
    for marker in (root / "usr/lib/python3.11").glob("EXTERNALLY-MANAGED"):
        marker.unlink()
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")


def copy(source: Path, target: Path, *, into: bool) -> None:
    """As COPY does: a folder's content, or a file."""
    if source.is_dir():
        shutil.copytree(
            source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
        )
    else:
        target = target / source.name if into else target
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def chroot(root: Path, command: list[str], environment: dict[str, str]) -> None:
    """Run a command in the chroot as root, with this machine's package indexes within reach."""
    mounts = [f"mount -t proc proc {root}/proc", f"mount --rbind /dev {root}/dev"]
    given = {key: value for key, value in os.environ.items() if key.startswith("PIP_")}
    for folder in [*Path("/opt").glob("pypi*"), *Path("/opt").glob("wheels")]:
        mounts.append(f"mkdir -p {root}{folder} && mount --rbind {folder} {root}{folder}")
    for file in ("/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt"):
        if Path(file).is_file():
            shutil.copy(file, root / file.lstrip("/"))
    script = " && ".join([*mounts, f"exec chroot {root} {shlex.join(command)}"])
    subprocess.run(["unshare", "-m", "bash", "-c", script], env=given | environment, check=True)


def run(root: Path, command: list[str]) -> int:
    """Run a command as the image would: its user, a read-only root, /data and /tmp writable."""
    image = json.loads((root / KEPT).read_text())
    whole = [*image["entrypoint"], *(command or image["cmd"])]
    data = root.with_name(root.name + "-data")
    data.mkdir(exist_ok=True)
    os.chown(data, int(image["user"]), int(image["user"]))
    inside = f"cd {image['workdir']} && exec {shlex.join(whole)}"
    spelled = shlex.join(f"{name}={value}" for name, value in variables(image).items())
    script = " && ".join(
        [
            f"mount --rbind {root} {root}",
            f"mount --bind {data} {root}/data",
            f"mount -t tmpfs tmpfs {root}/tmp",
            f"chmod 1777 {root}/tmp",
            f"mount -t proc proc {root}/proc",
            f"mount --rbind /dev {root}/dev",
            f"mount -o remount,bind,ro {root}",
            f"exec chroot {root} setpriv --reuid={image['user']} --regid={image['user']} "
            f"--clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all "
            f"env -i {spelled} bash -c {shlex.quote(inside)}",
        ]
    )
    return subprocess.run(["unshare", "-m", "bash", "-c", script], check=False).returncode


def variables(image: dict[str, dict[str, str]]) -> dict[str, str]:
    """The image's environment, with the settings of whoever runs it over it."""
    given = {k: v for k, v in os.environ.items() if k.startswith(("SAETRACK_", "AWS_"))}
    return image["environment"] | given


def main() -> int:
    """Build or run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--run", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    if given.run is not None:
        return run(given.root.resolve(), given.run)
    build(given.root.resolve(), dict(each.split("=", 1) for each in given.build_arg))
    return 0


if __name__ == "__main__":
    sys.exit(main())
