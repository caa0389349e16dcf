"""How large the numbers inside a stage become, for what FP16 can hold."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from export.errors import GateError

#: Largest finite FP16 number.
FP16_MAX = 65504.0

#: The largest activation seen must fit in FP16 this many times over, since not every picture is seen here.
MIN_HEADROOM = 8.0


@contextlib.contextmanager
def watch(generator: nn.Module) -> Iterator[dict[str, float]]:
    """Record, while the context lasts, the largest absolute value that enters, leaves or arises inside each layer.

    What a layer computes between its parts (sums, products of matrices, softmax) counts for the innermost layer around
    it, for the whole network under the name ``generator``.

    Yields:
        The peaks by layer name; a layer that met NaN or infinity has an infinite peak.
    """
    peaks: dict[str, float] = {}

    def note(name: str, tensors: Any) -> None:
        for tensor in tensors if isinstance(tensors, tuple) else (tensors,):
            if isinstance(tensor, Tensor) and tensor.is_floating_point() and tensor.numel():
                peak = float(tensor.detach().abs().max())
                peaks[name] = max(peaks.get(name, 0.0), peak if peak == peak else float("inf"))

    inside: list[str] = []

    class Operations(TorchFunctionMode):
        def __torch_function__(
            self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            result = func(*args, **(kwargs or {}))
            if inside:
                note(inside[-1], result)
            return result

    def leave(name: str, inputs: Any, output: Any) -> None:
        if len(inside) > 1:  # what the whole network takes and gives is its layers' as well
            note(name, (*inputs, output))  # its own operations count for this layer, and are no larger
        inside.pop()

    with contextlib.ExitStack() as hooks:
        for name, module in generator.named_modules():
            known = name or "generator"
            entered = module.register_forward_pre_hook(lambda _module, _inputs, name=known: inside.append(name))
            left = module.register_forward_hook(lambda _module, inputs, output, name=known: leave(name, inputs, output))
            hooks.callback(entered.remove)
            hooks.callback(left.remove)
        hooks.enter_context(Operations())
        yield peaks


def check_headroom(stage: str, peaks: dict[str, float]) -> float:
    """The largest activation of a stage. Raises :class:`GateError` where FP16 does not hold it with room to spare."""
    layer, peak = max(peaks.items(), key=lambda entry: entry[1])
    if not peak * MIN_HEADROOM <= FP16_MAX:
        raise GateError(
            f"{stage} stage: layer {layer} reaches {peak:.4g}, FP16 holds {FP16_MAX:.0f}; a headroom of "
            f"{MIN_HEADROOM:.0f} times is asked for",
            "train with a smaller bound on activations",
        )
    return peak
