"""File systems of a few hundred kilobytes, and processes that permissions hold back."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest


@pytest.fixture
def mount(tmp_path):
    """Mount a small file system and return its directory: ``mount("tmpfs", size_kib=600)`` or ``"ext4"``."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount file systems")
    mounted = []

    def run(*command) -> None:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"mounting is not allowed here: {' '.join(map(str, command))}: {done.stderr.strip()}")

    def mount(kind: str, *, size_kib: int):
        place = tmp_path / kind
        place.mkdir()
        if kind == "ext4":
            if shutil.which("mkfs.ext4") is None:
                pytest.skip("mkfs.ext4 is not installed")
            image = tmp_path / "image"
            image.write_bytes(b"")
            os.truncate(image, size_kib * 1024)
            run("mkfs.ext4", "-q", "-m", "0", image)
            run("mount", "-o", "loop", image, place)
        else:
            run("mount", "-t", "tmpfs", "-o", f"size={size_kib}k", "none", place)
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", place], check=True)
