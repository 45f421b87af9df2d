"""How Java is started in the tests."""

from __future__ import annotations

from pathlib import Path

_QUICK_START = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""For a JVM of half a minute: what better code takes to compile is never won back."""

_TRUST_STORE = Path("/etc/ssl/certs/java/cacerts")
"""The machine's own certificates: a Java that came by pip has others, a proxy needs these."""

_TRUST = f"-Djavax.net.ssl.trustStore={_TRUST_STORE}" if _TRUST_STORE.exists() else ""

OPTIONS = f"{_QUICK_START} {_TRUST}"
