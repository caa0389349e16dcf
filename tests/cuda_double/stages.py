"""A double of TensorRT: the part of its Python interface that the runtime uses, computing with ONNX Runtime.

Test equipment. A "plan" of the double holds the stage's ONNX graph. What it queues on a stream are host functions
which, when the driver double runs them, read and write the raw addresses that were bound, and nothing else. As strict
as the real one where that shows mistakes: every status is a boolean, addresses and shapes must be set, the batch must
be in the profile, workspace must be given, objects need a current CUDA context when they are freed, engines
outlive contexts.
"""

from __future__ import annotations

import ctypes
import enum
import hashlib
import itertools
import json
import threading
import time
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from tests.cuda_double.double import ILLEGAL_ADDRESS, INVALID_CONTEXT, Double

MAGIC = b"PLAN OF THE TENSORRT DOUBLE\n"
VERSION = "10.13.0.0"


class ILogger:
    class Severity(enum.IntEnum):
        INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = Severity

    def log(self, severity: Severity, message: str) -> None: ...


class TensorIOMode(enum.Enum):
    NONE, INPUT, OUTPUT = range(3)


class DataType(enum.Enum):
    FLOAT, HALF, UINT8 = range(3)


class ExecutionContextAllocationStrategy(enum.Enum):
    STATIC, ON_PROFILE_CHANGE, USER_MANAGED = range(3)


class DynamicShapesKernelSpecializationStrategy(enum.Enum):
    LAZY, EAGER, NONE = range(3)


class RuntimeConfig:
    """As RTX's ``IRuntimeConfig``."""

    def __init__(self, control: Any) -> None:
        self._control = control
        self.strategy = ExecutionContextAllocationStrategy.STATIC
        self.dynamic_shapes_kernel_specialization_strategy = DynamicShapesKernelSpecializationStrategy.LAZY
        self.cache: object = None

    def set_execution_context_allocation_strategy(self, strategy: ExecutionContextAllocationStrategy) -> None:
        self.strategy = strategy

    def create_runtime_cache(self) -> object:
        return object()

    def set_runtime_cache(self, cache: object) -> bool:
        self.cache = cache
        return "set_runtime_cache" not in self._control.refuse


def make_plan(graph: bytes, *, max_batch: int = 4, min_batch: int = 1, workspace: int = 256 * 256 * 3) -> bytes:
    """A plan of the double; ``workspace`` in bytes an image, at least the size of the output."""
    head = {"max_batch": max_batch, "min_batch": min_batch, "workspace": workspace * max_batch}
    return MAGIC + json.dumps(head).encode() + b"\n" + graph


@dataclass
class Control:
    """What a test sets on the module (as ``module.control``), and what it reads.

    Attributes:
        pause: seconds that a stage rests between computing into its workspace and writing its output.
        refuse: methods that return ``False`` or ``None`` as the real ones do on failure.
        configs: with what each context of RTX was made.
        violations: what was done that the real TensorRT does not survive.
    """

    double: Double
    pause: float = 0.0
    refuse: tuple[str, ...] = ()
    violations: list[str] = field(default_factory=list)
    configs: list[RuntimeConfig] = field(default_factory=list)
    logger: Any = None

    def error(self, text: str) -> None:
        if self.logger is not None:
            self.logger.log(ILogger.ERROR, text)

    def driver(self, entry: str, *arguments: Any) -> bool:
        """Call the driver, which is the same library for everyone in this process; log it when it fails."""
        status = getattr(self.double.library, entry)(*arguments)
        if status:
            text = ctypes.c_char_p()
            self.double.library.cuGetErrorString(status, ctypes.byref(text))
            self.error(f"{entry} failed with CUDA error {status}: {(text.value or b'').decode()}")
        return status == 0


def make_module(double: Double, name: str = "tensorrt_double") -> ModuleType:
    """A module to stand in for ``tensorrt``."""
    module = ModuleType(name, __doc__)
    control = Control(double)

    class BoundRuntime(Runtime):
        def __init__(self, logger: Any) -> None:
            control.logger = logger
            super().__init__(control)

    module.__dict__.update(
        __version__=VERSION,
        control=control,
        ILogger=ILogger,
        TensorIOMode=TensorIOMode,
        DataType=DataType,
        ExecutionContextAllocationStrategy=ExecutionContextAllocationStrategy,
        Runtime=BoundRuntime,
    )
    if name.startswith("tensorrt_rtx"):
        module.__dict__["DynamicShapesKernelSpecializationStrategy"] = DynamicShapesKernelSpecializationStrategy
    return module


