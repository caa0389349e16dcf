"""Run in a process of its own: prints what a TensorRT module has, as JSON. Arguments: module, names of its classes."""

import importlib
import json
import sys

module = importlib.import_module(sys.argv[1])


class Logger(module.ILogger):
    def __init__(self) -> None:
        module.ILogger.__init__(self)

    def log(self, severity: object, message: str) -> None:
        pass


class Monitor(module.IProgressMonitor):
    def __init__(self) -> None:
        module.IProgressMonitor.__init__(self)

    def phase_start(self, phase_name: str, parent_phase: str, num_steps: int) -> None:
        pass

    def step_complete(self, phase_name: str, step: int) -> bool:
        return True

    def phase_finish(self, phase_name: str) -> None:
        pass


Logger(), Monitor()  # both can be subclassed and made
found = {name: getattr(module, name) for name in sys.argv[2].split(",") if hasattr(module, name)}
print(
    json.dumps(
        {
            "version": module.__version__,
            "classes": {
                name: {  # documentation of what can be called
                    attribute: (value.__doc__ or "") if callable(value := getattr(kind, attribute)) else None
                    for attribute in dir(kind)
                }
                for name, kind in found.items()
            },
            "severities": [int(getattr(module.ILogger, n)) for n in ("INTERNAL_ERROR", "ERROR", "WARNING", "INFO")],
        }
    )
)
