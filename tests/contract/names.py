"""Every name of TensorRT's Python interface that this SDK uses, in one place.

For methods: how many arguments the SDK passes, or ``None`` for a property. For enums: the members.
"""

METHODS: dict[str, dict[str, int | None]] = {
    "Builder": {
        "__init__": 1,
        "create_network": 1,
        "create_builder_config": 0,
        "create_optimization_profile": 0,
        "build_serialized_network": 2,
    },
    "INetworkDefinition": {
        "num_inputs": None,
        "num_outputs": None,
        "num_layers": None,
        "get_input": 1,
        "get_output": 1,
        "get_layer": 1,
    },
    "ILayer": {"type": None, "num_outputs": None, "get_output": 1},
    "ITensor": {"name": None, "dtype": None, "shape": None},
    "OnnxParser": {"__init__": 2, "parse": 1, "num_errors": None, "get_error": 1},
    "ParserError": {"desc": 0, "node_name": 0, "node_operator": 0},
    "IBuilderConfig": {
        "set_memory_pool_limit": 2,
        "builder_optimization_level": None,
        "hardware_compatibility_level": None,
        "progress_monitor": None,
        "add_optimization_profile": 1,
    },
    "IOptimizationProfile": {"set_shape": 4},
    "ILogger": {"__init__": 0, "log": 2, "INTERNAL_ERROR": None, "ERROR": None, "WARNING": None, "INFO": None},
    "IProgressMonitor": {"__init__": 0, "phase_start": 3, "step_complete": 2, "phase_finish": 1},
    "Runtime": {"__init__": 1, "deserialize_cuda_engine": 1},
    "ICudaEngine": {
        "create_execution_context": 1,
        "device_memory_size_v2": None,
        "num_io_tensors": None,
        "get_tensor_name": 1,
        "get_tensor_mode": 1,
        "get_tensor_dtype": 1,
        "get_tensor_shape": 1,
        "get_tensor_profile_shape": 2,
    },
    "IExecutionContext": {
        "set_optimization_profile_async": 2,
        "set_device_memory": 2,
        "set_tensor_address": 2,
        "set_input_shape": 2,
        "infer_shapes": 0,
        "execute_async_v3": 1,
    },
}

ENUMS: dict[str, tuple[str, ...]] = {
    "NetworkDefinitionCreationFlag": ("STRONGLY_TYPED",),
    "MemoryPoolType": ("WORKSPACE",),
    "HardwareCompatibilityLevel": ("SAME_COMPUTE_CAPABILITY",),
    "DataType": ("FLOAT", "HALF", "BF16", "FP8", "UINT8"),
    "LayerType": ("CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY", "EINSUM"),
    "TensorIOMode": ("INPUT", "OUTPUT"),
    "ExecutionContextAllocationStrategy": ("USER_MANAGED",),
}

#: What only TensorRT for RTX has, and is used only there.
RTX_METHODS: dict[str, dict[str, int | None]] = {
    "ICudaEngine": {"create_runtime_config": 0},
    "IRuntimeConfig": {
        "set_execution_context_allocation_strategy": 1,
        "dynamic_shapes_kernel_specialization_strategy": None,
        "create_runtime_cache": 0,
        "set_runtime_cache": 1,
    },
    "IBuilderConfig": {"num_compute_capabilities": None, "set_compute_capability": 2},
}
RTX_ENUMS = {
    "ComputeCapability": ("SM75", "SM80", "SM86", "SM89", "SM120", "SM121"),
    "DynamicShapesKernelSpecializationStrategy": ("EAGER",),
}

#: Under which names the source keeps objects of which class; names that mean something else in a file are left out.
RECEIVERS = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "layer": "ILayer",
    "tensor": "ITensor",
    "parser": "OnnxParser",
    "error": "ParserError",
    "config": "IBuilderConfig",
    "profile": "IOptimizationProfile",
    "runtime": "Runtime",
    "_runtime": "Runtime",
    "engine": "ICudaEngine",
    "_engine": "ICudaEngine",
    "context": "IExecutionContext",
    "_context": "IExecutionContext",
    "_settings": "IRuntimeConfig",
}

#: Files that talk to TensorRT: the receivers in them that are of TensorRT.
FILES: dict[str, tuple[str, ...]] = {
    "engines/builder.py": ("builder", "network", "config"),
    "engines/network.py": ("builder", "network", "layer", "parser", "config", "profile"),
    "engines/trtlog.py": (),
    "runtime/trtstage.py": ("runtime", "engine", "_engine", "context", "_context", "_settings"),
    "runtime/tensorrt.py": (),
}
#: Names under which those files keep the module itself.
MODULES = ("trt", "_trt", "module")
#: Attributes of the module and of :class:`restore_sdk.engines.edition.TensorRT`, which some files call ``trt``,
#: that are no part of TensorRT's interface.
OTHER = {"__name__", "__version__", "module", "edition", "version", "cuda", "label", "ahead_of_time"}