class Runtime:
    def __init__(self, control: Control) -> None:
        self._control = control

    def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
        if not plan.startswith(MAGIC) or "deserialize_cuda_engine" in self._control.refuse:
            self._control.error(
                "IRuntime::deserializeCudaEngine: Error Code 1: Serialization (magicTag does not match)"
            )
            return None
        line, _, graph = plan[len(MAGIC) :].partition(b"\n")
        head, weights = json.loads(line), ctypes.c_uint64()
        if not self._control.driver("cuMemAlloc_v2", ctypes.byref(weights), ctypes.c_size_t(len(plan))):
            return None
        return Engine(self._control, head, graph, weights.value)


_SESSIONS: dict[str, Any] = {}


def session_of(graph: bytes) -> Any:
    key = hashlib.sha256(graph).hexdigest()
    if key not in _SESSIONS:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
        options.log_severity_level = 3
        _SESSIONS[key] = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return _SESSIONS[key]


class Engine:
    """As ``ICudaEngine``."""

    num_optimization_profiles = 1

    def __init__(self, control: Control, head: dict[str, Any], graph: bytes, weights: int) -> None:
        self.control, self.head, self.session, self._weights = control, head, session_of(graph), weights
        self.contexts = 0
        self.inputs = {tensor.name: (-1, *tensor.shape[1:]) for tensor in self.session.get_inputs()}
        self.outputs = {tensor.name: (-1, *tensor.shape[1:]) for tensor in self.session.get_outputs()}
        self._names = [*self.inputs, *self.outputs]

    @property
    def num_io_tensors(self) -> int:
        return len(self._names)

    @property
    def device_memory_size_v2(self) -> int:
        return int(self.head["workspace"])

    def get_tensor_name(self, index: int) -> str:
        return self._names[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self.inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        types = {t.name: t.type for t in (*self.session.get_inputs(), *self.session.get_outputs())}
        return DataType.UINT8 if types[name] == "tensor(uint8)" else DataType.FLOAT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (self.inputs | self.outputs)[name]

    def get_tensor_profile_shape(self, name: str, profile: int) -> tuple[tuple[int, ...], ...]:
        assert profile == 0
        return tuple((self.head[key], *self.inputs[name][1:]) for key in ("min_batch", "min_batch", "max_batch"))

    def create_runtime_config(self) -> RuntimeConfig:
        return RuntimeConfig(self.control)

    def create_execution_context(self, strategy: ExecutionContextAllocationStrategy | RuntimeConfig) -> Context | None:
        if isinstance(strategy, RuntimeConfig):
            self.control.configs.append(strategy)
            strategy = strategy.strategy
        if "create_execution_context" in self.control.refuse:
            self.control.error("Error Code 2: OutOfMemory (Requested size was 1 bytes.)")
            return None
        assert strategy is ExecutionContextAllocationStrategy.USER_MANAGED
        return Context(self)

    def __del__(self) -> None:
        if self.contexts:
            self.control.violations.append("an engine was freed before its contexts")
        if self.control.double.library.cuMemFree_v2(ctypes.c_uint64(self._weights)) == INVALID_CONTEXT:
            self.control.violations.append("an engine was freed without a current CUDA context")


@dataclass(frozen=True)
class Work:
    """What one call of ``execute_async_v3`` queued, as it was bound at that time."""

    engine: Engine
    shapes: dict[str, tuple[int, ...]]
    addresses: dict[str, int]
    workspace: int


_NUMBERS = itertools.count(1)
_WORK: dict[int, Work] = {}


class Context:
    """As ``IExecutionContext``."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._control = engine, engine.control
        engine.contexts += 1
        self._addresses: dict[str, int] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._workspace = (0, 0)
        self._profile = -1
        self._queued: set[int] = set()
        self._used = threading.Lock()

    def _took(self, method: str, fits: bool, refusal: str) -> bool:
        """Whether a method succeeds; says why not where it does not."""
        if fits and method not in self._control.refuse:
            return True
        self._control.error(f"{method}: Error Code 3: {refusal}")
        return False

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        there = profile == 0 and bool(stream)
        self._profile = 0 if there else -1
        return self._took("set_optimization_profile_async", there, f"there is no profile {profile}")

    def set_device_memory(self, address: int, size: int) -> None:
        if self._took("set_device_memory", size >= self._engine.device_memory_size_v2, "the memory is too small"):
            self._workspace = (address, size)

    def set_tensor_address(self, name: str, address: int) -> bool:
        there = name in self._engine.inputs | self._engine.outputs
        if took := self._took("set_tensor_address", there, f"there is no tensor {name}"):
            self._addresses[name] = address
        return took

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        fits = self._profile == 0 and tuple(shape[1:]) == self._engine.inputs.get(name, ())[1:]
        fits = fits and self._engine.head["min_batch"] <= shape[0] <= self._engine.head["max_batch"]
        if took := self._took("set_input_shape", fits, f"{name} {shape} is not within the profile"):
            self._shapes[name] = tuple(shape)
        return took

    def infer_shapes(self) -> list[str]:
        return [name for name in self._engine.inputs if name not in self._shapes]

    def execute_async_v3(self, stream: int) -> bool:
        if not self._used.acquire(blocking=False):
            self._control.violations.append("two threads used one execution context at a time")
            return False
        try:
            return self._execute(stream)
        finally:
            self._used.release()

    def _execute(self, stream: int) -> bool:
        missing = set(self._engine.inputs | self._engine.outputs) - set(self._addresses)
        batches = {shape[0] for shape in self._shapes.values()}
        whole = not missing and not self.infer_shapes() and bool(self._workspace[0]) and len(batches) == 1
        if not self._took("execute_async_v3", whole, f"API Usage Error (without {sorted(missing)}, batches {batches})"):
            return False
        number = next(_NUMBERS)
        (batch,) = batches
        shapes = self._shapes | {name: (batch, *shape[1:]) for name, shape in self._engine.outputs.items()}
        self._queued = {queued for queued in self._queued if queued in _WORK} | {number}
        _WORK[number] = Work(self._engine, shapes, dict(self._addresses), self._workspace[0])
        for function in (_COMPUTE, _WRITE):
            if not self._control.driver("cuLaunchHostFunc", ctypes.c_void_p(stream), function, ctypes.c_void_p(number)):
                return False
        return True

    def __del__(self) -> None:
        self._engine.contexts -= 1
        for number in self._queued:  # what a lost context never ran
            _WORK.pop(number, None)


def _view(address: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    size = int(np.prod(shape))
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address)).reshape(shape)


def _compute(number: int) -> None:
    """Compute the stage into the workspace; runs in whichever thread waits for the stream."""
    work = _WORK[number]
    engine, control = work.engine, work.engine.control
    try:
        for name, shape in work.shapes.items():
            if not control.double.on_device(work.addresses[name], int(np.prod(shape))):
                control.double.fault(ILLEGAL_ADDRESS)
                return
        if not control.double.on_device(work.workspace, engine.device_memory_size_v2):
            control.double.fault(ILLEGAL_ADDRESS)
            return
        (output,) = engine.outputs
        inputs = {name: _view(work.addresses[name], work.shapes[name]) for name in engine.inputs}
        (result,) = engine.session.run([output], inputs)
        _view(work.workspace, result.shape)[...] = result
        if control.pause:
            time.sleep(control.pause)
    except Exception as error:
        control.violations.append(f"the stage double failed: {error!r}")
        control.double.fault()


def _write(number: int) -> None:
    """Copy the result from the workspace to the output's address."""
    work = _WORK.pop(number)
    (output,) = work.engine.outputs
    shape = work.shapes[output]
    if work.engine.control.double.on_device(work.addresses[output], int(np.prod(shape))):
        _view(work.addresses[output], shape)[...] = _view(work.workspace, shape)


_HOST_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_size_t)
_COMPUTE = _HOST_FUNCTION(_compute)
_WRITE = _HOST_FUNCTION(_write)
