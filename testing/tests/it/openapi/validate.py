"""Says what in a document is not OpenAPI 3.1."""

import json
import sys

from openapi_spec_validator import OpenAPIV31SpecValidator

with open(sys.argv[1], encoding="utf-8") as file:
    faults = list(OpenAPIV31SpecValidator(json.load(file)).iter_errors())
for fault in faults:
    print("/".join(str(part) for part in fault.absolute_path), fault.message[:500])
sys.exit(bool(faults))
