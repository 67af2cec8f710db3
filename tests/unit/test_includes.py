"""Which folder includes which, and where a library is included.

usage: test_includes.py ROOT
"""

import fnmatch
import pathlib
import re
import sys

# Folder: the folders that its files include. The worker reads hostile bytes and the supervisor is
# root: neither includes the other, and the worker never sees what changes the kernel's rules.
MAY_INCLUDE = {
    "config": {"config"},
    "firewall": {"firewall", "config"},
    "proxy/core": {"proxy/core", "config"},
    "proxy/channel": {"proxy/channel", "proxy/core", "config"},
    "proxy/worker": {"proxy/worker", "proxy/channel", "proxy/core", "config"},
    "proxy/supervisor": {
        "proxy/supervisor", "proxy/channel", "proxy/core", "config", "firewall",
    },
    "proxy/cli": {
        "proxy/cli", "proxy/worker", "proxy/supervisor", "proxy/channel", "proxy/core", "config",
        "firewall",
    },
}  # fmt: skip

# One library, one home: header -> the files that include it.
HOMES = {
    "lua.h": ["config/policy_lua*.[ch]"],
    "lauxlib.h": ["config/policy_lua*.[ch]"],
    "lualib.h": ["config/policy_lua.c"],
    "idn2.h": ["config/idna.c"],
    "libpsl.h": ["config/public_suffix.c"],
    "libiptc/*": ["firewall/xt_commit.c"],
    "libmnl/*": ["firewall/sock_destroy.c"],
    "ares*.h": ["proxy/worker/resolver*.c"],
    "event2/*": ["proxy/worker/*.[ch]"],
    # Only the worker has threads.
    "pthread.h": ["proxy/worker/*.[ch]"],
    "threads.h": [],
    "seccomp.h": ["proxy/cli/cage_filter.c", "proxy/worker/isolate.c"],
    "cap-ng.h": ["proxy/cli/cage_drop.c", "proxy/worker/isolate.c"],
    "mbedtls/*": [],
}

# What the C library offers to a pure source beside types.
PURE = ["proxy/core/*", "firewall/ruleset*", "firewall/xt_encode*"]
PURE_MAY_INCLUDE = ["assert.h", "limits.h", "std[!i]*.h", "stdint.h", "string.h", "linux/netfilter*"]
PURE_MAY_NOT_INCLUDE = ["stdatomic.h", "stdlib.h"]

INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>|(.+))', re.MULTILINE)


def matches(name, patterns):
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def complaints_of(name, text):
    """One sentence for each #include that the file `name` must not have."""
    folder = name.rsplit("/", 1)[0]
    if folder not in MAY_INCLUDE:
        yield f"{name}: the folder {folder}/ has no line in MAY_INCLUDE"
        return
    for own, system, other in INCLUDE.findall(text):
        if other:
            yield f"{name}: includes what only the preprocessor knows: {other}"
        elif own and own.rsplit("/", 1)[0] not in MAY_INCLUDE[folder]:
            yield f"{name}: {folder}/ must not include {own}"
        elif system:
            if system.rsplit("/", 1)[0] in MAY_INCLUDE:
                yield f"{name}: a header of ours stands in quotes: {system}"
            for header, homes in HOMES.items():
                if matches(system, [header, f"*/{header}"]) and not matches(name, homes):
                    yield f"{name}: <{system}> is included in {' '.join(homes) or 'no file'} only"


def main():
    root = pathlib.Path(sys.argv[1])
    names = [
        str(path.relative_to(root))
        for folder in ("config", "firewall", "proxy")
        for path in sorted((root / folder).rglob("*.[ch]"))
    ]

    # A tree that is not where it was sought must not pass.
    for folder in MAY_INCLUDE:
        if not any(name.startswith(folder + "/") for name in names):
            sys.exit(f"no source of {folder}/ below {root}")
    found = [
        line for name in names for line in complaints_of(name, (root / name).read_text("utf-8"))
    ]
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
