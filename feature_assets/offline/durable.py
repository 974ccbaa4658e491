"""Bytes that survive a power loss: files and folders of a local disk, synced before anything is acknowledged.

Invariant: when a function here returns, what it was given is on the device, under its final name, or it has raised.
It knows local paths only; an object store acknowledges no write that it has not kept.
"""

import os
import uuid
from pathlib import Path


def sync_file(path: Path) -> None:
    """Flush a file's content to the device."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folders(folder: Path, top: Path) -> None:
    """Flush the names in `folder`, and in every folder above it up to and including `top`."""
    while True:
        sync_file(folder)
        if folder in (top, folder.parent):
            return
        folder = folder.parent


def made_folder(folder: Path, top: Path) -> None:
    """Make a folder with its parents, durably, if it is not there."""
    if folder.is_dir():
        return
    folder.mkdir(parents=True, exist_ok=True)
    sync_folders(folder, top)


def replace_file(path: Path, data: bytes, top: Path) -> None:
    """Write a file whole or not at all: a reader sees the old content or the new, also after a crash."""
    made_folder(path.parent, top)
    fresh = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with fresh.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    sync_file(path.parent)
