"""JAX, jax.numpy and optax, started with the pinned settings: every module of this floor takes them from here.

Nothing else is here. One door makes it impossible for an import sorted the other way round to start JAX unpinned.

>>> jax.default_backend()
'cpu'
"""

from __future__ import annotations

from ringsim.learning.runtime import start_jax

start_jax()

# These come after the call on purpose: what optax and jax.numpy do at import must find the settings in place.
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import optax  # noqa: E402

__all__ = ["jax", "jnp", "optax"]
