"""How JAX is started so that the same scenario gives the same bits, and the record of the machine it ran on.

The bits of a gradient on a CPU depend on the number of threads XLA believes it has, on the instruction set it compiles
for, and on a few switches of JAX; all of them are pinned here, before JAX starts its backend. What is not here: any
computation. This module does not import JAX until `start_jax` is called.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import os
import platform
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ringsim.errors import EnvironmentRefused

# One core and two cores give other bits in a convolution's gradient unless this is fixed; 2 lets two threads gain.
PJRT_NPROC = 2

# The newest instruction set that nearly every x86-64 machine has; another one gives other bits.
INSTRUCTION_SET_FLAG = "--xla_cpu_max_isa"
INSTRUCTION_SET = "AVX2"

# Each of these either changes bits or would move the work to another device.
JAX_SETTINGS: dict[str, Any] = {
    "jax_platforms": "cpu",
    "jax_cpu_enable_async_dispatch": False,
    "jax_enable_x64": False,
    "jax_default_matmul_precision": None,
    "jax_threefry_partitionable": True,
    "jax_disable_jit": False,
}

# What JAX itself chooses where nobody has chosen, as far as it is not pinned.
_JAX_DEFAULTS: dict[str, Any] = {"jax_platforms": None, "jax_cpu_enable_async_dispatch": True}

# Two numbers digests must be equal where all of these are. Python itself computes no number of a training.
COMPARABLE_KEYS = (
    "jax",
    "jaxlib",
    "optax",
    "numpy",
    "system",
    "machine",
    "xla_flags",
    "pjrt_nproc",
    "processor",
    "vector_extensions",
    "caches",
)

# How the sentence begins that refuses a process in which somebody has used JAX before.
ALREADY_STARTED = "JAX was already started with "

# Extensions that libraries inside jaxlib may look for by themselves, whatever XLA was told.
_VECTOR_EXTENSIONS = ("avx", "avx2", "fma", "avx512f", "avx512_bf16", "avx_vnni", "amx_tile", "asimd", "sve", "sve2")


def start_jax() -> None:
    """Pin the settings that decide bits, then import JAX; every later call checks that they still hold.

    Flags of XLA_FLAGS other than the instruction set are kept, and recorded in `environment()`. If JAX was imported but
    not yet used, it takes the pinned settings, process-wide; a warning names those that somebody had chosen otherwise.
    The variables of the process environment that this sets (PJRT_NPROC, XLA_FLAGS) are inherited by child processes.

    Raises:
        EnvironmentRefused: JAX has already started its backend, with settings other than these.
    """
    if _backend_has_started():
        _refuse_other_settings()
        return
    os.environ["PJRT_NPROC"] = str(PJRT_NPROC)
    if flags := xla_flags(os.environ.get("XLA_FLAGS", ""), platform.machine()):
        os.environ["XLA_FLAGS"] = flags
    was_imported = "jax" in sys.modules
    import jax

    config: Any = jax.config
    if was_imported:
        _tell_what_changes(config.values)
    for name, value in JAX_SETTINGS.items():
        config.update(name, value)
    folder = _writable(cache_folder())
    # Another folder, named in the environment, could hold code compiled for another number of threads.
    config.update("jax_compilation_cache_dir", str(folder) if folder else None)
    config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _backend_has_started() -> bool:
    bridge = sys.modules.get("jax._src.xla_bridge")
    return bridge is not None and bridge.backends_are_initialized()


def _tell_what_changes(found: Mapping[str, Any]) -> None:
    """Warn of the settings that somebody chose for this process before, and that do not stay."""
    chosen = {name for name in JAX_SETTINGS if found[name] not in (JAX_SETTINGS[name], _JAX_DEFAULTS.get(name))}
    changes = [f"{name}={pinned} (it was {found[name]})" for name, pinned in JAX_SETTINGS.items() if name in chosen]
    if changes:
        warnings.warn(
            f"ringsim has set {', '.join(changes)} for all of this process, because its bits hang on that; "
            "to keep what you chose, run ringsim in a process of its own",
            stacklevel=2,
        )


def refuse_changed_settings() -> None:
    """Check that the settings of JAX that decide bits are still those that `start_jax` has pinned.

    Raises:
        EnvironmentRefused: somebody has changed one since, for the process or for a `with` around this call.
    """
    if others := _other_settings():
        pinned = ", ".join(f"{name}={JAX_SETTINGS[name]}" for name in others)
        raise EnvironmentRefused(
            f"JAX was set to {', '.join(others.values())} after ringsim had started it, which gives other bits than "
            f"ringsim promises; set it back to {pinned} before you simulate"
        )


def _other_settings() -> dict[str, str]:
    """Return each setting of a started JAX that is not as pinned, in words by its name."""
    import jax

    found: dict[str, Any] = {**jax.config.values, "jax_platforms": jax.default_backend()}
    return {name: f"{name}={found[name]}" for name, pinned in JAX_SETTINGS.items() if found[name] != pinned}


def _refuse_other_settings() -> None:
    flags = os.environ.get("XLA_FLAGS", "")
    others = list(_other_settings().values())
    if os.environ.get("PJRT_NPROC") != str(PJRT_NPROC):
        others.append(f"PJRT_NPROC={os.environ.get('PJRT_NPROC', '(not set)')}")
    if flags != xla_flags(flags, platform.machine()):
        others.append(f"XLA_FLAGS={flags or '(not set)'}")
    if others:
        raise EnvironmentRefused(
            f"{ALREADY_STARTED}{', '.join(others)}, which gives other bits than ringsim promises; "
            "import ringsim.learning.pinned before the first use of JAX, or run ringsim in a process of its own"
        )


def xla_flags(flags: str, machine: str) -> str:
    """Return XLA_FLAGS with the instruction set pinned on x86-64, and the other flags left as they are.

    >>> xla_flags("--xla_dump_to=/tmp/dump --xla_cpu_max_isa=SSE4_2", "x86_64")
    '--xla_dump_to=/tmp/dump --xla_cpu_max_isa=AVX2'
    >>> xla_flags("", "arm64")
    ''
    """
    if not is_x86_64(machine):
        return flags
    return " ".join([*_other_flags(flags), f"{INSTRUCTION_SET_FLAG}={INSTRUCTION_SET}"])


def is_x86_64(machine: str) -> bool:
    """Say whether `platform.machine()` is one that an instruction set is pinned on.

    >>> is_x86_64("AMD64"), is_x86_64("arm64")
    (True, False)
    """
    return machine.lower() in ("x86_64", "amd64")


def unpinned(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a process as if `start_jax` had not been called in it, to start another one with.

    >>> unpinned({"HOME": "/root", "PJRT_NPROC": "2", "XLA_FLAGS": "--xla_cpu_max_isa=AVX2"})
    {'HOME': '/root'}
    >>> unpinned({"XLA_FLAGS": "--xla_dump_to=/tmp/dump --xla_cpu_max_isa=AVX2"})
    {'XLA_FLAGS': '--xla_dump_to=/tmp/dump'}
    """
    flags = " ".join(_other_flags(variables.get("XLA_FLAGS", "")))
    kept = {name: value for name, value in variables.items() if name not in ("PJRT_NPROC", "XLA_FLAGS")}
    return kept | ({"XLA_FLAGS": flags} if flags else {})


