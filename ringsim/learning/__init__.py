"""Learning: data, models, gradients and updates; the only floor of ringsim that knows JAX and optax.

    runtime.py        the pinned settings of JAX, and the environment that decides whether bits must agree
    pinned.py         `jax`, `jnp`, `optax`, started with those settings: everybody takes them from there
    data.py           digits, synthetic points and MNIST, as arrays
    digits28.py       the digits at the size of MNIST
    mnist.py          the files of MNIST: from a folder, or fetched
    sampler.py        who takes which samples at which step
    shards.py         label-skewed shards: whose samples are whose
    models/           layers and models, one model a file
    parameters.py     pytree <-> flat vector, and immutable versions of it
    optimizers.py     sgd, momentum, adam on the flat vector
    learning_rate.py  the rate for a number of workers and a progress
    engine.py         gradients, updates and evaluations: what strategies call
    side_by_side.py   small gradients wait for each other, and are computed on two threads
    memo.py           what engines have computed, kept from one run of a process to the next

What is not here: time, messages and machines (`world`), and the order in which gradients are summed (`collectives`).
Importing this package imports nothing; `runtime`, `data`, `mnist`, `sampler` and `learning_rate` do without JAX.
"""
