"""One stage as a TensorRT engine: loaded, compared with the manifest, and queued on a stream.

The code is the same for both editions of TensorRT; the module is handed in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

from restore_sdk.bundle.manifest import StageSpec
from restore_sdk.engines.sidecar import BUILD_AGAIN
from restore_sdk.engines.trtlog import Capture, capture, logger
from restore_sdk.errors import DeviceError, EngineError, ExecutionError, OutOfMemoryError
from restore_sdk.runtime.fork import hold, release

_OUT_OF_MEMORY = ("out of memory", "outofmemory", "cudaerrormemoryallocation", "bad_alloc")


class TrtStage:
    """A deserialised engine of one stage. Every method is to be called with the GPU's context current.

    The plan is from a store that checked its hash and its sidecar.

    Raises:
        EngineError (incompatible): TensorRT refuses the plan. ``EngineError``: it is an engine of something else.
        OutOfMemoryError: the device has not enough memory for it.
    """

    def __init__(self, trt: Any, runtime: Any, plan: bytes, spec: StageSpec) -> None:
        self.name = spec.name
        self._trt = trt
        with _errors(f"the engine of stage {spec.name} cannot be loaded", EngineError) as errors:
            self._engine: Any = runtime.deserialize_cuda_engine(plan)
            if self._engine is None:
                errors.fail("TensorRT refuses the plan")
            hold(self._engine)
        self._settings: Any = None  # of RTX: how its contexts compile; its cache
        self._cache: Any = None
        #: Largest batch of the engine's profile.
        self.max_batch = 0
        #: Bytes of workspace that a context of this engine needs.
        self.workspace_bytes = 0
        try:
            self.workspace_bytes = int(self._engine.device_memory_size_v2)
            self.max_batch = self._check(spec)
            self._set_compilation()
        except BaseException:
            self.free()
            raise

    def context(self, workspace: tuple[int, int], addresses: Mapping[str, int], stream: int) -> TrtContext:
        """A context that computes in ``workspace`` (address, size), between buffers at ``addresses``, by tensor."""
        how = self._settings or self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
        with _errors(f"the {self.name} stage gets no execution context", ExecutionError) as errors:
            names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
            inputs = [name for name in names if self._engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT]
            shapes = {name: tuple(self._engine.get_tensor_shape(name))[1:] for name in inputs}
            made = TrtContext(self.name, self._engine.create_execution_context(how), shapes)
            try:
                if made.context is None:
                    errors.fail("TensorRT makes none")
                # Only the first context of an engine has a profile of its own accord.
                if not made.context.set_optimization_profile_async(0, stream):
                    errors.fail("its profile is refused")
                if self.workspace_bytes:
                    made.context.set_device_memory(*workspace)
                for name in names:
                    if not made.context.set_tensor_address(name, addresses[name]):
                        errors.fail(f"the address of {name} is refused")
            except BaseException:
                made.free()
                raise
            return made

    def free(self) -> None:
        """Free the engine; its contexts must be gone."""
        for thing in (self._settings, self._cache, self._engine):
            release(thing)
        self._settings = self._cache = self._engine = None

    def _set_compilation(self) -> None:
        """TensorRT for RTX compiles kernels for the GPU and the shapes at hand: all at once, and once for all contexts.

        Left alone it answers with fallback kernels while a thread of its own compiles better ones. Results would then
        change between two equal requests.
        """
        kinds = getattr(self._trt, "DynamicShapesKernelSpecializationStrategy", None)
        if kinds is None:
            return
        with _errors(f"the {self.name} stage cannot be set up", EngineError) as errors:
            self._settings = hold(self._engine.create_runtime_config())
            if self._settings is None:
                errors.fail("TensorRT makes no settings for contexts")
            self._settings.set_execution_context_allocation_strategy(
                self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
            )
            self._settings.dynamic_shapes_kernel_specialization_strategy = kinds.EAGER
            self._cache = hold(self._settings.create_runtime_cache())
            if self._cache is None:
                errors.fail("TensorRT makes no cache of kernels")
            if not self._settings.set_runtime_cache(self._cache):
                errors.fail("its cache of kernels is refused")

    def _check(self, spec: StageSpec) -> int:
        """Compare tensors with the manifest, and say how large a batch may be."""
        trt, have = self._trt, {}
        for index in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(index)
            mode = "input" if self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT else "output"
            found = self._engine.get_tensor_dtype(name)
            dtype = "uint8" if found == trt.DataType.UINT8 else str(found)
            have[name] = (mode, dtype, tuple(self._engine.get_tensor_shape(name)))
        want = {tensor.name: ("input", "uint8", (-1, *tensor.shape[1:])) for tensor in spec.inputs}
        want |= {tensor.name: ("output", "uint8", (-1, *tensor.shape[1:])) for tensor in spec.outputs}
        if have != want:
            raise EngineError(f"this is no engine of stage {spec.name}: it has {have}, not {want}", BUILD_AGAIN)
        profiles = [self._engine.get_tensor_profile_shape(tensor.name, 0) for tensor in spec.inputs]
        smallest, largest = max(p[0][0] for p in profiles), min(p[2][0] for p in profiles)
        if smallest != 1:
            raise EngineError(f"the engine of stage {spec.name} takes {smallest} to {largest} images", BUILD_AGAIN)
        return int(largest)


class TrtContext:
    """An execution context with everything bound. Used by one thread at a time, with the GPU's context current."""

    def __init__(self, name: str, context: Any, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.context = hold(context)
        self._name, self._shapes = name, shapes
        self._batch = 0

    def resize(self, batch: int) -> None:
        """Expect ``batch`` images from now on; raises :class:`ExecutionError` where TensorRT refuses the shape."""
        if batch == self._batch:
            return
        self._batch = 0  # unknown until all of it succeeded
        with _errors(f"the {self._name} stage takes no batch of {batch}", ExecutionError) as errors:
            for name, shape in self._shapes.items():
                if not self.context.set_input_shape(name, (batch, *shape)):
                    errors.fail(f"the shape of {name} is refused")
            missing = self.context.infer_shapes()
            if missing:
                errors.fail(f"no shape or address for {', '.join(missing)}")
        self._batch = batch

    def enqueue(self, stream: int) -> None:
        """Queue the stage on a stream; raises :class:`ExecutionError` with TensorRT's log where it refuses."""
        with _errors(f"the {self._name} stage failed", ExecutionError) as errors:
            if not self.context.execute_async_v3(stream):
                errors.fail("TensorRT refuses to run it")

    def free(self) -> None:
        """Free the context."""
        release(self.context)
        self.context = None


class _ErrorContext:
    """Turns a refusal of TensorRT into an error that carries what it logged."""

    def __init__(self, what: str, kind: type[EngineError | ExecutionError | DeviceError], log: Capture) -> None:
        self._what, self._kind, self._log = what, kind, log

    def fail(self, reason: str) -> NoReturn:
        text = f"{self._what}: {'; '.join(self._log.errors[-4:]) or reason}"
        if any(sign in text.lower() for sign in _OUT_OF_MEMORY):
            raise OutOfMemoryError(text, "free GPU memory, use fewer slots, or build engines for a smaller batch")
        if issubclass(self._kind, EngineError):
            raise self._kind(text, BUILD_AGAIN, "incompatible")
        if issubclass(self._kind, DeviceError):
            raise self._kind(text, "the driver may be too old for this TensorRT; see both with: restore-sdk doctor")
        raise self._kind(text, "run: restore-sdk doctor; after an error of the GPU start a new process")


@contextmanager
def _errors(what: str, kind: type[EngineError | ExecutionError | DeviceError]) -> Iterator[_ErrorContext]:
    with capture(own=True) as log:
        errors = _ErrorContext(what, kind, log)
        try:
            yield errors
        except (RuntimeError, TypeError, MemoryError, OverflowError) as error:  # what the bindings themselves raise
            errors.fail(str(error))


def make_runtime(trt: Any) -> Any:
    """A TensorRT ``Runtime``; only where the driver was found usable, since without one it ends the process."""
    with _errors(f"{trt.__name__} does not start", DeviceError) as errors:
        runtime = trt.Runtime(logger(trt))
        if runtime is None:
            errors.fail("no runtime")
    return hold(runtime)