def _other_flags(flags: str) -> list[str]:
    return [flag for flag in flags.split() if not flag.startswith(f"{INSTRUCTION_SET_FLAG}=")]


# --- the persistent compilation cache ---------------------------------------------------------------------------------


def cache_folder() -> Path:
    """Return the folder of compiled functions for this user, this jaxlib, these flags and this processor.

    Code compiled for one processor must not be found by another (a home folder may be shared between machines).
    """
    import platformdirs

    here = environment()
    key = hashlib.sha256(repr([here[name] for name in COMPARABLE_KEYS]).encode()).hexdigest()[:16]
    return Path(platformdirs.user_cache_dir("ringsim", appauthor=False), "xla", f"jaxlib-{here['jaxlib']}-{key}")


def _writable(folder: Path) -> Path | None:
    """Return `folder`, made if need be, or None where nothing can be written: then every run compiles afresh."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        return None


@contextlib.contextmanager
def quiet_cache() -> Iterator[None]:
    """Silence JAX about a cache entry that cannot be read or written: it compiles, and the bits are the same."""
    with warnings.catch_warnings():
        for verb in ("reading", "writing"):
            warnings.filterwarnings("ignore", message=f"Error {verb} persistent compilation cache entry")
        yield


# --- the environment --------------------------------------------------------------------------------------------------


def environment() -> dict[str, str | int | list[str]]:
    """Return what the bits of a run may depend on, as plain data in a fixed order. Does not import JAX.

    >>> list(environment())[:4]
    ['ringsim', 'python', 'numpy', 'jax']
    """
    import ringsim

    return {
        "ringsim": ringsim.__version__,
        "python": platform.python_version(),
        **{name: _version(name) for name in ("numpy", "jax", "jaxlib", "optax")},
        "system": platform.system(),
        "machine": platform.machine(),
        "xla_flags": xla_flags(os.environ.get("XLA_FLAGS", ""), platform.machine()),
        "pjrt_nproc": PJRT_NPROC,
        "processor": _processor(),
        "vector_extensions": _vector_extensions(),
        "caches": list(_caches()),
    }


def numbers_comparable(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether runs in these two environments must give the same bits (else compare within tolerances).

    >>> here = environment()
    >>> numbers_comparable(here, {**here, "python": "3.99"})
    True
    >>> numbers_comparable(here, {**here, "jaxlib": "0.0"})
    False
    """
    return all(key in one and key in other and one[key] == other[key] for key in COMPARABLE_KEYS)


@functools.cache
def _version(name: str) -> str:
    return importlib.metadata.version(name)


def _processor() -> str:
    """Return the processor's model; virtual machines hide the name, so family and model numbers follow it."""
    if fields := _cpuinfo():
        names = ("vendor_id", "model name", "cpu family", "model", "CPU implementer", "CPU architecture", "CPU part")
        return ", ".join(f"{name} {fields[name]}" for name in names if name in fields)
    return _sysctl("machdep.cpu.brand_string") or platform.processor()


def _vector_extensions() -> list[str]:
    fields = _cpuinfo()
    present = fields.get("flags", fields.get("Features", "")).split()
    return [name for name in _VECTOR_EXTENSIONS if name in present]


@functools.cache
def _caches() -> list[str]:
    """Return the first core's caches as 'L1 Data 32K', in the order of the system."""
    folders = sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"))
    if folders:
        return [f"L{_text(one / 'level')} {_text(one / 'type')} {_text(one / 'size')}" for one in folders]
    sizes = {name: _sysctl(f"hw.{name}cachesize") for name in ("l1i", "l1d", "l2", "l3")}
    return [f"{name} {size}" for name, size in sizes.items() if size]


@functools.cache
def _cpuinfo() -> dict[str, str]:
    """Return the first processor's entries of /proc/cpuinfo, or nothing where there is no such file."""
    first = _text(Path("/proc/cpuinfo")).split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _sysctl(name: str) -> str:
    """Return a figure of the macOS kernel, or '' elsewhere."""
    if platform.system() != "Darwin":
        return ""
    answer = subprocess.run(["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, check=False)
    return answer.stdout.strip()
