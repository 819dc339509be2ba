"""The keys of `task`: what is learned, from what, how, and for how long."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from ringsim.scenario.settings import Settings, Share, Work

DIGITS_TRAIN_SIZE = 1_437  # The shipped digits: 1,797 images, of which every fifth is for testing.


class Digits(Settings):
    """Handwritten digits: 1,797 real images of 8x8 (UCI), 1,437 to train on and 360 to test on. Shipped."""

    kind: Literal["digits"]


class Digits28(Settings):
    """The same digits on 28x28 pixels, shifted by seeded draws; the test split is of other source images. No MNIST."""

    kind: Literal["digits28"]
    samples: int = Field(6_000, ge=1, le=1_000_000, description="images to train on, drawn from 1,437 digits")
    shift: int = Field(2, ge=0, le=4, description="the most pixels that a digit is moved from the middle, each way")


class Synthetic(Settings):
    """Clouds of points, one around each class's seeded centre; a fifth more are drawn to test on."""

    kind: Literal["synthetic"]
    samples: int = Field(1_024, ge=1, le=10_000_000, description="points to train on")
    features: int = Field(32, ge=1, le=100_000, description="numbers in a point")
    classes: int = Field(10, ge=2, le=10_000)
    noise: float = Field(1.0, ge=0, le=1_000, description="spread around the centre; the centres have spread 1")


class Mnist(Settings):
    """MNIST: 70,000 real handwritten digits of 28x28, fetched once and kept; or images of its format from a folder."""

    kind: Literal["mnist"]
    folder: str | None = Field(
        None, min_length=1, description="with mnist.npz or the four IDX files, beside the scenario; default: fetched"
    )
    samples: int = Field(60_000, ge=1, le=10_000_000, description="train on so many images, the first ones")


class Shuffled(Settings):
    """All samples are everybody's: one shuffle an epoch, cut among the workers."""

    kind: Literal["shuffled"]


class Dirichlet(Settings):
    """Each worker has samples of its own, with a mixture of labels drawn from Dirichlet(alpha p) (Hsu et al. 2019)."""

    kind: Literal["dirichlet"]
    alpha: float = Field(
        1.0, ge=0.001, le=1_000, description="near 0 a worker draws one label at a time; at 1000 all have one mixture"
    )

    @field_validator("alpha")
    @classmethod
    def _has_three_decimals(cls, alpha: float) -> float:
        if alpha != round(alpha, 3):
            raise ValueError(f"must have at most three decimals, such as {round(alpha, 3)}, not {alpha}")
        return alpha


class Softmax(Settings):
    """One linear layer: softmax regression."""

    kind: Literal["softmax"]


class Mlp(Settings):
    """Fully connected layers with ReLU between them."""

    kind: Literal["mlp"]
    hidden: tuple[Annotated[int, Field(ge=1, le=65_536)], ...] = Field(
        default=(128,), strict=False, description="widths of the hidden layers"
    )


class Cnn(Settings):
    """The MNIST network of the Keras and Horovod examples: conv 32, conv 64, max pool, dense 128, dense."""

    kind: Literal["cnn"]
    dropout: bool = Field(True, description="of a quarter of the pool's outputs and half of the dense layer's")


def layer_count(model: Softmax | Mlp | Cnn) -> int:
    """Return how many layers a model has: what a pipeline can cut into stages.

    >>> layer_count(Mlp(kind="mlp", hidden=(64, 32)))
    3
    """
    return len(model.hidden) + 1 if isinstance(model, Mlp) else {"softmax": 1, "cnn": 5}[model.kind]


class Sgd(Settings):
    """Plain stochastic gradient descent."""

    kind: Literal["sgd"]
    learning_rate: float = Field(default=0.1, gt=0, le=1_000)


class Momentum(Settings):
    """Gradient descent with a velocity: v = momentum * v + gradient."""

    kind: Literal["momentum"]
    learning_rate: float = Field(0.1, gt=0, le=1_000)
    momentum: float = Field(0.9, ge=0, lt=1)


class Adam(Settings):
    """Adam (Kingma and Ba 2015): a step size of its own for each parameter."""

    kind: Literal["adam"]
    learning_rate: float = Field(0.001, gt=0, le=1_000)
    b1: float = Field(0.9, ge=0, lt=1)
    b2: float = Field(0.999, ge=0, lt=1)
    eps: float = Field(1e-8, gt=0, le=1)


class Task(Settings):
    """What is learned, from what, how and for how long."""

    dataset: Annotated[Digits | Digits28 | Synthetic | Mnist, Field(discriminator="kind")] = Digits(kind="digits")
    shards: Annotated[Shuffled | Dirichlet, Field(discriminator="kind")] = Shuffled(kind="shuffled")
    model: Annotated[Softmax | Mlp | Cnn, Field(discriminator="kind")] = Mlp(kind="mlp")
    epochs: int | None = Field(None, ge=1, le=1_000_000, description="passes over the training samples (or say steps)")
    steps: int | None = Field(None, ge=1, le=100_000_000, description="updates (or say epochs)")
    batch_size: int = Field(32, ge=1, le=1_000_000, description="samples a step for each worker")
    accumulate: int = Field(
        1, ge=1, le=100_000, description="so many of them make a step together: gradients are added up before they go"
    )
    optimizer: Annotated[Sgd | Momentum | Adam, Field(discriminator="kind")] = Sgd(kind="sgd")
    learning_rate_scaling: Literal["none", "linear", "sqrt", "inverse"] = Field(
        "none", description="how the rate follows the number of workers k: times 1, k, sqrt(k) or 1/k"
    )
    warm_up_epochs: float = Field(
        0.0, ge=0, le=1_000_000, description="the scaled rate is reached gradually over so many epochs (Goyal 2018)"
    )
    evaluate_every: int | None = Field(None, ge=1, description="steps between evaluations; default: only at the end")
    target_accuracy: Share | None = Field(None, description="stop at the first evaluation that reaches it")
    flop_per_sample: Work | None = Field(
        None, description="work of one sample, forward and backward; default: counted from the model's shape"
    )
