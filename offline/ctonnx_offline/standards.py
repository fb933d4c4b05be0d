"""The packaging standards: from `packaging`, or from pip's copy on a Python that has pip alone."""

try:
    from packaging import markers, requirements, specifiers, tags, utils, version
except ImportError:
    from pip._vendor.packaging import (  # type: ignore[no-redef]
        markers,
        requirements,
        specifiers,
        tags,
        utils,
        version,
    )

__all__ = ["markers", "requirements", "specifiers", "tags", "utils", "version"]
