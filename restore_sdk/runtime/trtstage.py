"""One stage as a TensorRT engine: loaded, compared with the manifest, and queued on a stream.

The code is the same for both editions of TensorRT; the module is handed in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from restore_sdk.bundle.manifest import StageSpec
from restore_sdk.engines.sidecar import BUILD_AGAIN
from restore_sdk.engines.trtlog import capture, logger
from restore_sdk.errors import DeviceError, EngineError, ExecutionError, OutOfMemoryError
from restore_sdk.runtime.base import NO_MEMORY
from restore_sdk.runtime.native import hold, release

_Kind = type[EngineError] | type[ExecutionError] | type[DeviceError]
_HINTS: dict[_Kind, str] = {
    EngineError: BUILD_AGAIN,
    ExecutionError: "run: restore-sdk doctor; after an error of the GPU start a new process",
    DeviceError: "the driver may be too old for this TensorRT; see both with: restore-sdk doctor",
}


class TrtStage:
    """A deserialised engine of one stage. Every method is to be called with the GPU's context current.

    The plan is from a store that checked its hash and its sidecar.

    Raises:
        EngineError (incompatible): TensorRT refuses the plan. ``EngineError``: it is an engine of something else.
        OutOfMemoryError: the device has not enough memory for it.
    """

    def __init__(self, trt: Any, runtime: Any, plan: bytes, spec: StageSpec) -> None:
        self._trt, self._spec = trt, spec
        with _mapped_errors(f"the engine of stage {spec.name} cannot be loaded", EngineError):
            self._engine: Any = hold(_require(runtime.deserialize_cuda_engine(plan), "TensorRT refuses the plan"))
        self._settings: Any = None  # of RTX: how its contexts compile; its cache
        self._cache: Any = None
        try:
            #: Bytes of workspace that a context of this engine needs.
            self.workspace_bytes = int(self._engine.device_memory_size_v2)
            #: Largest batch of the engine's profile.
            self.max_batch = self._check(spec)
            self._set_compilation()
        except BaseException:
            self.free()
            raise

    def context(self, workspace: tuple[int, int], addresses: Mapping[str, int], stream: int) -> TrtContext:
        """A context that computes in ``workspace`` (address, size), between buffers at ``addresses``, by tensor."""
        settings = self._settings or self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
        with _mapped_errors(f"the {self._spec.name} stage gets no execution context", ExecutionError):
            context = _require(self._engine.create_execution_context(settings), "TensorRT makes none")
            wrapped, context = TrtContext(self._spec, context), None  # which is to be freed by a call
            try:
                wrapped.bind(workspace if self.workspace_bytes else None, addresses, stream)
            except BaseException:
                wrapped.free()
                raise
            return wrapped

    def free(self) -> None:
        """Free the engine; its contexts must be gone."""
        for native in (self._settings, self._cache, self._engine):
            release(native)
        self._settings = self._cache = self._engine = native = None

    def _set_compilation(self) -> None:
        """TensorRT for RTX compiles kernels for the GPU and the shapes at hand: all at once, and once for all contexts.

        Left alone it answers with fallback kernels while a thread of its own compiles better ones. Results would then
        change between two equal requests.
        """
        kinds = getattr(self._trt, "DynamicShapesKernelSpecializationStrategy", None)
        if kinds is None:
            return
        with _mapped_errors(f"the {self._spec.name} stage cannot be set up", EngineError):
            self._settings = hold(_require(self._engine.create_runtime_config(), "TensorRT makes no settings"))
            self._settings.set_execution_context_allocation_strategy(
                self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
            )
            self._settings.dynamic_shapes_kernel_specialization_strategy = kinds.EAGER
            self._cache = hold(_require(self._settings.create_runtime_cache(), "TensorRT makes no cache of kernels"))
            _require(self._settings.set_runtime_cache(self._cache), "its cache of kernels is refused")

    def _check(self, spec: StageSpec) -> int:
        """Compare tensors with the manifest, and say how large a batch may be."""
        inputs: dict[str, Any] = {}
        outputs: dict[str, Any] = {}
        for index in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(index)
            tensors = inputs if self._engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT else outputs
            dtype = self._engine.get_tensor_dtype(name).name.lower()
            tensors[name] = (dtype, tuple(self._engine.get_tensor_shape(name))[1:])
        if mismatch := spec.mismatch(inputs, outputs):
            raise EngineError(f"this is no engine of stage {spec.name}: it has {mismatch}", BUILD_AGAIN)
        profiles = [self._engine.get_tensor_profile_shape(tensor.name, 0) for tensor in spec.inputs]
        smallest, largest = max(p[0][0] for p in profiles), min(p[2][0] for p in profiles)
        if smallest != 1:
            raise EngineError(f"the engine of stage {spec.name} takes {smallest} to {largest} images", BUILD_AGAIN)
        return int(largest)


class TrtContext:
    """An execution context. Used by one thread at a time, with the GPU's context current."""

    def __init__(self, spec: StageSpec, context: Any) -> None:
        self.context: Any = hold(context)
        self._spec = spec
        self._batch = 0

    def bind(self, workspace: tuple[int, int] | None, addresses: Mapping[str, int], stream: int) -> None:
        """Set where it computes and where its tensors are."""
        # Only the first context of an engine has a profile of its own accord.
        _require(self.context.set_optimization_profile_async(0, stream), "its profile is refused")
        if workspace:
            self.context.set_device_memory(*workspace)
        for tensor in (*self._spec.inputs, *self._spec.outputs):
            accepted = self.context.set_tensor_address(tensor.name, addresses[tensor.name])
            _require(accepted, f"the address of {tensor.name} is refused")

    def resize(self, batch: int) -> None:
        """Expect ``batch`` images from now on; raises :class:`ExecutionError` where TensorRT refuses the shape."""
        if batch == self._batch:
            return
        self._batch = 0  # unknown until all of it succeeded
        with _mapped_errors(f"the {self._spec.name} stage takes no batch of {batch}", ExecutionError):
            for tensor in self._spec.inputs:
                accepted = self.context.set_input_shape(tensor.name, (batch, *tensor.shape[1:]))
                _require(accepted, f"the shape of {tensor.name} is refused")
            missing = self.context.infer_shapes()
            _require(not missing, f"no shape or address for {', '.join(missing)}")
        self._batch = batch

    def enqueue(self, stream: int) -> None:
        """Queue the stage on a stream; raises :class:`ExecutionError` with TensorRT's log where it refuses."""
        with _mapped_errors(f"the {self._spec.name} stage failed", ExecutionError):
            _require(self.context.execute_async_v3(stream), "TensorRT refuses to run it")

    def free(self) -> None:
        """Free the context."""
        release(self.context)
        self.context = None


def make_runtime(trt: Any) -> Any:
    """A TensorRT ``Runtime``; only where the driver was found usable, since without one it ends the process."""
    with _mapped_errors(f"{trt.__name__} does not start", DeviceError):
        return hold(_require(trt.Runtime(logger(trt)), "no runtime"))


def _require(result: Any, refusal: str) -> Any:
    """What TensorRT gave; raises where that is ``None`` or ``False``, its way of refusing."""
    if result is None or result is False:
        raise RuntimeError(refusal)
    return result


@contextmanager
def _mapped_errors(what: str, kind: _Kind) -> Iterator[None]:
    """What the bindings raise, and :func:`_require`, as an error of the SDK with what TensorRT logged meanwhile."""
    with capture(own=True) as log:
        try:
            yield
        except (RuntimeError, TypeError, MemoryError, OverflowError) as error:
            text = f"{what}: {'; '.join(log.errors[-4:]) or error}"
            if any(sign in text.lower() for sign in NO_MEMORY):
                hint = "free GPU memory, use fewer slots, or build engines for a smaller batch"
                raise OutOfMemoryError(text, hint) from error
            raise kind(text, _HINTS[kind], "incompatible" if kind is EngineError else "") from error
