"""Runs by its path, and begins `tenants.sandboxed` from the package that lies around it.

Where the package is installed from a checkout, the folder that it would be found in is one that the sandbox does not
show: it holds the whole repository.
"""

import importlib.util
import runpy
import sys
from pathlib import Path

package = Path(__file__).parents[1]
spec = importlib.util.spec_from_file_location(
    "tenants", package / "__init__.py", submodule_search_locations=[str(package)]
)
assert spec and spec.loader
module = importlib.util.module_from_spec(spec)
sys.modules["tenants"] = module
spec.loader.exec_module(module)
runpy.run_module("tenants.sandboxed", run_name="__main__")
