"""Environments of the peers, for ``python -m benchmarks stream``: made once, kept beside the samples, found again.

Each has its peer in the version named here. Those for the Python that runs the benchmark see its packages too, so that
torch, of gigabytes, is not installed again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ..report import console


@dataclass(frozen=True)
class Environment:
    """What one peer needs.

    Attributes
    ----------
    packages
        Installed with all that they need.
    alone
        Installed without: their pins would bring another torch.
    newer
        Needs Python 3.12 or newer; has nothing of the Python that runs the benchmark.
    """

    name: str
    packages: tuple[str, ...]
    alone: tuple[str, ...] = ()
    newer: bool = False


EXPERANTO = "git+https://github.com/sensorium-competition/experanto@09fd691607375d165ca38ecaaa634519ebcde265"
ENVIRONMENTS = (
    Environment("litdata", ("lightning-utilities", "boto3", "requests", "obstore", "tifffile"), ("litdata==0.2.76",)),
    Environment("torch_brain", ("torch-brain==0.2.1",)),
    Environment(
        "experanto",
        ("hydra-core==1.3.2", "numba", "opencv-python-headless", "PyYAML", "jaxtyping", "scipy", "pandas"),
        (EXPERANTO,),
    ),
    Environment("zarr", ("annbatch==0.3.1", "insitubatch==0.2.0", "zarrs==0.2.3"), newer=True),
)


def interpreters(folder: Path, *, make: bool) -> tuple[str, ...]:
    """Return the Python that runs this, and those of the environments.

    Parameters
    ----------
    folder
        Where environments are.
    make
        Make those that are missing, which takes minutes and the network; one that cannot be made is left out, and pip
        has said why.
    """
    found = [sys.executable]
    for environment in ENVIRONMENTS:
        python = folder / environment.name / "bin/python"
        if python.exists() or (make and _made(environment, folder)):
            found.append(str(python))
    return tuple(found)


def _made(environment: Environment, folder: Path) -> bool:
    base = _newer() if environment.newer else sys.executable
    if base is None:
        console.print(f"{environment.name}: needs Python 3.12 or newer, and none is installed", style="dim")
        return False
    console.print(f"making the environment of {environment.name}", style="dim")
    place = folder / environment.name
    pip = [place / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    try:
        subprocess.run([base, "-m", "venv", *([] if environment.newer else ["--without-pip"]), place], check=True)
        if not environment.newer:
            _share_packages(place)
        subprocess.run([*pip, *environment.packages], check=True)
        if environment.alone:
            subprocess.run([*pip, "--no-deps", *environment.alone], check=True)
    except subprocess.CalledProcessError:
        shutil.rmtree(place, ignore_errors=True)
        return False
    return True


def _share_packages(place: Path) -> None:
    """Have an environment see the packages of this Python behind its own, pip among them."""
    (site,) = place.glob("lib/python3*/site-packages")
    shared = [path for path in sys.path if Path(path).name == "site-packages"]
    (site / "shared.pth").write_text("\n".join(shared) + "\n", encoding="utf-8")


def _newer() -> str | None:
    """Return a Python from 3.12 on, the oldest that is installed."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [
        sys.executable,
        "python3.12",
        "python3.13",
        *map(str, sorted(pyenv.glob("versions/3.1[2-9]*/bin/python3"))),
    ]
    code = "import sys; sys.exit(sys.version_info < (3, 12))"
    for candidate in candidates:
        path = shutil.which(candidate)
        if path and not subprocess.run([path, "-c", code], capture_output=True, check=False).returncode:
            return path
    return None
