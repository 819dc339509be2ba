"""`Memo`: what engines have computed is kept from one run of a process to the next, up to so many bytes.

An engine already gives one answer to equal questions while somebody holds it (`engine.py`). A memo keeps the engine of
a task, and holds the answers; those asked for longest ago go first. A run that begins like another one then finds its
gradients, updates and evaluations there, and computes anew only from where it differs. Equality is found bit by bit and
never assumed, so a memo changes no number; it remembers no run, no time and no event. What is not here: computing.
"""

from __future__ import annotations

from collections import OrderedDict

from ringsim.learning.engine import Deferred, Engine
from ringsim.learning.models.model import Model
from ringsim.scenario import Task

LIMIT_BYTES = 256 * 2**20


class Memo:
    """Engines by what they compute, and the answers that are held. `asked` and `computed` count gradients.

    >>> from ringsim.scenario import Softmax
    >>> memo = Memo()
    >>> for _ in range(2):
    ...     engine = memo.engine(Task(steps=1, model=Softmax(kind="softmax")), seed=7, rows=4)
    ...     loss = engine.gradient(engine.initial().parameters, samples=(0, 1, 2)).value().loss
    >>> memo.asked, memo.computed
    (2, 1)
    """

    def __init__(self, limit_bytes: int = LIMIT_BYTES):
        self.limit_bytes = limit_bytes
        self.asked = 0
        self.computed = 0
        self._engines: dict[tuple[Task, int, int, Model | None], Engine] = {}
        self._held: OrderedDict[object, int] = OrderedDict()  # its size in bytes; those asked for latest come last
        self._bytes = 0

    def engine(self, task: Task, seed: int, rows: int, model: Model | None = None) -> Engine:
        """Return the engine for a task, a new one or the one that has computed for it before."""
        key = (task, seed, rows, model)
        engine = self._engines.get(key)
        if engine is None:
            engine = self._engines[key] = Engine(task, seed, rows, model=model, hold=self.hold)
        return engine

    def hold(self, answer: object, size_bytes: int) -> None:
        """Hold an answer of an engine's that was just asked for, and let go of those asked for longest ago."""
        is_known = answer in self._held
        if isinstance(answer, Deferred):
            self.asked += 1
            self.computed += not is_known
        if is_known:
            self._held.move_to_end(answer)
            return
        self._held[answer] = size_bytes
        self._bytes += size_bytes
        while self._bytes > self.limit_bytes and self._held:
            self._bytes -= self._held.popitem(last=False)[1]
